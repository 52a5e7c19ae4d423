"""Texts that no corpus holds: `generate`."""

from __future__ import annotations

from hnmine import options as opt
from hnmine.cli import show
from hnmine.cli.arguments import COMMON, EXECUTOR, INPUT, SHARD, Data, Output
from hnmine.cli.carry_out import cache, lasting_cache, stoppable
from hnmine.cli.conditions import check_conditions, fail_if
from hnmine.cli.flags import Given, with_flags
from hnmine.cli.terminal import print_json


@with_flags((opt.GenerateOptions, "What is written"), INPUT, COMMON, SHARD, EXECUTOR)
def generate(data: Data, output: Output, given: Given) -> None:
    """Write negatives, or queries, that no corpus holds.

    The output has a collection with them, and is DATA for every other command.

    \b
      hnmine generate beir/scifact -o written
      hnmine generate beir/scifact -o written --change number --change negation -n 2
      hnmine generate beir/scifact -o written --by llm --model http://localhost:8000/v1
      hnmine generate corpus.jsonl -o asked --write queries
    """
    from hnmine import api

    how, terminal = stoppable(given)
    generation = api.prepare_generate(
        data,
        output,
        options=given.record(opt.GenerateOptions),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        answers=lasting_cache(given),
        how=how,
    )
    if given.dry_run:
        previews = generation.preview()
        for name, path, found in previews:
            show.preview(name, found, path, terminal)
        if given.json:
            print_json({name: found.summary() if found else {"path": str(path)} for name, path, found in previews})
        return
    outcomes = generation.run(how, lambda name, outcome: show.outcome(name, outcome, terminal))
    if given.json:
        print_json({name: outcome.summary() for name, outcome in outcomes})
    counts = {name: outcome.counts for name, outcome in outcomes}
    fail_if(check_conditions(tuple(given.fail_if)), {**counts, **counts["generate"]})
