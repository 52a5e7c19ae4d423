"""`--fail-if METRIC>VALUE`: conditions on the counts of a summary."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hnmine.errors import ConditionFailed, UsageError
from hnmine.spelling import did_you_mean

_CONDITION = re.compile(r"\s*(\S.*?)\s*(>=|<=|>|<)\s*(\S+)\s*")


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


def check_decided(conditions: tuple[str, ...], steps: Iterable[str] = ()) -> None:
    """Raise `UsageError`, before any work, for a metric that neither decisions nor one of `steps` can count."""
    metrics = [metric for metric, _, _ in check_conditions(conditions)]
    if not metrics:
        return
    from hnmine.stages.vocabulary import DECIDED, is_decided, names_decided

    steps = list(steps)
    for metric in metrics:
        step = next((name for name in steps if metric.startswith(f"{name}.")), "")
        if is_decided(metric.removeprefix("filter.") if step == "filter" else metric) or step not in ("", "filter"):
            continue
        also = f"; or STEP.COUNTER, such as mine.queries; steps are {', '.join(steps)}" if steps else ""
        raise UsageError(
            f"--fail-if: there is no metric {metric!r}" + did_you_mean(metric, names_decided()),
            expected=f"one of {', '.join(DECIDED)}{also}",
        )


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
            raise UsageError(
                f"--fail-if: there is no metric {metric!r}" + did_you_mean(metric, sorted(flat)),
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
