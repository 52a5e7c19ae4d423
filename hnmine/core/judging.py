"""What a judge is asked about and what it says: the window of doubt, the form of an answer, and the grades in it."""

from __future__ import annotations

import json
from typing import Any

from hnmine.errors import UsageError
from hnmine.schema import GRADES

MOST_CANDIDATES = 25
"""Candidates of a query in one request: as many as RLHN shows (arXiv 2505.16967)."""


def parse_window(text: str) -> tuple[float, float]:
    """LOW:HIGH of probabilities, such as `0.01:1`; raises `UsageError` for anything else."""
    low, sign, high = text.partition(":")
    try:
        window = float(low), float(high)
    except ValueError:
        window = 1.0, 0.0
    if not sign or not 0 <= window[0] <= window[1] <= 1:
        raise UsageError(
            f"--judge-window {text}: not a range of probabilities", expected="LOW:HIGH, from 0 to 1, as 0.01:1"
        )
    return window


def answer_form() -> dict[str, Any]:
    """The JSON schema of an answer, as `response_format` wants it: reasoning first, then the grades it led to.

    Every property is required and none is added, as OpenAI's strict mode asks.
    """
    grade = {
        "type": "object",
        "properties": {
            "candidate": {"type": "integer"},
            "grade": {"type": "integer", "enum": list(range(len(GRADES)))},
        },
        "required": ["candidate", "grade"],
        "additionalProperties": False,
    }
    form = {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "grades": {"type": "array", "items": grade}},
        "required": ["reasoning", "grades"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "grades", "strict": True, "schema": form}}


def grades_of(content: str, count: int) -> list[int | None]:
    """The grades of candidates 1 to `count` in an answer; None where it has none that is valid.

    Valid is a whole number from 0 to 3 for a candidate that was asked about. One that is graded twice, differently, has
    no grade. Words around the JSON object, as servers without a fixed form let through, are passed over.
    """
    found: dict[int, set[int | None]] = {}
    for entry in array_in(content, "grades"):
        number: Any = entry.get("candidate") if isinstance(entry, dict) else None
        grade: Any = entry.get("grade") if isinstance(entry, dict) else None
        if _is_whole(number, 1, count):
            found.setdefault(number, set()).add(grade if _is_whole(grade, 0, len(GRADES) - 1) else None)
    return [next(iter(said)) if len(said := found.get(n, {None})) == 1 else None for n in range(1, count + 1)]


def array_in(content: str, name: str) -> list[Any]:
    """The array called `name` of the first JSON object in a text that has one; empty if none has.

    What a model thought aloud, before `</think>`, does not count.
    """
    content = content.rpartition("</think>")[2]
    decoder, start = json.JSONDecoder(), content.find("{")
    while start >= 0:
        try:
            value, _ = decoder.raw_decode(content, start)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and isinstance(value.get(name), list):
            entries: list[Any] = value[name]
            return entries
        start = content.find("{", start + 1)
    return []


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
