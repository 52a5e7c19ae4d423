"""The whole chain: `run`, and `plan`, which says what it would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hnmine import options as opt
from hnmine.cli import completion, show
from hnmine.cli.arguments import (
    APPEND,
    CHAIN,
    COMMON,
    ESTIMATE,
    EXECUTOR,
    MODEL,
    PUSH,
    SHARD,
    ChainData,
    ChainOutput,
    Config,
    FurtherIndex,
    NoBm25,
    NoDense,
    Preset,
    Reranker,
)
from hnmine.cli.carry_out import cache, execution, preview_push, push_of, pushed, stoppable
from hnmine.cli.conditions import check_conditions, check_decided, fail_if
from hnmine.cli.flags import Given, with_flags
from hnmine.cli.launch import LaunchFlags
from hnmine.cli.terminal import Terminal, duration, print_json
from hnmine.errors import UsageError

if TYPE_CHECKING:
    from hnmine.execute.local import Execution
    from hnmine.stages.chain import Chain
    from hnmine.stages.push import Push


@with_flags(*CHAIN[:-1], PUSH, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND, MODEL, skip=frozenset({"name"}))
def run(
    given: Given,
    data: ChainData = None,
    output: ChainOutput = None,
    config: Config = None,
    preset: Preset = None,
    index: FurtherIndex = [],  # noqa: B006
    reranker: Reranker = None,
    no_bm25: NoBm25 = False,
    no_dense: NoDense = False,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            help="This step alone: ingest, bm25, dense, mine, score, filter or export; --shard goes with it.",
            autocompletion=completion.steps,
        ),
    ] = None,
) -> None:
    """Mine hard negatives: from DATA to a training file, every step.

    \b
      hnmine run stdlib -o demo/triplets.parquet --limit 500
      hnmine run pairs.parquet -o triplets.parquet -n 5 --relative-margin 0.05
      hnmine run beir/scifact -o scifact --reranker models/mine
      hnmine run beir/scifact -o scifact --preset nv-retriever
      hnmine run beir/grown -o grown --append scifact
    """
    from hnmine.cli.config import run_settings
    from hnmine.stages.chain import INGEST, Chain

    flags = {"index": index, "reranker": reranker, "no_bm25": no_bm25, "no_dense": no_dense}
    settings = run_settings(given, config, preset=preset, data=data, output=output, flags=flags)
    if only in (None, INGEST):
        if given.shard is not None:
            raise UsageError(
                "--shard: " + ("ingesting is not cut into shards" if only else "a whole run is not cut into shards"),
                expected="--only with another step",
                remedy="`hnmine plan --launcher slurm` writes the jobs of a run",
            )
        del given.values["shard"]  # the tasks of an array may be runs of their own
    how, terminal = stoppable(given)
    chain = Chain(settings.data, settings.output, settings.options, cache=cache(given))
    if only is None:
        check_decided(tuple(given.fail_if), (step.name for step in chain.steps()))
    push = push_of(given, terminal, whole=only is None)
    if given.dry_run:
        _preview(chain, given, how, terminal, push)
        return
    outcomes = chain.run(how, lambda name, outcome: show.outcome(name, outcome, terminal), only=only)
    if outcomes:
        terminal.log("total", _times(outcomes))
    else:
        terminal.say(f"--only {only}: {settings.data} is a collection already")
    if chain.file is not None and only is None:
        terminal.say(f"training file: {chain.file}; a few rows of it: hnmine inspect {chain.directory} --sample 3")
    summary: dict[str, Any] = {name: outcome.summary() for name, outcome in outcomes}
    counts: dict[str, Any] = {name: outcome.counts for name, outcome in outcomes}
    try:
        if only is None:
            fail_if(check_conditions(tuple(given.fail_if)), {**counts, **counts["filter"]})
            export = outcomes[-1][1].artefact
            if push is not None and export is not None:
                summary["push"] = pushed(push, export, how, terminal)
        elif outcomes and outcomes[0][1].artefact is not None:
            fail_if(check_conditions(tuple(given.fail_if)), outcomes[0][1].counts)
    finally:
        if given.json:
            print_json(summary)


@with_flags(*CHAIN, (LaunchFlags, "Scheduler"), EXECUTOR, ESTIMATE, APPEND, MODEL, skip=frozenset({"name"}))
def plan(
    given: Given,
    data: ChainData = None,
    output: ChainOutput = None,
    config: Config = None,
    preset: Preset = None,
    index: FurtherIndex = [],  # noqa: B006
    reranker: Reranker = None,
    no_bm25: NoBm25 = False,
    no_dense: NoDense = False,
) -> None:
    """What `run` would do; with --launcher, as a scheduler's script.

    \b
      hnmine plan beir/scifact -o scifact
      hnmine plan beir/scifact -o scifact --launcher slurm --tasks 32 --gpus 1 > scifact.sh
    """
    from hnmine.cli.config import run_settings
    from hnmine.cli.launch import command_of, script
    from hnmine.stages.chain import Chain

    flags = {"index": index, "reranker": reranker, "no_bm25": no_bm25, "no_dense": no_dense}
    settings = run_settings(given, config, preset=preset, data=data, output=output, flags=flags)
    how, terminal = execution(given)
    launch = given.record(LaunchFlags)
    if launch.launcher is None:
        given.values["dry_run"] = True
        _preview(Chain(settings.data, settings.output, settings.options, cache=cache(given)), given, how, terminal)
        return
    if given.overwrite:
        raise UsageError(
            "--overwrite in every task would remove the others' blocks", remedy="remove the output once, then plan"
        )
    without = [*opt.option_fields(LaunchFlags), "dry_run", "json", "price_per_hour"]
    chain = Chain(settings.data, settings.output, settings.options)
    print(script(chain, command_of(given.context, without), launch), end="")


def _preview(chain: Chain, given: Given, how: Execution, terminal: Terminal, push: Push | None = None) -> None:
    """Show what each step of a run would do, what is left of it will take, and what would be pushed."""
    import tempfile

    from hnmine.stages import forecast

    previews = chain.preview(how)
    with tempfile.TemporaryDirectory(prefix="hnmine-") as folder:
        estimates = forecast.of_chain(chain, Path(folder))
    told: dict[str, Any] = {}
    shown = []
    for name, path, found in previews:
        left = found.left if found is not None else 1.0
        estimate = estimates[name]
        estimate = estimate.times(left) if estimate is not None else None
        show.preview(name, found, path, terminal)
        show.estimate(estimate, given.price_per_hour, terminal, is_done=not left)
        told[name] = found.summary() if found is not None else {"path": str(path)}
        if estimate is not None:
            told[name]["estimate"] = estimate.to_json(given.price_per_hour)
        shown.append(estimate)
    show.total(shown, given.price_per_hour, terminal)
    if push is not None:
        told["push"] = preview_push(push, previews[-1][2], given, terminal)
    if given.json:
        print_json(told)


def _times(outcomes: list[tuple[str, Any]]) -> str:
    total = sum(outcome.seconds for _, outcome in outcomes)
    parts = ", ".join(f"{name} {duration(outcome.seconds)}" for name, outcome in outcomes)
    peak = show.size(max(outcome.peak_memory for _, outcome in outcomes))
    return f"{duration(total)}, at most {peak} of memory: {parts}"
