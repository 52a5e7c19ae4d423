"""Queries as bags of token numbers: in reading order, and the distinct tokens of each with how often it occurs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hnmine.engines.retriever import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Bags:
    """The tokens of some queries: query i has `read[read_offsets[i]:read_offsets[i + 1]]`, repetitions kept.

    Its distinct ones, in order of first occurrence, are `tokens[offsets[i]:offsets[i + 1]]`, each `times` over. A slice
    of queries has offsets of its own into the same arrays.
    """

    read: Rows
    read_offsets: Rows
    tokens: Rows
    times: Rows
    offsets: Rows

    @classmethod
    def of(cls, read: Rows, read_offsets: Rows) -> Bags:
        """From the tokens in reading order, end to end, and where each query's begin and the last's end."""
        owner = np.repeat(np.arange(len(read_offsets) - 1), np.diff(read_offsets))
        _, first, times = np.unique(owner << 32 | read, return_index=True, return_counts=True)
        order = np.argsort(first)
        first = first[order]
        offsets = np.searchsorted(owner[first], np.arange(len(read_offsets)))
        return cls(
            read=read,
            read_offsets=read_offsets,
            tokens=read[first],
            times=times[order],
            offsets=offsets.astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, part: slice) -> Bags:
        start, stop, _ = part.indices(len(self))
        bounds = slice(start, stop + 1)
        return Bags(
            read=self.read,
            read_offsets=self.read_offsets[bounds],
            tokens=self.tokens,
            times=self.times,
            offsets=self.offsets[bounds],
        )

    def lengths(self) -> Rows:
        """How many tokens each query has, repetitions included."""
        return np.diff(self.read_offsets)

    def lists(self) -> Iterable[list[int]]:
        """The tokens of each query in reading order."""
        return (self.read[low:high].tolist() for low, high in pairwise(self.read_offsets.tolist()))
