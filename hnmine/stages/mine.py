"""`mine`: bring candidates from every source and write down all the evidence about them.

One row per (query, document): what each retriever ranked and scored, what the qrels say, how close it is to the known
positives, who brought it. Every index scores every row with its pair kernel, also the rows that another source found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.answers import contains, normalised, parse_answers, patterns
from hnmine.core.neighbourhood import NEAREST, Members
from hnmine.core.pool import Pairs, Pool, best_first, draw_documents, ranks_of, unite
from hnmine.engines.arithmetic import numpy_facts
from hnmine.engines.retriever import Queries, Ragged, Retriever, Rows
from hnmine.errors import UsageError
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json
from hnmine.files.cache import default_cache
from hnmine.files.candidates import ScoreInfo, as_written, keyed_sample, nullable_floats
from hnmine.files.collection import Collection, Qrels
from hnmine.files.remote import as_path
from hnmine.files.tables import part_name, write_table
from hnmine.hashing import digest_json, keyed_hash
from hnmine.options import MineOptions, as_plain
from hnmine.schema import (
    ANSWERS,
    CURATED_SOURCE,
    DOC_ID,
    EXISTING_SOURCE,
    HAS_ANSWER,
    IMPORTED,
    IS_POSITIVE,
    NEAR_SOURCE,
    PREVIOUS,
    PREVIOUS_SOURCE,
    QUERY_ID,
    RANDOM_SOURCE,
    RELEVANCE,
    SOURCES,
    TEXT_KEY,
    Kind,
    Scale,
    centroid_rank_column,
    cluster_column,
    rank_column,
    score_column,
    sim_better_column,
    sim_positive_column,
)
from hnmine.stages.append import Earlier
from hnmine.stages.deepen import Deepening, settings
from hnmine.stages.exclusions import draw_space, find_exclusions
from hnmine.stages.indexes import (
    BLOCK,
    JUDGED,
    LATE_BLOCK,
    ORIGINS,
    SCALES,
    TOP_K,
    NamedIndex,
    check_names,
    open_index,
    queries_with_positives,
)
from hnmine.stages.known_hits import KnownHits
from hnmine.stages.mined_from import documents_digest, index_digest, queries_digest
from hnmine.stages.places import open_artefact
from hnmine.stages.prefilter import Allowed, Prefilter
from hnmine.stages.previous import Previous
from hnmine.stages.ranking import default_rank_by
from hnmine.stages.runs import RunSource, read_runs
from hnmine.stages.search import Hits
from hnmine.stages.searching import recall_of
from hnmine.stages.stage import Stage, block_size, cut, require_made_from

_ANSWER_ROWS = 8_192
"""Pairs whose texts are in memory at a time when answers are looked for."""


class Mine(Stage):
    """Mines candidates for the queries that have a positive."""

    kind = Kind.CANDIDATES
    label = "mine"
    unit = "queries"

    def __init__(
        self,
        collection: Collection,
        indexes: Sequence[NamedIndex],
        options: MineOptions,
        hits: Artefact | None = None,
        *,
        cache: Path | None = None,
    ) -> None:
        self.collection = collection
        self.options = options
        self.indexes = list(indexes)
        is_slow = any(index.artefact.kind is Kind.LATE_INDEX for index in self.indexes)
        self.block = block_size(LATE_BLOCK if is_slow else BLOCK)
        if options.top_k is not None and options.top_k < 0:
            raise UsageError(f"--top-k {options.top_k}: at least 0, which searches nothing")
        if options.random < 0:
            raise UsageError(f"--random {options.random}: at least 0")
        if options.random_near < 0:
            raise UsageError(f"--random-near {options.random_near}: at least 0")
        if options.clusters < 0:
            raise UsageError(f"--clusters {options.clusters}: at least 0")
        if options.random_near and not (options.clusters and self._clustered is not None):
            raise UsageError(
                f"--random-near {options.random_near} draws from clusters of a dense index",
                expected="--clusters N (LEMON takes 15 for 41,000 entities) and a dense index",
            )
        self.runs: list[RunSource] = read_runs(options.run, collection, cache or default_cache())
        names = [index.name for index in self.indexes] + [run.name for run in self.runs]
        if not names and not options.random and options.top_k != 0 and options.previous is None:
            raise UsageError(
                "nothing to mine from",
                expected="at least one --index, --run or --random; or --top-k 0, for what the data itself brings",
                remedy="hnmine index bm25 DATA -o INDEX, then --index INDEX; `hnmine run` does every step",
            )
        check_names(names)
        require_made_from(collection.artefact, *(index.artefact for index in self.indexes))
        self.scores = self._score_infos()
        self.rank_by = self._rank_by()
        self.excluded = find_exclusions(collection, options)
        self.min_relevance = collection.min_relevance if options.min_relevance is None else options.min_relevance
        self.where = _both(options.where, collection.negatives_where)
        self.condition = Prefilter(collection, self.where) if self.where is not None else None
        self.top_k = TOP_K if options.top_k is None else options.top_k
        self.previous = Previous.open(options.previous, collection) if options.previous is not None else None
        self.written = self._written()
        self.deepening = self._deepening()
        self.query_rows = self.deepening.query_rows if self.deepening else self._queries_with_positives()
        if self.previous is not None:
            self.previous.check(self.query_rows)
        self._retrievers: list[Retriever] | None = None
        self._known: KnownHits | Hits | None = None
        if hits is not None:
            self._known = self._hits(hits)
        has_answers = ANSWERS in collection.column_names("queries")
        self._answer_column = collection.column("queries", ANSWERS) if has_answers else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_retrievers": None}  # another process opens the indexes itself

    def _score_infos(self) -> list[ScoreInfo]:
        infos = []
        for index in self.indexes:
            kind = index.artefact.kind
            scale = SCALES.get(kind) or Scale(index.artefact.plan["scale"])
            infos.append(ScoreInfo(name=index.name, scale=scale, origin=ORIGINS[kind]))
        infos += [ScoreInfo(name=run.name, scale=Scale.DOT, origin="run") for run in self.runs]
        if (own := self.collection.score_scale) is not None:
            infos.append(ScoreInfo(name=IMPORTED, scale=own, origin=IMPORTED))
        return infos

    def _rank_by(self) -> str | None:
        if self.options.rank_by is not None:
            if self.options.rank_by not in [s.name for s in self.scores]:
                known = ", ".join(s.name for s in self.scores)
                raise UsageError(f"--rank-by {self.options.rank_by}: no such score", expected=f"one of {known}")
            return self.options.rank_by
        return default_rank_by(self.scores)

    def _written(self) -> npt.NDArray[np.bool_] | None:
        """Which documents were written as some query's negatives, and are for no other; None if none were."""
        curated = self.collection.curated_negatives.doc_rows
        if not len(curated):
            return None
        mask = np.zeros(len(self.collection.documents), np.bool_)
        mask[curated] = True
        return mask

    def _hits(self, artefact: Artefact) -> Hits:
        if self.condition is not None:
            why = "--where narrows it" if self.options.where is not None else "classes narrow it for each query"
            raise UsageError(
                f"--hits are of the whole corpus: {why}",
                remedy="leave --hits out: mine searches then itself, and --shard divides it by queries",
            )
        hits = Hits(artefact, self.collection, self.indexes)
        hits.check(self.query_rows, self.excluded.depth(self.top_k))
        return hits

    def _deepening(self) -> Deepening | None:
        if self.options.deepen_from is None:
            return None
        if self.options.limit is not None:
            raise UsageError("--deepen-from takes the queries of its decisions: leave out --limit")
        if self.options.exclude_queries or self.options.exclude_documents:
            raise UsageError(
                "--deepen-from takes rows over as they are, those that are excluded too",
                remedy="mine anew with the exclusions, or deepen without them",
            )
        decisions = open_artefact(as_path(self.options.deepen_from), Kind.DECISIONS)
        require_made_from(self.collection.artefact, decisions)
        found = Deepening(decisions, self.collection)
        inputs = {name: artefact.fingerprint for name, artefact in self._index_inputs().items()}
        if self.previous is not None:
            inputs[PREVIOUS] = self.previous.artefact.fingerprint
        found.check(self.scores, self.rank_by, settings(self.parameters()["options"], inputs))
        self.top_k = found.depth(self.options.top_k, len(self.collection.documents))
        return found

    def _queries_with_positives(self) -> Rows:
        qrels = self.excluded.allowed(self.collection.qrels)
        rows = queries_with_positives(qrels, self.min_relevance)
        if self.options.limit is None:
            return rows
        ids = self.collection.query_ids.take(pa.array(rows))
        return rows[keyed_sample(ids, self.options.limit, self.options.seed)]

    def retrievers(self) -> list[Retriever]:
        """The opened indexes; opened once, when the first block needs them."""
        if self._retrievers is None:
            tie_order = self.collection.tie_order
            self._retrievers = [open_index(i.artefact, i.name, tie_order) for i in self.indexes]
        return self._retrievers

    @property
    def searches(self) -> dict[str, tuple[str, float]]:
        """How the indexes that have an approximate search are searched, in words, and its recall."""
        depth = self.excluded.depth(self.top_k)
        searched = self.indexes if self.top_k else []
        return {index.name: found for index in searched if (found := recall_of(index.artefact, depth))}

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection and the indexes, by name."""
        earlier = {"decisions": self.deepening.artefact} if self.deepening else {}
        previous = {PREVIOUS: self.previous.artefact} if self.previous else {}
        return {"collection": self.collection.artefact, **self._index_inputs(), **earlier, **previous}

    def _index_inputs(self) -> dict[str, Artefact]:
        return {f"index:{index.name}": index.artefact for index in self.indexes}

    def parameters(self) -> Json:
        """Depth, sources, order, and which queries are mined."""
        runs = {run.name: run.digest for run in self.runs}
        options = {**as_plain(self.options), "top_k": self.top_k, "run": runs, "rank_by": self.rank_by}
        options |= {"deepen_from": None, "previous": None, "where": self.where, "min_relevance": self.min_relevance}
        recall = {name: found for name, (_, found) in self.searches.items()}
        for name in ("exclude_queries", "exclude_documents"):
            del options[name]  # the file's hash is below; its place is nobody's business
        return {
            "options": options,
            **({"excluded": self.excluded.plan} if self.excluded.plan else {}),
            **({"recall": recall} if recall else {}),
            "scores": [score.to_plan() for score in self.scores],
            "rank_by": self.rank_by,
            "arithmetic": numpy_facts(),
            "block": self.block,
        }

    def blocks(self) -> Sequence[Block]:
        """Blocks of 4,096 queries, or of 512 with a late-interaction index."""
        return cut(len(self.query_rows), self.block, "candidates")

    def sizes(self) -> Json:
        """Queries, and the most candidate rows there can be."""
        sources = len(self.indexes) + len(self.runs)
        rows = len(self.query_rows) * (sources * self.top_k + self.options.random + self.options.random_near)
        return {
            "queries": len(self.query_rows),
            "documents": len(self.collection.documents),
            "candidates_at_most": rows,
        }

    @property
    def anew(self) -> str | None:
        """Deepening takes over what there is already; an earlier round is another one when its collection grew."""
        if self.previous is not None:
            return "--previous is of this collection, and not of the earlier one"
        return None if self.deepening is None else "--deepen-from takes over rows by itself"

    @classmethod
    def shared(cls, parameters: Json) -> Json:
        """All but what a collection and files that grew change: it is in what blocks are made from."""
        options = {**parameters["options"], "run": sorted(parameters["options"]["run"])}
        return {name: value for name, value in parameters.items() if name not in ("excluded", "recall")} | {
            "options": options
        }

    def made_from(self, block: Block) -> str | None:
        """All documents, all indexes, and what is known of the block's queries."""
        if self.anew is not None:
            return None
        start = block.index * self.block
        own = queries_digest(
            self.collection,
            self.query_rows[start : start + block.size],
            self._query_columns(),
            self.retrievers(),
            self.runs,
            self.top_k if self.condition is None else len(self.collection.documents),
        )
        return digest_json([self._whole_digest, self.excluded.plan, own])

    @cached_property
    def _whole_digest(self) -> str:
        indexes = {index.name: index_digest(index.artefact) for index in self.indexes}
        return digest_json([documents_digest(self.collection), indexes])

    def _query_columns(self) -> list[str]:
        """The metadata columns of queries that count."""
        named = self.condition.condition.columns if self.condition is not None else ()
        columns = {name.removeprefix("query.") for name in named if name.startswith("query.")}
        return sorted(columns | ({ANSWERS} if self._answer_column is not None else set()))

    def follow(self, earlier: Earlier) -> None:
        """Let queries that are the same look at new documents only, where these change nothing about the others."""
        is_whole = self.condition is None and self.excluded.documents is None and self.written is None
        if self._known is None and is_whole:
            self._known = KnownHits(earlier.artefact, self.collection, open_index)

    def notes(self) -> Json:
        """How approximate searches are done, what is left out of runs, and how many documents old queries searched."""
        searches = {f"search of {name}": words for name, (words, _) in self.searches.items()}
        runs = {name: words for run in self.runs for name, words in run.notes().items()}
        return {**searches, **runs, **(self._known.notes if self._known is not None else {})}

    def work(self, block: Block, draft: Draft) -> None:
        """Mine one block of queries."""
        start = block.index * self.block
        if self.deepening:
            table, counts = self.deepening.mined(start, start + block.size, self._mine)
        else:
            table, counts = self._mine(self.query_rows[start : start + block.size])
        name = part_name(block.index)
        rows = write_table(draft.path / name, as_written(table), short=True)
        draft.commit(block.name, {name: rows}, counts, made_from=self.made_from(block))

    def _mine(self, query_rows: Rows) -> tuple[pa.Table, Json]:
        queries = Queries(rows=query_rows, texts=self.collection.query_texts(query_rows))
        documents = len(self.collection.documents)
        judged = self.excluded.allowed_documents(self.collection.qrels.of(query_rows))
        known = judged.grades >= self.min_relevance
        positives = Pairs(owner=judged.query_rows[known], rows=judged.doc_rows[known])
        before = self.previous.of(query_rows, self.excluded.documents) if self.previous is not None else None
        if before is not None:
            positives = before.positives(positives, documents)
        allowed = Allowed(self.condition, query_rows, positives, self.written)
        judged = allowed.judged(judged)
        depth, kept_out = self.excluded.depth(self.top_k), 0
        sources: dict[str, Pairs] = {JUDGED: Pairs(owner=judged.query_rows, rows=judged.doc_rows)}
        source_ranks: dict[str, npt.NDArray[np.int32]] = {}
        found_scores: dict[str, npt.NDArray[np.float32]] = {}
        existing = Qrels.none()
        if len(self.collection.existing_negatives.query_rows):
            existing = self.excluded.allowed_documents(self.collection.existing_negatives.of(query_rows))
            existing = allowed.judged(existing)
            sources[EXISTING_SOURCE] = Pairs(owner=existing.query_rows, rows=existing.doc_rows)
        if self.written is not None:
            curated = self.excluded.allowed_documents(self.collection.curated_negatives.of(query_rows))
            sources[CURATED_SOURCE] = Pairs(owner=curated.query_rows, rows=curated.doc_rows)
        for retriever in self.retrievers():
            look = allowed if self._known is None else self._known
            hits = look.search(retriever, queries, depth) if self.top_k else Ragged.none(len(queries))
            found = Pairs.ragged(hits.offsets, hits.rows)
            sources[retriever.name], left, out = self.excluded.first(found, self.top_k)
            found_scores[retriever.name] = hits.scores[left]
            kept_out += out
            source_ranks[retriever.name] = ranks_of(sources[retriever.name].owner)
        for run in self.runs:
            is_whole = self.condition is None and self.written is None
            pairs, own_scores = run.of(query_rows, depth if is_whole else documents)
            places = allowed.first(pairs, depth)
            pairs, own_scores = Pairs(owner=pairs.owner[places], rows=pairs.rows[places]), own_scores[places]
            sources[run.name], left, out = self.excluded.first(pairs, self.top_k)
            found_scores[run.name] = own_scores[left]
            source_ranks[run.name] = ranks_of(sources[run.name].owner)
            kept_out += out
        if before is not None:
            again = before.brought()
            let_in = allowed.holds(again)
            sources[PREVIOUS_SOURCE] = Pairs(owner=again.owner[let_in], rows=again.rows[let_in])
        query_ids = self.collection.query_ids.take(pa.array(query_rows))
        if self.options.random:
            sources[RANDOM_SOURCE] = self._draw(query_ids.to_pylist(), judged.query_rows, judged.doc_rows, allowed)
        if self.options.random_near:
            sources[NEAR_SOURCE] = self._draw_near(query_ids.to_pylist(), judged, positives, allowed)
        pool = unite(sources, len(query_rows), documents)
        scores = {name: np.asarray(pool.gather(name, own, np.nan), np.float32) for name, own in found_scores.items()}
        for retriever in self.retrievers():
            _score_the_rest(retriever, queries, pool, scores[retriever.name])
        if any(score.origin == IMPORTED for score in self.scores):
            scores[IMPORTED] = _imported(pool, judged, existing)
        grade, is_judged = _grades(pool, judged.grades)
        if self.collection.negatives_where is not None:
            is_judged[:] = True  # what was let in and is no positive is known to be none
        is_positive = is_judged & (grade >= self.min_relevance)
        if before is not None:
            is_positive |= pool.places(positives) >= 0
        order = self._order(pool, scores)
        columns: dict[str, pa.Array] = {
            QUERY_ID: query_ids.take(pa.array(pool.owner[order])),
            DOC_ID: self.collection.doc_ids.take(pa.array(pool.rows[order])),
            RELEVANCE: pa.array(grade[order], pa.int32(), mask=~is_judged[order]),
            IS_POSITIVE: pa.array(is_positive[order]),
        }
        for name, own in source_ranks.items():
            spread = np.asarray(pool.gather(name, own, 0), np.int32)[order]
            columns[rank_column(name)] = pa.array(spread, pa.int32(), mask=spread == 0)
        nulls = {}
        for score in self.scores:
            values = scores[score.name][order]
            columns[score_column(score.name)] = nullable_floats(values)
            nulls[score.name] = int((~np.isfinite(values)).sum())
        columns |= self._similarities(pool, is_positive, order)
        columns |= self._clusters(queries, pool, order)
        columns[HAS_ANSWER] = self._has_answer(query_rows, pool, order)
        columns[TEXT_KEY] = pa.array(self.collection.doc_text_keys[pool.rows[order]], pa.uint64())
        if before is not None:
            columns[PREVIOUS] = before.look_up(pool).take(pa.array(order))
        columns[SOURCES] = self._sources(pool, order)
        counts: Json = {
            "queries": len(query_rows),
            "candidates": len(pool.rows),
            "positives": int(is_positive.sum()),
            "brought": {n: int(pool.brought(n).sum()) for n in sources if n != JUDGED},
            "null_scores": nulls,
        }
        if before is not None:
            found_by = [name for name in sources if name not in (JUDGED, PREVIOUS_SOURCE)]
            counts[PREVIOUS] = before.counts(pool, found_by)
        if self.excluded.documents is not None:
            counts["excluded_hits"] = kept_out
        if self.condition is not None:
            others = np.bincount(pool.owner[~is_positive], minlength=len(query_rows))
            counts["queries_without_candidates"] = int((others == 0).sum())
        return pa.table(columns), counts

    def _draw(self, query_ids: list[str], judged_owner: Rows, judged_rows: Rows, allowed: Allowed) -> Pairs:
        """Keyed random documents of each query, its judged documents excluded."""
        everything = draw_space(self.excluded.documents, len(self.collection.documents))
        bounds = np.searchsorted(judged_owner, np.arange(len(query_ids) + 1))
        drawn = [np.empty(0, np.int64)] * len(query_ids)
        for group, free in allowed.spaces(everything):
            for i in group.tolist():
                seed = keyed_hash(self.options.seed, "random", query_ids[i])
                judged = judged_rows[bounds[i] : bounds[i + 1]]
                taken = np.searchsorted(free, judged[np.isin(judged, free)])
                drawn[i] = free[draw_documents(seed, taken, len(free), self.options.random)]
        owner = np.repeat(np.arange(len(drawn)), [len(d) for d in drawn])
        return Pairs(owner=owner, rows=np.concatenate(drawn) if drawn else np.empty(0, np.int64))

    @property
    def _clustered(self) -> int | None:
        """The number of the first dense index, whose clusters --random-near draws from; None if there is none."""
        return next((n for n, index in enumerate(self.indexes) if index.artefact.kind is Kind.DENSE_INDEX), None)

    def _draw_near(self, query_ids: list[str], judged: Qrels, positives: Pairs, allowed: Allowed) -> Pairs:
        """Keyed random documents of the clusters around each query's positives, its judged documents excluded."""
        assert self._clustered is not None
        index, count = self.retrievers()[self._clustered], self.options.clusters
        cluster = index.cluster_of_all(count)
        assert cluster is not None
        around = index.clusters_around(positives.rows, count, NEAREST)
        everything = draw_space(self.excluded.documents, len(self.collection.documents))
        known, taken = (np.searchsorted(o, np.arange(len(query_ids) + 1)) for o in (positives.owner, judged.query_rows))
        drawn = [np.empty(0, np.int64)] * len(query_ids)
        for group, free in allowed.spaces(everything):
            members = Members(cluster, free)
            for i in group.tolist():
                drawn[i] = members.draw(
                    keyed_hash(self.options.seed, NEAR_SOURCE, query_ids[i]),
                    around[known[i] : known[i + 1]].ravel(),
                    judged.doc_rows[taken[i] : taken[i + 1]],
                    self.options.random_near,
                )
        owner = np.repeat(np.arange(len(drawn)), [len(d) for d in drawn])
        return Pairs(owner=owner, rows=np.concatenate(drawn) if drawn else np.empty(0, np.int64))

    def _order(self, pool: Pool, scores: Mapping[str, npt.NDArray[np.float32]]) -> Rows:
        """Rows by (query, rank-by score descending with missing scores last, doc_id).

        Without a score to rank by, the data's own come first, in its order: what it judged, then its negatives.
        """
        ties = self.collection.tie_order[pool.rows]
        if self.rank_by is None:
            own = [name for name in (JUDGED, EXISTING_SOURCE, CURATED_SOURCE) if name in pool.place]
            places = [np.where(pool.brought(name), pool.place[name], len(pool.rows)) for name in own]
            return np.lexsort((ties, *reversed(places), pool.owner))
        values = scores[self.rank_by]
        return best_first(pool.owner, np.where(np.isfinite(values), values, np.float32(-np.inf)), ties)

    def _similarities(self, pool: Pool, is_positive: npt.NDArray[np.bool_], order: Rows) -> dict[str, pa.Array]:
        positives = Pairs(owner=pool.owner[is_positive], rows=pool.rows[is_positive])
        bounds = np.searchsorted(positives.owner, np.arange(len(pool.offsets))).astype(np.int64)
        columns = {}
        for retriever in self.retrievers():
            values = retriever.positive_similarity(pool.offsets, pool.rows, positives.rows, bounds)
            if values is not None:
                columns[sim_positive_column(retriever.name)] = nullable_floats(values[order])
        for retriever in self.retrievers():
            values = retriever.better_similarity(pool.offsets, pool.rows[order], ~is_positive[order])
            if values is not None:
                columns[sim_better_column(retriever.name)] = nullable_floats(values)
        return columns

    def _clusters(self, queries: Queries, pool: Pool, order: Rows) -> dict[str, pa.Array]:
        """Each document's cluster, and that cluster's rank by nearness to the query, for each dense index."""
        columns: dict[str, pa.Array] = {}
        for retriever in self.retrievers() if self.options.clusters else ():
            found = retriever.clusters(queries, pool.offsets, pool.rows, self.options.clusters)
            if found is not None:
                columns[cluster_column(retriever.name)] = pa.array(found[0][order], pa.int32())
                columns[centroid_rank_column(retriever.name)] = pa.array(found[1][order], pa.int32())
        return columns

    def _has_answer(self, query_rows: Rows, pool: Pool, order: Rows) -> pa.Array:
        """Whether each document contains an answer to its query; null for queries without answers."""
        found = np.zeros(len(order), np.bool_)
        answers = self._answers(query_rows)
        known = np.array([bool(own) for own in answers], np.bool_)[pool.owner]
        rows = np.flatnonzero(known)
        for low in range(0, len(rows), _ANSWER_ROWS):
            part = rows[low : low + _ANSWER_ROWS]
            unique, inverse = np.unique(pool.rows[part], return_inverse=True)
            texts = [normalised(text) for text in self.collection.document_texts(unique)]
            pairs = zip(pool.owner[part].tolist(), inverse.tolist(), strict=True)
            found[part] = [contains(texts[text], answers[owner]) for owner, text in pairs]
        return pa.array(found[order], pa.bool_(), mask=~known[order])

    def _answers(self, query_rows: Rows) -> list[list[str]]:
        """The normalised answers of each query; none without a metadata column `answers`."""
        if self._answer_column is None:
            return [[] for _ in query_rows]
        values = self._answer_column.take(pa.array(query_rows)).to_pylist()
        return [patterns(parse_answers(value)) for value in values]

    def _sources(self, pool: Pool, order: Rows) -> pa.Array:
        """The list of sources of each row, in a fixed order: indexes, runs (`run:NAME`), random."""
        tokens = {index.name: index.name for index in self.indexes}
        tokens |= {run.name: f"run:{run.name}" for run in self.runs}
        if len(self.collection.existing_negatives.query_rows):
            tokens[EXISTING_SOURCE] = EXISTING_SOURCE
        if self.previous is not None:
            tokens[PREVIOUS_SOURCE] = PREVIOUS_SOURCE
        if self.written is not None:
            tokens[CURATED_SOURCE] = CURATED_SOURCE
        if self.options.random:
            tokens[RANDOM_SOURCE] = RANDOM_SOURCE
        if self.options.random_near:
            tokens[NEAR_SOURCE] = NEAR_SOURCE
        if not tokens:
            return pa.array([[]] * len(order), pa.list_(pa.string()))
        brought = np.stack([pool.brought(name)[order] for name in tokens], axis=1)
        offsets = np.concatenate([[0], np.cumsum(brought.sum(axis=1))]).astype(np.int32)
        values = pa.DictionaryArray.from_arrays(
            pa.array(np.nonzero(brought)[1].astype(np.int32)), pa.array(tokens.values())
        )
        return pa.ListArray.from_arrays(pa.array(offsets), values.cast(pa.string()))

    @classmethod
    def summarise(cls, draft: Draft, counts: Json) -> Json:
        """Add rows per query, and what was excluded."""
        excluded = {f"excluded_{side}": facts["found"] for side, facts in draft.plan.get("excluded", {}).items()}
        return {
            **counts,
            **excluded,
            **({"recall": draft.plan["recall"]} if "recall" in draft.plan else {}),
            "candidates_per_query": round(counts["candidates"] / max(counts["queries"], 1), 2),
        }


