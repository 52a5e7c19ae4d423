"""What `mine` leaves out on request: queries and documents of an evaluation set, found by id and by text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.pool import Pairs
from hnmine.files.artefact import Json
from hnmine.files.collection import Collection, Qrels
from hnmine.files.readers.listed import Listed, read_listed
from hnmine.options import MineOptions
from hnmine.schema import Side

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusions:
    """Which rows of a collection may not be used; a mask is None where nothing was listed."""

    queries: Bools | None
    documents: Bools | None
    plan: Json
    """By side: the hash of the file, how many items it lists, how many rows of the collection they are."""

    def allowed(self, judged: Qrels) -> Qrels:
        """The judgments that name neither an excluded query nor an excluded document."""
        keep = np.ones(len(judged.query_rows), np.bool_)
        if self.queries is not None:
            keep &= ~self.queries[judged.query_rows]
        return judged.take(keep if self.documents is None else keep & ~self.documents[judged.doc_rows])

    def allowed_documents(self, judged: Qrels) -> Qrels:
        """The judgments of documents that are not excluded; query rows may be numbered in any way."""
        return judged if self.documents is None else judged.take(~self.documents[judged.doc_rows])

    def depth(self, k: int) -> int:
        """How deep to search so that k documents are left, unless more than k of the first 2k are excluded."""
        return k if self.documents is None else k + min(k, int(self.documents.sum()))

    def first(self, pairs: Pairs, k: int) -> tuple[Pairs, Ints, int]:
        """The first k allowed pairs of each owner, their places in `pairs`, and how many excluded pairs there were."""
        if self.documents is None:
            return pairs, np.arange(len(pairs.rows)), 0
        keep = np.flatnonzero(~self.documents[pairs.rows])
        owner = pairs.owner[keep]
        keep = keep[np.arange(len(keep)) - np.searchsorted(owner, owner, side="left") < k]
        found = Pairs(owner=pairs.owner[keep], rows=pairs.rows[keep])
        return found, keep, int(self.documents[pairs.rows].sum())


def find_exclusions(collection: Collection, options: MineOptions) -> Exclusions:
    """Read the lists of the options and find their items among the collection's ids and texts."""
    plan: Json = {}
    queries = documents = None
    if options.exclude_queries is not None:
        listed = read_listed(options.exclude_queries, Side.QUERY)
        queries = _mask(listed, collection.query_ids, collection.query_text_keys)
        plan["queries"] = _facts(listed, queries)
    if options.exclude_documents is not None:
        listed = read_listed(options.exclude_documents, Side.DOCUMENT)
        documents = _mask(listed, collection.doc_ids, collection.doc_text_keys)
        plan["documents"] = _facts(listed, documents)
    return Exclusions(queries=queries, documents=documents, plan=plan)


def _mask(listed: Listed, ids: pa.ChunkedArray, keys: npt.NDArray[np.uint64]) -> Bools:
    named = pc.is_in(ids, value_set=pa.array(sorted(listed.ids), pa.string()))
    return np.asarray(named.to_numpy(), np.bool_) | listed.has_keys(keys)


def _facts(listed: Listed, mask: Bools) -> Json:
    return {
        "sha256": listed.digest,
        "ids": len(listed.ids),
        "texts": len(listed.keys),
        "found": int(mask.sum()),
    }


def draw_space(documents: Bools | None, count: int) -> Ints:
    """The document rows that may be drawn at random, ascending."""
    return np.arange(count) if documents is None else np.flatnonzero(~documents)
