"""What a report says in numbers: where candidates went, how scores are spread, what retrievers agree on, who is reused.

Counts come from the manifest and are of everything. Spreads are of a keyed sample of queries, read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.decide import KNOWN_POSITIVE, NOT_NEEDED, PICKED, RELABELLED
from hnmine.files.artefact import Artefact, Json
from hnmine.files.candidates import CandidatesTable, floats, grades, query_offsets, ranks
from hnmine.schema import (
    CURATED_SOURCE,
    DOC_ID,
    FUSED,
    GRADES,
    P_FALSE_NEGATIVE,
    QUERY_ID,
    SOURCES,
    VERDICT,
    Verdict,
    grade_column,
    rank_column,
    score_column,
)

BINS = 48
DEPTHS = (1, 5, 10, 50, 100)
"""How many of the first documents of two retrievers are compared."""
MOST_USED = 12
PROBABILITIES = (0.0, 0.01, 0.03, 0.1, 0.2, 0.4)
"""Where ranges of estimated probabilities begin; the last one ends at 1."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_GROUPS = {
    "positives": Verdict.POSITIVE,
    "negatives": Verdict.NEGATIVE,
    "rejects": Verdict.DROPPED,
    "reserve": Verdict.RESERVE,
}


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between edges; what lies outside is counted in the first and the last bin."""

    edges: Floats
    counts: dict[str, Ints]


class Spreads:
    """What the decided rows of some queries look like, held as columns of numbers."""

    def __init__(self, table: CandidatesTable, queries: Ints) -> None:
        self._artefact = table.artefact
        self.scores = [score for score in table.scores if score_column(score.name) in table.column_names]
        ranked = [name.removeprefix("rank_") for name in table.column_names if name.startswith("rank_")]
        self.retrievers = [name for name in ranked if name != FUSED]
        self._judges = table.judges
        asked = [QUERY_ID, DOC_ID, VERDICT, SOURCES, P_FALSE_NEGATIVE]
        asked += [score_column(score.name) for score in self.scores] + [rank_column(name) for name in ranked]
        asked += [grade_column(judge.name) for judge in self._judges]
        self.rows: pa.Table = table.read(queries, [name for name in asked if name in table.column_names])
        self.offsets = query_offsets(self.rows[QUERY_ID])
        self.owner = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        verdicts = self.rows[VERDICT].to_numpy(zero_copy_only=False)
        self.group = {name: np.asarray(verdicts == verdict.value) for name, verdict in _GROUPS.items()}

    @property
    def queries(self) -> int:
        """How many queries were looked at."""
        return len(self.offsets) - 1

    def score_histograms(self) -> dict[str, Histogram]:
        """Under each scorer: how the scores of positives, negatives, rejects and the reserve are spread."""
        return {
            score.name: histogram({n: floats(self.rows, score.name)[kept] for n, kept in self.group.items()})
            for score in self.scores
        }

    def margins(self) -> Histogram | None:
        """By how much the judge puts each negative below the query's lowest positive; None without a judge."""
        judge = self._artefact.plan["judge_by"]
        if judge is None:
            return None
        score = floats(self.rows, judge)
        lowest = np.full(self.queries, np.inf)
        positive = self.group["positives"] & np.isfinite(score)
        np.minimum.at(lowest, self.owner[positive], score[positive])
        gap = lowest[self.owner] - score
        kept = {name: gap[self.group[name]] for name in ("negatives", "rejects")}
        return histogram({name: values[np.isfinite(values)] for name, values in kept.items()})

    def picked_ranks(self) -> Histogram | None:
        """At which rank of `--rank-by` negatives and positives stand; None where nothing is ranked."""
        rank_by = self._artefact.plan["rank_by"]
        if rank_by is None or rank_column(rank_by) not in self.rows.column_names:
            return None
        rank = ranks(self.rows, rank_by).astype(np.float64)
        found = {name: rank[self.group[name] & (rank > 0)] for name in ("positives", "negatives")}
        deepest = max((int(values.max()) for values in found.values() if len(values)), default=0)
        if not deepest:
            return None
        edges = np.unique(np.linspace(0, deepest, min(deepest, BINS) + 1).round()) + 0.5  # between whole ranks
        return Histogram(edges, {n: np.histogram(values, edges)[0].astype(np.int64) for n, values in found.items()})

    def probabilities(self) -> Histogram | None:
        """The estimated probability of being a false negative: of negatives and of rejects."""
        if (p := self._false_negative()) is None:
            return None
        found = {name: p[self.group[name]] for name in ("negatives", "rejects")}
        finite = {name: values[np.isfinite(values)] for name, values in found.items()}
        ends = [np.quantile(values, 0.98) for values in finite.values() if len(values)]
        edges = np.linspace(0, np.clip(max(ends, default=1.0), 0.1, 1), BINS + 1)
        return Histogram(
            edges, {n: np.histogram(v.clip(0, edges[-1]), edges)[0].astype(np.int64) for n, v in finite.items()}
        )

    def agreement(self) -> list[Json]:
        """For each two retrievers and depth k: documents in both first k over those in either (Jaccard), by query."""
        own = {name: ranks(self.rows, name) for name in self.retrievers}
        found: list[Json] = []
        for one, other in combinations(self.retrievers, 2):
            shared = []
            for depth in DEPTHS:
                first = (own[one] > 0) & (own[one] <= depth)
                second = (own[other] > 0) & (own[other] <= depth)
                both = np.bincount(self.owner[first & second], minlength=self.queries)
                either = np.bincount(self.owner[first | second], minlength=self.queries)
                has = either > 0
                shared.append(float((both[has] / either[has]).mean()) if has.any() else None)
            found.append({"retrievers": [one, other], "depths": list(DEPTHS), "jaccard": shared})
        return found

    def _false_negative(self) -> Floats | None:
        """`p_false_negative` of every row, NaN where it has none; None where the decisions have no such column."""
        if P_FALSE_NEGATIVE not in self.rows.column_names:
            return None
        return np.asarray(self.rows[P_FALSE_NEGATIVE].to_numpy(zero_copy_only=False), np.float64)

    def false_negatives(self) -> float | None:
        """The mean estimated probability that a chosen negative is a false one."""
        if (p := self._false_negative()) is None:
            return None
        own = p[self.group["negatives"]]
        return float(np.nanmean(own)) if np.isfinite(own).any() else None

    def grades(self) -> dict[str, list[int]]:
        """How many positives, negatives and rejects the judges gave each grade (`schema.GRADES`); empty without any."""
        found = grades(self.rows, self._judges)
        counts = {name: np.bincount(found[kept & (found >= 0)], minlength=len(GRADES)).tolist()
                  for name, kept in self.group.items()}  # fmt: skip
        return {name: own for name, own in counts.items() if any(own)}

    def graded_by_probability(self) -> list[Json]:
        """Of each range of estimated probabilities (`PROBABILITIES`): rows that judges graded, by grade; if any."""
        if (p := self._false_negative()) is None:
            return []
        given = grades(self.rows, self._judges)
        asked = (given >= 0) & np.isfinite(p)
        place = np.searchsorted(PROBABILITIES, p, side="right") - 1
        counts = [np.bincount(given[asked & (place == n)], minlength=len(GRADES)) for n in range(len(PROBABILITIES))]
        return [
            {"from": low, "estimate": float(p[asked & (place == n)].mean()), "grades": own.tolist()}
            for n, (low, own) in enumerate(zip(PROBABILITIES, counts, strict=True))
            if own.sum()
        ]

    @cached_property
    def curated(self) -> npt.NDArray[np.bool_]:
        """Which rows were written, or chosen, to be negatives of their query."""
        lists = self.rows[SOURCES].combine_chunks()
        is_curated = pc.equal(lists.flatten().cast(pa.string()), CURATED_SOURCE).to_numpy(zero_copy_only=False)
        found = np.zeros(self.rows.num_rows, np.bool_)
        found[pc.list_parent_indices(lists).to_numpy()[is_curated]] = True
        return found

    def sources(self) -> dict[str, tuple[int, int]]:
        """Candidates and negatives that each source brought; a row counts for every one of its sources."""
        lists = self.rows[SOURCES].combine_chunks()
        rows, names = pc.list_parent_indices(lists).to_numpy(), lists.flatten().cast(pa.string()).dictionary_encode()
        codes, size = names.indices.to_numpy(), len(names.dictionary)
        counts = (np.bincount(codes, minlength=size), np.bincount(codes[self.group["negatives"][rows]], minlength=size))
        found = zip(names.dictionary.to_pylist(), *(c.tolist() for c in counts), strict=True)
        return {name: (known, chosen) for name, known, chosen in found}

    def most_used(self) -> list[Json]:
        """The documents that are a negative of most queries, of several at least: the first twelve."""
        documents = self.rows[DOC_ID].combine_chunks().dictionary_encode()
        codes = documents.indices.to_numpy()
        used = np.bincount(codes[self.group["negatives"]], minlength=len(documents.dictionary))
        known = np.bincount(codes, minlength=len(documents.dictionary))
        order = [place for place in np.argsort(-used, kind="stable")[:MOST_USED].tolist() if used[place] > 1]
        ids = documents.dictionary.take(pa.array(order, pa.int64())).to_pylist()
        return [
            {"document": name, "negative_of": int(used[place]), "candidate_of": int(known[place])}
            for name, place in zip(ids, order, strict=True)
        ]


