"""Shapes of a training file: which documents stand in a row, before any text is read.

Four shapes serve every format: a row per negative, per (query, positive), per query, per text. `keys` holds a keyed
random number for each positive, by which rows are shuffled, so that those of one query do not clump; without it they
stand by query, positive and negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """How many texts each query has: its positives and its negatives, in order of preference.

    Query i owns the positives positive_offsets[i]..positive_offsets[i+1] of one list, and likewise its negatives of
    another. What these texts are is for others to know.
    """

    positive_offsets: Ints
    negative_offsets: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Rows to write: `query[i]`, and the places of its documents `places[offsets[i]:offsets[i+1]]`.

    A place p >= 0 is positive p of `Chosen`; p < 0 is the negative -1 - p.
    """

    query: Ints
    offsets: Ints
    places: Ints

    def __len__(self) -> int:
        return len(self.query)

    def between(self, start: int, stop: int) -> Layout:
        """Rows `start` to `stop` (exclusive)."""
        offsets = self.offsets[start : stop + 1]
        places = self.places[offsets[0] : offsets[-1]]
        return Layout(query=self.query[start:stop], offsets=offsets - offsets[0], places=places)

    def take(self, rows: Ints) -> Layout:
        """The given rows, in the given order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = _starts(lengths)
        places = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Layout(query=self.query[rows], offsets=offsets, places=self.places[places])


def end_to_end(parts: Sequence[tuple[Chosen, Layout]]) -> Layout:
    """The rows of several layouts one after the other, over the joined lists of their queries, positives, negatives."""
    if len(parts) == 1:
        return parts[0][1]
    query, lengths, places = [], [], []
    queries = positives = negatives = 0
    for chosen, layout in parts:
        query.append(layout.query + queries)
        lengths.append(np.diff(layout.offsets))
        places.append(np.where(layout.places >= 0, layout.places + positives, layout.places - negatives))
        queries += len(chosen.positive_offsets) - 1
        positives += int(chosen.positive_offsets[-1])
        negatives += int(chosen.negative_offsets[-1])
    return Layout(query=np.concatenate(query), offsets=_starts(np.concatenate(lengths)), places=np.concatenate(places))


def row_per_negative(chosen: Chosen, keys: Keys | None) -> tuple[Layout, int]:
    """A row for each (query, positive, negative), and how many (query, positive) pairs have no negative."""
    pair, pair_query, take, left_out = _usable(chosen, 1)
    row = np.repeat(np.arange(len(pair), dtype=np.int32), take)  # all rows are in memory
    within = _within(take).astype(np.int32)
    order = _order(None if keys is None else mix(keys[pair][row], within), len(row))
    row, within = row[order], within[order]
    places = np.empty((len(row), 2), np.int64)
    places[:, 0] = pair[row]
    places[:, 1] = -1 - (chosen.negative_offsets[pair_query][row] + within)
    offsets = 2 * np.arange(len(row) + 1)
    return Layout(query=pair_query[row], offsets=offsets, places=places.reshape(-1)), left_out


def row_per_pair(
    chosen: Chosen, keys: Keys | None, *, width: int | None = None, pad: bool = False
) -> tuple[Layout, int]:
    """A row for each (query, positive) with the query's negatives, and how many pairs have too few for one.

    With `width` every row has exactly that many negatives, and a query with fewer gives none; or, with `pad`, repeats
    its first negative at the end, and only a query with none at all gives none.
    """
    pair, pair_query, take, left_out = _usable(chosen, 1 if pad else width or 1)
    has = take
    if width is not None:
        take = np.full(len(pair), width)
    order = _order(None if keys is None else keys[pair], len(pair))
    lengths = take[order] + 1
    inside = _within(lengths)
    row = np.repeat(order, lengths)
    number = np.where(inside > has[row], 1, inside)
    places = np.where(inside == 0, pair[row], -(chosen.negative_offsets[pair_query[row]] + number))
    return Layout(query=pair_query[order], offsets=_starts(lengths), places=places), left_out


def row_per_query(chosen: Chosen, keys: Keys | None) -> tuple[Layout, int]:
    """A row for each query that has both: all its positives, then all its negatives; and how many (query, positive)
    pairs have no negative. A row's key is that of its first positive.
    """
    n_pos, n_neg = np.diff(chosen.positive_offsets), np.diff(chosen.negative_offsets)
    query = np.flatnonzero((n_pos > 0) & (n_neg > 0))
    query = query[_order(None if keys is None else keys[chosen.positive_offsets[query]], len(query))]
    lengths = n_pos[query] + n_neg[query]
    owner, inside = np.repeat(query, lengths), _within(lengths)
    number = inside - n_pos[owner]  # of a negative, from 0
    places = np.where(
        number < 0, chosen.positive_offsets[owner] + inside, -1 - (chosen.negative_offsets[owner] + number)
    )
    return Layout(query=query, offsets=_starts(lengths), places=places), int(n_pos[n_neg == 0].sum())


def row_per_text(chosen: Chosen, keys: Keys | None) -> tuple[Layout, int]:
    """A row for each positive, and one for each negative whatever the number of its query's positives; nothing is left
    out but the negatives of a query without positives.
    """
    n_pos, n_neg = np.diff(chosen.positive_offsets), np.diff(chosen.negative_offsets)
    pair_query = np.repeat(np.arange(len(n_pos)), n_pos)
    counts = np.where(n_pos > 0, n_neg, 0)
    within = _within(counts)
    owner = np.repeat(np.arange(len(counts)), counts)
    negative = -1 - (chosen.negative_offsets[owner] + within)
    places = np.concatenate([np.arange(len(pair_query)), negative])
    query = np.concatenate([pair_query, owner])
    if keys is None:
        order = np.argsort(query, kind="stable")
    else:
        order = np.argsort(np.concatenate([keys, mix(keys[chosen.positive_offsets[owner]], within)]), kind="stable")
    return Layout(query=query[order], offsets=np.arange(len(order) + 1), places=places[order]), 0


def apart(layout: Layout, *, positives_only: bool = False) -> Layout:
    """A row for each document of the rows, in their order; with `positives_only`, for each positive."""
    query = np.repeat(layout.query, np.diff(layout.offsets))
    kept = layout.places >= 0 if positives_only else np.ones(len(layout.places), np.bool_)
    return Layout(query=query[kept], offsets=np.arange(int(kept.sum()) + 1), places=layout.places[kept])


def repeated(layout: Layout) -> Bools:
    """Which entries of `layout.places` are a negative that stands in its row a second time: what `pad` repeated.

    That is always the row's first negative, behind its positive.
    """
    lengths = np.diff(layout.offsets)
    first = layout.places[layout.offsets[:-1] + (lengths > 1)]
    return np.asarray((_within(lengths) > 1) & (layout.places == np.repeat(first, lengths)), np.bool_)


def _usable(chosen: Chosen, least: int) -> tuple[Ints, Ints, Ints, int]:
    """The pairs whose query has at least `least` negatives: positive, query, negatives; and how many have fewer."""
    n_pos, n_neg = np.diff(chosen.positive_offsets), np.diff(chosen.negative_offsets)
    pair_query = np.repeat(np.arange(len(n_pos)), n_pos)
    usable = n_neg[pair_query] >= least
    return np.flatnonzero(usable), pair_query[usable], n_neg[pair_query[usable]], int((~usable).sum())


def _order(keys: Keys | None, rows: int) -> Ints:
    return np.arange(rows) if keys is None else np.argsort(keys, kind="stable")


def _starts(lengths: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _within(lengths: Ints) -> Ints:
    """0, 1, ..., n-1 for each length n, one after the other."""
    return np.asarray(np.arange(int(lengths.sum())) - np.repeat(_starts(lengths)[:-1], lengths), np.int64)


def mix(keys: Keys, numbers: npt.NDArray[np.integer[Any]]) -> Keys:
    """A new uniform 64-bit number from a key and a small number (SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = keys + (numbers.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)
