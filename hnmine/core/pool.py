"""The pool: the union of what every source brings for a block of queries, one row per (query, document)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnmine.core.grouped import ascending_by_owner

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """(query, document) pairs of a block: `owner` is the query's number in the block, `rows` the document's row."""

    owner: Ints
    rows: Ints

    @classmethod
    def ragged(cls, offsets: Ints, rows: Ints) -> Pairs:
        """Pairs from offsets: query i owns rows[offsets[i]:offsets[i+1]]."""
        return cls(owner=np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), rows=np.asarray(rows, np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The distinct pairs of all sources, by owner; `brought[name][i]` says whether a source brought pair i.

    `place[name][i]` is the pair's index in that source's own list, -1 where it did not bring it.
    """

    offsets: Ints
    owner: Ints
    rows: Ints
    place: Mapping[str, Ints]

    def brought(self, name: str) -> Bools:
        """Which pairs the source brought."""
        return self.place[name] >= 0

    def places(self, pairs: Pairs) -> Ints:
        """The index of each row of the pool in a list of pairs; -1 where it is not among them."""
        documents = 1 + max(int(rows.max(initial=0)) for rows in (self.rows, pairs.rows))
        both = unite({"own": Pairs(owner=self.owner, rows=self.rows), "others": pairs}, 0, documents)
        return both.place["others"][both.brought("own")]

    def gather(self, name: str, values: npt.NDArray[np.generic], missing: float) -> npt.NDArray[np.generic]:
        """A source's own values spread over the pool, `missing` where the source has none."""
        place = self.place[name]
        result = np.full(len(place), missing, dtype=np.result_type(values.dtype, type(missing)))
        result[place >= 0] = values[place[place >= 0]]
        return result


def unite(sources: Mapping[str, Pairs], queries: int, documents: int) -> Pool:
    """The union of the sources' pairs, ascending by (owner, row); a pair that a source repeats counts once."""
    stride = np.int64(max(documents, 1))
    keys = np.concatenate([np.empty(0, np.int64), *(pairs.owner * stride + pairs.rows for pairs in sources.values())])
    order = np.argsort(keys)
    ordered = keys[order]
    is_new = np.concatenate([ordered[:1] == ordered[:1], ordered[1:] != ordered[:-1]])
    union = ordered[is_new]
    number = np.empty(len(keys), np.int64)  # of each pair's key in the union
    number[order] = np.cumsum(is_new) - 1
    place: dict[str, Ints] = {}
    start = 0
    for name, pairs in sources.items():
        places, size = np.full(len(union), -1, np.int64), len(pairs.rows)
        places[number[start : start + size][::-1]] = np.arange(size)[::-1]
        place[name] = places
        start += size
    owner = union // stride
    offsets = np.searchsorted(owner, np.arange(queries + 1)).astype(np.int64)
    return Pool(offsets=offsets, owner=owner, rows=union % stride, place=place)


def best_first(owner: Ints, scores: npt.NDArray[np.float32], ties: Ints) -> Ints:
    """The order of (owner, score descending, tie ascending): what `np.lexsort((ties, -scores, owner))` gives, sooner.

    `owner` ascends; `ties` are at least 0 and below 2**32, and none comes twice with an owner; no score is NaN.
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # -0.0 is 0.0
    falling = np.where(bits >> 31, bits, ~(bits | np.uint32(1 << 31)))
    return ascending_by_owner(owner, falling.astype(np.uint64) << np.uint64(32) | ties.astype(np.uint64))


def ranks_of(owner: Ints) -> npt.NDArray[np.int32]:
    """1-based position of each row within its owner's run; rows must be grouped by owner and in rank order."""
    if not len(owner):
        return np.empty(0, np.int32)
    starts = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))
    lengths = np.diff(np.concatenate([starts, [len(owner)]]))
    return (np.arange(len(owner)) - np.repeat(starts, lengths) + 1).astype(np.int32)


def draw_documents(seed: int, taken: Ints, documents: int, count: int) -> Ints:
    """`count` distinct random document rows that are not in `taken` (fewer if the corpus has no more), ascending."""
    free = documents - len(np.unique(taken))
    wanted = min(count, free)
    if wanted <= 0:
        return np.empty(0, np.int64)
    generator = np.random.default_rng(seed)
    if free <= 4 * count:
        candidates = np.setdiff1d(np.arange(documents), taken)
        return np.sort(generator.permutation(candidates)[:wanted])
    banned = set(taken.tolist())
    chosen: dict[int, None] = {}
    while len(chosen) < wanted:
        for row in generator.integers(0, documents, size=2 * count).tolist():
            if row not in banned and len(chosen) < wanted:
                chosen[row] = None
    return np.sort(np.fromiter(chosen, np.int64, wanted))
