"""What there is to see: `inspect`, `sweep`, `report`, `audit`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hnmine import options as opt
from hnmine.cli import completion
from hnmine.cli.arguments import COMMON, Candidates, CollectionDir
from hnmine.cli.carry_out import execution
from hnmine.cli.conditions import check_conditions, fail_if
from hnmine.cli.flags import Given, with_flags
from hnmine.cli.terminal import BOLD, DIM, GREEN, RED, coloured, columns, print_json
from hnmine.errors import UsageError


@with_flags(COMMON)
def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="ARTEFACT", help="Any artefact, or a run directory.", autocompletion=completion.any_artefact
        ),
    ],
    given: Given,
    query: Annotated[
        str | None, typer.Option("--query", help="Show this query's candidates with their verdicts.")
    ] = None,
    sample: Annotated[int | None, typer.Option("--sample", help="Show K triplets (keyed sample).")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of --sample.")] = 0,
) -> None:
    """Look at an artefact: its counts, a query's candidates, triplets.

    \b
      hnmine inspect scifact
      hnmine inspect scifact --sample 3
      hnmine inspect scifact --query 42
    """
    from hnmine.stages import inspect as look

    execution(given)
    if query is not None and sample is not None:
        raise UsageError("--query and --sample show different things", remedy="one of the two")
    if query is not None:
        found = look.query(path, query)
    elif sample is not None:
        found = look.sample(path, sample, seed)
    else:
        found = look.overview(path)
    if given.json:
        print_json(found)
        return
    for line in look.render(found, width=columns()):
        print(_tinted(line))


_TINTS = {"positive": GREEN, "negative": RED, "query": BOLD, "dropped": DIM, "reserve": DIM, "candidate": DIM}


def _tinted(line: str) -> str:
    """A line of `inspect` with its first word in the colour of what it says, where there are colours."""
    word = line.partition(" ")[0]
    return coloured(word, _TINTS[word], sys.stdout) + line[len(word) :] if word in _TINTS else line


@with_flags((opt.SweepOptions, "Rules"), (opt.TruthOptions, "Truth"), COMMON)
def sweep(
    candidates: Candidates,
    given: Given,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the report too: FILE.json or FILE.csv.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the trade-off: FILE.png or FILE.svg (needs matplotlib).")
    ] = None,
    collection: CollectionDir = None,
) -> None:
    """Try a grid of thresholds: yield, hardness, false negatives.

    Every number of `filter` is a list here, and the grid is made of all lists. `none` in a list is no margin.

    \b
      hnmine sweep scifact
      hnmine sweep scifact --relative-margin 0,0.05,0.1 --skip-fused 0,10,20 -n 5
      hnmine sweep scifact --qrels beir/scifact/qrels/full.tsv --plot trade-off.svg
    """
    from hnmine import api
    from hnmine.stages import sweep as sweeping

    _, terminal = execution(given)
    if output is not None and output.suffix not in (".json", ".csv"):
        raise UsageError(
            f"-o {output}: a report of sweep is JSON or CSV",
            expected="FILE.json or FILE.csv",
            remedy=f"-o {output.with_suffix('.json')}",
        )
    if plot is not None:
        from hnmine.stages.plot import check_plot

        check_plot(plot)
    stage = api.prepare_sweep(
        candidates,
        options=given.record(opt.SweepOptions),
        truth=given.record(opt.TruthOptions),
        collection=collection,
    )
    if given.dry_run:
        terminal.say("sweep: " + ", ".join(f"{key} {value:,}" for key, value in stage.sizes().items()))
        return
    report = stage.run()
    if output is not None:
        sweeping.write(report, output)
    if plot is not None:
        from hnmine.stages.plot import draw_sweep

        draw_sweep(report, plot)
    if given.json:
        print_json(report)
    else:
        for line in sweeping.render(report, columns()):
            print(line)
    fail_if(check_conditions(tuple(given.fail_if)), sweeping.summary(report))


@with_flags((opt.ReportOptions, "Report"), COMMON)
def report(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A run directory, decisions, or what downsample wrote.",
            autocompletion=completion.decisions,
        ),
    ],
    given: Given,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="FILE.html [default: report.html in the run directory].")
    ] = None,
    collection: CollectionDir = None,
) -> None:
    """Write one HTML page about a run: figures, and triplets to judge.

    Of what `downsample` wrote: whether the small corpus can stand in for the whole one.

    \b
      hnmine report scifact
      hnmine report scifact -o scifact.html --limit 300
      hnmine report scifact-small
    """
    from hnmine import api

    _, terminal = execution(given)
    page = api.prepare_report(path, options=given.record(opt.ReportOptions), collection=collection)
    target = output or page.default_path
    if target.is_dir():
        raise UsageError(f"-o {target} is a directory", expected="FILE.html", remedy=f"-o {target / 'report.html'}")
    if given.dry_run:
        terminal.say(f"report: would write {target}")
        return
    numbers = page.write(target)
    if given.json:
        print_json({**numbers, "path": str(target)})
    else:
        terminal.say(f"report: {target} ({target.stat().st_size / 1e6:.1f} MB)")
    fail_if(check_conditions(tuple(given.fail_if)), numbers)


@with_flags((opt.AuditOptions, "Audit"), COMMON)
def audit(
    path: Annotated[
        Path,
        typer.Argument(metavar="FILE|DECISIONS", help="Any tool's training file, decisions, or a run directory."),
    ],
    given: Given,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", help="Draw gaps and how often documents are found: FILE.png or FILE.svg (needs matplotlib)."
        ),
    ] = None,
    collection: CollectionDir = None,
) -> None:
    """Find what is wrong with a training file, whoever mined it.

    False negatives, leaks, copies, hubs, gaps.

    \b
      hnmine audit triplets.parquet --qrels beir/scifact/qrels/full.tsv
      hnmine audit minedHN.jsonl --corpus corpus.jsonl --queries queries.jsonl --qrels full.tsv
      hnmine audit scifact --held-out-queries qrels/test.tsv --fail-if "problems.held-out-query>0"
    """
    from hnmine import api
    from hnmine.stages.audit import render

    _, terminal = execution(given)
    if plot is not None:
        from hnmine.stages.plot import check_plot

        check_plot(plot)
    stage = api.prepare_audit(path, options=given.record(opt.AuditOptions), collection=collection)
    if given.dry_run:
        terminal.say(f"audit: would read {path}")
        return
    report = stage.run()
    if plot is not None:
        from hnmine.stages.plot import draw_audit

        draw_audit(report, plot)
    if given.json:
        print_json(report)
    else:
        for line in render(report, columns()):
            print(line)
    fail_if(check_conditions(tuple(given.fail_if)), report)
