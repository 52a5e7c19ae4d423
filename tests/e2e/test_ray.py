"""`--executor ray`: a cluster of three nodes, the same bytes, also when an actor or a whole node is lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.chat_server import ChatServer
from tests.e2e.harness import ROOT, Chain, Cli, contents, receipts, until

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without work and three nodes of one CPU each, all of them processes of this machine."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="ray") as own:
        patch.setenv("RAY_TMPDIR", own)  # or other tests' `--executor ray` would find this cluster; the path is short
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("HNMINE_TEST_BLOCK_SIZE", "16")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(3):
            made.add_node(num_cpus=1)
        made.wait_for_nodes()
        patch.delenv("RAY_TMPDIR")
        yield made
        made.shutdown()


@pytest.mark.parametrize(
    "stage",
    ["bm25", "mine", "filter", *(pytest.param(s, marks=pytest.mark.slow) for s in ("search", "export"))],
)
def test_a_cluster_makes_the_same_bytes(stage: str, cluster: Any, chain: Chain, cli: Cli, tmp_path: Path) -> None:
    done = cli(*chain.command(stage, tmp_path, "--executor", f"ray:{cluster.address}", "--json"))
    assert done.code == 0, done.stderr
    assert done.json["blocks"]["done_now"] == done.json["blocks"]["total"] >= 5  # and nothing else on standard output
    assert contents(chain.artefact(stage, tmp_path)) == contents(chain.path(stage))


@pytest.mark.slow
def test_a_cluster_asks_a_judge_no_question_twice(cluster: Any, chain: Chain, cli: Cli, tmp_path: Path) -> None:
    """In blocks on several nodes, then here, out of the cache that they share; a budget pays for a part of it."""
    server = ChatServer()
    judge: list[object] = [
        "--judge",
        f"{server.url}#stand-in",
        "--judge-window",
        "0:1",
        "--judge-top",
        5,
        "--cache-dir",
        tmp_path / "cache",
    ]
    judge += ["--price-input", 1, "--price-output", 4, "--budget", 0.06, "--judge-likelihood", "likelihood"]
    command = ["score", chain.path("ingest"), chain.path("mine"), *judge]
    there = cli(*command, "-o", tmp_path / "there", "--executor", f"ray:{cluster.address}", "--json")
    assert there.code == 0, there.stderr
    counts = there.json["counts"]["judge_stand-in"]
    assert counts["requests"] == len(server.asked) > 5
    assert counts["unanswered"] > 0
    server.close()
    here = cli(*command, "-o", tmp_path / "here")
    assert here.code == 0, here.stderr
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["dense", "score"])
def test_a_model_has_as_many_threads_there_as_its_plan_says(
    stage: str, cluster: Any, chain: Chain, cli: Cli, tmp_path: Path
) -> None:
    on_ray = ["--executor", f"ray:{cluster.address}"]
    one = cli(*chain.command(stage, tmp_path / "here"), OMP_NUM_THREADS="1")
    there = cli(*chain.command(stage, tmp_path / "there", *on_ray), OMP_NUM_THREADS="1")
    assert (one.code, there.code) == (0, 0), (one.stderr, there.stderr)
    assert contents(chain.artefact(stage, tmp_path / "there")) == contents(chain.artefact(stage, tmp_path / "here"))
    if stage == "dense":
        more = cli(*chain.command(stage, tmp_path / "more", *on_ray), OMP_NUM_THREADS="2")
        assert more.code == 2
        assert "no node of the cluster has 2 CPUs" in more.stderr


def actors(cluster: Any) -> list[int]:
    """The processes that are actors of hnmine's on this cluster: other tests may have one of their own."""
    raylets = {told.process.pid for node in cluster.list_all_nodes() for told in node.all_processes["raylet"]}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                name = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent in raylets and name.startswith(b"ray::_Doer"):
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("lost", ["actor", "node"])
def test_what_is_lost_is_done_again(lost: str, cluster: Any, chain: Chain, cli: Cli, tmp_path: Path) -> None:
    artefact = chain.artefact("filter", tmp_path)
    command = chain.command("filter", tmp_path, "--executor", f"ray:{cluster.address}", "--json")
    process = cli.start(*command, HNMINE_TEST_BLOCK_PAUSE="1")
    until(lambda: bool(receipts(artefact)))
    if lost == "actor":
        os.kill(actors(cluster)[0], signal.SIGKILL)
    else:
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    done = cli.end(process)
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["blocks"]["total"] >= 5
    assert contents(artefact) == contents(chain.path("filter"))
    if lost == "node":
        cluster.add_node(num_cpus=1)


def test_a_signal_saves_the_finished_blocks(cluster: Any, chain: Chain, cli: Cli, tmp_path: Path) -> None:
    artefact = chain.artefact("filter", tmp_path)
    command = chain.command("filter", tmp_path, "--executor", f"ray:{cluster.address}")
    stopped = cli.interrupted(command, artefact, signal.SIGTERM)
    assert stopped.code == 75, stopped.stderr
    count = len(receipts(artefact))
    assert count >= 1
    done = cli(*chain.command("filter", tmp_path, "--json"))  # here, without Ray
    assert done.json["blocks"]["done_now"] == done.json["blocks"]["total"] - count
    assert contents(artefact) == contents(chain.path("filter"))


def test_a_cluster_that_is_not_there(chain: Chain, cli: Cli, tmp_path: Path) -> None:
    done = cli(*chain.command("filter", tmp_path, "--executor", "ray:127.0.0.1:1"), RAY_raylet_start_wait_time_s="2")
    assert done.code == 7
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
