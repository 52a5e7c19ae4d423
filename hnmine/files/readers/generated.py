"""A collection with what was written for it: negatives beside its documents, or queries in place of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hnmine.errors import ProblemLog
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.files.readers.records import Document, Judgment, Query
from hnmine.files.readers.source import Source
from hnmine.files.tables import read_table
from hnmine.schema import (
    BODY,
    DOC_ID,
    GRADE,
    QUERY_ID,
    SCORE,
    TEXT,
    TEXT_KEY,
    TITLE,
    WRITTEN_BY,
    WRITTEN_FROM,
    Scale,
)

WRITTEN_KIND = "generated"
_BATCH = 8_192


class _Generated(Source):
    """What both have in common: rows of Parquet parts, shown by the artefact's name and their number."""

    kind = WRITTEN_KIND

    def __init__(self, collection: Collection, generated: Artefact) -> None:
        self._collection = collection
        self._generated = generated

    @property
    def has_queries(self) -> bool:
        """Always."""
        return True

    def describe(self) -> dict[str, object]:
        """Kind, what was written, and what the collection was made of."""
        written = {name: self._generated.plan[name] for name in ("options", "writer")}
        return {"kind": self.kind, **written, "of": self._collection.artefact.plan["source"]}

    def fingerprint(self) -> dict[str, str]:
        """Those of the collection and of what was written."""
        return {"collection": self._collection.artefact.fingerprint, "generated": self._generated.fingerprint}

    def reads(self) -> Iterator[Path]:
        """The collection, and what was written."""
        yield from (self._collection.artefact.path, self._generated.path)

    def _written(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number from 1, row) of all that was written, in its order."""
        return _rows(self._generated, "part-")

    def _documents(self) -> Iterator[Document]:
        taken = (DOC_ID, TITLE, TEXT, TEXT_KEY)
        for line, row in _rows(self._collection.artefact, "documents/"):
            yield Document(
                doc_id=row[DOC_ID],
                title=row[TITLE],
                text=row[TEXT],
                metadata={name: value for name, value in row.items() if name not in taken},
                file="documents",
                line=line,
            )


class WithNegatives(_Generated):
    """The collection as it is, and behind its documents the negatives that were written for its queries."""

    def __init__(self, collection: Collection, generated: Artefact) -> None:
        super().__init__(collection, generated)
        plan = collection.artefact.plan
        self.min_relevance = collection.min_relevance
        self.closed_world = collection.closed_world
        self._scale = Scale(plan["score_scale"]) if "score_scale" in plan else None

    @property
    def negatives_where(self) -> str | None:
        """The collection's."""
        return self._collection.negatives_where

    @property
    def score_scale(self) -> Scale | None:
        """The collection's."""
        return self._scale

    def documents(self, problems: ProblemLog) -> Iterator[Document]:
        """The collection's, then each text that was written, once."""
        yield from self._documents()
        seen: set[str] = set()
        for line, row in self._written():
            if row[DOC_ID] not in seen:
                seen.add(row[DOC_ID])
                metadata = {WRITTEN_BY: row[WRITTEN_BY], WRITTEN_FROM: row[WRITTEN_FROM]}
                yield Document(
                    doc_id=row[DOC_ID],
                    title=row[TITLE],
                    text=row[TEXT],
                    metadata=metadata,
                    file="generated",
                    line=line,
                )

    def queries(self, problems: ProblemLog) -> Iterator[Query]:
        """The collection's."""
        taken = (QUERY_ID, TEXT, TEXT_KEY)
        for line, row in _rows(self._collection.artefact, "queries/"):
            metadata = {name: value for name, value in row.items() if name not in taken}
            yield Query(query_id=row[QUERY_ID], text=row[TEXT], metadata=metadata, file="queries", line=line)

    def qrels(self, problems: ProblemLog) -> Iterator[Judgment]:
        """The collection's."""
        return self._judgments("qrels")

    def negatives(self, problems: ProblemLog) -> Iterator[Judgment]:
        """The collection's, and not what was written."""
        return self._judgments("negatives")

    def curated(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each query with each text that was written for it, also those of the collection itself."""
        yield from self._judgments("curated")
        for line, row in self._written():
            yield Judgment(query_id=row[QUERY_ID], doc_id=row[DOC_ID], grade=0, file="generated", line=line)

    def _judgments(self, table: Literal["qrels", "negatives", "curated"]) -> Iterator[Judgment]:
        for line, row in _rows(self._collection.artefact, f"{table}/"):
            yield Judgment(
                query_id=row[QUERY_ID],
                doc_id=row[DOC_ID],
                grade=row.get(GRADE, 0),
                score=row.get(SCORE),
                file=table,
                line=line,
            )


class WithQueries(_Generated):
    """The collection's documents, less the sentences that were taken for queries, and the written queries alone.

    A text that was written for several documents says of none what it is about (boilerplate), and is left out.
    """

    def __init__(self, collection: Collection, generated: Artefact) -> None:
        super().__init__(collection, generated)
        self._keys = _repeated(generated)

    def notes(self) -> dict[str, str]:
        """How many texts were left out."""
        return {"written for several documents": f"{len(self._keys):,} texts, left out"} if len(self._keys) else {}

    def documents(self, problems: ProblemLog) -> Iterator[Document]:
        """The collection's, with the bodies that were written down; whole where none of its queries is kept."""
        written, repeated = self._written(), set(self._keys.tolist())
        _, row = next(written, (0, None))
        for document in self._documents():
            body = None
            while row is not None and row[DOC_ID] == document.doc_id:
                body = row[BODY] if row[BODY] is not None and row[TEXT_KEY] not in repeated else body
                _, row = next(written, (0, None))
            if body is None:
                yield document
                continue
            yield Document(
                doc_id=document.doc_id,
                title=document.title,
                text=body,
                metadata=document.metadata,
                file=document.file,
                line=document.line,
            )

    def queries(self, problems: ProblemLog) -> Iterator[Query]:
        """Each query that was written."""
        for line, row in self._distinct():
            metadata = {WRITTEN_BY: row[WRITTEN_BY], WRITTEN_FROM: row[DOC_ID]}
            yield Query(query_id=row[QUERY_ID], text=row[TEXT], metadata=metadata, file="generated", line=line)

    def qrels(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each query with its document."""
        for line, row in self._distinct():
            yield Judgment(query_id=row[QUERY_ID], doc_id=row[DOC_ID], grade=1, file="generated", line=line)

    def _distinct(self) -> Iterator[tuple[int, dict[str, Any]]]:
        repeated = set(self._keys.tolist())
        return ((line, row) for line, row in self._written() if row[TEXT_KEY] not in repeated)


def _repeated(generated: Artefact) -> npt.NDArray[np.uint64]:
    """The keys of texts that were written more than once."""
    keys, counts = np.unique(read_table(generated.files(), [TEXT_KEY])[TEXT_KEY].to_numpy(), return_counts=True)
    return np.asarray(keys[counts > 1], np.uint64)


def _rows(artefact: Artefact, table: str) -> Iterator[tuple[int, dict[str, Any]]]:
    line = 0
    for path in artefact.files(table):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH):
                for row in batch.to_pylist():
                    line += 1
                    yield line, row
