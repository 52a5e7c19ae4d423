"""Data in: `ingest`, and `import` for the training files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hnmine import options as opt
from hnmine.cli import show
from hnmine.cli.arguments import COMMON, ESTIMATE, INPUT, Data, Output
from hnmine.cli.carry_out import carry_out, stoppable
from hnmine.cli.conditions import check_conditions, fail_if
from hnmine.cli.flags import Given, with_flags
from hnmine.cli.terminal import print_json

if TYPE_CHECKING:
    from hnmine.stages.stage import Outcome


@with_flags(INPUT, COMMON, ESTIMATE)
def ingest(data: Data, output: Output, given: Given) -> None:
    """Validate DATA and normalise it into a collection.

    \b
      hnmine ingest beir/scifact -o scifact/collection
      hnmine ingest pairs.csv -o faq --anchor-column question --positive-column answer
      hnmine ingest intents.csv -o intents --class-column intent
    """
    from hnmine.stages.ingest import Ingest

    how, terminal = stoppable(given)
    carry_out("ingest", Ingest(data, given.record(opt.InputOptions)), output, given, how, terminal)


@with_flags((opt.ImportOptions, "Training file"), COMMON)
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Any tool's training file, or a directory of its files.")
    ],
    output: Output,
    given: Given,
) -> None:
    """Make a run of any tool's training file.

    From there on it is audited, rescored, refiltered and exported as if hnmine had mined it.

    \b
      hnmine import train.parquet --format triplet -o imported
      hnmine import minedHN.jsonl --format flagembedding -o imported --corpus corpus.jsonl
    """
    from hnmine.stages.importing import Import

    how, terminal = stoppable(given)
    training = Import(file, output, given.record(opt.ImportOptions))
    if given.dry_run:
        previews = training.preview()
        for name, path, found in previews:
            show.preview(name, found, path, terminal)
        if given.json:
            print_json({name: found.summary() if found else {"path": str(path)} for name, path, found in previews})
        return

    def report(name: str, outcome: Outcome) -> None:
        if name == "filter":  # what the rules of filter tell is of no use here: none was asked
            show.as_they_are(outcome, terminal)
        else:
            show.outcome(name, outcome, terminal)

    outcomes = training.run(how, report)
    if given.json:
        print_json({name: outcome.summary() for name, outcome in outcomes})
    counts = {name: outcome.counts for name, outcome in outcomes}
    fail_if(check_conditions(tuple(given.fail_if)), {**counts, **counts["filter"]})
