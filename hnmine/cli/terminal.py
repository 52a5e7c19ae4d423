"""What people see: bars on a terminal, dated lines in a batch log; standard output is for data alone."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

LOG_EVERY = 30.0
"""Seconds between two lines of progress in a batch log; in the long run a tenth of the time that has passed."""
LOG_AT_LEAST_EVERY = 600.0

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"


def is_coloured(stream: TextIO) -> bool:
    """Whether a stream takes colours: a terminal that can, or FORCE_COLOR; never under NO_COLOR (no-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_terminal(stream)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person is looking, at something that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def columns() -> int:
    """How wide output on standard output may be: as the terminal, or COLUMNS; 100 in a pipe."""
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


def coloured(text: str, code: str, stream: TextIO) -> str:
    """The text in a colour (an SGR code) where the stream takes colours."""
    return f"\x1b[{code}m{text}\x1b[0m" if is_coloured(stream) else text


class Terminal:
    """Progress and talk on standard error. `origin` says, at the head of a batch log, what was started where."""

    def __init__(
        self, *, quiet: bool = False, verbose: bool = False, origin: Callable[[], str] = lambda: "hnmine"
    ) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self._origin: Callable[[], str] | None = origin
        self._bar: Any = None
        self._label = ""
        self._total: int | None = None
        self._done = 0
        self._new = 0
        self._unit = ""
        self._began = 0.0
        self._logged = 0.0

    def say(self, message: str) -> None:
        """A line for a person, unless --quiet."""
        if not self.quiet:
            print(message, file=sys.stderr, flush=True)

    def detail(self, message: str) -> None:
        """A line for a person who asked for more."""
        if self.verbose:
            self.say(message)

    def warn(self, message: str) -> None:
        """A line that asks for something to be done."""
        self.say(coloured(message, YELLOW, sys.stderr))

    def log(self, subject: str, message: str) -> None:
        """A step of the work: `subject: message`, in a batch log with date and time, the first after its origin."""
        if is_terminal(sys.stderr):
            self.say(f"{coloured(subject + ':', BOLD, sys.stderr)} {message}")
            return
        if self._origin is not None:
            origin, self._origin = self._origin(), None
            self.say(f"{_now()} {origin}")
        self.say(f"{_now()} {coloured(subject + ':', BOLD, sys.stderr)} {message}")

    def start(self, label: str, total: int | None, done: int, unit: str) -> None:
        """A piece of work begins."""
        self._label, self._total, self._done, self._unit = label, total, done, unit
        self._new = 0
        self._began = self._logged = time.monotonic()
        if self.quiet:
            return
        if is_terminal(sys.stderr):
            from tqdm import tqdm

            self._bar = tqdm(
                desc=label, total=total, initial=done, unit=f" {unit}", leave=False, file=sys.stderr, dynamic_ncols=True
            )
        elif total is None or total > done:
            size = f"{total:,} {unit}" if total is not None else f"reading {unit}"
            self.log(label, size + (f", {done:,} were done before" if done else ""))

    def advance(self, units: int) -> None:
        """Some units more are finished."""
        self._done += units
        self._new += units
        if self._bar is not None:
            self._bar.update(units)
        elif not self.quiet and not is_terminal(sys.stderr):
            now = time.monotonic()
            if now - self._logged >= min(max(LOG_EVERY, (now - self._began) / 10), LOG_AT_LEAST_EVERY):
                self._logged = now
                self.log(self._label, self._line())

    def _line(self) -> str:
        per_second = self._new / max(time.monotonic() - self._began, 1e-9)
        if not self._total:
            return f"{self._done:,} {self._unit}, {rate(per_second)}"
        left = (self._total - self._done) / per_second if per_second else float("inf")
        share = self._done / self._total
        return f"{self._done:,} of {self._total:,} {self._unit} ({share:.0%}), {rate(per_second)}, ETA {duration(left)}"

    def finish(self) -> None:
        """The piece of work is finished or given up."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def rate(per_second: float) -> str:
    """`2,300/s`, `4.5/s`, `12/min`, `3.0/h`: how much gets done in a time that makes it a number one can read."""
    for span, name in ((1, "s"), (60, "min")):
        if per_second * span >= 1:
            return f"{per_second * span:,.{0 if per_second * span >= 10 else 1}f}/{name}"
    return f"{per_second * 3600:,.1f}/h"


def duration(seconds: float) -> str:
    """`4.5 s`, `45 s`, `1 min 31 s`, `12 min`, `2.5 h`: a duration as a person reads it."""
    if seconds >= 599.5:
        return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
    whole = round(seconds)
    if whole >= 90:
        return f"{whole // 60} min {whole % 60} s"
    return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False))
