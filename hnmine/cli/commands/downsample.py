"""A small corpus to evaluate with: `downsample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hnmine import options as opt
from hnmine.cli import completion
from hnmine.cli.arguments import COMMON, EXECUTOR, INPUT, SHARD, Data, Output
from hnmine.cli.carry_out import cache, carry_out, stoppable
from hnmine.cli.flags import Given, with_flags


@with_flags((opt.DownsampleOptions, "Pool"), INPUT, COMMON, SHARD, EXECUTOR)
def downsample(
    data: Data,
    output: Output,
    given: Given,
    candidates: Annotated[
        list[Path],
        typer.Option(
            "--candidates",
            help="Candidates whose retrievers feed the pool, or a run directory; repeatable.",
            autocompletion=completion.candidates,
        ),
    ] = [],  # noqa: B006
) -> None:
    """Make a small corpus to evaluate with, out of a large one.

    What is judged and the first k of several retrievers, as a BEIR directory; the summary says what systems are worth
    in it, and in the whole corpus.

    \b
      hnmine downsample beir/scifact --candidates scifact -k 100 -o scifact-small
      hnmine downsample trecdl --run bm25=BM25.trec --run splade=SPLADE.trec --system llama=LLAMA.trec -o small
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_downsample(
        data,
        candidates,
        options=given.record(opt.DownsampleOptions),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("downsample", stage, output, given, how, terminal)
