"""`filter`: decide about every candidate, from the evidence alone, and say why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core import picks
from hnmine.core.decide import Decisions, decide
from hnmine.core.evidence import Evidence, anchor_scores
from hnmine.core.rules import LADDER, Rule, build, default_margins
from hnmine.core.rules.guard import MaxFnProbability
from hnmine.core.spread import grid_counts, quantiles
from hnmine.errors import UsageError
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json
from hnmine.files.candidates import (
    CandidatesTable,
    ScoreInfo,
    floats,
    has_answer,
    keyed_sample,
    names_of,
    nullable_floats,
    query_offsets,
    ranks,
    similarities,
    whole_numbers,
)
from hnmine.files.collection import Collection, rows_of
from hnmine.files.tables import part_name, write_table
from hnmine.hashing import keyed_hash
from hnmine.options import Existing, FilterOptions, Short, as_plain, nearest
from hnmine.schema import (
    CURATED_SOURCE,
    DOC_ID,
    EPOCH,
    EXISTING_SOURCE,
    IS_POSITIVE,
    P_FALSE_NEGATIVE,
    PICK_RANK,
    QUERY_ID,
    RANDOM_SOURCE,
    REASON,
    RELEVANCE,
    SOURCES,
    STEP,
    TEXT_KEY,
    VERDICT,
    Kind,
    Scale,
    Verdict,
    centroid_rank_column,
    cluster_column,
)
from hnmine.stages.mine import default_rank_by
from hnmine.stages.rule_inputs import RuleColumns, check_rules, dense_index, require_evidence
from hnmine.stages.stage import Stage, block_size, cut, require_made_from

BLOCK = 4_096
CLUSTER, CENTROID_RANK = cluster_column(""), centroid_rank_column("")


class Filter(Stage):
    """Turns candidates into decisions.

    `first_rules` are asked before those of the options. `like` is a filter of the same candidates with other options,
    whose table, and what rules learned from it alone, are taken over.
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
    ) -> None:
        check(options)
        require_made_from(collection.artefact, candidates)
        self.collection = collection
        self.table: CandidatesTable = like.table if like else CandidatesTable(candidates)
        self.options = options
        self.block = block_size(BLOCK)
        self.judge = self._named(options.judge_by, "--judge-by") or default_judge(self.table)
        rank_by = self._named(options.rank_by, "--rank-by")
        if rank_by is None:
            name = default_rank_by(self.table.scores)
            rank_by = self.table.score(name) if name else None
        self.rank_by = rank_by
        self.scale = self.judge.scale if self.judge else Scale.DOT
        self.pick = picks.build(
            options,
            rank_by=rank_by.name if rank_by else None,
            origins={score.name: score.origin for score in self.table.scores},
            clusters=[name.removeprefix(CLUSTER) for name in self.table.column_names if name.startswith(CLUSTER)],
        )
        self.first_rules = first_rules
        self.chosen = self.table.sample(options.limit, options.seed)
        self.fitted: dict[str, Json] = like.shareable() if like else {}
        dense = dense_index(self.table, self.judge, self.rank_by)
        self._named(options.guide, "--guide")
        require_evidence(options, self.table, collection, dense=dense, rank_by=rank_by)
        rungs = [
            [*first_rules, *build(options, self.scale, shrink=shrink, dense=dense)]
            for shrink in (1.0, *(shrink for shrink, _ in LADDER))
        ]
        self.columns = RuleColumns(collection, rungs[0])
        self.rules, *relaxed = [self._fit(rung) for rung in rungs]
        self.relaxed = [(step, rules) for (_, step), rules in zip(LADDER, relaxed, strict=True)]
        self.guard = MaxFnProbability(1.0)
        self._fit([self.guard])

    def _named(self, name: str | None, flag: str) -> ScoreInfo | None:
        if name is None:
            return None
        found = self.table.score(name) or next((s for s in self.table.scores if s.origin == name), None)
        if found is None:
            known = [s.name for s in self.table.scores]
            guess = nearest(name, known)
            raise UsageError(
                f"{flag} {name}: the candidates have no such score" + (f"; did you mean {guess}?" if guess else ""),
                expected=f"one of {', '.join(known) or '(there are none)'}, or a kind: bm25, dense, run, reranker",
            )
        return found

    def _fit(self, rules: list[Rule]) -> list[Rule]:
        """The rules, those that need it fitted to the whole table; the same state serves every rung of the ladder."""
        for rule in rules:
            if rule.needs_fit:
                for rung in rule.before:
                    self._fit(list(rung))
                if rule.reason not in self.fitted:
                    self.fitted[rule.reason] = rule.fit(self._blocks_of_evidence(rule.fit_queries))
                rule.restore(self.fitted[rule.reason])
        return rules

    def shareable(self) -> dict[str, Json]:
        """The states of the rules that learned from the table alone, and not from what earlier rules left."""
        own = {rule.reason for rule in self.rules if rule.needs_fit and rule.before}
        return {reason: state for reason, state in self.fitted.items() if reason not in own}

    def blocks_of_evidence(self, limit: int | None = None) -> Iterator[tuple[pa.Table, Evidence]]:
        """Every block of the table with its evidence, rows in rank-by order; of a keyed sample of `limit` queries."""
        ids = [self.table.query_ids[i] for i in self.chosen.tolist()]
        chosen = self.chosen[keyed_sample(ids, limit, 0)]
        for start in range(0, len(chosen), BLOCK):
            table = self._in_order(self.table.read(chosen[start : start + BLOCK]))
            yield table, self._evidence(table)

    def _blocks_of_evidence(self, limit: int | None) -> Iterator[Evidence]:
        return (evidence for _, evidence in self.blocks_of_evidence(limit))

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection and the candidates."""
        return {"collection": self.collection.artefact, "candidates": self.table.artefact}

    def parameters(self) -> Json:
        """The rules in force, which score they compare, and how negatives are picked."""
        relative, absolute = default_margins(self.options, self.scale)
        return {
            "options": as_plain(self.options),
            "scores": [s.to_plan() for s in self.table.scores],
            "judge_by": self.judge.name if self.judge else None,
            "rank_by": self.rank_by.name if self.rank_by else None,
            "margins": {"relative": relative, "absolute": absolute},
            "rules": [rule.reason for rule in self.rules],
            "pick": self.pick.settings(),
            **({"fitted": self.fitted} if self.fitted else {}),
            **({"first_rules": [vars(rule) for rule in self.first_rules]} if self.first_rules else {}),
            "block": self.block,
        }

    def blocks(self) -> Sequence[Block]:
        """Blocks of 4,096 queries."""
        return cut(len(self.chosen), self.block, "decisions")

    def sizes(self) -> Json:
        """Queries and rows to decide."""
        return {"queries": len(self.chosen), "candidates": self.table.size(self.chosen)}

    def notes(self) -> Json:
        """Which score decides, which one orders, by what margin; and why a reranker is passed over."""
        relative, absolute = default_margins(self.options, self.scale)
        margins = [f"{kind} {m:g}" for kind, m in (("relative", relative), ("absolute", absolute)) if m is not None]
        asked = self.options.no_margin or (self.options.relative_margin, self.options.absolute_margin) != (None, None)
        notes: Json = {
            "judged by": f"{self.judge.name} ({self.judge.scale})" if self.judge else "nothing: there are no scores",
            "ranked by": self.rank_by.name if self.rank_by else "nothing: there are no ranks",
            "margin": (" and ".join(margins) or "none") + ("" if asked else f" (the default for {self.scale} scores)"),
        }
        for score in self.table.scores:
            missing = self.table.null_scores.get(score.name, 0)
            if score.origin == "reranker" and missing and score != self.judge:
                notes[f"not judged by {score.name}"] = (
                    f"{missing:,} rows have no such score (--judge-by {score.name} judges by it, and drops those rows)"
                )
        return notes

    def work(self, block: Block, draft: Draft) -> None:
        """Decide one block of queries."""
        start = block.index * self.block
        table = self._in_order(self.table.read(self.chosen[start : start + block.size]))
        evidence = self._evidence(table)
        decisions = self.decide(table, evidence, self.rules)
        negative = decisions.verdict == Verdict.NEGATIVE.value
        epoch = (decisions.pick_rank - 1) % self.options.epochs + 1
        decided = (
            table.append_column(VERDICT, pa.array(decisions.verdict, pa.string()))
            .append_column(REASON, pa.array(decisions.reason, pa.string()))
            .append_column(PICK_RANK, pa.array(decisions.pick_rank, pa.int32(), mask=decisions.pick_rank == 0))
            .append_column(EPOCH, pa.array(epoch, pa.int32(), mask=~negative))
            .append_column(STEP, pa.array(decisions.step, pa.string()))
            .append_column(P_FALSE_NEGATIVE, nullable_floats(self.guard.probability(evidence)))
        )
        name = part_name(block.index)
        counts = self._count(evidence, decisions)
        counts["null_scores"] = {s.name: int(np.isnan(floats(table, s.name)).sum()) for s in self.table.scores}
        draft.commit(block.name, {name: write_table(draft.path / name, decided)}, counts)

    def decide(self, table: pa.Table, evidence: Evidence, rules: Sequence[Rule]) -> Decisions:
        """Decide one block: by the given rules, then by the ladder, the pick and the counts of the options."""
        return decide(
            evidence,
            rules,
            self.relaxed,
            num_negatives=self.options.num_negatives * self.options.epochs,
            pick=self.pick,
            short=self.options.short,
            draw=self._draw(table),
        )

    def _in_order(self, table: pa.Table) -> pa.Table:
        """Rows by (query, rank-by score descending, doc_id): the table's own order unless --rank-by changed."""
        if self.rank_by is None or self.rank_by.name == self.table.artefact.plan["rank_by"]:
            return table
        offsets = query_offsets(table[QUERY_ID])
        owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        values = floats(table, self.rank_by.name)
        by_id = pc.rank(table[DOC_ID], tiebreaker="dense").to_numpy()
        order = np.lexsort((by_id, -np.where(np.isfinite(values), values, -np.inf), owner))
        return table.take(pa.array(order))

    def _evidence(self, table: pa.Table) -> Evidence:
        offsets = query_offsets(table[QUERY_ID])
        rows = rows_of(self.collection.query_ids, table[QUERY_ID].take(pa.array(offsets[:-1])))
        relevance = table[RELEVANCE]
        is_judged = np.asarray(relevance.is_valid().to_numpy(), np.bool_)
        grade = relevance.fill_null(0).to_numpy()
        is_positive = np.asarray(table[IS_POSITIVE].to_numpy(zero_copy_only=False), np.bool_)
        lengths = pc.list_value_length(table[SOURCES]).to_numpy()
        size = len(is_positive)
        existing = _has_source(table, EXISTING_SOURCE)
        return Evidence(
            offsets=offsets,
            judge=floats(table, self.judge.name) if self.judge else np.full(size, np.nan),
            rank=ranks(table, self.rank_by.name) if self.rank_by else np.zeros(size, np.int64),
            is_positive=is_positive,
            is_judged=is_judged,
            is_low_grade=is_judged & ~is_positive & (grade > 0),
            text_key=table[TEXT_KEY].to_numpy(),
            query_key=self.collection.query_text_keys[rows],
            is_random=_has_source(table, RANDOM_SOURCE) & (lengths == 1),
            is_curated=_has_source(table, CURATED_SOURCE) | (existing & (self.options.existing is Existing.KEEP)),
            is_existing=existing,
            scores={s.name: floats(table, s.name) for s in self.table.scores},
            ranks={name: ranks(table, name) for name in names_of(table, "rank_")},
            sim_positive=similarities(table, "sim_positive_"),
            sim_better=similarities(table, "sim_better_"),
            clusters=whole_numbers(table, CLUSTER),
            centroid_ranks=whole_numbers(table, CENTROID_RANK),
            has_answer=has_answer(table),
            columns=self.columns.of(table, rows, offsets),
        )

    def _draw(self, table: pa.Table) -> npt.NDArray[np.uint64]:
        """A keyed random number a row, when something is chosen at random."""
        if not self.pick.is_random and self.options.short is not Short.RANDOM:
            return np.zeros(table.num_rows, np.uint64)
        pairs = zip(table[QUERY_ID].to_pylist(), table[DOC_ID].to_pylist(), strict=True)
        return np.fromiter((keyed_hash(self.options.seed, "pick", q, d) for q, d in pairs), np.uint64, table.num_rows)

    def _count(self, evidence: Evidence, decisions: Decisions) -> Json:
        owner = evidence.owner
        queries = len(evidence.offsets) - 1
        negative = decisions.verdict == Verdict.NEGATIVE.value
        positive = evidence.is_positive
        per_query = np.bincount(owner[negative], minlength=queries)
        short = per_query < self.options.num_negatives * self.options.epochs
        gaps = anchor_scores(evidence, self.options.anchor)[owner] - evidence.judge
        dropped = decisions.verdict == Verdict.DROPPED.value
        return {
            "queries": queries,
            "candidates": len(owner),
            "verdicts": dict(Counter(decisions.verdict.tolist())),
            "reasons": dict(Counter(decisions.reason.tolist())),
            "steps": dict(Counter(decisions.step[negative].tolist())),
            "negatives_per_query": {str(n): int(c) for n, c in enumerate(np.bincount(per_query)) if c},
            "queries_short": int(short.sum()),
            "reasons_of_short_queries": dict(Counter(decisions.reason[dropped & short[owner]].tolist())),
            "grids": {
                "positives": grid_counts(evidence.judge[positive], self.scale),
                "negatives": grid_counts(evidence.judge[negative], self.scale),
                "gap": grid_counts(gaps[negative], self.scale),
            },
        }

    @classmethod
    def summarise(cls, draft: Draft, counts: Json) -> Json:
        """Quantiles from the grids, the yield, and which knob to turn when queries starve."""
        judge = next((s for s in draft.plan["scores"] if s["name"] == draft.plan["judge_by"]), None)
        scale = Scale(judge["scale"]) if judge else Scale.DOT
        grids = counts.pop("grids", {})
        counts["judge_scores"] = {name: quantiles(grid, scale) for name, grid in grids.items()}
        wanted = draft.plan["options"]["num_negatives"] * draft.plan["options"]["epochs"] * counts["queries"]
        counts["yield"] = round(counts["verdicts"].get(Verdict.NEGATIVE.value, 0) / wanted, 4) if wanted else 0.0
        counts["negatives_per_query"] = dict(sorted(counts["negatives_per_query"].items(), key=lambda i: int(i[0])))
        counts["advice"] = advice(counts)
        return counts


