"""What a finished stage comes to: the number that matters, what to turn if it is poor, then the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hnmine.schema import Kind

POOR_FALSE_NEGATIVES = 0.05
"""From this share of false negatives among the chosen on, a summary says what lowers it."""

_NOT_DROPS = {"known-positive", "picked", "not-needed", "random-reserve"}

_HEADLINES: dict[str, tuple[str, ...]] = {
    Kind.COLLECTION: ("documents", "queries", "judgments"),
    Kind.BM25_INDEX: ("documents", "terms"),
    Kind.DENSE_INDEX: ("documents", "queries", "dimension"),
    Kind.SPARSE_INDEX: ("documents", "queries", "terms"),
    Kind.LATE_INDEX: ("documents", "queries", "dimension"),
    Kind.HITS: ("hits", "queries"),
    Kind.EXPORT: ("rows", "queries"),
}
"""The counters of a kind that stand first."""


def headline(kind: str, counts: Mapping[str, Any]) -> str:
    """The one thing to know about a finished artefact."""
    if kind == Kind.DECISIONS:
        return _decided(counts)
    if kind == Kind.CANDIDATES:
        a_query = counts.get("candidates_per_query", counts["candidates"] / max(counts["queries"], 1))
        return f"{a_query:,.0f} candidates a query: {counts['candidates']:,} for {counts['queries']:,} queries"
    return ", ".join(
        f"dimension {counts[key]}" if key == "dimension" else f"{counts[key]:,} {key}"
        for key in _HEADLINES.get(kind, ())
        if key in counts
    )


def _decided(counts: Mapping[str, Any]) -> str:
    found = f"yield {counts['yield']:.1%}: {counts['verdicts'].get('negative', 0):,} negatives"
    found += f" for {counts['queries']:,} queries"
    estimate = counts.get("estimated_false_negative_rate")
    return found if estimate is None else f"{found}, about {estimate:.1%} of them false"


def advice(kind: str, counts: Mapping[str, Any]) -> list[str]:
    """What to turn, where a number is poor."""
    if kind != Kind.DECISIONS:
        return []
    found = []
    if counts["queries_short"]:
        few = ", ".join(f"{query} has {count}" for query, count in counts.get("short_queries", {}).items())
        found.append(f"too few negatives for {counts['queries_short']:,} queries" + (f": {few}" if few else ""))
        found.append(counts["advice"])
    estimate = counts.get("estimated_false_negative_rate") or 0.0
    if estimate >= POOR_FALSE_NEGATIVES:
        found.append("fewer false negatives: lower --max-fn-probability; `hnmine sweep` says what that costs")
    return found


def lines(kind: str, counts: Mapping[str, Any]) -> list[str]:
    """What the headline leaves out; counters that are 0 are not told."""
    if kind == Kind.DECISIONS:
        return _decisions(counts)
    told = {*_HEADLINES.get(kind, ()), *(("candidates", "queries", "candidates_per_query") * (kind == Kind.CANDIDATES))}
    rest = {key: value for key, value in counts.items() if key not in told}
    plain = [f"{_words(key)}: {value:,}" for key, value in rest.items() if isinstance(value, (int, float)) and value]
    nested = {key: _inline(value) for key, value in rest.items() if isinstance(value, dict)}
    if "grades" in nested:
        nested["grades"] = ", ".join(f"{count:,} of grade {grade}" for grade, count in rest["grades"].items())
    return [*([", ".join(plain)] if plain else []), *(f"{_words(key)}: {text}" for key, text in nested.items() if text)]


def dropped(counts: Mapping[str, Any]) -> str:
    """`reason 12, reason 3`: what took rows, the most first; empty if nothing did."""
    return _inline({reason: count for reason, count in counts["reasons"].items() if reason not in _NOT_DROPS})


def _decisions(counts: Mapping[str, Any]) -> list[str]:
    because = dropped(counts)
    found = [
        f"dropped {counts['verdicts'].get('dropped', 0):,} of {counts['candidates']:,}"
        + (f": {because}" * bool(because))
    ]
    if counts.get("spared"):
        found.append(f"spared, known not to be relevant, though against them: {_inline(counts['spared'])}")
    for name, spread in counts["judge_scores"].items():
        if spread:
            found.append(
                f"{name:<9} mean {spread['mean']:>8.3f}   min {spread['p0']:.3f}   quartiles {spread['p25']:.3f} "
                f"{spread['p50']:.3f} {spread['p75']:.3f}   max {spread['p100']:.3f}"
            )
    return found


def _words(key: str) -> str:
    return key.replace("_", " ")


def _inline(values: Mapping[str, Any]) -> str:
    """Nested counters in one line, the largest first."""
    numbers = {key: value for key, value in values.items() if isinstance(value, (int, float))}
    ordered = sorted(numbers.items(), key=lambda item: -item[1])
    words = [f"{key} {value:,}" for key, value in ordered if value]
    return ", ".join([*words, *(f"{key} {value}" for key, value in values.items() if key not in numbers)])
