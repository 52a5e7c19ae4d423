"""`hnmine import` and `hnmine audit --format` as commands: what they print, write, and exit with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.harness import Cli, invoke

ROWS = [
    {"query": "how do plants make sugar", "pos": ["by photosynthesis"], "neg": ["from beets", "By  Photosynthesis!"]},
    {"query": "what is a leap year", "pos": ["a year of 366 days", "one in four"], "neg": ["a year on Mars"]},
]
BROKEN = [{"query": "no negatives", "pos": ["a"], "neg": []}, {"query": "no list", "pos": "a", "neg": ["b"]}]
FLAG = ("--format", "flagembedding")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mined.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_a_conversion_by_real_processes(file: Path, tmp_path: Path) -> None:
    run = Cli(tmp_path / "cache")
    done = run("import", file, *FLAG, "-o", tmp_path / "x", "--json", "--fail-if", "verdicts.dropped>0")
    assert done.code == 6, done.stderr
    assert list(done.json) == ["ingest", "mine", "filter"]
    assert done.json["filter"]["counts"]["verdicts"] == {"dropped": 1, "negative": 2, "positive": 3}
    told = "decisions: as the file has them, 3 positives, 2 negatives; dropped: same-text-as-positive 1"
    assert told in done.stderr
    assert "deepen" not in done.stderr, "nobody asked for more"
    again = run("import", file, *FLAG, "-o", tmp_path / "x")
    assert again.code == 0
    assert again.stderr.count("finished before, nothing to do") == 2
    exported = run("export", tmp_path / "x", "--format", "triplet", "-o", "-")
    assert sorted(map(json.loads, exported.stdout.splitlines()), key=str) == [
        {"anchor": "how do plants make sugar", "positive": "by photosynthesis", "negative": "from beets"},
        {"anchor": "what is a leap year", "positive": "a year of 366 days", "negative": "a year on Mars"},
        {"anchor": "what is a leap year", "positive": "one in four", "negative": "a year on Mars"},
    ]


def test_another_file_at_the_same_place_is_refused_unless_it_may_replace(file: Path, tmp_path: Path) -> None:
    assert invoke("import", file, *FLAG, "-o", tmp_path / "x", "-q").code == 0
    file.write_text(json.dumps(ROWS[1]) + "\n")
    refused = invoke("import", file, *FLAG, "-o", tmp_path / "x", "-q")
    assert refused.code == 4
    assert "--overwrite" in refused.stderr
    assert invoke("import", file, *FLAG, "-o", tmp_path / "x", "-q", "--overwrite").code == 0


@pytest.mark.parametrize("command", ["import", "audit"])
def test_a_file_that_its_trainer_refuses_is_refused_with_every_row(command: str, file: Path, tmp_path: Path) -> None:
    with open(file, "a") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in BROKEN) + "{\n")
    where = ["-o", tmp_path / "x"] if command == "import" else []
    done = invoke(command, file, *FLAG, *where)
    assert done.code == 3, done.stderr
    assert done.stdout == ""
    assert all(f"{file}:{line}" in done.stderr for line in (3, 4, 5)), done.stderr
    assert "3 problems in the input" in done.stderr
    assert not (tmp_path / "x" / "collection").exists()
    if command == "import":
        kept = invoke(command, file, *FLAG, *where, "--on-error", "skip", "--json", "-q")
        assert kept.code == 0, kept.stderr
        assert sum(kept.json["ingest"]["counts"]["skipped"].values()) == 3


def test_a_dry_run_writes_nothing(file: Path, tmp_path: Path) -> None:
    done = invoke("import", file, *FLAG, "-o", tmp_path / "x", "--dry-run", "--json")
    assert done.code == 0, done.stderr
    assert not (tmp_path / "x").exists()
    assert done.json["ingest"]["plan"]["source"] == {
        "kind": "training",
        "format": "flagembedding",
        "files": ["mined.jsonl"],
    }


def test_what_is_missing_is_asked_for(file: Path, tmp_path: Path) -> None:
    done = invoke("import", file, "-o", tmp_path / "x")
    assert done.code == 2
    assert "of which format?" in done.stderr
    assert "flagembedding" in done.stderr
    done = invoke("import", file.with_name("mind.jsonl"), *FLAG, "-o", tmp_path / "x")
    assert done.code == 3
    assert "did you mean" in done.stderr
