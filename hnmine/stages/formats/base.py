"""What a training format is: files, what a row of each is, the columns that it becomes, and how they are read back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.answers import parse_answers
from hnmine.core.decide import RELABELLED
from hnmine.core.layout import Chosen, Keys, Layout
from hnmine.errors import ProblemLog
from hnmine.files.collection import Collection, once_each
from hnmine.files.encodings import Encoding, Parquet
from hnmine.files.readers.examples import Example
from hnmine.files.tables import flat
from hnmine.schema import ANSWERS, TEXT, TITLE
from hnmine.stages.picked import Ints, Picked
from hnmine.stages.prompts import Prompts

TASK = "type"
TASKS = ("symmetric_class", "symmetric_sts", "symmetric_clustering", "only_1neg")
"""FlagEmbedding's words for tasks that are trained otherwise than retrieval."""


class Documents:
    """Some documents of a collection, column by column, each read when it is asked for.

    A prompt stands before the text; where titles stand apart, before the title of a document that has one.
    """

    def __init__(self, collection: Collection, rows: Ints, prompts: Prompts | None = None) -> None:
        self._collection, self.rows = collection, rows
        self._prompt = (prompts.document or "") if prompts else ""

    @cached_property
    def ids(self) -> pa.Array:
        """The document ids, as the user wrote them."""
        return flat(self._collection.doc_ids.take(pa.array(self.rows)))

    @cached_property
    def texts(self) -> pa.Array:
        """What was indexed and is trained on: title, separator, text. A dictionary array."""
        if not self._prompt:
            return self._collection.document_dictionary(self.rows)
        return once_each(self.rows, lambda own: _after(self._prompt, self._collection.document_text_array(own)))

    @cached_property
    def titles(self) -> pa.Array:
        """The titles alone; "" where there is none."""
        titles = self._parts[TITLE].combine_chunks()
        return pc.if_else(pc.equal(titles, ""), titles, _after(self._prompt, titles)) if self._prompt else titles

    @cached_property
    def bodies(self) -> pa.Array:
        """The texts without the titles."""
        bodies, titles = (self._parts[name].combine_chunks() for name in (TEXT, TITLE))
        return pc.if_else(pc.equal(titles, ""), _after(self._prompt, bodies), bodies) if self._prompt else bodies

    @cached_property
    def _parts(self) -> pa.Table:
        once, place = np.unique(self.rows, return_inverse=True)
        return self._collection.documents.take(once, [TITLE, TEXT]).take(pa.array(place))


class Queries:
    """Some queries of a collection, column by column, each read when it is asked for."""

    def __init__(self, collection: Collection, rows: Ints, prompts: Prompts | None = None) -> None:
        self._collection, self.rows, self._prompts = collection, rows, prompts

    @cached_property
    def ids(self) -> pa.Array:
        """The query ids, as the user wrote them."""
        return flat(self._collection.query_ids.take(pa.array(self.rows)))

    @cached_property
    def texts(self) -> pa.Array:
        """The queries, each behind its instruction unless the format has a field for that. A dictionary array."""
        prompts = self._prompts
        if prompts is None or prompts.before_queries(self.rows[:0]) is None:
            return self._collection.query_dictionary(self.rows)
        return once_each(
            self.rows,
            lambda own: _after(prompts.before_queries(own), self._collection.queries.take(own, [TEXT])[TEXT]),
        )

    @cached_property
    def instructions(self) -> pa.Array | None:
        """The instruction of each query, null where it has none; None unless they were asked for."""
        return self._prompts.instructions(self.rows) if self._prompts else None

    @cached_property
    def task(self) -> str | None:
        """What the queries are for, where it is no retrieval: the metadata column `type`, if all queries of the
        collection have the same one of `TASKS`; `symmetric_class` for texts with classes; else None.
        """
        if TASK in self._collection.column_names("queries"):
            said = pc.unique(self._collection.column("queries", TASK)).to_pylist()
            if len(said) == 1 and said[0] in TASKS:
                return str(said[0])
        return "symmetric_class" if self._collection.artefact.plan["source"]["kind"] == "classes" else None

    @cached_property
    def answers(self) -> pa.Array:
        """The answers to each query, a list: its metadata column `answers`, read as `--no-answers` reads it."""
        kind = pa.list_(pa.string())
        if ANSWERS not in self._collection.column_names("queries"):
            return pa.repeat(pa.scalar([], kind), len(self.rows))
        values = self._collection.column("queries", ANSWERS).take(pa.array(self.rows)).to_pylist()
        return pa.array([parse_answers(value) for value in values], kind)


