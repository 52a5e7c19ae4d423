"""The files of an export beside the rows: what they are called, of what blocks they are made, what is in a block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.core.layout import Layout
from hnmine.files.collection import Collection
from hnmine.files.encodings import Encoding, Parquet
from hnmine.stages.collisions import Collisions
from hnmine.stages.formats.base import (
    Documents,
    DocumentsFile,
    FurtherFile,
    Queries,
    QueriesFile,
    Rows,
    RowsFile,
    TrainingFormat,
)
from hnmine.stages.mixed import mixed_sibling
from hnmine.stages.picked import Picked
from hnmine.stages.prompts import Prompts
from hnmine.stages.splits import split_file
from hnmine.stages.stage import block_size

TEXTS_PER_BLOCK = 131_072
BLOCK_BYTES, MOST_TEXTS = 1 << 27, 1 << 19
"""A block of training rows has about so many bytes of text, repeats counted: what a reader holds of a row group; and at
most so many texts. The longer it is, the more of its texts come again, which are written once."""
COLLISIONS = "collisions"
FURTHER = "further"
OF_SPLIT = "."
MIXED = "mixed"


def rows_per_block(collection: Collection, layout: Layout, *, vectors: int) -> int:
    """How many rows of a layout are a block, by the mean lengths in the collection; `vectors` are beside each row."""
    documents = len(layout.places) / max(len(layout), 1)
    length = collection.queries.mean_bytes + (documents + vectors) * collection.documents.mean_bytes
    return max(1_024, int(min(BLOCK_BYTES / max(length, 1), MOST_TEXTS / (1 + documents + vectors))))


def whole_files(
    form: TrainingFormat, file: str | None, splits: Sequence[str], *, lists: bool
) -> dict[str, tuple[str, Encoding]]:
    """What is joined of parts: how the names of these begin, and the name and encoding of the file.

    With `lists`, the collisions of each split too.
    """
    found: dict[str, tuple[str, Encoding]] = {}
    for split in splits:
        if file is not None:
            named = split_file(file, split)
            found[f"data/{split}"] = (named, form.encoding)
            found[f"ids/{split}"] = (sibling(Path(named)).as_posix(), Parquet())
            found[f"{MIXED}/{split}"] = (mixed_sibling(Path(named)).as_posix(), Parquet())  # if there are any
        elif form.beside:
            found[f"data/{split}"] = (split_file(form.name, split), form.encoding)
        if lists:
            listed = f"{COLLISIONS}/{split}.parquet"
            if file is not None:
                listed = sibling(Path(split_file(file, split)), COLLISIONS).as_posix()
            found[f"{COLLISIONS}/{split}"] = (listed, Parquet())
    for number, further in enumerate(form.beside):
        folder = f"{FURTHER}{number}"
        for split in splits if isinstance(further, RowsFile) else [folder]:
            found[f"{folder}/{split}"] = (split_file(further.name, split), further.encoding)
    return found


class Further:
    """A further file of a format over what an export picked, or a split of it: its rows, and any of its blocks.

    `name` is that of its blocks. `layout` holds the rows of a `RowsFile`.
    """

    def __init__(
        self,
        file: FurtherFile,
        name: str,
        layout: Layout | None,
        *,
        collection: Collection,
        picked: Picked,
        of: Layout,
        scores: bool,
        prompts: Prompts,
    ) -> None:
        """`of` holds the rows of the format's main file, whose documents and queries have rows in the others."""
        self.file, self.name, self.encoding = file, name, file.encoding
        self._collection, self._picked = collection, picked
        self._layout = layout
        self._scores, self._prompts = scores, prompts
        match file:
            case RowsFile():
                assert layout is not None
                self.rows = len(layout)
            case DocumentsFile(whole=True):
                self._chosen = None
                self.rows = len(collection.doc_ids)
            case DocumentsFile():
                self._chosen = np.unique(picked.documents(of.places))
                self.rows = len(self._chosen)
            case QueriesFile():
                self._chosen = np.unique(picked.query_rows[of.query])
                self.rows = len(self._chosen)
        self.block_rows = block_size(TEXTS_PER_BLOCK // 2)

    def table(self, number: int, size: int) -> pa.Table:
        """The columns of a block's rows."""
        start = number * self.block_rows
        if isinstance(self.file, RowsFile):
            assert self._layout is not None
            layout = self._layout.between(start, start + size)
            rows_of_it = Rows(self._collection, self._picked, layout, scores=self._scores, prompts=self._prompts)
            return self.file.table(rows_of_it)
        rows = np.arange(start, start + size) if self._chosen is None else self._chosen[start : start + size]
        if isinstance(self.file, QueriesFile):
            return self.file.table(Queries(self._collection, rows, self._prompts))
        return self.file.table(Documents(self._collection, rows, self._prompts))


class Listed:
    """The pairs of a split that must not share a batch, as a piece of an export: how many, and any block of them."""

    encoding = Parquet()

    def __init__(self, collection: Collection, collisions: Collisions, name: str) -> None:
        self.name, self.rows = name, len(collisions)
        self._collection, self._collisions = collection, collisions
        self.block_rows = block_size(TEXTS_PER_BLOCK)

    def table(self, number: int, size: int) -> pa.Table:
        """The columns of a block's pairs."""
        start = number * self.block_rows
        return self._collisions.table(self._collection, start, start + size)


def sibling(file: Path, table: str = "ids") -> Path:
    """Where the ids, or the collisions, of a training file go: `triplets.jsonl` has `triplets.ids.parquet`."""
    return file.with_name(f"{file.stem}.{table}.parquet")
