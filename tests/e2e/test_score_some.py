"""`score --until` on the command line, with a real (tiny) cross-encoder."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e.harness import Chain, Cli, Done, contents

RULES = """
[filter]
num-negatives = 3
absolute-margin = 0.5
max-fn-probability = 0.2
"""


def command(chain: Chain, rules: Path, output: Path) -> list[object]:
    return [*chain.command("score", output.parent)[:-2], "-o", output, "--name", "ce", "--until", 3, "--rules", rules]


def picked(path: Path) -> set[tuple[Any, ...]]:
    table = pq.read_table(sorted(path.glob("part-*.parquet"))).to_pylist()
    return {(row["query_id"], row["doc_id"], row["pick_rank"]) for row in table if row["verdict"] == "negative"}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULES, encoding="utf-8")
    return path


def test_fewer_pairs_and_the_same_negatives(
    chain: Chain, call: Callable[..., Done], rules: Path, tmp_path: Path
) -> None:
    done = call(*command(chain, rules, tmp_path / "part"), "--json")
    assert done.code == 0, done.stderr
    counts = done.json["counts"]
    assert 0.3 < counts["not_scored"]["ce"] / counts["candidates"] < 1
    assert "absolute margin 0.5 and estimated probability at most 0.2" in done.stderr
    whole = [*command(chain, rules, tmp_path / "whole"), "--until", 10**6]
    assert call(*whole).code == 0
    for name in ("part", "whole"):
        assert call("filter", tmp_path / name, "--rules", rules, "-o", tmp_path / f"{name}.d").code == 0
    assert picked(tmp_path / "part.d") == picked(tmp_path / "whole.d")
    assert len(picked(tmp_path / "part.d")) > 100
    shown = call("filter", tmp_path / "part", "--rules", rules, "-n", 2, "-o", tmp_path / "fewer")
    assert (shown.code, "not-scored" in shown.stderr) == (0, True)
    other = call("filter", tmp_path / "part", "--rules", rules, "--absolute-margin", 1, "-o", tmp_path / "other")
    assert other.code == 4
    assert "absolute_margin: 0.5 -> 1.0" in other.stderr


def test_a_config_file_of_run_says_it_once(
    chain: Chain, call: Callable[..., Done], rules: Path, tmp_path: Path
) -> None:
    score = f'[score]\nreranker = "{chain.reranker}"\nname = "ce"\nuntil = 3\ndtype = "fp32"\n'
    rules.write_text("dense = false\n" + score + RULES, encoding="utf-8")
    done = call("run", chain.data, "-o", tmp_path / "run", "--config", rules, "-k", 10)
    assert done.code == 0, done.stderr
    assert "not-scored" in done.stderr
    short = call("run", chain.data, "-o", tmp_path / "short", "--config", rules, "-k", 10, "-n", 4)
    assert short.code == 2
    assert "until = 3" in short.stderr
    assert not (tmp_path / "short").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rules", "RULES"], "it goes with --until"),
        (["--until", 3, "--rules", "nowhere.toml"], "nowhere.toml does not exist"),
        (["--until", 3, "--rules", "simans"], "pick simans"),
        (["--until", 3, "--rules", "default"], "none of the rules looks at"),
    ],
    ids=str,
)
def test_what_is_refused(
    chain: Chain, call: Callable[..., Done], rules: Path, tmp_path: Path, flags: list[object], message: str
) -> None:
    own = [rules if flag == "RULES" else flag for flag in flags]
    done = call(*chain.command("score", tmp_path)[:-2], "-o", tmp_path / "out", "--name", "ce", *own)
    assert done.code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_killed_it_goes_on_and_ends_in_the_same_bytes(chain: Chain, cli: Cli, rules: Path, tmp_path: Path) -> None:
    calm = cli(*command(chain, rules, tmp_path / "calm"))
    assert calm.code == 0, calm.stderr
    killed = cli.interrupted(command(chain, rules, tmp_path / "wild"), tmp_path / "wild", signal.SIGKILL, 2)
    assert killed.code == -signal.SIGKILL
    assert not (tmp_path / "wild" / "manifest.json").exists()
    assert cli(*command(chain, rules, tmp_path / "wild")).code == 0
    assert contents(tmp_path / "wild") == contents(tmp_path / "calm")