class Rows:
    """Some rows of a training file. Row i has query i and the documents `offsets[i]:offsets[i + 1]`, the positive
    first (in layouts of one positive a row); columns are read when they are asked for.

    `scores`, `weights` and `instructions` are None unless they were asked for.
    """

    def __init__(
        self,
        collection: Collection,
        picked: Picked,
        layout: Layout,
        *,
        scores: bool = False,
        weight: bool = False,
        prompts: Prompts | None = None,
    ) -> None:
        self._collection, self._picked, self.layout = collection, picked, layout
        self._has_scores, self._has_weights = scores, weight
        self.of_queries = Queries(collection, picked.query_rows[layout.query], prompts)
        self.of_documents = Documents(collection, picked.documents(layout.places), prompts)

    @property
    def queries(self) -> pa.Array:
        """The text of each row's query."""
        return self.of_queries.texts

    @property
    def query_ids(self) -> pa.Array:
        """The id of each row's query."""
        return self.of_queries.ids

    @property
    def instructions(self) -> pa.Array | None:
        """The instruction of each row's query, null where it has none."""
        return self.of_queries.instructions

    @property
    def documents(self) -> pa.Array:
        """The text of each document of each row."""
        return self.of_documents.texts

    @property
    def doc_ids(self) -> pa.Array:
        """The id of each document of each row."""
        return self.of_documents.ids

    @cached_property
    def offsets(self) -> pa.Array:
        """Where each row's documents begin, and where the last one's end (int32)."""
        return pa.array(self.layout.offsets, pa.int32())

    @cached_property
    def labels(self) -> pa.Array:
        """1 for a positive, 0 for a negative (int64), parallel to the documents."""
        return pa.array((self.layout.places >= 0).astype(np.int64))

    @cached_property
    def scores(self) -> pa.Array | None:
        """The judge's score of each document (float32)."""
        return pa.array(self._picked.scores(self.layout.places)) if self._has_scores else None

    @cached_property
    def known_scores(self) -> pa.Array:
        """The judge's score of each document (float32), null where it has none; asked for or not."""
        scores = self._picked.scores(self.layout.places)
        return pa.array(scores, mask=np.isnan(scores))

    @cached_property
    def weights(self) -> pa.Array | None:
        """1 for a positive, 1 less the estimated probability of being a false one for a negative (float32)."""
        return pa.array(self._picked.weights(self.layout.places)) if self._has_weights else None

    @cached_property
    def difficulty(self) -> pa.Array:
        """How hard each row is (float32, see `core.shaping.difficulties`); null where the judge's scores do not say."""
        found = self._picked.difficulties(self.layout)
        return pa.array(found, mask=np.isnan(found))

    @cached_property
    def ranks(self) -> pa.Array:
        """The rank of each document under `--rank-by`, from 1 (int32); 0 where it has none."""
        return pa.array(self._picked.ranks(self.layout.places))

    @cached_property
    def sources(self) -> pa.Array:
        """Who brought each document: a list of retrievers."""
        return self._picked.sources(self.layout.places)

    @cached_property
    def steps(self) -> pa.Array:
        """How each document came in; `none` for known positives, `relabelled` for others."""
        return self._picked.steps(self.layout.places)

    @cached_property
    def owners(self) -> Ints:
        """The row of each document, from 0."""
        return np.repeat(np.arange(len(self.layout)), np.diff(self.layout.offsets))

    @cached_property
    def grades(self) -> pa.Array:
        """The grade of each document in the qrels (int32), null where they do not judge it, or were overruled."""
        query_rows, of_query = np.unique(self.of_queries.rows, return_inverse=True)
        judged = self._collection.qrels.of(query_rows)
        if not len(judged.doc_rows):
            return pa.nulls(len(self.owners), pa.int32())
        total = len(self._collection.doc_ids)
        keys, wanted = (
            judged.query_rows * total + judged.doc_rows,
            of_query[self.owners] * total + self.of_documents.rows,
        )
        order = np.argsort(keys, kind="stable")
        place = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
        overruled = pc.equal(self.steps, RELABELLED).to_numpy(zero_copy_only=False)
        return pa.array(judged.grades[place], mask=(keys[place] != wanted) | overruled)

    @cached_property
    def epochs(self) -> pa.Array | None:
        """The epoch of each row (int32); None where all of the file are of the same."""
        every = self._picked.epochs
        return pa.array(every[self.layout.query], pa.int32()) if (every != every[:1]).any() else None

    @property
    def decisions(self) -> str:
        """The fingerprint of the decisions that the rows are of."""
        return self._picked.decisions

    @property
    def label(self) -> tuple[str, pa.Array]:
        """What the trainer is to learn from: ("score", scores) if they were asked for, else ("label", labels)."""
        return ("score", self.scores) if self.scores is not None else ("label", self.labels)

    def lists(self, values: pa.Array) -> pa.Array:
        """Values that are parallel to the documents, as one list a row."""
        return pa.ListArray.from_arrays(self.offsets, values)

    def column(self, place: int) -> pa.Array:
        """The document at `place` of every row; all rows must have it."""
        return self.at(place, self.documents)

    def at(self, place: int, values: pa.Array) -> pa.Array:
        """Of values that are parallel to the documents, that of the document at `place` of every row."""
        return values.take(pa.array(self.layout.offsets[:-1] + place))

    def lists_of(self, values: pa.Array, *, positive: bool) -> pa.Array:
        """Of values that are parallel to the documents, those of each row's positives (or negatives), as lists."""
        kept = (self.layout.places >= 0) == positive
        counts = np.bincount(self.owners[kept], minlength=len(self.layout))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), flat(values.filter(pa.array(kept))))


