"""Layouts of a training file: which texts and labels stand in a row, before any text is read.

One row per (query, positive), sharing the query's negatives; `triplet` has one per negative too, `labeled-pair` one per
text. Rows are put in a keyed random order, so the rows of one query do not clump.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnmine.options import Format

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What was decided, compactly: each query's positives and negatives as document rows, in order of preference.

    Query i owns positives[positive_offsets[i]:positive_offsets[i+1]] and likewise the negatives. `source` maps each
    document back to its row in the decisions, for scores and provenance.
    """

    positive_offsets: Ints
    positives: Ints
    negative_offsets: Ints
    negatives: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Rows to write: `query[i]`, and the places of its documents `places[offsets[i]:offsets[i+1]]`.

    A place p >= 0 is a positive (an index into `Chosen.positives`); p < 0 is the negative -1 - p.
    """

    query: Ints
    offsets: Ints
    places: Ints

    def __len__(self) -> int:
        return len(self.query)


def lay_out(chosen: Chosen, form: Format, *, width: int, keys: npt.NDArray[np.uint64]) -> tuple[Layout, int]:
    """The rows of a format, shuffled by key, and how many (query, positive) pairs had too few negatives for a row.

    `width` is the number of negatives of an n-tuple; `keys` holds one keyed random number per positive. A query without
    negatives gives no row of any format, one with fewer than `width` no n-tuple.
    """
    n_pos, n_neg = np.diff(chosen.positive_offsets), np.diff(chosen.negative_offsets)
    pair_query = np.repeat(np.arange(len(n_pos)), n_pos)
    pair = np.arange(len(pair_query))
    least = width if form is Format.N_TUPLE else 1
    usable = n_neg[pair_query] >= least
    left_out = int((~usable).sum())
    pair, pair_query = pair[usable], pair_query[usable]
    take = np.minimum(n_neg[pair_query], width) if form is Format.N_TUPLE else n_neg[pair_query]
    if form is Format.LABELED_PAIR:
        return _pairs(chosen, pair, pair_query, keys), left_out
    starts = chosen.negative_offsets[pair_query]
    within = _within(take)
    negative = -1 - (np.repeat(starts, take) + within)
    if form is Format.TRIPLET:
        row_pair = np.repeat(pair, take)
        order = np.argsort(mix(keys[row_pair], within), kind="stable")
        places = np.stack([row_pair, negative], axis=1)[order].reshape(-1)
        rows = len(row_pair)
        return Layout(
            query=np.repeat(pair_query, take)[order], offsets=2 * np.arange(rows + 1), places=places
        ), left_out
    order = np.argsort(keys[pair], kind="stable")
    lengths = (take + 1)[order]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    own_start = np.concatenate([[0], np.cumsum(take)])[:-1][order]
    inside = _within(lengths)
    owner = np.repeat(np.arange(len(order)), lengths)
    places = np.where(inside == 0, pair[order][owner], 0)
    is_negative = inside > 0
    places[is_negative] = negative[own_start[owner[is_negative]] + inside[is_negative] - 1]
    return Layout(query=pair_query[order], offsets=offsets, places=places), left_out


def _pairs(chosen: Chosen, pair: Ints, pair_query: Ints, keys: npt.NDArray[np.uint64]) -> Layout:
    """Each positive once and each negative of a query once."""
    queries, first = np.unique(pair_query, return_index=True)
    counts = np.diff(chosen.negative_offsets)[queries]
    within = _within(counts)
    negative = -1 - (np.repeat(chosen.negative_offsets[queries], counts) + within)
    places = np.concatenate([pair, negative])
    query = np.concatenate([pair_query, np.repeat(queries, counts)])
    negative_keys = mix(keys[np.repeat(pair[first], counts)], within) if len(negative) else np.empty(0, np.uint64)
    order = np.argsort(np.concatenate([keys[pair], negative_keys]), kind="stable")
    return Layout(query=query[order], offsets=np.arange(len(order) + 1), places=places[order])


def _within(lengths: Ints) -> Ints:
    """0, 1, ..., n-1 for each length n, one after the other."""
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    return np.asarray(np.arange(int(lengths.sum())) - np.repeat(starts, lengths), np.int64)


def mix(keys: npt.NDArray[np.uint64], numbers: Ints) -> npt.NDArray[np.uint64]:
    """A new uniform 64-bit number from a key and a small number (SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = keys + (numbers.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)
