"""`export --mixed`: synthetic negative vectors beside the training file, from the vectors that the miner searched.

For trainers that take embeddings. Vectors grow old as the model learns; so each mixture also says what it was made of
and how much of it, and a trainer can mix its own vectors of today.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.layout import Ints, Layout
from hnmine.core.mixing import QUERY, Mixtures, draw, mixed
from hnmine.engines.arithmetic import numpy_facts
from hnmine.engines.vectors import VectorStore, normalise_rows
from hnmine.errors import ArtefactError, UsageError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.collection import Collection
from hnmine.files.remote import split_named
from hnmine.files.tables import flat
from hnmine.hashing import keyed_hashes_of_rows
from hnmine.options import ExportOptions
from hnmine.schema import QUERY_ID, Kind
from hnmine.stages.picked import Picked

_AT_A_TIME = 1 << 22
"""Numbers of vectors in memory at a time, of each of the two that are mixed."""


class Mixer:
    """Mixes vectors of one dense index, which the decisions are made from."""

    def __init__(self, index: Artefact, name: str, options: ExportOptions) -> None:
        if options.mixed < 1:
            raise UsageError(f"--mixed {options.mixed}: at least 1")
        self.index = index
        self.name = name
        self._options = options
        self._opened: tuple[VectorStore, VectorStore] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}  # another process maps the vectors itself

    def parameters(self) -> Json:
        """Whose vectors are mixed, and what moves their last bits."""
        return {"index": self.name, "arithmetic": numpy_facts()}

    def table(self, collection: Collection, picked: Picked, layout: Layout) -> tuple[pa.Table, int]:
        """The mixtures of each row of `layout`, as lists of at most `--mixed`; and how many rows have none.

        The negatives that are mixed are all that the row's query has, whether they stand in the row or not.
        """
        offsets = picked.chosen.negative_offsets
        found = draw(
            self._options.mixing,
            self._keys(collection, picked, layout),
            np.diff(offsets)[layout.query],
            self._options.mixed,
        )
        start = offsets[:-1][layout.query[found.row]]
        documents = picked.negatives.rows
        first = np.where(found.first == QUERY, QUERY, documents[start + np.maximum(found.first, 0)])
        second = documents[start + found.second]
        counts = np.bincount(found.row, minlength=len(layout))
        ends = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
        first_ids = collection.doc_ids.take(pa.array(first, mask=first == QUERY))
        vectors = self._vectors(found, picked.query_rows[layout.query[found.row]], first, second)
        columns = {
            "first": first_ids,
            "second": collection.doc_ids.take(pa.array(second)),
            "shares": pa.array(found.share),
            "vectors": vectors,
        }
        lists = {name: pa.ListArray.from_arrays(ends, flat(values)) for name, values in columns.items()}
        query_ids = picked.query_ids.take(pa.array(layout.query))
        return pa.table({QUERY_ID: query_ids, **lists}), int((counts == 0).sum())

    def _keys(self, collection: Collection, picked: Picked, layout: Layout) -> npt.NDArray[np.uint64]:
        """A keyed random number for each row, made from the ids in it and the epoch alone."""
        queries = picked.query_ids.take(pa.array(layout.query)).to_pylist()
        documents = collection.doc_ids.take(pa.array(picked.documents(layout.places))).to_pylist()
        epochs = picked.epochs[layout.query].tolist()
        ends = layout.offsets.tolist()
        rows = (
            (query, str(epoch), *documents[low:high])
            for query, epoch, low, high in zip(queries, epochs, ends, ends[1:], strict=False)
        )
        return np.array(keyed_hashes_of_rows(self._options.seed, "mixed", rows=rows), np.uint64)

    def _vectors(self, found: Mixtures, queries: Ints, first: Ints, second: Ints) -> pa.FixedSizeListArray:
        stores = self._stores()
        dimension = stores[0].dimension
        out = np.empty((len(first), dimension), np.float32)
        for part in _pieces(len(first), max(1, _AT_A_TIME // dimension)):
            one, two = (normalise_rows(stores[0].take(np.maximum(rows[part], 0))) for rows in (first, second))
            is_query = np.flatnonzero(first[part] == QUERY)
            one[is_query] = normalise_rows(stores[1].take(queries[part][is_query]))
            out[part] = mixed(self._options.mixing, found.share[part], one, two)
        return pa.FixedSizeListArray.from_arrays(pa.array(out.ravel()), dimension)

    def _stores(self) -> tuple[VectorStore, VectorStore]:
        """The vectors of documents and of queries."""
        if self._opened is None:
            sides = (VectorStore(self.index.files(f"vectors/{side}-", ".npy")) for side in ("documents", "queries"))
            self._opened = next(sides), next(sides)
        return self._opened


def mixer_of(decisions: Artefact, options: ExportOptions, given: str | None = None) -> Mixer | None:
    """The mixer that the options ask for, None if they ask for none.

    The index is the one that the decisions rank by if it is dense, else the first dense one among what the candidates
    were mined with; `given` (`DIR` or `NAME=DIR`) says where it is, or which of several. Its fingerprint must be one of
    those. Raises `UsageError` if nothing dense was mined with, `ArtefactError` if it cannot be found.
    """
    if not options.mixed:
        if given is not None:
            raise UsageError("--index says whose vectors are mixed: it goes with --mixed N")
        return None
    mined = decisions.input("candidates", Kind.CANDIDATES)
    while "candidates" in mined.plan["inputs"]:
        mined = mined.input("candidates", Kind.CANDIDATES)
    dense = [score["name"] for score in decisions.plan["scores"] if score["origin"] == "dense"]
    dense.sort(key=lambda name: name != decisions.plan["rank_by"])
    if not dense:
        raise UsageError(
            f"--mixed {options.mixed}: the candidates of {decisions.path} have no dense index, whose vectors are mixed",
            expected="candidates that were mined with one (`hnmine index dense`)",
        )
    if given is None:
        return Mixer(mined.input(f"index:{dense[0]}", Kind.DENSE_INDEX), dense[0], options)
    name, place = split_named(given)
    index = Artefact.open(place, Kind.DENSE_INDEX)
    for known in dense:
        if index.fingerprint == mined.plan["inputs"][f"index:{known}"] and name in ("", known):
            return Mixer(index, known, options)
    raise ArtefactError(
        f"--index {given}: the candidates were not mined with this index (its fingerprint differs)",
        expected=f"one of {', '.join(dense)}",
    )


def _pieces(size: int, step: int) -> Iterator[slice]:
    return (slice(low, min(low + step, size)) for low in range(0, size, step))


def mixed_sibling(file: Path) -> Path:
    """Where the mixtures of a training file go: `triplets.jsonl` has `triplets.mixed.parquet`."""
    return file.with_name(f"{file.stem}.mixed.parquet")
