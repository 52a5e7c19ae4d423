"""How candidates are decided about: which scores compare and order them, what rules see, and which are picked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core import picks
from hnmine.core.decide import Decisions, decide
from hnmine.core.evidence import Evidence
from hnmine.core.fusion import reciprocal_rank_fusion
from hnmine.core.grouped import place_within
from hnmine.core.rules import LADDER, Rule, asks_for_truth, build, in_force
from hnmine.core.rules.guard import MaxFnProbability
from hnmine.core.rules.relevant import LABELS, CalledRelevant
from hnmine.core.until import Rung, Walk, require_consistent, split
from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.candidates import (
    ByName,
    CandidatesTable,
    ScoreInfo,
    Sources,
    floats,
    grades,
    has_answer,
    keyed_sample,
    query_offsets,
    ranks,
    similarities,
    whole_numbers,
)
from hnmine.files.collection import Collection, rows_in_order
from hnmine.files.judgments import Judgments
from hnmine.hashing import keyed_hashes
from hnmine.options import Existing, FilterOptions, Relabel, Short
from hnmine.schema import (
    CURATED_SOURCE,
    DOC_ID,
    EXISTING_SOURCE,
    FUSED,
    IMPORTED,
    IS_POSITIVE,
    NO_RETRIEVERS,
    OF_THE_DOUBTFUL,
    QUERY_ID,
    RANDOM_SOURCE,
    RELEVANCE,
    RERANKER,
    SOURCES,
    TEXT_KEY,
    Scale,
    centroid_rank_column,
    cluster_column,
    grade_column,
    rank_column,
    score_column,
)
from hnmine.spelling import did_you_mean
from hnmine.stages.filter_options import check
from hnmine.stages.ranking import default_rank_by
from hnmine.stages.rule_inputs import RuleColumns, dense_index, require_evidence
from hnmine.stages.stage import require_made_from
from hnmine.stages.until import partial_score, require_same_rules

BLOCK = 4_096
_LISTS = pa.list_(pa.string())
WHOLE = NO_RETRIEVERS - OF_THE_DOUBTFUL
"""Origins of scores that were searched by nobody, and that every row may have."""
CLUSTER, CENTROID_RANK, RANK = cluster_column(""), centroid_rank_column(""), rank_column("")


class Decider:
    """Decides about the candidates of a table by the rules of some options; writes nothing.

    `first_rules` are asked before those of the options. `like` decides about the same candidates by other options; its
    table, and what rules learned from it alone, are taken over. `adding` is a score that is still to be made:
    `score --until` asks what it needs (`walk`). Raises `UsageError` for options that the table has no evidence for.
    """

    def __init__(
        self,
        collection: Collection,
        candidates: Artefact,
        options: FilterOptions,
        *,
        first_rules: Sequence[Rule] = (),
        like: Decider | None = None,
        adding: ScoreInfo | None = None,
    ) -> None:
        check(options)
        require_made_from(collection.artefact, candidates)
        self.collection = collection
        self.table: CandidatesTable = like.table if like else CandidatesTable(candidates, adding=adding)
        self.options = options
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

    @property
    def wanted(self) -> int:
        """Negatives of a query, those of all epochs together."""
        return self.options.num_negatives * self.options.epochs

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

    def voices_heard(self) -> list[str]:
        """Who is heard about what is relevant, if anybody, as columns and `labels`; those that count most last."""
        if self.relabel is Relabel.OFF:
            return []
        names = [score_column(name) for name in self.rerankers]
        names += [grade_column(judge.name) for judge in self.table.judges]
        return [*names, *([LABELS] if self.labels else [])]

    def decide(self, table: pa.Table, evidence: Evidence, rules: Sequence[Rule]) -> Decisions:
        """Decide one block: by the given rules, then by the ladder, the pick and the counts of the options."""
        return decide(
            self._weighted(evidence),
            rules,
            self.relaxed,
            num_negatives=self.wanted,
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


def default_judge(table: CandidatesTable) -> ScoreInfo | None:
    """The score that rules compare when nobody says: the reranker's if every row has one that needs it, else the
    imported one if every row has it, else dense, else BM25.
    """
    for score in reversed(table.scores):  # rerankers' are behind an imported one
        if score.origin in WHOLE and (score.is_partial or not table.null_scores.get(score.name)):
            return score
    name = default_rank_by(table.scores)
    return table.score(name) if name else None
