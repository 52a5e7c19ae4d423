"""How long work tells of itself. The library is silent; the command line passes a reporter that shows bars or lines."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Something that shows how far a piece of work is."""

    def start(self, label: str, total: int | None, done: int, unit: str) -> None:
        """A piece of work begins; `done` of `total` units were finished by an earlier run."""

    def advance(self, units: int) -> None:
        """Some units more are finished."""

    def finish(self) -> None:
        """The piece of work is finished or given up."""

    def say(self, message: str) -> None:
        """A line for a person."""


class Silent:
    """Shows nothing."""

    def start(self, label: str, total: int | None, done: int, unit: str) -> None:
        """Nothing."""

    def advance(self, units: int) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """Nothing."""
