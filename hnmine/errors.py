"""One tree of errors; each knows its exit code and what the user can do now (DESIGN, "Errors").

Nothing in hnmine prints or exits on its own: code raises one of these and `hnmine.cli` turns it into a message on
standard error and an exit code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FIRST_PROBLEMS = 10
"""How many problems of one kind a message lists before it only counts them."""

WAYS_OUT = {
    "wrong encoding": "iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW, if it is from Windows or Excel",
    "text not a string": "numbers belong into quotation marks, and nested values are taken out first, such as "
    "jq -c '{anchor: .query.text, positive: .answers}' FILE > NEW.jsonl",
    "broken JSON": "one object a line; of a file that is written otherwise, jq -c . FILE > NEW.jsonl makes one",
    "broken CSV": 'a quotation mark within a quoted field is written twice: "say ""so"""',
    "broken TSV": 'a quotation mark within a quoted field is written twice: "say ""so"""',
}
"""What to do about problems of a kind, where the kind does not say it."""


class HnmineError(Exception):
    """An error with three parts: what is wrong, what was expected, what to do now."""

    exit_code = 1

    def __init__(self, what: str, *, expected: str | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.expected = expected
        self.remedy = remedy
        super().__init__(self.render())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, dict(self.__dict__))

    def render(self) -> str:
        """The message as shown to a person: one part a line."""
        parts = [self.what]
        if self.expected:
            parts.append(f"  expected: {self.expected}")
        if self.remedy:
            parts.append(f"  try: {self.remedy}")
        return "\n".join(parts)


def _restored(kind: type[HnmineError], args: tuple[Any, ...], state: Mapping[str, Any]) -> HnmineError:
    error: HnmineError = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UsageError(HnmineError):
    """The command line, the configuration file or an argument of the Python API is wrong."""

    exit_code = 2


class PlanDoesNotFit(UsageError):
    """This machine cannot carry the plan out as it is, but could with `changes`: other values of some options."""

    def __init__(self, what: str, *, changes: Mapping[str, int | str], remedy: str) -> None:
        self.changes = dict(changes)
        super().__init__(what, remedy=remedy)


class InputError(HnmineError):
    """The user's data is wrong; nothing was written."""

    exit_code = 3


class ArtefactError(HnmineError):
    """An artefact is missing, stale, corrupt, or of another plan, kind or version."""

    exit_code = 4


class AnotherPlan(ArtefactError):
    """What is there was made by the same stage with other parameters, inputs or models, which `what` lists."""

    def with_remedy(self, remedy: str) -> AnotherPlan:
        """The same error, where there is more to say about what to do."""
        return AnotherPlan(self.what, expected=self.expected, remedy=remedy)


class MissingDependencyError(HnmineError):
    """An optional dependency or a model is not there."""

    exit_code = 5


class ConditionFailed(HnmineError):
    """The work is finished and correct, but a `--fail-if` condition holds."""

    exit_code = 6


class StorageError(HnmineError):
    """Storage or network failed: disk full, read-only, permission denied, a store that does not answer."""

    exit_code = 7


class Preempted(HnmineError):
    """Stopped by SIGTERM or SIGUSR1 after the finished blocks were saved: run the same command again."""

    exit_code = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with the user's data: `kind` groups problems, `where` is `file:line`, `value` the culprit."""

    kind: str
    where: str
    value: str = ""

    def __str__(self) -> str:
        shown = self.value if len(self.value) <= 120 else self.value[:117] + "..."
        return f"{self.where}: {shown}" if shown else self.where


@dataclass(slots=True)
class ProblemLog:
    """Collects the problems found in the user's data, so that all of them are reported at once.

    Every problem is counted; of each kind only the first ten are kept, so the log stays small on any input.
    """

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[Problem]] = field(default_factory=dict)

    def add(self, kind: str, where: str, value: object = "") -> None:
        """Count one problem of `kind` at `where` (`file:line`)."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        kept = self.first.setdefault(kind, [])
        if len(kept) < FIRST_PROBLEMS:
            kept.append(Problem(kind=kind, where=where, value=str(value)))

    def take_over(self, other: ProblemLog) -> None:
        """Add all problems of another log."""
        for kind, count in other.counts.items():
            for problem in other.first[kind]:
                self.add(kind, problem.where, problem.value)
            self.counts[kind] += count - len(other.first[kind])

    def __bool__(self) -> bool:
        return bool(self.counts)

    def render(self) -> str:
        """All problems, grouped by kind, the first ten of each kind with file, line and value."""
        lines: list[str] = []
        for kind, count in self.counts.items():
            lines.append(f"{kind} ({count:,})")
            lines.extend(f"  {problem}" for problem in self.first[kind])
            if count > FIRST_PROBLEMS:
                lines.append(f"  ... and {count - FIRST_PROBLEMS:,} more")
        return "\n".join(lines)

    def raise_if_any(self, remedy: str = "correct the input, or skip bad records with --on-error skip") -> None:
        """Raise `InputError` with every problem found, if there is one."""
        if self:
            total = sum(self.counts.values())
            noun = "problem" if total == 1 else "problems"
            known = [f"{kind}: {WAYS_OUT[kind]}" for kind in self.counts if kind in WAYS_OUT]
            raise InputError(
                f"{total:,} {noun} in the input\n{self.render()}", remedy="\n       ".join([*known, remedy])
            )
