"""A collection, opened: documents, queries and judgments, read by row number or in row order.

Row numbers (0-based, file order) are internal: they tie the parts of one collection together and never leave hnmine.
Texts stay on disk behind a memory map; ids, keys and judgments are Arrow and NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.errors import ArtefactError
from hnmine.files.artefact import Artefact
from hnmine.files.tables import TextRows, digest_table, read_table
from hnmine.hashing import digest_json
from hnmine.schema import DOC_ID, GRADE, QUERY_ID, SCORE, TEXT, TEXT_KEY, TITLE, Kind, Scale

Rows = npt.NDArray[np.int64]
_LOOKED_UP = 65_536
"""Ids looked up at a time, and among which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Qrels:
    """All judgments of a collection, by query row, then in file order; parallel arrays.

    `scores` are what the input said of the pairs beyond the grades, NaN where it said nothing; None if nowhere.
    """

    query_rows: Rows
    doc_rows: Rows
    grades: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32] | None = None

    @classmethod
    def none(cls) -> Qrels:
        """No judgment at all."""
        empty = np.empty(0, np.int64)
        return cls(query_rows=empty, doc_rows=empty, grades=np.empty(0, np.int32))

    def take(self, picks: Rows | npt.NDArray[np.bool_]) -> Qrels:
        """The judgments at the given places, or where a mask holds."""
        return Qrels(
            query_rows=self.query_rows[picks],
            doc_rows=self.doc_rows[picks],
            grades=self.grades[picks],
            scores=None if self.scores is None else self.scores[picks],
        )

    def of(self, query_rows: Rows) -> Qrels:
        """The judgments of the given queries (ascending rows), with `query_rows` renumbered to their positions."""
        low = np.searchsorted(self.query_rows, query_rows, side="left")
        high = np.searchsorted(self.query_rows, query_rows, side="right")
        lengths = high - low
        owner = np.repeat(np.arange(len(query_rows)), lengths)
        starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
        picks = np.arange(int(lengths.sum())) - np.repeat(starts, lengths) + np.repeat(low, lengths)
        return replace(self.take(picks), query_rows=owner)


