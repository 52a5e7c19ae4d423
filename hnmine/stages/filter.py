"""`filter`: decide about every candidate, from the evidence alone, and say why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.decide import NOT_SCORED, Decisions
from hnmine.core.evidence import Evidence, Floats, anchor_scores
from hnmine.core.guard import LEAST_QUERIES
from hnmine.core.rules import DOUBTS, asks_for_truth
from hnmine.core.rules.relevant import NOBODY
from hnmine.core.spread import grid_counts
from hnmine.core.tokens import Tokens
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json, sum_counts
from hnmine.files.candidates import (
    PICKED,
    as_written,
    nullable_floats,
)
from hnmine.files.tables import part_name, write_table, writing
from hnmine.options import FilterOptions, Relabel, as_plain
from hnmine.schema import (
    CALLED_BY,
    EPOCH,
    P_FALSE_NEGATIVE,
    PICK_RANK,
    PREVIOUS,
    QUERY_ID,
    REASON,
    STEP,
    VERDICT,
    Kind,
    Verdict,
    scored_column,
)
from hnmine.stages.decided import counted, estimates, short_queries, shortest, summarised
from hnmine.stages.decider import BLOCK, WHOLE, Decider
from hnmine.stages.deepen import mined_with
from hnmine.stages.picked import columns_read
from hnmine.stages.round_changes import changes
from hnmine.stages.stage import Stage, block_size, cut

PIECE = 32_768
"""Rows decided at a time: their arrays stay in the processor's cache. What is decided does not depend on it."""