def advice(counts: Json) -> str:
    """Which knob to turn when queries starve; empty when none do."""
    if not counts["queries_short"]:
        return ""
    knobs = _knobs()
    blamed = {r: c for r, c in counts["reasons_of_short_queries"].items() if r in knobs}
    if not blamed:
        return "mine deeper (--deepen-from these decisions): the short queries have too few candidates"
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
    if options.max_fn_probability is not None and not 0 <= options.max_fn_probability <= 1:
        problems.append(f"--max-fn-probability {options.max_fn_probability}: between 0 and 1")
    if options.min_score is not None and options.max_score is not None and options.min_score > options.max_score:
        problems.append(f"--min-score {options.min_score} is above --max-score {options.max_score}")
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
    """The score that rules compare when nobody says: the reranker's if every row has one, else dense, else BM25."""
    for score in reversed(table.scores):
        if score.origin == "reranker" and not table.null_scores.get(score.name):
            return score
    name = default_rank_by(table.scores)
    return table.score(name) if name else None


def _has_source(table: pa.Table, source: str) -> npt.NDArray[np.bool_]:
    """Which rows name `source` among their sources."""
    column = table[SOURCES].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.list_(pa.string()))
    parents = pc.list_parent_indices(column).to_numpy()
    hits = pc.equal(column.flatten(), source).to_numpy(zero_copy_only=False)
    found = np.zeros(len(column), np.bool_)
    found[parents[np.asarray(hits, np.bool_)]] = True
    return found
