"""`score --judge` on the command line, against a real server, with a process that is killed."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hnmine import prompts
from tests.chat_server import ChatServer
from tests.e2e.harness import Cli, Done, contents, invoke, until


@pytest.fixture(scope="module")
def mined(beir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection, and candidates of 80 queries by BM25."""
    root = tmp_path_factory.mktemp("mined")
    for command in (
        ["ingest", beir, "-o", root / "collection"],
        ["index", "bm25", root / "collection", "-o", root / "bm25"],
        ["mine", root / "collection", "--index", root / "bm25", "-k", 15, "-o", root / "candidates"],
    ):
        done = invoke(*command, "-q")
        assert done.code == 0, done.stderr
    return root


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    found = ChatServer()
    yield found
    found.close()


def command(mined: Path, out: Path, *more: object) -> list[object]:
    cache = ["--cache-dir", out.parent / "cache"]
    return ["score", mined / "collection", mined / "candidates", "-o", out, *cache, *more]


def kept(cache: Path) -> Counter[str]:
    """The answers that are on disk, by their request's file."""
    lines = [(path.name, line) for path in cache.rglob("answers/*/*.jsonl") for line in path.read_text().splitlines()]
    return Counter(name for name, line in lines if json.loads(line)["event"] == "answer")


def test_kill_9_loses_no_answer_and_pays_for_none_twice(
    mined: Path, server: ChatServer, cli: Cli, call: Callable[..., Done], tmp_path: Path
) -> None:
    """Killed with answers under way: those on disk are never asked for again, and the bytes are those of one go."""
    server.most = 30
    judge = ["--judge", server.url, "--judge-window", "0:1"]
    arguments = command(mined, tmp_path / "killed" / "judged", *judge)
    process = cli.start(*arguments)
    until(lambda: len(server.asked) > 30 and len(kept(tmp_path / "killed" / "cache")) == 30)
    process.send_signal(signal.SIGKILL)
    cli.end(process)
    server.most = None
    until(lambda: server.at_once == 0)
    before = kept(tmp_path / "killed" / "cache")
    asked_before = len(server.asked)
    assert len(before) == 30
    assert not (tmp_path / "killed" / "judged" / "manifest.json").exists()

    done = call(*arguments, "--json")

    assert done.code == 0, done.stderr
    again = len(server.asked) - asked_before
    after = kept(tmp_path / "killed" / "cache")
    assert set(after.values()) == {1}
    assert again == len(after) - len(before)
    whole = call(*command(mined, tmp_path / "whole" / "judged", *judge), "-q")
    assert whole.code == 0
    assert after == kept(tmp_path / "whole" / "cache")
    assert contents(tmp_path / "killed" / "judged") == contents(tmp_path / "whole" / "judged")
    lost = json.loads(done.stdout)["notes"]["answers of stand-in lost on the way, counted as paid"]
    assert 1 <= lost <= 16  # what was under way


def test_the_summary_the_estimate_and_the_batch(
    mined: Path, server: ChatServer, call: Callable[..., Done], tmp_path: Path
) -> None:
    out = tmp_path / "judged"
    judge = ["--judge", f"cheap={server.url}#a", "--price-input", 0.15, "--price-output", 0.6, "--judge-window", "0:1"]
    estimate = call(*command(mined, out, *judge), "--dry-run", "--json")
    sizes = json.loads(estimate.stdout)["sizes"]
    count = sizes["cheap: requests"]
    assert sizes["queries"] == 80
    assert 70 < count <= 80
    assert 0 < sizes["cheap: cost_about"] < sizes["cheap: cost_at_most"]
    assert server.asked == []
    assert not (tmp_path / "cache").exists()

    file = tmp_path / "requests.jsonl"
    exported = call(*command(mined, out, *judge), "--judge-export", file)
    assert (exported.code, server.asked, out.exists()) == (0, [], False)
    assert f"{count} requests in" in exported.stderr
    assert len(file.read_text().splitlines()) == count

    done = call(*command(mined, out, *judge))
    assert "judge cheap: a at http://127.0.0.1:" in done.stderr
    assert f"answers of cheap asked for: {count}" in done.stderr
    assert "cost 0." in done.stderr
    assert len(server.asked) == count
    again = json.loads(call(*command(mined, tmp_path / "again", *judge), "--dry-run", "--json").stdout)["sizes"]
    assert again["cheap: answers_kept_about"] == count
    left = call(*command(mined, out, *judge), "--judge-export", file)
    assert "0 requests in" in left.stderr
    assert file.read_text() == ""
    column = pq.read_table(sorted(out.glob("part-*")))["grade_cheap"]
    assert set(column.drop_null().to_pylist()) <= {0, 1, 2, 3}
    assert 0 < column.null_count < len(column)


def test_what_does_not_go_together_is_refused(mined: Path, call: Callable[..., Done], tmp_path: Path) -> None:
    for more, words in (
        (["--judge", "m", "--reranker", "x"], "--reranker: of rerankers"),
        (["--judge", "m", "--rules", "x.toml"], "--rules: of rerankers"),
        (["--judge-window", "0:1"], "--judge-window goes with --judge"),
        (["--judge-export", tmp_path / "x"], "--judge-export goes with --judge"),
        (["--judge", "m", "--judge-window", "high"], "LOW:HIGH"),
        (["--judge", "m", "--prompt", "relevence"], "did you mean 'relevance'"),
    ):
        done = call(*command(mined, tmp_path / "out", *more))
        assert done.code == 2
        assert words in done.stderr


def test_prompts_are_listed_and_printed_to_be_changed(call: Callable[..., Done], tmp_path: Path) -> None:
    assert re.search(r"(?m)^relevance +score --judge: ", call("prompts").stdout)
    assert set(json.loads(call("prompts", "--json").stdout)) == set(prompts.names())
    assert call("prompts", "relevance").stdout == prompts.text("relevance")
    assert call("prompts", "relevanc").code == 2