def _both(*conditions: str | None) -> str | None:
    """The condition that all of these hold; None if there are none."""
    asked = [condition for condition in conditions if condition is not None]
    return asked[0] if len(asked) == 1 else " and ".join(f"({one})" for one in asked) or None


def _score_the_rest(retriever: Retriever, queries: Queries, pool: Pool, scores: npt.NDArray[np.float32]) -> None:
    """Fill in the scores of the rows that others brought; what the search found has its pair scores already."""
    rest = ~pool.brought(retriever.name)
    offsets = np.concatenate([[0], np.cumsum(rest)])[pool.offsets]
    scores[rest] = retriever.pair_scores(queries, offsets, pool.rows[rest])


def _imported(pool: Pool, judged: Qrels, existing: Qrels) -> npt.NDArray[np.float32]:
    """The scores that the data brought; NaN where it has none."""
    found = np.full(len(pool.rows), np.nan, np.float32)
    for name, own in ((EXISTING_SOURCE, existing), (JUDGED, judged)):
        if own.scores is not None:
            values = np.asarray(pool.gather(name, own.scores, np.nan), np.float32)
            found = np.where(np.isfinite(values), values, found)
    return found


def _grades(pool: Pool, grades: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    is_judged = pool.brought(JUDGED)
    values: Any = np.zeros(len(pool.rows), np.int32)
    values[is_judged] = grades[pool.place[JUDGED][is_judged]]
    return values, is_judged
