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
from hnmine.cli.carry_out import cache, carry_out, lasting_cache, stoppable
from hnmine.cli.flags import Given, with_flags
from hnmine.cli.terminal import print_json
from hnmine.errors import UsageError


@with_flags((opt.SearchOptions, "Search"), INPUT, COMMON, SHARD, EXECUTOR)
def search(data: Data, output: Output, given: Given, index: Indexes = []) -> None:  # noqa: B006
    """Search a corpus slice by slice, for `mine --hits`.

    For a corpus that no machine should read as a whole.

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


@with_flags(
    (opt.ScoreOptions, "Reranker"), (opt.JudgeOptions, "Judge"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND, MODEL
)
def score(
    data: Data,
    candidates: Candidates,
    output: Output,
    given: Given,
    rules: Rules = None,
    judge_export: Annotated[
        Path | None,
        typer.Option("--judge-export", help="Ask nobody: write the requests that are left as an OpenAI batch (JSONL)."),
    ] = None,
) -> None:
    """Score candidates with a cross-encoder or a language model.

    \b
      hnmine score scifact scifact/candidates -o scifact/scored --reranker models/mine
      hnmine score scifact scifact/candidates -o scifact/scored --reranker models/mine --until 7 --rules rules.toml
      hnmine score scifact scifact/candidates -o scifact/judged --judge http://localhost:8000/v1
      hnmine score scifact scifact/candidates -o scifact/judged --judge gpt-4o-mini --judge gpt-4o --dry-run
    """
    from hnmine import api
    from hnmine.cli.config import rules_of

    how, terminal = stoppable(given)
    if given.judge:
        _only_judges(given, rules)
        judging = api.prepare_judge(
            data,
            candidates,
            options=given.record(opt.JudgeOptions),
            input=given.record(opt.InputOptions),
            cache=cache(given),
            answers=lasting_cache(given),
            how=how,
        )
        if judge_export is None:
            carry_out("score", judging, output, given, how, terminal)
        else:
            count = judging.export(judge_export)
            terminal.say(f"{count:,} requests in {judge_export}; their results: the same command with --judge-import")
            if given.json:
                print_json({"requests": count, "path": str(judge_export)})
        return
    if alone := [name for name in opt.JudgeOptions.__annotations__ if name in given.explicit]:
        raise UsageError(f"--{alone[0].replace('_', '-')} goes with --judge")
    if judge_export is not None:
        raise UsageError("--judge-export goes with --judge")
    if rules is not None and given.until is None:
        raise UsageError("--rules says until when to score: it goes with --until N")
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


def _only_judges(given: Given, rules: str | None) -> None:
    """Raise `UsageError` for an option of rerankers beside --judge."""
    own = {*opt.option_fields(opt.ScoreOptions), "strict_plan", "append"} - set(opt.option_fields(opt.JudgeOptions))
    wrong = sorted(own & given.explicit) + ["rules"] * (rules is not None)
    if wrong:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        raise UsageError(f"{flags}: of rerankers, and --judge asks language models", remedy="score twice, -o of each")
