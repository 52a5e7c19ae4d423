"""Sparse vectors as arithmetic on arrays: rows of (term, weight), and the same turned into postings.

Learned sparse retrieval gives every text a vector over a vocabulary that is zero almost everywhere (SPLADE: Formal,
Piwowarski and Clinchant, SIGIR 2021, arXiv 2107.05720); the score of a pair is the inner product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseRows:
    """Rows of a sparse matrix: row i owns entries `offsets[i]:offsets[i + 1]` of `terms` and `weights`.

    `terms` ascend within a row and do not repeat.
    """

    offsets: npt.NDArray[np.int64]
    terms: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def stack(cls, blocks: Sequence[SparseRows]) -> SparseRows:
        """The rows of all blocks, in order."""
        lengths = [np.diff(block.offsets) for block in blocks]
        return cls(
            offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([[], *lengths]), dtype=np.int64)]),
            terms=np.concatenate([np.empty(0, np.int32), *(block.terms for block in blocks)]),
            weights=np.concatenate([np.empty(0, np.float32), *(block.weights for block in blocks)]),
        )

    @classmethod
    def gather(cls, rows: npt.NDArray[np.int64], terms: npt.ArrayLike, weights: npt.ArrayLike, size: int) -> SparseRows:
        """`size` rows from entries in any order: `rows[i]` has weight `weights[i]` at `terms[i]`; zeros are left out.

        A value that is not finite is kept, for the caller to find.
        """
        column = np.asarray(terms, np.int32)
        values = np.asarray(weights, np.float32)
        order = np.lexsort((column, rows))
        order = order[values[order] != 0]
        counts = np.bincount(rows[order], minlength=size)
        return cls(
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            terms=column[order],
            weights=values[order],
        )

    def take(self, rows: npt.NDArray[np.int64]) -> SparseRows:
        """The given rows, in the given order (repeats allowed)."""
        low = self.offsets[rows]
        lengths = self.offsets[rows + 1] - low
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        entries = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - low, lengths)
        return SparseRows(offsets=offsets, terms=self.terms[entries], weights=self.weights[entries])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparsePostings:
    """A sparse matrix by term.

    Term t owns entries `offsets[t]:offsets[t + 1]` of `documents` (row numbers, ascending) and `impacts`.
    """

    offsets: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int32]
    impacts: npt.NDArray[np.float32]

    def between(self, start: int, stop: int) -> SparseRows:
        """Rows `start` to `stop` (exclusive) as they were before they were inverted; goes through all postings."""
        found = np.flatnonzero((self.documents >= start) & (self.documents < stop))
        terms = np.searchsorted(self.offsets, found, side="right") - 1
        return SparseRows.gather(
            self.documents[found].astype(np.int64) - start, terms, self.impacts[found], stop - start
        )


def invert(blocks: Sequence[SparseRows], terms: int) -> SparsePostings:
    """The postings of all blocks' rows, in block order; the same however the rows were cut into blocks.

    Goes through `blocks` twice and holds one at a time, so a sequence that reads each block when asked keeps memory at
    the size of the result. At most 2**31 - 1 rows.
    """
    frequencies = np.zeros(terms, np.int64)
    for block in blocks:
        frequencies += np.bincount(block.terms, minlength=terms)
    offsets = np.concatenate([[0], np.cumsum(frequencies)]).astype(np.int64)
    documents = np.empty(offsets[-1], np.int32)
    impacts = np.empty(offsets[-1], np.float32)
    free = offsets[:-1].copy()  # where the next posting of a term goes
    first = 0
    for block in blocks:
        order = np.argsort(block.terms, kind="stable")
        ordered = block.terms[order]
        here = np.bincount(ordered, minlength=terms)
        target = np.arange(len(order)) + (free - (np.cumsum(here) - here))[ordered]
        owner = np.repeat(np.arange(first, first + len(block), dtype=np.int32), np.diff(block.offsets))
        documents[target] = owner[order]
        impacts[target] = block.weights[order]
        free += here
        first += len(block)
    return SparsePostings(offsets=offsets, documents=documents, impacts=impacts)