class Collection:
    """Documents, queries and judgments of one ingested DATA."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        self.documents = TextRows(artefact.files("texts/documents-", ".arrow"))
        self.queries = TextRows(artefact.files("texts/queries-", ".arrow"))
        self._separator: str = artefact.plan["title_separator"]

    @classmethod
    def open(cls, path: Path) -> Collection:
        """Open the collection at `path`; `ArtefactError` if it is not one, or damaged."""
        return cls(Artefact.open(path, Kind.COLLECTION))

    def __reduce__(self) -> tuple[Any, ...]:
        return Collection, (self.artefact,)  # another process maps the files itself

    @property
    def path(self) -> Path:
        """The collection's directory."""
        return self.artefact.path

    @property
    def min_relevance(self) -> int:
        """The lowest grade that makes a document a positive, if nobody says another."""
        return int(self.artefact.plan.get("min_relevance", 1))

    @property
    def closed_world(self) -> bool:
        """Whether what is not judged is by default taken for a negative."""
        return bool(self.artefact.plan.get("closed_world", False))

    @property
    def negatives_where(self) -> str | None:
        """The condition that is true of the pairs known to be negatives, if that is known of every pair."""
        found: str | None = self.artefact.plan.get("negatives_where")
        return found

    @cached_property
    def doc_ids(self) -> pa.ChunkedArray:
        """The document ids in row order (memory-mapped)."""
        return self.documents.column(DOC_ID)

    @cached_property
    def query_ids(self) -> pa.ChunkedArray:
        """The query ids in row order (memory-mapped)."""
        return self.queries.column(QUERY_ID)

    @cached_property
    def tie_order(self) -> Rows:
        """For each document row, the position of its id among all ids in ascending (code point) order."""
        order = pc.sort_indices(self.doc_ids).to_numpy()
        position = np.empty(len(order), np.int64)
        position[order] = np.arange(len(order))
        return position

    @cached_property
    def doc_text_keys(self) -> npt.NDArray[np.uint64]:
        """`text_key` of every document, in row order."""
        return self._keys("documents/")

    @cached_property
    def query_text_keys(self) -> npt.NDArray[np.uint64]:
        """`text_key` of every query, in row order."""
        return self._keys("queries/")

    def _keys(self, table: str) -> npt.NDArray[np.uint64]:
        files = self.artefact.files(table)
        if not files:
            return np.empty(0, np.uint64)
        column = read_table(files, [TEXT_KEY])[TEXT_KEY]
        return np.asarray(column.to_numpy(), np.uint64)

    def column_names(self, table: Literal["documents", "queries"]) -> list[str]:
        """The columns of a table, metadata included."""
        return list(self.schema(table).names)

    def schema(self, table: Literal["documents", "queries"]) -> pa.Schema:
        """The columns of a table with their types, which all parts share; none of queries that are not there."""
        files = self.artefact.files(f"{table}/")
        return pq.read_schema(files[0]) if files else pa.schema([])

    def column(self, table: Literal["documents", "queries"], name: str) -> pa.ChunkedArray:
        """One column of a table in row order, held in memory."""
        return read_table(self.artefact.files(f"{table}/"), [name])[name]

    @cached_property
    def qrels(self) -> Qrels:
        """All judgments, as row numbers."""
        files = self.artefact.files("qrels/")
        if not files:
            return Qrels.none()
        judged = self._judgments(read_table(files))
        if (judged.query_rows < 0).any() or (judged.doc_rows < 0).any():
            raise ArtefactError(f"{self.path} is corrupt: its qrels name unknown ids", remedy="ingest it again")
        return judged.take(np.argsort(judged.query_rows, kind="stable"))

    @cached_property
    def existing_negatives(self) -> Qrels:
        """The pairs that the user's own file calls negatives, as row numbers; their grades are 0 and mean nothing."""
        return self._pairs("negatives/")

    @cached_property
    def curated_negatives(self) -> Qrels:
        """The pairs of a query and a document that was written as its negative, as `existing_negatives`.

        No other query is to get such a document: it stands for nothing that a corpus holds.
        """
        return self._pairs("curated/")

    def _pairs(self, table: str) -> Qrels:
        files = self.artefact.files(table)
        if not files:
            return Qrels.none()
        pairs = self._judgments(read_table(files))
        # A bad record was left out of one of the tables.
        known = np.flatnonzero((pairs.query_rows >= 0) & (pairs.doc_rows >= 0))
        return pairs.take(known[np.argsort(pairs.query_rows[known], kind="stable")])

    def _judgments(self, table: pa.Table) -> Qrels:
        """The rows of a table of judgments in its order, -1 for an unknown id."""
        columns = table.column_names
        return Qrels(
            query_rows=rows_of(self.query_ids, table[QUERY_ID]),
            doc_rows=rows_of(self.doc_ids, table[DOC_ID]),
            grades=table[GRADE].to_numpy().astype(np.int32) if GRADE in columns else np.zeros(len(table), np.int32),
            scores=table[SCORE].to_numpy() if SCORE in columns else None,
        )

    @property
    def score_scale(self) -> Scale | None:
        """The scale of the scores that the input has of its own pairs; None if it has none."""
        has_any = self.qrels.scores is not None or self.existing_negatives.scores is not None
        return Scale(self.artefact.plan["score_scale"]) if has_any else None

    def document_text_array(self, rows: Rows) -> pa.Array:
        """The full text (title, separator, text) of each given document, in the given order, as an Arrow array."""
        return join_titles(self.documents.take(rows, [TITLE, TEXT]), self._separator)

    def document_dictionary(self, rows: Rows) -> pa.DictionaryArray:
        """The full text of each given document, in the given order; each text is there once however often it comes."""
        return once_each(rows, self.document_text_array)

    def query_dictionary(self, rows: Rows) -> pa.DictionaryArray:
        """The text of each given query, in the given order; each is there once however often it comes."""
        return once_each(rows, lambda own: self.queries.take(own, [TEXT])[TEXT].combine_chunks())

    def document_texts(self, rows: Rows) -> list[str]:
        """The full text of each given document, in the given order."""
        texts: list[str] = self.document_text_array(rows).to_pylist()
        return texts

    def document_texts_between(self, start: int, stop: int) -> list[str]:
        """The full texts of documents `start` to `stop` (exclusive)."""
        texts: list[str] = join_titles(self.documents.between(start, stop), self._separator).to_pylist()
        return texts

    def texts_digest(self, table: Literal["documents", "queries"], start: int, stop: int) -> str:
        """Digest of the texts of rows `start` to `stop` (exclusive): equal if and only if the texts are."""
        if table == "queries":
            return digest_table(self.queries.between(start, stop).select([TEXT]))
        texts = digest_table(self.documents.between(start, stop).select([TITLE, TEXT]))
        return digest_json([texts, self._separator])

    def query_texts(self, rows: Rows) -> list[str]:
        """The text of each given query, in the given order."""
        texts: list[str] = self.queries.take(rows)[TEXT].to_pylist()
        return texts


