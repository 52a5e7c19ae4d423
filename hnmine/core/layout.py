"""Layouts of a training file: which documents stand in a row, before any text is read.

One row per (query, positive), sharing the query's negatives; `triplet` has one per negative too, `labeled-pair` one per
text. Rows are put in a keyed random order, so the rows of one query do not clump.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnmine.options import Format

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


def lay_out(chosen: Chosen, form: Format, *, width: int, keys: Keys | None) -> tuple[Layout, int]:
    """The rows of a format, and how many (query, positive) pairs had too few negatives for a row.

    `width` is the number of negatives of an n-tuple; a pair whose query has fewer gives no n-tuple, and one whose query
    has none gives no row but in `labeled-pair`, where a positive is a row of its own. `keys` holds a keyed random
    number for each positive, by which rows are shuffled; without it they stand by query, positive and negative.
    """
    n_pos, n_neg = np.diff(chosen.positive_offsets), np.diff(chosen.negative_offsets)
    pair_query = np.repeat(np.arange(len(n_pos)), n_pos)
    if form is Format.LABELED_PAIR:
        return _single_texts(chosen, pair_query, keys), 0
    usable = n_neg[pair_query] >= (width if form is Format.N_TUPLE else 1)
    left_out = int((~usable).sum())
    pair = np.flatnonzero(usable)
    pair_query = pair_query[usable]
    take = np.minimum(n_neg[pair_query], width) if form is Format.N_TUPLE else n_neg[pair_query]
    within = _within(take)
    negative = -1 - (np.repeat(chosen.negative_offsets[pair_query], take) + within)
    if form is Format.TRIPLET:
        row_pair = np.repeat(pair, take)
        order = _order(None if keys is None else mix(keys[row_pair], within), len(row_pair))
        places = np.stack([row_pair, negative], axis=1)[order].reshape(-1)
        query = np.repeat(pair_query, take)[order]
        return Layout(query=query, offsets=2 * np.arange(len(query) + 1), places=places), left_out
    order = _order(None if keys is None else keys[pair], len(pair))
    lengths = take[order] + 1
    inside = _within(lengths)
    row = np.repeat(order, lengths)
    first_negative = np.cumsum(take) - take
    is_negative = inside > 0
    places = pair[row]
    places[is_negative] = negative[first_negative[row[is_negative]] + inside[is_negative] - 1]
    return Layout(query=pair_query[order], offsets=_starts(lengths), places=places), left_out


def _single_texts(chosen: Chosen, pair_query: Ints, keys: Keys | None) -> Layout:
    """Each positive once, and each negative once whatever the number of the query's positives."""
    n_pos, n_neg = np.diff(chosen.positive_offsets), np.diff(chosen.negative_offsets)
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
    return Layout(query=query[order], offsets=np.arange(len(order) + 1), places=places[order])


def _order(keys: Keys | None, rows: int) -> Ints:
    return np.arange(rows) if keys is None else np.argsort(keys, kind="stable")


def _starts(lengths: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _within(lengths: Ints) -> Ints:
    """0, 1, ..., n-1 for each length n, one after the other."""
    return np.asarray(np.arange(int(lengths.sum())) - np.repeat(_starts(lengths)[:-1], lengths), np.int64)


def mix(keys: Keys, numbers: Ints) -> Keys:
    """A new uniform 64-bit number from a key and a small number (SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = keys + (numbers.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)
