"""Whether a small corpus can stand in for the whole one, in plain words, by what `downsample` measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hnmine.files.artefact import Json

ALIKE, OTHERWISE = 0.9, 0.8
"""Kendall's tau from which two yardsticks count as the same, and below which as different ones (Voorhees 2001)."""
FEW = 5
"""Systems: with fewer, what they say is said to be little."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A judgment: its kind (`good`, `mixed`, `poor`, `unknown`), what it says, and why."""

    kind: str
    says: str
    because: list[str]


def standing(counts: Json) -> Standing:
    """What the systems of a small corpus say of it: do they keep their places, and what does a new one gain?"""
    tau = counts["kendall_tau"].get("left_out")
    if tau is None:
        why = "It takes two systems at least, one of them better: --run pools a ranking, --system measures one."
        return Standing("unknown", "Nobody can tell whether it stands in for the whole corpus.", [why])
    kind = "good" if tau >= ALIKE else "mixed" if tau >= OTHERWISE else "poor"
    says = {
        "good": "The small corpus can stand in for the whole one.",
        "mixed": "The small corpus can stand in for the whole one where systems differ clearly.",
        "poor": "The small corpus cannot stand in for the whole one.",
    }[kind]
    because = [_order(counts, tau), _gain(counts)]
    if kind != "good":
        because.append(
            "Pool deeper (-k), or more and other systems, and let the system that you want to compare feed the pool."
        )
    if (systems := len(counts["systems"])) < FEW:
        because.append(f"{_number(systems)} systems say little: more of them, and other ones, would say more.")
    return Standing(kind, says, because)


def _order(counts: Json, tau: float) -> str:
    leads = [abs(lead["small"]) for others in counts["changed_places"].values() for lead in others.values()]
    if not leads:
        return (
            f"Each of {len(counts['systems']):,} systems keeps its place among the others, even in the corpus that"
            f" there would be had it not fed the pool (Kendall's tau {tau:.2f})."
        )
    return (
        f"Of {counts['comparisons']:,} comparisons of a system that is new to the pool with another, {len(leads):,}"
        f" {'ends' if len(leads) == 1 else 'end'} otherwise than in the whole corpus (Kendall's tau {tau:.2f}), by up"
        f" to {max(leads):.3f} nDCG@10: take a lead that is no larger for a tie."
    )


def _gain(counts: Json) -> str:
    gains = [own["left_out"] - own["whole"] for own in counts["systems"].values()]
    return (
        f"What is new to the pool has {np.mean(gains):.3f} nDCG@10 more here than in the whole corpus on average, and"
        f" {max(gains):.3f} at most: compare figures of this corpus with each other, and with no others."
    )


def _number(count: int) -> str:
    return {2: "Two", 3: "Three", 4: "Four"}.get(count, str(count))
