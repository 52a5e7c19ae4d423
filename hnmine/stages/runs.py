"""TREC runs as sources of candidates: rankings that another system made, joined to the collection by id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.pool import Pairs
from hnmine.errors import ProblemLog
from hnmine.files.collection import Collection, Rows, rows_of
from hnmine.files.readers.trec import read_trec_run
from hnmine.files.remote import split_named


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSource:
    """One run: (query row, document row, score), by query row, then by the run's own order."""

    name: str
    path: Path
    query_rows: Rows
    doc_rows: Rows
    scores: npt.NDArray[np.float32]

    def of(self, query_rows: Rows, k: int) -> tuple[Pairs, npt.NDArray[np.float32]]:
        """The first k documents of each given query, as pairs in rank order, and the run's scores."""
        low = np.searchsorted(self.query_rows, query_rows, side="left")
        high = np.minimum(np.searchsorted(self.query_rows, query_rows, side="right"), low + k)
        lengths = high - low
        owner = np.repeat(np.arange(len(query_rows)), lengths)
        starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
        picks = np.arange(int(lengths.sum())) - np.repeat(starts, lengths) + np.repeat(low, lengths)
        return Pairs(owner=owner, rows=self.doc_rows[picks]), self.scores[picks]


def read_run(spec: str, collection: Collection) -> RunSource:
    """Read a run given as `FILE` or `NAME=FILE`; the name is by default the file's, without suffixes.

    Order within a query is (score descending, doc_id). Rows of queries that are not in the collection are left out; a
    document that is not in the corpus is an `InputError`.
    """
    name, path = split_named(spec)
    problems = ProblemLog()
    query_ids: list[str] = []
    doc_ids: list[str] = []
    scores: list[float] = []
    lines: list[int] = []
    for row in read_trec_run(path, problems):
        query_ids.append(row.query_id)
        doc_ids.append(row.doc_id)
        scores.append(row.score)
        lines.append(row.line)
    if not query_ids and not problems:
        problems.add("empty run", f"{path}:1")
    query_rows = rows_of(collection.query_ids, pa.chunked_array([query_ids], pa.string()))
    doc_rows = rows_of(collection.doc_ids, pa.chunked_array([doc_ids], pa.string()))
    known = query_rows >= 0
    for place in np.flatnonzero(known & (doc_rows < 0)):
        problems.add("run names an unknown document", f"{path}:{lines[place]}", doc_ids[place])
    problems.raise_if_any(remedy="correct the run, or mine it with the corpus it was made on")
    query_rows, doc_rows = query_rows[known], doc_rows[known]
    values = np.asarray(scores, np.float32)[known]
    order = np.lexsort((collection.tie_order[doc_rows], -values.astype(np.float64), query_rows))
    query_rows, doc_rows, values = query_rows[order], doc_rows[order], values[order]
    pair = query_rows * np.int64(max(len(collection.documents), 1)) + doc_rows
    first = np.sort(np.unique(pair, return_index=True)[1])
    return RunSource(
        name=name or path.name.split(".")[0],
        path=path,
        query_rows=query_rows[first],
        doc_rows=doc_rows[first],
        scores=values[first],
    )
