"""What a finished stage comes to: the number that matters, what to turn if it is poor, then the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hnmine.schema import Kind

POOR_FALSE_NEGATIVES = 0.05
"""From this share of false negatives among the chosen on, a summary says what lowers it."""

_NOT_DROPS = {"known-positive", "relabelled", "picked", "not-needed", "random-reserve"}

_HEADLINES: dict[str, tuple[str, ...]] = {
    Kind.COLLECTION: ("documents", "queries", "judgments"),
    Kind.BM25_INDEX: ("documents", "terms"),
    Kind.DENSE_INDEX: ("documents", "queries", "dimension"),
    Kind.SPARSE_INDEX: ("documents", "queries", "terms"),
    Kind.LATE_INDEX: ("documents", "queries", "dimension"),
    Kind.HITS: ("hits", "queries"),
    Kind.GENERATED: ("written", "queries", "documents"),
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
    if kind == Kind.DOWNSAMPLED:
        return (
            f"{counts['documents']:,} of {counts['documents_of']:,} documents, {counts['documents_judged']:,} judged; "
            f"{counts['queries']:,} queries, {counts['judgments']:,} judgments"
        )
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
        fewest = sorted(counts.get("short_queries", {}).items(), key=lambda item: item[1])
        few = ", ".join(f"{query} has {count}" for query, count in fewest)
        found.append(f"too few negatives for {counts['queries_short']:,} queries" + (f": {few}" if few else ""))
        found.append(counts["advice"])
    estimate = counts.get("estimated_false_negative_rate") or 0.0
    if estimate >= POOR_FALSE_NEGATIVES:
        found.append("fewer false negatives: a lower --max-fn-probability; `hnmine sweep` says what that costs")
    return found


def lines(kind: str, counts: Mapping[str, Any]) -> list[str]:
    """What the headline leaves out; counters that are 0 are not told."""
    if kind == Kind.DECISIONS:
        return _decisions(counts)
    if kind == Kind.DOWNSAMPLED:
        return _systems(counts)
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
    if called := counts.get("called_relevant"):
        new = counts["reasons"].get("relabelled", 0)
        found.append(f"called relevant: {_inline(called)}" + (f"; {new:,} of them are positives now" if new else ""))
    for name, spread in counts["judge_scores"].items():
        if spread:
            found.append(
                f"{name:<10} mean {spread['mean']:>8.3f}   min {spread['p0']:.3f}   quartiles {spread['p25']:.3f} "
                f"{spread['p50']:.3f} {spread['p75']:.3f}   max {spread['p100']:.3f}"
            )
    if "previous" in counts:
        found += _round(counts["previous"])
    return found


def _round(changed: Mapping[str, Any]) -> list[str]:
    """What changed since the round before."""
    gone, estimates = changed["gone"], changed["p_false_negative"]
    found = [
        f"since the round before: Jaccard {changed['jaccard']:.3f}, {changed['kept']:,} negatives kept, "
        f"{changed['new']:,} new, {sum(gone.values()):,} gone" + (f" ({_inline(gone)})" if gone else "")
    ]
    if estimates:
        words = {"now": "the negatives", "before": "those of the round before"}
        shown = ", ".join(f"{words[name]} {value:.2%}" for name, value in sorted(estimates.items(), reverse=True))
        found.append(f"estimated false negatives among {shown}")
    return found


def _systems(counts: Mapping[str, Any]) -> list[str]:
    """A line for each system that a smaller collection ranks, the best first."""
    systems, tau = counts["systems"], counts["kendall_tau"]
    width = max(len(name) for name in [*systems, "tau to whole"])
    found = [f"{'nDCG@10':<{width}}  whole   small   left out of the pool"]
    for name, own in sorted(systems.items(), key=lambda item: (-item[1]["whole"], item[0])):
        found.append(f"{name:<{width}}  {own['whole']:.4f}  {own['small']:.4f}  {own['left_out']:.4f}")
    if tau:
        small, left_out = (f"{tau[name]:.3f}" if name in tau else "-" for name in ("small", "left_out"))
        found.append(f"{'tau to whole':<{width}}          {small:<6}  {left_out}")
    return found


def _words(key: str) -> str:
    return key.replace("_", " ")


def _inline(values: Mapping[str, Any]) -> str:
    """Nested counters in one line, the largest first."""
    numbers = {key: value for key, value in values.items() if isinstance(value, (int, float))}
    ordered = sorted(numbers.items(), key=lambda item: -item[1])
    words = [f"{key} {value:,}" for key, value in ordered if value]
    return ", ".join([*words, *(f"{key} {value}" for key, value in values.items() if key not in numbers)])
