"""`generate`: texts that no corpus holds. Negatives for the queries that have a positive, or queries for documents.

What is written is no candidate yet: a collection is made of it (`stages.generating`), so that it is indexed, mined,
scored and decided about as any other document, with all the evidence.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.errors import InputError
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json
from hnmine.files.candidates import keyed_sample
from hnmine.files.collection import Collection, Rows
from hnmine.files.readers.identity import hashed_id
from hnmine.files.tables import part_name, write_table
from hnmine.hashing import keyed_hash, text_key
from hnmine.options import GenerateOptions, Write, as_plain
from hnmine.schema import BODY, DOC_ID, QUERY_ID, TEXT, TEXT_KEY, TITLE, WRITTEN_BY, WRITTEN_FROM, Kind
from hnmine.stages.indexes import queries_with_positives
from hnmine.stages.stage import Stage, block_size, cut
from hnmine.stages.writing import Asked, NegativeWriter, Passage, QueryWriter, Written

DOCUMENT_PREFIX, QUERY_PREFIX = "written-", "asked-"
"""Of the ids of what was written, which are hashes of the texts."""
_SAMPLED = 100
"""Queries, or documents, by whose requests an estimate goes."""

_NEGATIVES = pa.schema(
    {
        QUERY_ID: pa.string(),
        DOC_ID: pa.string(),
        TITLE: pa.string(),
        TEXT: pa.string(),
        WRITTEN_BY: pa.string(),
        WRITTEN_FROM: pa.string(),
        TEXT_KEY: pa.uint64(),
    }
)
_QUERIES = pa.schema(
    {
        QUERY_ID: pa.string(),
        TEXT: pa.string(),
        DOC_ID: pa.string(),
        BODY: pa.string(),
        WRITTEN_BY: pa.string(),
        TEXT_KEY: pa.uint64(),
    }
)


class _Generate(Stage):
    """What both have in common: chosen rows of a collection, block by block, each handed to a writer."""

    kind = Kind.GENERATED
    label = "generate"
    schema: pa.Schema

    def __init__(
        self, collection: Collection, options: GenerateOptions, writer: NegativeWriter | QueryWriter, rows: Rows
    ) -> None:
        self.collection = collection
        self.options = options
        self.by = str(options.by)
        self.number = number_of(options)
        self.writer: Any = writer
        self.block = block_size(writer.block)
        ids = collection.doc_ids if options.write is Write.QUERIES else collection.query_ids
        self.rows = rows[keyed_sample(ids.take(pa.array(rows)), options.limit, options.seed)]
        known = collection.query_text_keys if options.write is Write.QUERIES else collection.doc_text_keys
        self._known = np.unique(known)

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection."""
        return {"collection": self.collection.artefact}

    def parameters(self) -> Json:
        """The options that decide a text, and what the writer says of itself."""
        names = {"by", "write", "texts", "seed", "limit"}
        options = {name: value for name, value in as_plain(self.options).items() if name in names}
        return {"options": options, "writer": self.writer.facts(), "block": self.block}

    def blocks(self) -> Sequence[Block]:
        """Blocks of as many queries, or documents, as the writer likes."""
        return cut(len(self.rows), self.block, "written")

    def sizes(self) -> Json:
        """Queries or documents, the most texts there can be, and what a model would take."""
        sample = np.unique(np.linspace(0, len(self.rows), min(_SAMPLED, len(self.rows)), endpoint=False).astype(int))
        costs = self.writer.costs(self._tasks(self.rows[sample]), len(self.rows) / max(len(sample), 1))
        return {self.unit: len(self.rows), "texts_at_most": len(self.rows) * self.number, **costs}

    def notes(self) -> Json:
        """The writer's."""
        found: Json = self.writer.notes()
        return found

    def work(self, block: Block, draft: Draft) -> None:
        """Write the texts of one block."""
        start = block.index * self.block
        counts: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        found = list(self._written(self.rows[start : start + block.size], counts, refused))
        name = part_name(block.index)
        rows = write_table(draft.path / name, pa.Table.from_pylist(found, schema=self.schema))
        by = Counter(row[WRITTEN_BY] for row in found)
        numbers = {self.unit: block.size, "written": len(found), **counts, **self.writer.counts()}
        draft.commit(block.name, {name: rows}, numbers | {"by": dict(by), "refused": dict(refused)})

    @abstractmethod
    def _tasks(self, rows: Rows) -> Sequence[Any]:
        """What the writer is handed of the queries, or documents, in the given rows."""

    @abstractmethod
    def _written(self, rows: Rows, counts: Counter[str], refused: Counter[str]) -> Iterator[dict[str, Any]]:
        """A row of the table for each text; why others are refused, and what else there is to count."""

    def _is_known(self, key: int) -> bool:
        place = int(np.searchsorted(self._known, np.uint64(key)))
        return place < len(self._known) and int(self._known[place]) == key

    def _share(self, rows: Rows) -> float:
        return len(rows) / len(self.rows)

    def _passages(self, rows: Rows) -> list[Passage]:
        found = self.collection.documents.take(rows, [DOC_ID, TITLE, TEXT]).to_pylist()
        return [Passage(doc_id=row[DOC_ID], title=row[TITLE], text=row[TEXT]) for row in found]


