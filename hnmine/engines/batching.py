"""Batches of texts of similar length under a budget of tokens, padding counted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnmine.errors import UsageError

Positions = npt.NDArray[np.int64]


def token_batches(lengths: npt.ArrayLike, budget: int) -> list[Positions]:
    """Every position in exactly one batch; a batch never costs more than `budget` tokens unless it is one text.

    `lengths[i]` is the number of tokens of text i; a batch costs its longest text times its size, which is what a
    padded tensor holds. Longest first (so memory peaks in the first batch), equal lengths in input order: the
    batches are a function of the lengths alone. Raises `UsageError` if the budget is below 1.
    """
    if budget < 1:
        raise UsageError(f"--batch-tokens {budget}", expected="at least 1")
    sizes = np.maximum(np.asarray(lengths, dtype=np.int64), 1)
    order = np.argsort(-sizes, kind="stable")
    batches: list[Positions] = []
    start = 0
    while start < len(order):
        count = max(1, budget // int(sizes[order[start]]))
        batches.append(order[start : start + count])
        start += count
    return batches
