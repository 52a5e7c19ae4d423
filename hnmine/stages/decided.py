"""What is counted of decisions, and what a summary makes of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.decide import Decisions
from hnmine.core.evidence import Evidence, Floats
from hnmine.core.rules.relevant import NOBODY, Voices
from hnmine.core.spread import quantiles
from hnmine.files.artefact import Json
from hnmine.schema import (
    PREVIOUS,
    Scale,
    Verdict,
)
from hnmine.stages.round_changes import summary

SHORT_SHOWN = 3
"""How many of the queries that got too few negatives the summary names."""


def counted(evidence: Evidence, decisions: Decisions, *, wanted: int, voices: Voices | None) -> Json:
    """Counters of a block in which each query wants so many negatives; they add up over blocks."""
    owner = evidence.owner
    queries = len(evidence.offsets) - 1
    negative = decisions.verdict == Verdict.NEGATIVE.value
    per_query = np.bincount(owner[negative], minlength=queries)
    short = per_query < wanted
    dropped = decisions.verdict == Verdict.DROPPED.value
    return {
        "queries": queries,
        "candidates": len(owner),
        "verdicts": decisions.verdict.counts(),
        "reasons": decisions.reason.counts(),
        "spared": dict(decisions.spared),
        **_called(evidence, voices),
        "steps": decisions.step.counts(negative),
        "negatives_per_query": {str(n): int(c) for n, c in enumerate(np.bincount(per_query)) if c},
        "queries_short": int(short.sum()),
        "reasons_of_short_queries": decisions.reason.counts(dropped & short[owner]),
    }


def _called(evidence: Evidence, voices: Voices | None) -> Json:
    if voices is None:
        return {}
    called = voices.called(evidence)
    return {"called_relevant": called.counts(called != NOBODY)}


def short_queries(ids: pa.ChunkedArray, evidence: Evidence, negative: npt.NDArray[np.bool_], *, wanted: int) -> Json:
    """How many negatives a few of the queries with too few have got, by id."""
    got = np.bincount(evidence.owner[negative], minlength=len(evidence.offsets) - 1)
    fewest = np.argsort(got, kind="stable")[:SHORT_SHOWN]
    short = fewest[got[fewest] < wanted]
    names = ids.take(pa.array(evidence.offsets[short])).to_pylist()
    return dict(zip(names, got[short].tolist(), strict=True))


def shortest(short: Json) -> Json:
    """The few of the queries that got the fewest negatives, by id."""
    return dict(sorted(short.items(), key=lambda item: item[1])[:SHORT_SHOWN])


def estimates(probability: Floats) -> Json:
    """How many rows have an estimate, and their sum in whole millionths: numbers whose sum has no order."""
    known = probability[np.isfinite(probability)]
    return {"rows": len(known), "millionths": int(np.rint(known * 1e6).sum())}


def summarised(plan: Json, counts: Json) -> Json:
    """Quantiles from the grids, the yield, and which knob to turn when queries starve."""
    judge = next((s for s in plan["scores"] if s["name"] == plan["judge_by"]), None)
    scale = Scale(judge["scale"]) if judge else Scale.DOT
    grids = counts.pop("grids", {})
    counts["judge_scores"] = {name: quantiles(grid, scale) for name, grid in grids.items()}
    wanted = plan["options"]["num_negatives"] * plan["options"]["epochs"] * counts["queries"]
    counts["yield"] = round(counts["verdicts"].get(Verdict.NEGATIVE.value, 0) / wanted, 4) if wanted else 0.0
    counts["short_queries"] = shortest(counts.get("short_queries", {}))
    estimates = counts.pop("estimates", {})
    if estimates.get("rows"):
        counts["estimated_false_negative_rate"] = round(estimates["millionths"] / estimates["rows"] / 1e6, 4)
    counts["negatives_per_query"] = dict(sorted(counts["negatives_per_query"].items(), key=lambda i: int(i[0])))
    if PREVIOUS in counts:
        counts[PREVIOUS] = summary(counts[PREVIOUS])
    counts["advice"] = advice(counts)
    return counts


def advice(counts: Json) -> str:
    """Which knob to turn when queries starve; empty when none do."""
    if not counts["queries_short"]:
        return ""
    knobs = _knobs()
    blamed = {r: c for r, c in counts["reasons_of_short_queries"].items() if r in knobs}
    if not blamed:
        return (
            "the short queries have too few candidates: take fewer (-n), fill up (--short random, of"
            " `mine --random N`), or, if --top-k is what ended the search, mine deeper (--deepen-from these decisions)"
        )
    worst = max(sorted(blamed), key=lambda r: blamed[r])
    return f"{knobs[worst]}: {worst} dropped {blamed[worst]:,} candidates of the short queries"


def _knobs() -> dict[str, str]:
    from hnmine.core.rules.base import Rule

    return {rule.reason: rule.knob for rule in Rule.__subclasses__() if rule.knob}
