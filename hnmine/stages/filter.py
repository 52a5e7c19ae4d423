"""`filter`: decide about every candidate, from the evidence alone, and say why."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core import picks
from hnmine.core.decide import NOT_SCORED, Decisions, decide
from hnmine.core.evidence import Evidence, Floats, anchor_scores
from hnmine.core.fusion import reciprocal_rank_fusion
from hnmine.core.grouped import place_within
from hnmine.core.guard import LEAST_QUERIES
from hnmine.core.rules import DOUBTS, LADDER, Rule, asks_for_truth, build, in_force
from hnmine.core.rules.guard import MaxFnProbability
from hnmine.core.rules.relevant import LABELS, NOBODY, CalledRelevant
from hnmine.core.spread import grid_counts, quantiles
from hnmine.core.tokens import Tokens
from hnmine.core.until import Rung, Walk, require_consistent, split
from hnmine.errors import UsageError
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json, sum_counts
from hnmine.files.candidates import (
    PICKED,
    ByName,
    CandidatesTable,
    ScoreInfo,
    Sources,
    as_written,
    floats,
    grades,
    has_answer,
    keyed_sample,
    nullable_floats,
    query_offsets,
    ranks,
    similarities,
    whole_numbers,
)
from hnmine.files.collection import Collection, rows_in_order
from hnmine.files.judgments import Judgments
from hnmine.files.tables import part_name, write_table, writing
from hnmine.hashing import keyed_hashes
from hnmine.options import Existing, FilterOptions, Relabel, Short, as_plain
from hnmine.schema import (
    CALLED_BY,
    CURATED_SOURCE,
    DOC_ID,
    EPOCH,
    EXISTING_SOURCE,
    FUSED,
    IMPORTED,
    IS_POSITIVE,
    NO_RETRIEVERS,
    OF_THE_DOUBTFUL,
    P_FALSE_NEGATIVE,
    PICK_RANK,
    PREVIOUS,
    QUERY_ID,
    RANDOM_SOURCE,
    REASON,
    RELEVANCE,
    RERANKER,
    SOURCES,
    STEP,
    TEXT_KEY,
    VERDICT,
    Kind,
    Scale,
    Verdict,
    centroid_rank_column,
    cluster_column,
    grade_column,
    rank_column,
    score_column,
    scored_column,
)
from hnmine.spelling import did_you_mean
from hnmine.stages.deepen import mined_with
from hnmine.stages.picked import columns_read
from hnmine.stages.ranking import default_rank_by
from hnmine.stages.round_changes import changes, summary
from hnmine.stages.rule_inputs import RuleColumns, check_rules, dense_index, require_evidence
from hnmine.stages.stage import Stage, block_size, cut, require_made_from
from hnmine.stages.until import partial_score, require_same_rules

BLOCK = 4_096
SHORT_SHOWN = 3
"""How many of the queries that got too few negatives the summary names."""
PIECE = 32_768
"""Rows decided at a time: their arrays stay in the processor's cache. What is decided does not depend on it."""
_LISTS = pa.list_(pa.string())
_WHOLE = NO_RETRIEVERS - OF_THE_DOUBTFUL
"""Origins of scores that were searched by nobody, and that every row may have."""
CLUSTER, CENTROID_RANK, RANK = cluster_column(""), centroid_rank_column(""), rank_column("")


