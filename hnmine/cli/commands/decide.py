"""Verdicts, and the training file made of them: `filter`, `export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hnmine import options as opt
from hnmine.cli import completion
from hnmine.cli.arguments import (
    COMMON,
    ESTIMATE,
    EXECUTOR,
    PUSH,
    SHARD,
    Candidates,
    CollectionDir,
    Output,
    Preset,
    Rules,
)
from hnmine.cli.carry_out import carry_out, push_of, stoppable
from hnmine.cli.flags import Given, with_flags
from hnmine.errors import UsageError


@with_flags((opt.FilterOptions, "Rules"), COMMON, SHARD, EXECUTOR, ESTIMATE)
def filter_(
    candidates: Candidates,
    output: Output,
    given: Given,
    collection: CollectionDir = None,
    preset: Preset = None,
    rules: Rules = None,
) -> None:
    """Decide which candidates are negatives, each with a reason.

    \b
      hnmine filter scifact -o scifact/strict --relative-margin 0.1 -n 5
      hnmine filter scifact -o scifact/relaxed --short relax
      hnmine filter scifact -o scifact/drawn --preset simans -n 5
    """
    from hnmine import api
    from hnmine.cli.config import named_filter_options

    if preset is not None and rules is not None:
        raise UsageError("--preset and --rules both name rules", expected="one of them; --rules takes a preset too")
    how, terminal = stoppable(given)
    stage = api.prepare_filter(candidates, options=named_filter_options(given, preset, rules), collection=collection)
    carry_out("filter", stage, output, given, how, terminal)


@with_flags((opt.ExportOptions, "Layout"), PUSH, COMMON, SHARD, EXECUTOR, ESTIMATE)
def export(
    decisions: Annotated[
        Path,
        typer.Argument(metavar="DECISIONS", help="Decisions, or a run directory.", autocompletion=completion.decisions),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="FILE (.parquet, .jsonl, ... as the format has it), a directory, or - (a pipe)."
        ),
    ],
    given: Given,
    collection: CollectionDir = None,
    index: Annotated[
        str | None,
        typer.Option(
            "--index",
            metavar="<str>",
            help="Index whose vectors --mixed mixes [default: what was mined with].",
            autocompletion=completion.indexes,
        ),
    ] = None,
) -> None:
    """Write a training file that holds exactly what the trainer reads.

    \b
      hnmine export scifact -o triplets.parquet
      hnmine export scifact --format n-tuple -o tuples.parquet
      hnmine export scifact --format flagembedding -o train.jsonl
      hnmine export scifact -o - | head -1
      hnmine export scifact -o tuples --format n-tuple --push me/scifact-negatives
    """
    from hnmine import api
    from hnmine.files.remote import as_path

    how, terminal = stoppable(given)
    options = given.record(opt.ExportOptions)
    if output == "-" and given.json:
        raise UsageError("--json and -o - contradict each other: both write to standard output")
    push = push_of(given, terminal, whole=how.shard[1] == 1)
    if output == "-" and push is not None:
        raise UsageError(
            "--push and -o - contradict each other: a stream is not kept", expected="a file or a directory"
        )
    stage, path = api.prepare_export(decisions, as_path(output), options=options, collection=collection, index=index)
    if output == "-" and not given.dry_run:
        for line in stage.stream():
            how.stop.check()
            sys.stdout.write(line)
        return
    carry_out("export", stage, path, given, how, terminal, push)
