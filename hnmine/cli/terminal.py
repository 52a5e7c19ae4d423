"""What people see: bars on a terminal, a line every so often in a batch log; standard output is for data alone."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any

from hnmine.errors import ConditionFailed, UsageError
from hnmine.options import nearest

LOG_EVERY = 30.0
"""Seconds between two lines of progress where there is no terminal."""


class Terminal:
    """Progress and talk on standard error."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
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

    def start(self, label: str, total: int | None, done: int, unit: str) -> None:
        """A piece of work begins."""
        self._label, self._total, self._done, self._unit = label, total, done, unit
        self._new = 0
        self._began = self._logged = time.monotonic()
        if self.quiet:
            return
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(desc=label, total=total, initial=done, unit=f" {unit}", leave=False, file=sys.stderr)
        elif done and total:
            self.say(f"{label}: {done:,} of {total:,} {unit} were done before")

    def advance(self, units: int) -> None:
        """Some units more are finished."""
        self._done += units
        self._new += units
        if self._bar is not None:
            self._bar.update(units)
        elif not self.quiet and time.monotonic() - self._logged >= LOG_EVERY:
            self._logged = time.monotonic()
            self.say(self._line())

    def _line(self) -> str:
        rate = self._new / max(time.monotonic() - self._began, 1e-9)
        line = f"{self._label}: {self._done:,}"
        if self._total:
            left = (self._total - self._done) / rate if rate else float("inf")
            line += f" of {self._total:,} {self._unit} ({self._done / self._total:.0%}), ETA {duration(left)}"
        else:
            line += f" {self._unit}"
        return f"{line}, {rate:,.0f}/s"

    def finish(self) -> None:
        """The piece of work is finished or given up."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


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


_CONDITION = re.compile(r"\s*(\S+?)\s*(>=|<=|>|<)\s*(\S+)\s*")


def check_conditions(conditions: tuple[str, ...]) -> list[tuple[str, str, float]]:
    """Parse `METRIC>VALUE` texts; `UsageError` for one that cannot be read."""
    parsed = []
    for text in conditions:
        match = _CONDITION.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            parsed.append((match[1], match[2], float(match[3])))
        except ValueError:
            raise UsageError(
                f"--fail-if {text!r}: cannot be read", expected="METRIC>VALUE, such as 'yield<0.9'"
            ) from None
    return parsed


def fail_if(conditions: list[tuple[str, str, float]], counts: dict[str, Any]) -> None:
    """Raise `ConditionFailed` if one of the conditions holds for the counts (nested ones joined by dots).

    A token that nothing got, such as the reason of a rule that dropped nothing, is 0.
    """
    flat = flatten(counts)
    if any(metric not in flat for metric, _, _ in conditions):
        from hnmine.stages.vocabulary import is_number_of, uncounted

        numbered = (metric for metric, _, _ in conditions if is_number_of(counts, metric))
        flat = {**dict.fromkeys((*uncounted(counts), *numbered), 0.0), **flat}
    for metric, operator, limit in conditions:
        if metric not in flat:
            guess = nearest(metric, sorted(flat))
            raise UsageError(
                f"--fail-if: there is no metric {metric!r}" + (f"; did you mean {guess!r}?" if guess else ""),
                expected=f"one of {', '.join(sorted(flat))}",
            )
        value = flat[metric]
        holds = {">": value > limit, "<": value < limit, ">=": value >= limit, "<=": value <= limit}[operator]
        if holds:
            raise ConditionFailed(f"{metric} is {value:g}: --fail-if {metric}{operator}{limit:g} holds")


def flatten(counts: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """All numbers of nested counters, under their dotted names."""
    flat: dict[str, float] = {}
    for key, value in counts.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)):
            flat[f"{prefix}{key}"] = float(value)
    return flat
