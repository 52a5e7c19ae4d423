"""`--fail-if METRIC>VALUE`: conditions on the counts of a summary."""

from __future__ import annotations

import re
from typing import Any

from hnmine.errors import ConditionFailed, UsageError
from hnmine.spelling import nearest

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
