"""One worker or many, in any order, at the same time: the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hnmine.files.artefact import Draft
from hnmine.schema import Kind
from tests.e2e.harness import STAGES, Chain, Cli, Done, contents, receipts

SHARDED = [stage for stage in STAGES if stage != "ingest"]


@pytest.mark.parametrize("stage", SHARDED)
def test_five_shards_merged_are_one(stage: str, chain: Chain, call: Callable[..., Done], tmp_path: Path) -> None:
    artefact = chain.artefact(stage, tmp_path)
    for shard in (3, 0, 4, 1, 2):
        done = call(*chain.command(stage, tmp_path, "--shard", f"{shard}/5", "--json"))
        assert done.code == 0, done.stderr
        assert not done.json["finished"]
        assert 1 <= done.json["blocks"]["done_now"] < done.json["blocks"]["total"]
    assert not (artefact / "manifest.json").exists()

    merged = call("merge", artefact)

    assert merged.code == 0, merged.stderr
    assert contents(artefact) == contents(chain.path(stage))
    if stage == "export-file":
        assert (tmp_path / "train.parquet").read_bytes() == (chain.root / "train.parquet").read_bytes()
    again = call("merge", artefact)
    assert again.code == 0


@pytest.mark.parametrize("stage", ["bm25", "mine", "export-file"])
def test_merge_lists_the_blocks_of_a_missing_shard(
    stage: str, chain: Chain, call: Callable[..., Done], tmp_path: Path
) -> None:
    artefact = chain.artefact(stage, tmp_path)
    for shard in (0, 2):
        assert call(*chain.command(stage, tmp_path, "--shard", f"{shard}/3")).code == 0
    name = receipts(artefact)[0].stem.rpartition("-")[0]

    merged = call("merge", artefact)

    assert merged.code == 4
    assert f"{name}-00001" in merged.stderr
    assert f"{name}-00004" in merged.stderr
    assert f"{name}-00000" not in merged.stderr
    assert not (artefact / "manifest.json").exists()


def test_shards_that_start_together_share_data_that_nobody_has_ingested(chain: Chain, cli: Cli, tmp_path: Path) -> None:
    """The workers of an array job start within a second, on raw DATA, into a directory that is not there yet."""
    output = tmp_path / "bm25"
    workers = [
        cli.start("index", "bm25", chain.data, "-o", output, "--shard", f"{i}/4", HNMINE_CACHE=str(tmp_path / "cache"))
        for i in range(4)
    ]
    for worker in workers:
        done = cli.end(worker)
        assert done.code == 0, done.stderr
    assert cli("merge", output).code == 0
    assert contents(output) == contents(chain.path("bm25"))


def test_a_worker_leaves_another_workers_half_written_plan_alone(tmp_path: Path) -> None:
    pending = tmp_path / "new" / ".pending-0123-plan.json"
    pending.parent.mkdir()
    pending.write_text("{", encoding="utf-8")
    Draft.begin(tmp_path / "new", Kind.CANDIDATES, {"blocks": []})
    assert pending.exists()
    assert (tmp_path / "new" / "plan.json").exists()


def test_a_collection_is_not_made_in_shards(chain: Chain, call: Callable[..., Done], tmp_path: Path) -> None:
    assert call(*chain.command("ingest", tmp_path, "--shard", "0/2")).code == 2


@pytest.mark.parametrize("stage", ["ingest", "bm25", "filter"])
def test_the_same_command_twice_at_once_is_done_once(stage: str, chain: Chain, cli: Cli, tmp_path: Path) -> None:
    """The second process waits for the first, and finds the work done."""
    command = chain.command(stage, tmp_path, "--json")
    done = [cli.end(process) for process in [cli.start(*command, HNMINE_TEST_BLOCK_PAUSE="0.05") for _ in range(2)]]
    assert [one.code for one in done] == [0, 0], [one.stderr for one in done]
    assert sorted(one.json["blocks"]["done_now"] > 0 for one in done) == [False, True]
    assert contents(chain.artefact(stage, tmp_path)) == contents(chain.path(stage))


def test_tasks_of_an_array_take_their_shards_from_the_scheduler(chain: Chain, cli: Cli, tmp_path: Path) -> None:
    for task in (1, 2):
        done = cli(*chain.command("filter", tmp_path), LSB_JOBINDEX=str(task), LSB_JOBINDEX_END="2")
        assert done.code == 0, done.stderr
        assert f"--shard {task - 1}/2 from LSF's LSB_JOBINDEX={task}" in done.stderr
    assert cli("merge", tmp_path / "filter", LSB_JOBINDEX="1", LSB_JOBINDEX_END="2").code == 0
    assert contents(tmp_path / "filter") == contents(chain.path("filter"))


def test_two_tasks_of_the_same_shard_do_no_harm(
    chain: Chain, cli: Cli, call: Callable[..., Done], tmp_path: Path
) -> None:
    command = chain.command("filter", tmp_path, "--shard", "0/2")
    twice = [cli.start(*command, HNMINE_TEST_BLOCK_PAUSE="0.05") for _ in range(2)]
    for done in map(cli.end, twice):
        assert done.code == 0, done.stderr
    assert call(*chain.command("filter", tmp_path, "--shard", "1/2")).code == 0
    assert call("merge", tmp_path / "filter").code == 0
    assert contents(tmp_path / "filter") == contents(chain.path("filter"))