class Filter(Decider, Stage):
    """Turns candidates into decisions; see `Decider`."""

    kind = Kind.DECISIONS
    label = "filter"
    unit = "queries"

    @cached_property
    def block(self) -> int:
        """Queries of a block."""
        return block_size(BLOCK)

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection and the candidates."""
        return {"collection": self.collection.artefact, "candidates": self.table.artefact}

    def parameters(self) -> Json:
        """The rules in force, which score they compare, and how negatives are picked."""
        return {
            "options": {**as_plain(self.options), "labels": self.labels.digest if self.labels else None},
            "scores": [s.to_plan() for s in self.table.scores],
            **self.table.judges_to_plan(),
            "judge_by": self.judge.name if self.judge else None,
            "rank_by": self.rank_by.name if self.rank_by else None,
            "in_force": {
                name: getattr(self.in_force, name)
                for name in ("relative_margin", "absolute_margin", "max_fn_probability")
            },
            "rules": [rule.reason for rule in self.rules],
            **self._heard(),
            "pick": self.pick.settings(),
            **({"fitted": self.fitted} if self.fitted else {}),
            **({"mined": mined} if (mined := mined_with(self.table.artefact.plan)) else {}),
            **({"first_rules": [vars(rule) for rule in self.first_rules]} if self.first_rules else {}),
            "block": self.block,
        }

    def _heard(self) -> Json:
        """What is done with candidates that are called relevant, and who is heard, those that count most last."""
        if self.voices is None:
            return {}
        return {"relabel": {"mode": str(self.relabel), "by": self.voices_heard()}}

    def blocks(self) -> Sequence[Block]:
        """Blocks of 4,096 queries."""
        return cut(len(self.chosen), self.block, "decisions")

    def sizes(self) -> Json:
        """Queries and rows to decide."""
        return {"queries": len(self.chosen), "candidates": self.table.size(self.chosen)}

    def notes(self) -> Json:
        """Which score decides, which one orders, by what margin; and why a reranker is passed over."""
        default = "" if asks_for_truth(self.options) else self._why_default()
        notes: Json = {
            "judged by": f"{self.judge.name} ({self.judge.scale})" if self.judge else "nothing: there are no scores",
            "ranked by": self.rank_by.name if self.rank_by else "nothing: there are no ranks",
            "false negatives": (" and ".join(_ceilings(self.in_force)) or "no margin") + default,
            **({"fused": f"the ranks of {', '.join(self.retrievers)}"} if self.is_fused else {}),
        }
        if self.voices is not None:
            verb = "are positives" if self.relabel is Relabel.POSITIVE else "are dropped"
            notes["called relevant"] = f"by {', '.join(self._heard()['relabel']['by'])}: such rows {verb}"
        for score in self.table.scores:
            missing = self.table.null_scores.get(score.name, 0)
            if score.origin in WHOLE and missing and score not in (self.judge, self.guide):
                notes[f"not judged by {score.name}"] = f"{missing:,} rows have no such score " + (
                    "(score --until made it, for the rules of its plan)"
                    if score.is_partial
                    else f"(--judge-by {score.name} judges by it, and drops those rows)"
                )
        return notes

    def _why_default(self) -> str:
        if self.collection.closed_world:
            return " (the default of a graph: what it does not say is false)"
        if self.in_force.max_fn_probability is not None:
            return " (the default)"
        few = "" if self.guard.is_estimated else f", under {LEAST_QUERIES} queries to estimate by"
        return f" (the default for {self.scale} scores{few})"

    def work(self, block: Block, draft: Draft) -> None:
        """Decide one block of queries, a piece at a time."""
        start = block.index * self.block
        name = part_name(block.index)
        counts: list[Json] = []
        picked: list[pa.Table] = []
        judge, rank_by = (named.name if named else None for named in (self.judge, self.rank_by))
        read = [QUERY_ID, *columns_read(judge, rank_by)]
        scores: dict[str, list[Floats]] = {}
        with writing(draft.path / name, as_strings=True, short=True) as writer:
            for queries in self.table.pieces(self.chosen[start : start + block.size], PIECE):
                decided = self._decided(self.in_order(self.table.read(queries, coded=True))[0], queries)
                writer.write(decided.table)
                few = decided.table.select([name for name in decided.table.column_names if name in read])
                picked.append(few.take(pa.array(decided.picked)))
                counts.append(decided.counts)
                for what, values in decided.scores.items():
                    scores.setdefault(what, []).append(values)
        grids = {what: grid_counts(np.concatenate(values), self.scale) for what, values in scores.items()}
        total = sum_counts(counts)
        total["short_queries"] = shortest(total.get("short_queries", {}))
        together = pa.concat_tables(picked).unify_dictionaries()
        rows = write_table(draft.path / PICKED / name, together, as_strings=True, short=True)
        draft.commit(block.name, {name: writer.rows, f"{PICKED}/{name}": rows}, {**total, "grids": grids})

    def _decided(self, table: pa.Table, queries: npt.NDArray[np.int64]) -> _Decided:
        """The rows of some queries, in order, with what was decided about them."""
        evidence = self.evidence(table, queries)
        decisions = self.decide(table, evidence, self.rules)
        if self.partial is not None:
            reading = sorted({rule.reason for rule in self.parted[0].reading})
            is_scored = table[scored_column(self.partial.name)].to_numpy(zero_copy_only=False)
            decisions.reason[np.isin(decisions.reason, reading) & ~is_scored] = NOT_SCORED
        negative = decisions.verdict == Verdict.NEGATIVE.value
        p_false_negative = self.guard.probability(evidence)
        epoch = np.zeros(len(negative), np.int32)
        epoch[negative] = (decisions.pick_rank[negative] - 1) % self.options.epochs + 1
        pick_rank = decisions.pick_rank.astype(np.int32)
        decided = (
            table.append_column(VERDICT, _words(decisions.verdict))
            .append_column(REASON, _words(decisions.reason))
            .append_column(PICK_RANK, pa.array(pick_rank, mask=pick_rank == 0))
            .append_column(EPOCH, pa.array(epoch, mask=~negative))
            .append_column(STEP, _words(decisions.step))
            .append_column(P_FALSE_NEGATIVE, nullable_floats(p_false_negative))
        )
        if self.voices is not None:
            by = self.voices.called(evidence)
            decided = decided.append_column(CALLED_BY, _words(by, null=NOBODY))
        null_scores = {s.name: int(np.isnan(evidence.scores[s.name]).sum()) for s in self.table.scores}
        gap = anchor_scores(evidence, self.options.anchor)[evidence.owner] - evidence.judge
        scores = {
            "positives": evidence.judge[evidence.is_positive],
            "negatives": evidence.judge[negative],
            "gap": gap[negative],
        }
        counts = {
            **counted(evidence, decisions, wanted=self.wanted, voices=self.voices),
            "null_scores": null_scores,
            "estimates": estimates(p_false_negative[negative & self.guard.is_estimated]),
            "short_queries": short_queries(table[QUERY_ID], evidence, negative, wanted=self.wanted),
        }
        if PREVIOUS in table.column_names:
            counts[PREVIOUS], scores["gap before"] = changes(table, evidence, decisions, gap, p_false_negative)
        decided = as_written(decided)
        return _Decided(table=decided, picked=picked_rows(evidence, decisions), counts=counts, scores=scores)

    @classmethod
    def summarise(cls, draft: Draft, counts: Json) -> Json:
        """Quantiles from the grids, the yield, and which knob to turn when queries starve."""
        return summarised(draft.plan, counts)


def picked_rows(evidence: Evidence, decisions: Decisions) -> npt.NDArray[np.int64]:
    """The positives and the negatives, but none of a query that was dropped as a whole."""
    is_out = np.zeros(len(evidence.offsets) - 1, np.bool_)
    for doubt in DOUBTS:
        is_out[evidence.owner[decisions.reason == doubt]] = True
    is_picked = (decisions.verdict == Verdict.POSITIVE.value) | (decisions.verdict == Verdict.NEGATIVE.value)
    return np.flatnonzero(is_picked & ~is_out[evidence.owner])


def _ceilings(options: FilterOptions) -> list[str]:
    """What is compared with the positive or estimated, in words."""
    words = {
        "relative margin": options.relative_margin,
        "absolute margin": options.absolute_margin,
        "estimated probability at most": options.max_fn_probability,
    }
    return [f"{name} {value:g}" for name, value in words.items() if value is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """What was decided about a few queries: their rows, which of these were picked, counters, and the scores whose
    spread is told.
    """

    table: pa.Table
    picked: npt.NDArray[np.int64]
    counts: Json
    scores: dict[str, Floats]


def _words(tokens: Tokens, *, null: str | None = None) -> pa.Array:
    codes = pa.array(tokens.codes, mask=None if null is None else tokens == null)
    return pa.DictionaryArray.from_arrays(codes, pa.array(tokens.words, pa.string()))
