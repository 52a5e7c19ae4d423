"""Fusion: one order made of the ranks of several retrievers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from hnmine.core.evidence import Floats

RRF_K = 60
"""The constant of Cormack et al., which LG-ANNA and most hybrid search keep."""
_UNIT = 2.0**50
"""Parts of 1 of which a reciprocal is a whole number, so that sums are not rounded: ranks 1, 2, 3 and 3, 1, 2 tie."""


def reciprocal_rank_fusion(
    ranks: Iterable[npt.NDArray[np.integer | np.floating]], size: int, *, k: float = RRF_K
) -> Floats:
    """The sum of 1 / (k + rank) over the retrievers that rank a row; 0 for a row that none does.

    Reciprocal rank fusion (Cormack et al., SIGIR 2009). `ranks` are 1-based, 0 where a row is beyond a retriever's
    top k; rows that tie may share a mean rank. `size` is the number of rows. It reads ranks alone, so it may be
    compared within a query and not between queries.
    """
    total = np.zeros(size)
    for rank in ranks:
        total += np.where(rank > 0, reciprocal(k, np.maximum(rank, 1)), 0.0)
    return total


def reciprocal(k: float, rank: npt.NDArray[np.integer | np.floating]) -> Floats:
    """1 / (k + rank), to fifteen digits; sums of a hundred of them are exact, and so the same in any order."""
    return np.asarray(np.rint(_UNIT / (k + rank)) / _UNIT, np.float64)