class Filter(Stage):
    """Turns candidates into decisions.

    `first_rules` are asked before those of the options. `like` is a filter of the same candidates with other options,
    whose table, and what rules learned from it alone, are taken over. `adding` is a score that is still to be made:
    `score --until` asks what it needs (`walk`).
    """

    kind = Kind.DECISIONS
    label = "filter"
    unit = "queries"

    def __init__(
        self,
        collection: Collection,
        candidates: Artefact,
        options: FilterOptions,
        *,
        first_rules: Sequence[Rule] = (),
        like: Filter | None = None,
        adding: ScoreInfo | None = None,
    ) -> None:
        check(options)
        require_made_from(collection.artefact, candidates)
        self.collection = collection
        self.table: CandidatesTable = like.table if like else CandidatesTable(candidates, adding=adding)
        self.options = options
        self.block = block_size(BLOCK)
        self.judge = self._named(options.judge_by, "--judge-by") or default_judge(self.table)
        self.retrievers = [c.removeprefix(RANK) for c in self.table.column_names if c.startswith(RANK)]
        self.is_fused = options.rank_by == FUSED and self.table.score(FUSED) is None
        self.rank_by = self._rank_by()
        self.guide = self._named(options.guide, "--guide")
        self.partial = partial_score(self.judge, self.guide, self.rank_by)
        self._unheard = self._without_say()
        self.scale = self.judge.scale if self.judge else Scale.DOT
        self.pick = picks.build(
            options,
            rank_by=self.rank_by.name if self.rank_by else None,
            origins={score.name: score.origin for score in self.table.scores},
            clusters=[name.removeprefix(CLUSTER) for name in self.table.column_names if name.startswith(CLUSTER)],
        )
        self.labels: Judgments | None = like.labels if like else Judgments(options.labels) if options.labels else None
        self.relabel = options.relabel or (Relabel.DROP if self.table.judges else Relabel.OFF)
        self.rerankers = self._rerankers()
        self.first_rules = first_rules
        self.chosen = self.table.sample(options.limit, options.seed)
        self.fitted: dict[str, Json] = like.shareable() if like else {}
        if self.partial is not None and self.partial != adding:
            self.fitted = dict(self.partial.until["fitted"])  # of all queries that there were, whatever --limit says
        dense = dense_index(self.table, self.judge, self.rank_by)
        require_evidence(options, self.table, collection, dense=dense, rank_by=self.rank_by)
        self.columns = RuleColumns(collection, [])
        self.guard = MaxFnProbability(1.0)
        self._fit([self.guard])
        asked = None if self.relabel is Relabel.OFF else self.relabel
        named = replace(options, relabel=asked, guide=self.guide.name if self.guide else None)
        if collection.closed_world and not asks_for_truth(options):
            named = replace(named, no_margin=True)
        self.in_force = in_force(named, self.scale, estimated=self.guard.is_estimated)
        if self.partial is not None and self.partial != adding:
            require_same_rules(self, self.partial)
        rungs = [
            [*first_rules, *build(self.in_force, self.scale, shrink=shrink, dense=dense, rerankers=self.rerankers)]
            for shrink in (1.0, *(shrink for shrink, _ in LADDER))
        ]
        self.parted: list[Rung] = []
        if self.partial is not None:
            require_consistent(self.pick)
            judge_name = self.judge.name if self.judge else None
            self.parted = [split(rung, self.partial.name, judge=judge_name) for rung in rungs]
            rungs = [rung.rules for rung in self.parted]
        self.columns = RuleColumns(collection, rungs[0])
        self.rules, *relaxed = [self._fit(rung) for rung in rungs]
        self.voices = next((rule.voices for rule in self.rules if isinstance(rule, CalledRelevant)), None)
        self.relaxed = [(step, rules) for (_, step), rules in zip(LADDER, relaxed, strict=True)]

    def _rank_by(self) -> ScoreInfo | None:
        if not self.is_fused:
            name = default_rank_by(self.table.scores)
            return self._named(self.options.rank_by, "--rank-by") or (self.table.score(name) if name else None)
        if len(self.retrievers) < 2:
            raise UsageError(
                f"--rank-by {FUSED}: the candidates are of {', '.join(self.retrievers) or 'no retriever'}",
                expected="two or more retrievers, whose ranks are fused",
                remedy="mine with several --index or --run",
            )
        return ScoreInfo(name=FUSED, scale=Scale.DOT, origin="fusion")

    def _without_say(self) -> frozenset[str]:
        """The scores that have no part in the guard's estimate.

        Of those that not all rows have, for a reason, places among all rows mean nothing; those made after a score of
        `--until` that is in use were not known to the rules that ended it.
        """
        names = [score.name for score in self.table.scores]
        later = names[names.index(self.partial.name) + 1 :] if self.partial is not None else []
        return frozenset(later) | {s.name for s in self.table.scores if s.is_partial or self._is_of_few(s)}

    def _rerankers(self) -> dict[str, Scale]:
        """The rerankers that `--relabel` hears: those whose scores are probabilities, if no judge was asked.

        A score that `--until` made is not heard: the rows that it lacks were left out for other rules. Raises
        `UsageError` if `--relabel` was asked for and nobody is heard.
        """
        if self.options.relabel in (None, Relabel.OFF) or self.table.judges:
            return {}
        found: dict[str, Scale] = {
            score.name: score.scale
            for score in self.table.scores
            if score.origin == RERANKER and score.scale in (Scale.LOGIT, Scale.PROBABILITY) and not score.is_partial
        }
        if not found and self.labels is None:
            raise UsageError(
                f"--relabel {self.options.relabel}: nobody says which candidates are relevant",
                expected="grades of a judge, probabilities or logits of a reranker, or --labels",
                remedy="ask first: hnmine score CANDIDATES -o SCORED --reranker NAME --top 25 (without --until)",
            )
        return found

    def _named(self, name: str | None, flag: str) -> ScoreInfo | None:
        if name is None:
            return None
        found = self.table.score(name) or next((s for s in self.table.scores if s.origin == name), None)
        if found is None:
            known = [s.name for s in self.table.scores]
            kinds = list(dict.fromkeys(s.origin for s in self.table.scores))
            raise UsageError(
                f"{flag} {name}: the candidates have no such score" + did_you_mean(name, [*known, *kinds]),
                expected=f"one of {', '.join(known)}, or a kind of these: {', '.join(kinds)}" if known else "no score",
            )
        return found

    def _fit(self, rules: list[Rule]) -> list[Rule]:
        """The rules, those that need it fitted to the whole table; the same state serves every rung of the ladder."""
        for rule in rules:
            if rule.needs_fit:
                for rung in rule.before:
                    self._fit(list(rung))
                if rule.reason not in self.fitted:
                    blocks = self.blocks_of_evidence(rule.fit_queries, rule.fit_columns)
                    self.fitted[rule.reason] = rule.fit(evidence for _, evidence in blocks)
                rule.restore(self.fitted[rule.reason])
        return rules

    def shareable(self) -> dict[str, Json]:
        """The states of the rules that learned from the table alone, and not from what earlier rules left."""
        own = {rule.reason for rule in self.rules if rule.needs_fit and rule.before}
        return {reason: state for reason, state in self.fitted.items() if reason not in own}

    def blocks_of_evidence(
        self, limit: int | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[pa.Table, Evidence]]:
        """Every block of the table with its evidence, rows in rank-by order.

        Of a keyed sample of `limit` queries, and of the columns that begin with one of `columns`, if they are given;
        evidence of other columns says that nothing is known.
        """
        chosen = self.chosen[keyed_sample(self.table.query_ids.take(pa.array(self.chosen)), limit, 0)]
        named: list[str] | None = None
        if columns is not None:
            order = (QUERY_ID, DOC_ID, RANK) if self._is_reordered else ()
            labelled = (QUERY_ID, DOC_ID) if self.labels else ()
            sources = (SOURCES,) if self._has_special_sources else ()
            wanted = (RELEVANCE, IS_POSITIVE, *sources, *labelled, *columns, *order)
            named = [name for name in self.table.column_names if name.startswith(wanted)]
        for start in range(0, len(chosen), BLOCK):
            block = chosen[start : start + BLOCK]
            table, _ = self.in_order(self.table.read(block, named, coded=named is not None))
            yield table, self.evidence(table, block)

    @cached_property
    def _has_special_sources(self) -> bool:
        """Whether rows may have come from a source that `Evidence` tells apart, as far as the table's counts say."""
        counts = self.table.artefact.counts
        names = counts.get("brought") if "deepened" not in counts else None
        return names is None or not {RANDOM_SOURCE, CURATED_SOURCE, EXISTING_SOURCE}.isdisjoint(names)

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

    def voices_heard(self) -> list[str]:
        """Who is heard about what is relevant, if anybody, as columns and `labels`; those that count most last."""
        if self.relabel is Relabel.OFF:
            return []
        names = [score_column(name) for name in self.rerankers]
        names += [grade_column(judge.name) for judge in self.table.judges]
        return [*names, *([LABELS] if self.labels else [])]

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
            if score.origin in _WHOLE and missing and score not in (self.judge, self.guide):
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
        total["short_queries"] = _shortest(total.get("short_queries", {}))
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
            **self._count(evidence, decisions),
            "null_scores": null_scores,
            "estimates": _estimates(p_false_negative[negative & self.guard.is_estimated]),
            "short_queries": self._short_queries(table[QUERY_ID], evidence, negative),
        }
        if PREVIOUS in table.column_names:
            counts[PREVIOUS], scores["gap before"] = changes(table, evidence, decisions, gap, p_false_negative)
        decided = as_written(decided)
        return _Decided(table=decided, picked=picked_rows(evidence, decisions), counts=counts, scores=scores)

    def decide(self, table: pa.Table, evidence: Evidence, rules: Sequence[Rule]) -> Decisions:
        """Decide one block: by the given rules, then by the ladder, the pick and the counts of the options."""
        return decide(
            self._weighted(evidence),
            rules,
            self.relaxed,
            num_negatives=self.options.num_negatives * self.options.epochs,
            pick=self.pick,
            short=self.options.short,
            draw=self._draw(table),
            relabel=self.relabel is Relabel.POSITIVE,
        )

    def _weighted(self, evidence: Evidence) -> Evidence:
        """With the weights of the draws, if `--fn-weight` asks for them."""
        if not self.options.fn_weight:
            return evidence
        return replace(evidence, trust=1.0 - self.guard.probability(evidence))

    @property
    def _is_reordered(self) -> bool:
        """Whether rows must stand otherwise than in the candidates."""
        return self.rank_by is not None and self.rank_by.name != self.table.artefact.plan["rank_by"]

    def walk(self, partial: ScoreInfo, table: pa.Table, evidence: Evidence) -> Walk:
        """What of the partial score the choice needs in a block of queries."""
        steps = ("", *(step for _, step in LADDER))
        return Walk(
            self._weighted(evidence),
            partial.name,
            list(zip(steps, self.parted, strict=True)),
            is_judge=self.judge is not None and partial.name == self.judge.name,
            enough=int(partial.until["enough"]),
            pick=self.pick,
            short=self.options.short,
            draw=self._draw(table),
        )

    def in_order(self, table: pa.Table) -> tuple[pa.Table, npt.NDArray[np.int64]]:
        """Rows by (query, rank-by score descending, doc_id), and which row of `table` each is.

        That is the table's own order unless --rank-by changed. A fused order comes with its ranks, in a column of its
        own.
        """
        if not self._is_reordered:
            return table, np.arange(table.num_rows)
        offsets = query_offsets(table[QUERY_ID])
        owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        if self.is_fused:
            values = reciprocal_rank_fusion((ranks(table, name) for name in self.retrievers), table.num_rows)
        else:
            values = floats(table, self.rank_by.name if self.rank_by else "")
        by_id = pc.rank(table[DOC_ID], tiebreaker="dense").to_numpy()
        order = np.lexsort((by_id, -np.where(np.isfinite(values), values, -np.inf), owner))
        ordered = table.take(pa.array(order))
        if not self.is_fused:
            return ordered, order
        place = place_within(owner, values[order] > 0) + 1
        return ordered.append_column(rank_column(FUSED), pa.array(place, pa.int32(), mask=place == 0)), order

    @cached_property
    def _query_rows(self) -> npt.NDArray[np.int64]:
        """The collection's row of each query of the table."""
        return rows_in_order(self.collection.query_ids, self.table.query_ids)

    def evidence(self, table: pa.Table, queries: npt.NDArray[np.int64]) -> Evidence:
        """What rules and picks see of the rows of the queries at the given positions, in order."""
        offsets = self.table.offsets(queries)
        rows = self._query_rows[queries]
        size = table.num_rows
        relevance = table[RELEVANCE]
        is_judged = np.asarray(relevance.is_valid().to_numpy(), np.bool_)
        grade = relevance.fill_null(0).to_numpy()
        labels = None
        if self.labels is not None:
            is_labelled, label = self.labels.look_up(table[QUERY_ID], table[DOC_ID])
            is_judged, grade = is_judged | is_labelled, np.where(is_labelled, label, grade)
            labels = np.where(is_labelled, np.maximum(label, 0), -1)
        is_positive = np.asarray(table[IS_POSITIVE].to_numpy(zero_copy_only=False), np.bool_)
        named = table.column_names
        sources = Sources(table[SOURCES] if SOURCES in named else pa.chunked_array([pa.nulls(size, _LISTS)]))
        existing = sources.name(EXISTING_SOURCE)
        scores = {s.name: floats(table, s.name) for s in self.table.scores if score_column(s.name) in named}
        return Evidence(
            offsets=offsets,
            judge=scores[self.judge.name] if self.judge else np.full(size, np.nan),
            rank=self._ranks(table, offsets),
            is_positive=is_positive,
            is_judged=is_judged,
            is_low_grade=is_judged & ~is_positive & (grade > 0),
            text_key=table[TEXT_KEY].to_numpy() if TEXT_KEY in named else np.zeros(size, np.uint64),
            query_key=self.collection.query_text_keys[rows],
            is_random=sources.are(RANDOM_SOURCE),
            is_curated=sources.name(CURATED_SOURCE) | (existing & (self.options.existing is Existing.KEEP)),
            is_existing=existing,
            scores=scores,
            ranks=ByName(self.retrievers, lambda name: ranks(table, name)),
            sim_positive=similarities(table, "sim_positive_"),
            sim_better=similarities(table, "sim_better_"),
            clusters=whole_numbers(table, CLUSTER),
            centroid_ranks=whole_numbers(table, CENTROID_RANK),
            has_answer=has_answer(table),
            partial=self._unheard,
            grades=self._grades(table),
            labels=labels,
            columns=self.columns.of(table, rows, offsets),
        )

    def _ranks(self, table: pa.Table, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Each row's rank under the rank-by score: where nobody searched by it, its place among those that have it."""
        name = self.rank_by.name if self.rank_by else ""
        if rank_column(name) in table.column_names or score_column(name) not in table.column_names:
            return ranks(table, name)
        owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        return place_within(owner, np.isfinite(floats(table, name))) + 1

    def _grades(self, table: pa.Table) -> dict[str, npt.NDArray[np.int64]]:
        """Each judge's grades, unless nobody is to be heard. What is learned from the table is learned without them."""
        judges = [] if self.relabel is Relabel.OFF else self.table.judges
        named = table.column_names
        return {judge.name: grades(table, [judge]) for judge in judges if grade_column(judge.name) in named}

    def _is_of_few(self, score: ScoreInfo) -> bool:
        """Whether a file gave it to its own rows alone, or a judge to the doubtful: that says nothing of the others."""
        is_of_own = score.origin == IMPORTED and self.table.null_scores.get(score.name, 0) > 0
        return is_of_own or score.origin in OF_THE_DOUBTFUL

    def _draw(self, table: pa.Table) -> npt.NDArray[np.uint64]:
        """A keyed random number a row, when something is chosen at random."""
        if not self.pick.is_random and self.options.short is not Short.RANDOM:
            return np.zeros(table.num_rows, np.uint64)
        offsets = query_offsets(table[QUERY_ID])
        queries = table[QUERY_ID].take(pa.array(offsets[:-1])).to_pylist()
        documents = table[DOC_ID].to_pylist()
        drawn: list[int] = []
        for query, (start, stop) in zip(queries, itertools.pairwise(offsets.tolist()), strict=True):
            drawn += keyed_hashes(self.options.seed, "pick", query, last=documents[start:stop])
        return np.array(drawn, np.uint64)

    def _count(self, evidence: Evidence, decisions: Decisions) -> Json:
        owner = evidence.owner
        queries = len(evidence.offsets) - 1
        negative = decisions.verdict == Verdict.NEGATIVE.value
        per_query = np.bincount(owner[negative], minlength=queries)
        short = per_query < self.options.num_negatives * self.options.epochs
        dropped = decisions.verdict == Verdict.DROPPED.value
        return {
            "queries": queries,
            "candidates": len(owner),
            "verdicts": decisions.verdict.counts(),
            "reasons": decisions.reason.counts(),
            "spared": dict(decisions.spared),
            **self._count_called(evidence),
            "steps": decisions.step.counts(negative),
            "negatives_per_query": {str(n): int(c) for n, c in enumerate(np.bincount(per_query)) if c},
            "queries_short": int(short.sum()),
            "reasons_of_short_queries": decisions.reason.counts(dropped & short[owner]),
        }

    def _short_queries(self, ids: pa.ChunkedArray, evidence: Evidence, negative: npt.NDArray[np.bool_]) -> Json:
        """How many negatives a few of the queries with too few have got, by id."""
        got = np.bincount(evidence.owner[negative], minlength=len(evidence.offsets) - 1)
        fewest = np.argsort(got, kind="stable")[:SHORT_SHOWN]
        short = fewest[got[fewest] < self.options.num_negatives * self.options.epochs]
        names = ids.take(pa.array(evidence.offsets[short])).to_pylist()
        return dict(zip(names, got[short].tolist(), strict=True))

    def _count_called(self, evidence: Evidence) -> Json:
        if self.voices is None:
            return {}
        called = self.voices.called(evidence)
        return {"called_relevant": called.counts(called != NOBODY)}

    @classmethod
    def summarise(cls, draft: Draft, counts: Json) -> Json:
        """Quantiles from the grids, the yield, and which knob to turn when queries starve."""
        judge = next((s for s in draft.plan["scores"] if s["name"] == draft.plan["judge_by"]), None)
        scale = Scale(judge["scale"]) if judge else Scale.DOT
        grids = counts.pop("grids", {})
        counts["judge_scores"] = {name: quantiles(grid, scale) for name, grid in grids.items()}
        wanted = draft.plan["options"]["num_negatives"] * draft.plan["options"]["epochs"] * counts["queries"]
        counts["yield"] = round(counts["verdicts"].get(Verdict.NEGATIVE.value, 0) / wanted, 4) if wanted else 0.0
        counts["short_queries"] = _shortest(counts.get("short_queries", {}))
        estimates = counts.pop("estimates", {})
        if estimates.get("rows"):
            counts["estimated_false_negative_rate"] = round(estimates["millionths"] / estimates["rows"] / 1e6, 4)
        counts["negatives_per_query"] = dict(sorted(counts["negatives_per_query"].items(), key=lambda i: int(i[0])))
        if PREVIOUS in counts:
            counts[PREVIOUS] = summary(counts[PREVIOUS])
        counts["advice"] = advice(counts)
        return counts


def picked_rows(evidence: Evidence, decisions: Decisions) -> npt.NDArray[np.int64]:
    """The positives and the negatives, but none of a query that was dropped as a whole."""
    is_out = np.zeros(len(evidence.offsets) - 1, np.bool_)
    for doubt in DOUBTS:
        is_out[evidence.owner[decisions.reason == doubt]] = True
    is_picked = (decisions.verdict == Verdict.POSITIVE.value) | (decisions.verdict == Verdict.NEGATIVE.value)
    return np.flatnonzero(is_picked & ~is_out[evidence.owner])


def _shortest(short: Json) -> Json:
    """The few of the queries that got the fewest negatives, by id."""
    return dict(sorted(short.items(), key=lambda item: item[1])[:SHORT_SHOWN])


def _estimates(probability: Floats) -> Json:
    """How many rows have an estimate, and their sum in whole millionths: numbers whose sum has no order."""
    known = probability[np.isfinite(probability)]
    return {"rows": len(known), "millionths": int(np.rint(known * 1e6).sum())}


def _ceilings(options: FilterOptions) -> list[str]:
    """What is compared with the positive or estimated, in words."""
    words = {
        "relative margin": options.relative_margin,
        "absolute margin": options.absolute_margin,
        "estimated probability at most": options.max_fn_probability,
    }
    return [f"{name} {value:g}" for name, value in words.items() if value is not None]


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


def check(options: FilterOptions) -> None:
    """Raise `UsageError` with every option that contradicts itself or another."""
    problems = []
    if options.num_negatives < 1:
        problems.append(f"--num-negatives {options.num_negatives}: at least 1")
    if options.skip_top < 0:
        problems.append(f"--skip-top {options.skip_top}: at least 0")
    if options.max_rank is not None and options.max_rank <= options.skip_top:
        problems.append(f"--max-rank {options.max_rank}: must be above --skip-top {options.skip_top}, and at least 1")
    problems += _check_pick(options)
    for flag, margin in (
        ("--relative-margin", options.relative_margin),
        ("--absolute-margin", options.absolute_margin),
    ):
        if margin is not None and options.no_margin:
            problems.append(f"{flag} and --no-margin contradict each other")
        if margin is not None and not np.isfinite(margin):
            problems.append(f"{flag} {margin}: not a finite number")
    for flag, limit in (("--max-score", options.max_score), ("--min-score", options.min_score)):
        if limit is not None and np.isnan(limit):
            problems.append(f"{flag} {limit}: not a number")
    if options.max_fn_probability is not None and not 0 <= options.max_fn_probability <= 1:
        problems.append(f"--max-fn-probability {options.max_fn_probability}: between 0 and 1")
    if options.min_score is not None and options.max_score is not None and options.min_score > options.max_score:
        problems.append(f"--min-score {options.min_score} is above --max-score {options.max_score}")
    if not 0 <= options.relabel_above < 1:
        problems.append(f"--relabel-above {options.relabel_above}: a probability below 1, such as 0.9")
    if options.max_fn_per_query < 0:
        problems.append(f"--max-fn-per-query {options.max_fn_per_query}: at least 0")
    problems += check_rules(options)
    if problems:
        raise UsageError("\n".join(problems))


def _check_pick(options: FilterOptions) -> list[str]:
    problems = []
    for flag, count in (("--epochs", options.epochs), ("--pick-pool", options.pick_pool)):
        if count is not None and count < 1:
            problems.append(f"{flag} {count}: at least 1")
    for flag, width in (("--temperature", options.temperature), ("--simans-width", options.simans_width)):
        if width is not None and not (np.isfinite(width) and width > 0):
            problems.append(f"{flag} {width}: not a number above 0")
    if not np.isfinite(options.simans_offset):
        problems.append(f"--simans-offset {options.simans_offset}: not a finite number")
    if options.quota is not None:
        try:
            asked = sum(picks.parse_quota(options.quota).values())
        except UsageError as error:
            return [*problems, error.render()]
        if asked > options.num_negatives:
            problems.append(f"--quota {options.quota} makes {asked}, more than --num-negatives {options.num_negatives}")
    return problems


def default_judge(table: CandidatesTable) -> ScoreInfo | None:
    """The score that rules compare when nobody says: the reranker's if every row has one that needs it, else the
    imported one if every row has it, else dense, else BM25.
    """
    for score in reversed(table.scores):  # rerankers' are behind an imported one
        if score.origin in _WHOLE and (score.is_partial or not table.null_scores.get(score.name)):
            return score
    name = default_rank_by(table.scores)
    return table.score(name) if name else None


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