LayOut = Callable[[Chosen, int, Keys | None], Layout]


@dataclass(frozen=True, kw_only=True)
class DocumentsFile:
    """A further file of a format with a row for each document, in the collection's order.

    Those that stand in a training row; with `whole`, all of the collection's.
    """

    name: str
    encoding: Encoding
    table: Callable[[Documents], pa.Table]
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class QueriesFile:
    """A further file of a format with a row for each query that has a training row, in the collection's order."""

    name: str
    encoding: Encoding
    table: Callable[[Queries], pa.Table]


@dataclass(frozen=True, kw_only=True)
class RowsFile:
    """A further file of a format with rows of its own layout, which gets the width and the keys of the main one."""

    name: str
    encoding: Encoding
    lay_out: LayOut
    table: Callable[[Rows], pa.Table]


FurtherFile = DocumentsFile | QueriesFile | RowsFile


class TrainingFormat(ABC):
    """A layout of training files, to the letter of what the trainer reads.

    A format of one file can be written to any place, to a directory of shards, and to a pipe. One with files `beside`
    its rows is a directory, in which `name` is the file of the rows.
    """

    encoding: ClassVar[Encoding] = Parquet()
    name: ClassVar[str] = "train.parquet"
    """Where the rows go in a directory with further files."""
    beside: ClassVar[tuple[FurtherFile, ...]] = ()
    is_fixed: ClassVar[bool] = False
    """Whether every row has as many negatives as any other, so that a query with too few can be padded."""
    has_instruction: ClassVar[bool] = False
    """Whether the format has a field for a query's instruction, so that it does not stand before the query's text."""
    has_texts: ClassVar[bool] = True
    """Whether texts stand in its files, so that a prompt can stand before them."""
    has_free_columns: ClassVar[bool] = False
    """Whether columns may have any name, and one more stand behind them: the trainer goes by their order, or by names
    that it is told."""
    needs_scores: ClassVar[bool] = False
    """Whether there is no such file without the judge's scores, so that nobody need ask for them."""
    takes_scores: ClassVar[bool] = True
    """Whether there is a place for scores in its files."""
    takes_weights: ClassVar[bool] = True
    """Whether there is a place for weights in its files."""
    takes_epochs: ClassVar[bool] = True
    """Whether a query may stand in its files once for every epoch; if not, they hold one epoch."""
    ids_without: ClassVar[str | None] = None
    """What no id may hold, because it would be read as something else: a regular expression."""

    def fixed(self, splits: Sequence[str], decisions: str) -> Mapping[str, str]:
        """Small further files of a directory, by name: what they say of the splits and of the decisions exported.

        Their names do not depend on `decisions`, a fingerprint.
        """
        return {}

    @abstractmethod
    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """Which documents stand in a row, and how many (query, positive) pairs had too few negatives for one.

        `width` is the number of negatives that were asked for; `pad`, for a format of fixed width, repeats the first
        negative of a query with fewer.
        """

    @abstractmethod
    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """The columns of the training file. Nested values are lists and structs; JSON leaves out nulls."""

    @abstractmethod
    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """What a file (or directory) of this format says, row by row.

        As strict as the trainer: each row that it would refuse, or read as something else, goes to `problems` with
        its place, and is left out. Raises `InputError` for a file that is not of this format at all.
        """


def _after(prompts: str | pa.Array, texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Each text behind its prompt, or behind the one that all have."""
    return pc.binary_join_element_wise(prompts, flat(texts), "")