def once_each(rows: Rows, texts: Callable[[Rows], pa.Array]) -> pa.DictionaryArray:
    """Each row's text, each different text held once.

    Once by text, not by row: of a dictionary with the same text twice, Parquet files had chance bytes in an unused
    page (pyarrow 26).
    """
    found = pa.array(rows).dictionary_encode()  # by hashes; what is sorted are the different rows alone
    unique = found.dictionary.to_numpy()
    order = np.argsort(unique)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    once = texts(unique[order]).dictionary_encode()
    codes = once.indices.to_numpy()[place][found.indices.to_numpy()]
    return pa.DictionaryArray.from_arrays(pa.array(codes), once.dictionary)


def join_titles(table: pa.Table, separator: str) -> pa.Array:
    """Title, separator and text of each row; just the one that is there when the other is empty."""
    title, text = table[TITLE].combine_chunks(), table[TEXT].combine_chunks()
    if not pc.any(pc.not_equal(title, "")).as_py():
        return text
    joined = pc.binary_join_element_wise(title, text, separator)
    return pc.if_else(pc.equal(title, ""), text, pc.if_else(pc.equal(text, ""), title, joined))


def rows_in_order(ids: pa.ChunkedArray, wanted: pa.Array) -> Rows:
    """The row of each wanted id among `ids`, in whose order they come; -1 where there is none.

    As `rows_of`, of a few at a time: memory does not grow with `wanted`, nor time with their product.
    """
    found: list[Rows] = [np.empty(0, np.int64)]
    start = 0
    for low in range(0, len(wanted), _LOOKED_UP):
        part = wanted.slice(low, _LOOKED_UP)
        rows = np.full(len(part), -1, np.int64)
        for first in range(start, len(ids), _LOOKED_UP):
            here = rows_of(ids.slice(first, _LOOKED_UP), part)
            rows = np.where(here >= 0, here + first, rows)
            if (rows >= 0).all():
                break
        start = max(start, int(rows.max()) + 1)
        found.append(rows)
    return np.concatenate(found)


def rows_of(ids: pa.ChunkedArray, wanted: pa.ChunkedArray | pa.Array) -> Rows:
    """The row of each wanted id among `ids`, -1 where there is none; memory grows with `wanted`, not with `ids`."""
    unique = pc.unique(wanted)
    found = np.full(len(unique), -1, np.int64)
    start = 0
    for chunk in ids.chunks:
        places = pc.index_in(chunk, value_set=unique)
        here = np.flatnonzero(np.asarray(places.is_valid()))
        found[places.drop_null().to_numpy()] = here + start
        start += len(chunk)
    back = pc.index_in(wanted, value_set=unique)
    positions: Rows = found[back.to_numpy()].astype(np.int64)
    return positions
