"""The counters of decisions, and the tokens that counters may have: one that nothing got is 0 and no mistake."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from hnmine.core import decide
from hnmine.core.rules import LADDER, Rule
from hnmine.schema import Verdict
from hnmine.stages.ingest import LEFT_OUT

NUMBERED = ("grades", "negatives_per_query")
"""Counters by whole number."""


DECIDED = (
    "yield", "estimated_false_negative_rate", "queries", "queries_short", "candidates", "verdicts", "reasons", "steps",
    "negatives_per_query", "reasons_of_short_queries", "short_queries", "judge_scores", "null_scores", "spared",
    "called_relevant", "previous",
)  # fmt: skip
"""What the manifest of decisions may count, the most asked for first."""


def tokens() -> dict[str, Collection[str]]:
    """The tokens of each counter that has only those that occurred, by the counter's name."""
    reasons = {*rules(), decide.SHORT_QUERY}
    others = {decide.KNOWN_POSITIVE, decide.RELABELLED, decide.PICKED, decide.NOT_NEEDED, decide.RANDOM_RESERVE}
    return {
        "verdicts": set(Verdict),
        "reasons": reasons | others,
        "reasons_of_short_queries": reasons,
        "steps": {decide.STEP_NONE, decide.STEP_RANDOM, decide.RELABELLED, *(step for _, step in LADDER)},
        "left_out": set(LEFT_OUT),
    }


def rules() -> dict[str, type[Rule]]:
    """Every rule by its reason."""
    return {rule.reason: rule for rule in _rules(Rule) if hasattr(rule, "reason")}


def _rules(kind: type) -> Iterator[Any]:
    subclasses: list[Any] = kind.__subclasses__()
    for rule in subclasses:
        yield rule
        yield from _rules(rule)


def uncounted(counts: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of all tokens that the counters among the (nested) counts may have."""
    known = tokens()
    for key, value in counts.items():
        if isinstance(value, Mapping):
            yield from (f"{prefix}{key}.{token}" for token in sorted(known.get(key, ())))
            yield from uncounted(value, f"{prefix}{key}.")


def is_decided(metric: str) -> bool:
    """Whether decisions may count something of this dotted name, so that it can be compared once they are there."""
    counter, _, token = metric.partition(".")
    known = tokens().get(counter)
    return counter in DECIDED and (not token or known is None or token in known)


def names_decided() -> list[str]:
    """The dotted names that decisions may count, as far as they can be told before anything is decided."""
    known = tokens()
    return [
        name for counter in DECIDED for name in (counter, *(f"{counter}.{t}" for t in sorted(known.get(counter, ()))))
    ]


def is_number_of(counts: Mapping[str, Any], metric: str) -> bool:
    """Whether a dotted name is a whole number under one of the counters by number, such as `grades.2`."""
    *path, number = metric.split(".")
    found: Any = counts
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return bool(path) and path[-1] in NUMBERED and isinstance(found, Mapping) and number.removeprefix("-").isdecimal()
