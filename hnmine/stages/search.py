"""`search`: what the indexes find, slice by slice of the corpus, for `mine` to put together.

`mine` searches a whole index for every block of queries: each machine reads all of it. A search block is a block of
queries in one *slice* of the corpus, a range of documents, so that a machine needs one slice and the queries travel.
The first k of everything are among the first k of each slice, and scores depend on the pair alone: `mine --hits` makes
the bytes that it makes by searching itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.core.grouped import positions
from hnmine.core.pool import best_first
from hnmine.engines.arithmetic import numpy_facts
from hnmine.engines.retriever import Queries, Ragged, Retriever, Rows
from hnmine.errors import ArtefactError, UsageError
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json
from hnmine.files.collection import Collection
from hnmine.files.tables import read_table, write_table
from hnmine.options import SearchOptions, as_plain
from hnmine.schema import Kind
from hnmine.stages.indexes import BLOCK, LATE_BLOCK, NamedIndex, check_names, open_index, queries_with_positives
from hnmine.stages.searching import recall_of
from hnmine.stages.stage import Stage, block_size, require_made_from

SLICE = 1 << 20
"""Documents of a slice when nobody says how many slices there are."""


class Search(Stage):
    """Searches every slice of the corpus for the queries that have a positive."""

    kind = Kind.HITS
    label = "search"
    unit = "queries"

    def __init__(self, collection: Collection, indexes: Sequence[NamedIndex], options: SearchOptions) -> None:
        self.collection = collection
        self.indexes = list(indexes)
        if not self.indexes:
            raise UsageError("nothing to search", expected="at least one --index")
        if options.top_k < 1:
            raise UsageError(f"--top-k {options.top_k}: at least 1")
        if options.slices is not None and options.slices < 1:
            raise UsageError(f"--slices {options.slices}: at least 1")
        check_names([index.name for index in self.indexes])
        require_made_from(collection.artefact, *(index.artefact for index in self.indexes))
        for index in self.indexes:
            if recall_of(index.artefact, options.top_k) is not None:
                raise UsageError(
                    f"{index.name} is searched approximately, which finds others in a slice than in the whole",
                    expected="indexes that are searched exactly",
                    remedy=f"leave {index.name} to `hnmine mine`, or build it with --ann flat",
                )
        documents = len(collection.documents)
        slices = options.slices or -(-documents // SLICE)
        least = collection.min_relevance if options.min_relevance is None else options.min_relevance
        self.options = options = replace(options, min_relevance=least)
        self.slices = max(1, min(slices, documents))
        is_slow = any(index.artefact.kind is Kind.LATE_INDEX for index in self.indexes)
        self.block = block_size(LATE_BLOCK if is_slow else BLOCK)
        self.query_rows = queries_with_positives(collection.qrels, least)
        self._retrievers: list[Retriever] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_retrievers": None}  # another process opens the indexes itself

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection and the indexes, by name."""
        named = {f"index:{index.name}": index.artefact for index in self.indexes}
        return {"collection": self.collection.artefact, **named}

    def parameters(self) -> Json:
        """Depth, queries and slices."""
        return {
            "options": {**as_plain(self.options), "slices": self.slices},
            "arithmetic": numpy_facts(),
            "block": self.block,
        }

    def blocks(self) -> Sequence[Block]:
        """Blocks of queries, each in every slice: with as many shards as slices, every shard keeps to one of them."""
        starts = range(0, len(self.query_rows), self.block)
        return [
            Block(name=_name(i, part), index=i * self.slices + part, size=min(self.block, len(self.query_rows) - start))
            for i, start in enumerate(starts)
            for part in range(self.slices)
        ]

    def sizes(self) -> Json:
        """Queries, documents, slices, and the most hits there can be."""
        queries, documents = len(self.query_rows), len(self.collection.documents)
        hits = queries * self.slices * min(self.options.top_k, -(-documents // self.slices)) * len(self.indexes)
        return {"queries": queries, "documents": documents, "slices": self.slices, "hits_at_most": hits}

    def work(self, block: Block, draft: Draft) -> None:
        """Search one slice for one block of queries, with every index."""
        place, part = divmod(block.index, self.slices)
        rows = self.query_rows[place * self.block : place * self.block + block.size]
        queries = Queries(rows=rows, texts=self.collection.query_texts(rows))
        documents = len(self.collection.documents)
        among = np.zeros(documents, np.bool_)
        among[documents * part // self.slices : documents * (part + 1) // self.slices] = True
        among[self.collection.curated_negatives.doc_rows] = False  # written for one query alone: `mine` brings them
        files, found = {}, 0
        for retriever in self._opened():
            hits = retriever.search(queries, self.options.top_k, among)
            name = _file(retriever.name, block.name)
            table = pa.table({"query": hits.owner.astype(np.int32), "document": hits.rows, "score": hits.scores})
            files[name] = write_table(draft.path / name, table)
            found += len(hits.rows)
        counts = {"hits": found, "queries": block.size if part == 0 else 0}
        draft.commit(block.name, files, counts)

    def _opened(self) -> list[Retriever]:
        if self._retrievers is None:
            tie_order = self.collection.tie_order
            self._retrievers = [open_index(i.artefact, i.name, tie_order) for i in self.indexes]
        return self._retrievers


class Hits:
    """What `search` found, as `mine` reads it: a search of everything, for the indexes that were searched."""

    def __init__(self, artefact: Artefact, collection: Collection, indexes: Sequence[NamedIndex]) -> None:
        """Raises `ArtefactError` if the hits are of another collection, or of another index of the same name."""
        require_made_from(collection.artefact, artefact)
        options = artefact.plan["options"]
        self.artefact = artefact
        self.top_k: int = options["top_k"]
        self._slices: int = options["slices"]
        self._block: int = artefact.plan["block"]
        self._min_relevance: int = options["min_relevance"]
        self._collection = collection
        inputs = artefact.plan["inputs"]
        self.names = [index.name for index in indexes if f"index:{index.name}" in inputs]
        self.notes = {f"{name} searched": f"by {artefact.path}" for name in self.names}
        for index in indexes:
            if inputs.get(f"index:{index.name}", index.artefact.fingerprint) != index.artefact.fingerprint:
                raise ArtefactError(
                    f"{artefact.path} has hits of another index called {index.name} than {index.artefact.path}",
                    remedy="search again, or name the index that was searched",
                )
        if not self.names:
            raise ArtefactError(
                f"{artefact.path} has hits of none of these indexes",
                expected=", ".join(name.removeprefix("index:") for name in inputs if name != "collection"),
            )

    @cached_property
    def _query_rows(self) -> Rows:
        return queries_with_positives(self._collection.qrels, self._min_relevance)

    def check(self, query_rows: Rows, depth: int) -> None:
        """Raise `ArtefactError` unless the given queries were searched so deep."""
        if min(depth, len(self._collection.documents)) > self.top_k:
            raise ArtefactError(
                f"{self.artefact.path} has the first {self.top_k:,} of each query; {depth:,} are needed",
                remedy=f"hnmine search ... --top-k {depth}",
            )
        missing = np.setdiff1d(query_rows, self._query_rows)
        if len(missing):
            first = self._collection.query_ids[int(missing[0])].as_py()
            raise ArtefactError(
                f"{self.artefact.path} has no hits for {len(missing):,} of the queries, the first of them {first!r}",
                remedy="search with the same --min-relevance",
            )

    def search(self, retriever: Retriever, queries: Queries, k: int) -> Ragged:
        """What `retriever.search(queries, k)` finds."""
        if retriever.name not in self.names:
            return retriever.search(queries, k)
        place = np.searchsorted(self._query_rows, queries.rows)
        number = np.full(len(self._query_rows), -1, np.int64)
        number[place] = np.arange(len(queries))
        parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
        for block in np.unique(place // self._block).tolist():
            own = number[block * self._block : (block + 1) * self._block]
            for part in range(self._slices):
                table = read_table([self.artefact.path / _file(retriever.name, _name(block, part))])
                owner, rows, scores = (table[name].to_numpy() for name in ("query", "document", "score"))
                owner = own[owner]
                keep = owner >= 0
                parts.append((owner[keep], rows[keep], scores[keep]))
        owner, rows, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        grouped = np.argsort(owner, kind="stable")
        owner, rows, scores = owner[grouped], rows[grouped], scores[grouped]
        order = best_first(owner, scores, retriever.tie_order[rows])
        order = order[positions(owner) < k]
        return Ragged.of(owner[order], rows[order], scores[order], len(queries))


def _name(block: int, part: int) -> str:
    return f"{block:05d}-{part:05d}"


def _file(name: str, block: str) -> str:
    return f"hits/{name}-{block}.parquet"
