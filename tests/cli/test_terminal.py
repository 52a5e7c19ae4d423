"""What a person sees on a terminal, and what stands in a batch log."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hnmine.cli import summary
from hnmine.cli.terminal import Terminal, is_coloured, rate
from hnmine.execute.local import Execution
from hnmine.stages.ingest import Ingest
from tests.cli.test_first_contact import call, collection

ROOT = Path(__file__).parents[2]
DATED = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
PLAIN = {"NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS"}


def on_pty(command: list[str], place: Path, **variables: str) -> str:
    """What a command shows on a terminal."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    environment = {name: value for name, value in os.environ.items() if name not in PLAIN}
    environment |= {"PYTHONPATH": str(ROOT), "HNMINE_CACHE": str(place / "cache"), "TERM": "xterm", **variables}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, env=environment, cwd=place
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 65_536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(controller)
    assert process.wait() == 0, shown.decode()
    return shown.decode()


def test_on_a_terminal_steps_are_bold_and_undated_and_bars_leave(tmp_path: Path) -> None:
    collection(tmp_path / "data")
    shown = on_pty([sys.executable, "-m", "hnmine", "ingest", "data", "-o", "made"], tmp_path)
    assert re.search(r"ingest: .*records", shown), "a bar"
    assert "\x1b[1mingest:\x1b[0m 4 documents, 1 queries, 1 judgments (" in shown
    assert not re.search(DATED, shown)
    shutil.rmtree(tmp_path / "made")
    dumb = on_pty([sys.executable, "-m", "hnmine", "ingest", "data", "-o", "made"], tmp_path, TERM="dumb")
    assert "\x1b" not in dumb
    assert "records/s" not in dumb


def test_a_batch_log_says_when_where_and_what(tmp_path: Path) -> None:
    collection(tmp_path / "data")
    done = call("run", str(tmp_path / "data"), "-o", str(tmp_path / "made"), "--no-dense", "-n", "2")
    assert done.exit_code == 0
    lines = done.stderr.splitlines()
    assert re.match(
        rf"{DATED}hnmine \S+ on \S+ \(\d+ cores, process {os.getpid()}, UTC[+-]\d+\): hnmine run ", lines[0]
    )
    assert lines[0].endswith("--no-dense --num-negatives 2")
    steps = [re.sub(DATED, "", line).split(":")[0] for line in lines[1:] if re.match(DATED, line)]
    assert list(dict.fromkeys(steps)) == ["ingest", "index bm25", "mine", "filter", "export", "total"]
    assert "\x1b" not in done.stderr


def test_progress_in_a_log_has_share_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    terminal = Terminal()
    terminal.start("index dense", 10_000, 2_000, "texts")
    for _ in range(100):
        clock[0] += 10.0
        terminal.advance(50)
    log = [re.sub(DATED, "", line) for line in capsys.readouterr().err.splitlines()]
    assert log[:2] == ["hnmine", "index dense: 10,000 texts, 2,000 were done before"]
    assert log[2] == "index dense: 2,150 of 10,000 texts (22%), 5.0/s, ETA 26 min"
    assert log[-1].endswith("/s, ETA 11 min") or "ETA" in log[-1]
    assert 12 < len(log) < 33, "further and further apart"


@pytest.mark.parametrize(
    ("per_second", "shown"), [(2_300.4, "2,300/s"), (4.52, "4.5/s"), (0.2, "12/min"), (0.0011, "4.0/h")]
)
def test_rates(per_second: float, shown: str) -> None:
    assert rate(per_second) == shown


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({"TERM": "xterm"}, False),
        ({"TERM": "xterm", "FORCE_COLOR": "1"}, True),
        ({"TERM": "xterm", "FORCE_COLOR": "0"}, False),
        ({"TERM": "xterm", "FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
    ],
)
def test_colours_in_a_pipe(variables: Mapping[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PLAIN:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with open(os.devnull, "w") as pipe:
        assert is_coloured(pipe) is wanted


DECIDED: dict[str, Any] = {
    "yield": 0.5,
    "verdicts": {"negative": 7, "dropped": 3},
    "queries": 2,
    "candidates": 30,
    "reasons": {"picked": 7, "skip-top": 3, "not-needed": 0},
    "queries_short": 0,
    "judge_scores": {},
    "advice": "",
}


def test_a_summary_begins_with_the_yield_and_what_is_false() -> None:
    assert summary.headline("decisions", DECIDED) == "yield 50.0%: 7 negatives for 2 queries"
    estimated = {**DECIDED, "estimated_false_negative_rate": 0.016}
    assert summary.headline("decisions", estimated).endswith("for 2 queries, about 1.6% of them false")
    assert summary.advice("decisions", estimated) == []
    assert summary.lines("decisions", DECIDED) == ["dropped 3 of 30: skip-top 3"]


def test_what_to_turn_is_said_where_a_number_is_poor() -> None:
    short = {**DECIDED, "queries_short": 2, "short_queries": {"q9": 3, "q1": 0}, "advice": "lower --skip-top"}
    assert summary.advice("decisions", short) == [
        "too few negatives for 2 queries: q1 has 0, q9 has 3",
        "lower --skip-top",
    ]
    (line,) = summary.advice("decisions", {**DECIDED, "estimated_false_negative_rate": 0.11})
    assert "--max-fn-probability" in line
    counts = {"documents": 3, "queries": 2, "judgments": 4, "grades": {"1": 4}, "left_out": {"a": 0}}
    assert summary.headline("collection", counts) == "3 documents, 2 queries, 4 judgments"
    assert summary.lines("collection", counts) == ["grades: 4 of grade 1"]


def test_short_queries_are_named_by_how_little_they_have(tmp_path: Path) -> None:
    """Two queries of the collection whose positive leaves them nothing, and one that is full."""
    documents = [f'{{"_id": "d{i}", "text": "granite number {i}"}}\n' for i in range(4)]
    (tmp_path / "corpus.jsonl").write_text("".join(documents))
    queries = [f'{{"_id": "q{i}", "text": "{text}"}}\n' for i, text in enumerate(["granite", "granite 1", "basalt"])]
    (tmp_path / "queries.jsonl").write_text("".join(queries))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\nq2\td2\t1\n")
    out = tmp_path / "out"
    done = call("run", str(tmp_path), "--qrels", str(tmp_path / "qrels.tsv"), "-o", str(out), "--no-dense", "-n", "3")
    assert "too few negatives for 1 queries: q2 has 0" in done.stderr
    assert "mine deeper" in done.stderr
    assert "under 30 queries to estimate by" in done.stderr
    assert "of them false" not in done.stderr
    for looked in (call("inspect", str(out), "--query", "q0"), call("inspect", str(out), "--sample", "1")):
        assert "negative" in looked.stdout
        assert "false negative" not in looked.stdout


def test_a_library_call_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hnmine.options import InputOptions

    Ingest(str(collection(tmp_path / "data")), InputOptions()).run(tmp_path / "made", Execution())
    assert capsys.readouterr() == ("", "")
