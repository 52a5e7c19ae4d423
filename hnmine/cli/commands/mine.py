"""Evidence: `search`, `mine`, `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hnmine import options as opt
from hnmine.cli import completion
from hnmine.cli.arguments import (
    APPEND,
    COMMON,
    ESTIMATE,
    EXECUTOR,
    INPUT,
    MODEL,
    SHARD,
    Candidates,
    Data,
    Indexes,
    Output,
    Rules,
)
from hnmine.cli.carry_out import cache, carry_out, stoppable
from hnmine.cli.flags import Given, with_flags
from hnmine.cli.root import app
from hnmine.errors import UsageError


@app.command()
@with_flags((opt.SearchOptions, "Search"), INPUT, COMMON, SHARD, EXECUTOR)
def search(data: Data, output: Output, given: Given, index: Indexes = []) -> None:  # noqa: B006
    """Search slice by slice a corpus that no machine should read as a whole, for `mine --hits`.

    \b
      hnmine search scifact -o scifact/hits --index scifact/indexes/minilm --slices 8 --shard 3/8
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_search(
        data,
        index,
        options=given.record(opt.SearchOptions),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("search", stage, output, given, how, terminal)


@app.command()
@with_flags((opt.MineOptions, "Mining"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND)
def mine(
    data: Data,
    output: Output,
    given: Given,
    index: Indexes = [],  # noqa: B006
    hits: Annotated[
        Path | None,
        typer.Option(
            "--hits", help="What `search` found: nothing is searched that it has.", autocompletion=completion.hits
        ),
    ] = None,
) -> None:
    """Mine candidates with all the evidence about them.

    \b
      hnmine mine scifact -o scifact/candidates --index scifact/indexes/bm25
      hnmine mine beir/scifact -o scifact/candidates --run splade=splade.trec
      hnmine mine scifact -o scifact/candidates --index scifact/indexes/minilm --hits scifact/hits
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_mine(
        data,
        index,
        options=given.record(opt.MineOptions),
        hits=hits,
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("mine", stage, output, given, how, terminal)


@app.command()
@with_flags((opt.ScoreOptions, "Reranker"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND, MODEL)
def score(data: Data, candidates: Candidates, output: Output, given: Given, rules: Rules = None) -> None:
    """Score candidates with a cross-encoder: all of them, or only as many as it takes.

    \b
      hnmine score scifact scifact/candidates -o scifact/scored --reranker models/mine
      hnmine score scifact scifact/candidates -o scifact/scored --reranker models/mine --until 7 --rules rules.toml
    """
    from hnmine import api
    from hnmine.cli.config import rules_of

    if rules is not None and given.until is None:
        raise UsageError("--rules says until when to score: it goes with --until N")
    how, terminal = stoppable(given)
    stage = api.prepare_score(
        data,
        candidates,
        options=given.record(opt.ScoreOptions),
        rules=opt.from_mapping(opt.FilterOptions, rules_of(rules), where=f"{rules} [filter]") if rules else None,
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("score", stage, output, given, how, terminal)