class GenerateNegatives(_Generate):
    """Negatives for the queries that have a positive."""

    unit = "queries"
    schema = _NEGATIVES

    def __init__(self, collection: Collection, options: GenerateOptions, writer: NegativeWriter) -> None:
        rows = queries_with_positives(collection.qrels, collection.min_relevance)
        super().__init__(collection, options, writer, rows)

    def _written(self, rows: Rows, counts: Counter[str], refused: Counter[str]) -> Iterator[dict[str, Any]]:
        asked = self._tasks(rows)
        for one, texts in zip(asked, self.writer.write(asked, self._share(rows)), strict=True):
            if texts is None:
                counts["queries_not_asked"] += 1
                continue
            taken = {text_key(one.query): "query"} | {_key(p.title, p.text): "no-op" for p in one.positives}
            written = 0
            for text in texts:
                if written == self.number:
                    break
                key = _key(text.title, text.text)
                why = taken.get(key) or ("in-corpus" if self._is_known(key) else None)
                if why is not None:
                    refused[why] += 1
                    continue
                taken[key] = "repeated"
                written += 1
                yield self._row(one, text, key)
            counts["queries_short"] += written < self.number

    def _tasks(self, rows: Rows) -> list[Asked]:
        """The queries with their positives, the best grade first, of equal ones in a keyed order."""
        judged = self.collection.qrels.of(rows)
        judged = judged.take(judged.grades >= self.collection.min_relevance)
        passages = self._passages(judged.doc_rows)
        ids = self.collection.query_ids.take(pa.array(rows)).to_pylist()
        own: list[list[tuple[int, int, Passage]]] = [[] for _ in ids]
        for owner, grade, passage in zip(judged.query_rows.tolist(), judged.grades.tolist(), passages, strict=True):
            turn = keyed_hash(self.options.seed, "positive", ids[owner], passage.doc_id)
            own[owner].append((-grade, turn, passage))
        texts = self.collection.query_texts(rows)
        return [
            Asked(query_id=identity, query=text, positives=[item[-1] for item in sorted(mine, key=lambda p: p[:2])])
            for identity, text, mine in zip(ids, texts, own, strict=True)
        ]

    def _row(self, one: Asked, text: Written, key: int) -> dict[str, Any]:
        return {
            QUERY_ID: one.query_id,
            DOC_ID: hashed_id(DOCUMENT_PREFIX, f"{text.title}\n{text.text}"),
            TITLE: text.title,
            TEXT: text.text,
            WRITTEN_BY: f"{self.by}:{text.how}" if text.how else self.by,
            WRITTEN_FROM: text.source,
            TEXT_KEY: key,
        }


class GenerateQueries(_Generate):
    """Queries for the documents of a collection."""

    unit = "documents"
    schema = _QUERIES

    def __init__(self, collection: Collection, options: GenerateOptions, writer: QueryWriter) -> None:
        super().__init__(collection, options, writer, np.arange(len(collection.documents)))

    def _tasks(self, rows: Rows) -> list[Passage]:
        return self._passages(rows)

    def _written(self, rows: Rows, counts: Counter[str], refused: Counter[str]) -> Iterator[dict[str, Any]]:
        passages = self._tasks(rows)
        for passage, found in zip(passages, self.writer.write(passages, self._share(rows)), strict=True):
            if found is None:
                counts["documents_not_asked"] += 1
                continue
            taken = {_key(passage.title, passage.text): "document"}
            written = 0
            for query in found.queries:
                key = text_key(query)
                why = taken.get(key) or ("query" if self._is_known(key) else None)
                if why is not None or written == self.number:
                    refused[why or "not-needed"] += 1
                    continue
                taken[key] = "repeated"
                written += 1
                yield {
                    QUERY_ID: hashed_id(QUERY_PREFIX, query),
                    TEXT: query,
                    DOC_ID: passage.doc_id,
                    BODY: found.rest,
                    WRITTEN_BY: self.by,
                    TEXT_KEY: key,
                }
            counts["documents_without_query"] += not written


def number_of(options: GenerateOptions) -> int:
    """How many texts a query, or a document, gets: by default a negative of each change, or one query."""
    if options.texts is not None:
        return options.texts
    return 1 if options.write is Write.QUERIES else 4


def _key(title: str, text: str) -> int:
    """The `text_key` of a document, as `ingest` makes it."""
    return text_key(f"{title}\n{text}")


def require_any(generated: Artefact) -> None:
    """Raise `InputError` if nothing was written."""
    if not generated.counts["written"]:
        why = ", ".join(f"{name} {count:,}" for name, count in generated.counts.get("refused", {}).items())
        raise InputError(
            f"{generated.path}: nothing was written" + (f"; refused: {why}" if why else ""),
            expected="texts with words to change, or documents of at least two sentences",
            remedy="another --by or --change, or leave out --limit",
        )
