"""Rankings of several systems for the same queries, from wherever they come: TREC runs, candidates of `mine`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.evaluation import DEPTH, ndcg
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import CandidatesTable
from hnmine.files.collection import Collection, Qrels, Rows, rows_in_order, rows_of
from hnmine.files.tables import read_table
from hnmine.schema import DOC_ID, QUERY_ID, rank_column
from hnmine.stages.runs import RunSource

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """One system's documents for some queries: `owner` is the query's number among these, ascending, then by rank."""

    name: str
    owner: Rows
    rows: Rows

    @property
    def deepest(self) -> int:
        """The most documents of a query."""
        return int(np.bincount(self.owner).max(initial=0))

    def first(self, k: int) -> Rows:
        """The documents among the first k of any query, each once, ascending."""
        place = np.arange(len(self.owner)) - np.searchsorted(self.owner, self.owner, side="left")
        return np.unique(self.rows[place < k])

    def quality(self, judged: Qrels, queries: int, documents: int, among: Bools | None = None) -> float:
        """Mean nDCG@10 over the queries that have a document of grade 1 or more, of the documents `among` alone.

        That is the system's own ranking of the smaller corpus if its scores depend on the pair alone.
        """
        owner, grades, _ = self._grades(judged, documents, among)
        found = ndcg(owner, grades.astype(np.float64), judged.query_rows, judged.grades.astype(np.float64), queries)
        return float(found.mean()) if len(found) else 0.0

    def holes(self, judged: Qrels, documents: int, among: Bools | None = None) -> float:
        """The share of what nDCG@10 looks at, of the documents `among` alone, that has no judgment."""
        owner, _, is_judged = self._grades(judged, documents, among)
        first = np.arange(len(owner)) - np.searchsorted(owner, owner, side="left") < DEPTH
        return float((~is_judged[first]).mean()) if first.any() else 0.0

    def _grades(self, judged: Qrels, documents: int, among: Bools | None) -> tuple[Rows, Rows, Bools]:
        """(query, grade, whether it was judged) of each document `among`; the grade is 0 where it was not."""
        kept = np.ones(len(self.rows), np.bool_) if among is None else among[self.rows]
        owner, rows = self.owner[kept], self.rows[kept]
        keys = judged.query_rows * documents + judged.doc_rows
        order = np.argsort(keys)
        wanted = owner * documents + rows
        place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
        is_judged = keys[order][place] == wanted
        return owner, np.where(is_judged, judged.grades[order][place], 0), is_judged


def of_runs(runs: Sequence[RunSource], query_rows: Rows, documents: int) -> list[Ranking]:
    """Each searcher's ranking, as deep as it goes."""
    found = []
    for run in runs:
        pairs, _ = run.of(query_rows, documents)
        found.append(Ranking(name=run.name, owner=pairs.owner, rows=pairs.rows))
    return found


def of_candidates(artefact: Artefact, collection: Collection, query_rows: Rows) -> list[Ranking]:
    """The ranking of each retriever of candidates."""
    own = CandidatesTable(artefact)
    names = [score.name for score in own.scores if rank_column(score.name) in own.column_names]
    place = np.full(len(collection.queries), -1, np.int64)
    place[query_rows] = np.arange(len(query_rows))
    known = place[rows_in_order(collection.query_ids, own.query_ids)] if len(own.query_ids) else np.empty(0, np.int64)
    return [_ranking(name, parts) for name, parts in _by_name(artefact, collection, own.query_ids, known, names)]


def _by_name(
    artefact: Artefact, collection: Collection, ids: pa.Array, known: Rows, names: Sequence[str]
) -> Iterator[tuple[str, list[tuple[Rows, Rows, Rows]]]]:
    """(retriever, (query, document, rank) of its rows, part by part)."""
    for name in names:
        parts = []
        for path in artefact.files():
            table = read_table([path], [QUERY_ID, DOC_ID, rank_column(name)])
            table = table.filter(table[rank_column(name)].is_valid())
            owner = known[rows_of(pa.chunked_array([ids]), table[QUERY_ID])]
            kept = owner >= 0
            rows = rows_of(collection.doc_ids, table[DOC_ID].filter(pa.array(kept)))
            parts.append((owner[kept], rows, table[rank_column(name)].to_numpy()[kept].astype(np.int64)))
        yield name, parts


def _ranking(name: str, parts: Sequence[tuple[Rows, Rows, Rows]]) -> Ranking:
    owner, rows, rank = (np.concatenate([np.empty(0, np.int64), *column]) for column in zip(*parts, strict=True))
    order = np.lexsort((rank, owner))
    return Ranking(name=name, owner=owner[order], rows=rows[order])