def funnel(counts: Json) -> list[tuple[str, int]]:
    """From all candidates to the chosen: (what is left or taken, rows), rules by how much they took."""
    reasons = counts["reasons"]
    told = {KNOWN_POSITIVE, RELABELLED, PICKED, NOT_NEEDED}
    taken = {r: n for r, n in reasons.items() if r not in told and n}
    relabelled = [("made positives", int(reasons[RELABELLED]))] if reasons.get(RELABELLED) else []
    rules = sorted(taken.items(), key=lambda item: (-item[1], item[0]))
    return [
        ("candidates", int(counts["candidates"])),
        ("known positives", int(reasons.get(KNOWN_POSITIVE, 0))),
        *relabelled,
        *((name, int(n)) for name, n in rules),
        ("not needed", int(reasons.get(NOT_NEEDED, 0))),
        ("chosen", int(reasons.get(PICKED, 0))),
    ]


def stages(artefacts: Sequence[Artefact]) -> list[Json]:
    """Each artefact's kind, name, time and peak of memory, options that were given, and what identifies it."""
    found: list[Json] = []
    for artefact in artefacts:
        record = artefact.run_record()
        options = artefact.plan.get("options", {})
        found.append(
            {
                "kind": str(artefact.kind),
                "name": artefact.path.name,
                "fingerprint": artefact.fingerprint,
                "seconds": record.get("seconds") or 0.0,
                "peak": record.get("peak_memory_bytes"),
                "finished": record.get("finished"),
                "hnmine": record.get("hnmine"),
                "notes": record.get("notes", {}),
                "options": {k: v for k, v in options.items() if v not in (None, False, [], "")},
                "plan": {k: v for k, v in artefact.plan.items() if k != "blocks"},
            }
        )
    return found


def histogram(groups: dict[str, Any]) -> Histogram:
    """48 bins over all but the outermost 0.5 % of any group, which is in the first and the last."""
    finite = {name: np.asarray(values, np.float64)[np.isfinite(values)] for name, values in groups.items()}
    everything = np.concatenate(list(finite.values()))
    if not len(everything):
        return Histogram(np.array([0.0, 1.0]), {name: np.zeros(1, np.int64) for name in finite})
    ends = np.array([np.quantile(values, [0.005, 0.995]) for values in finite.values() if len(values)])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    return Histogram(edges, {n: np.histogram(v.clip(low, high), edges)[0].astype(np.int64) for n, v in finite.items()})
