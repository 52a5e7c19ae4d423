"""A kernel that looks many tokens up in a vocabulary on disk; compiled by numba when imported."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnmine.engines.kernels import compiled


def _find_all(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.uint8],
    wanted_offsets: npt.NDArray[np.int64],
    found: npt.NDArray[np.int64],
) -> None:
    for token in range(len(found)):
        start, length = wanted_offsets[token], wanted_offsets[token + 1] - wanted_offsets[token]
        low, high = 0, len(offsets) - 1
        found[token] = -1
        while low < high:
            middle = (low + high) // 2
            other, other_length = offsets[middle], offsets[middle + 1] - offsets[middle]
            place, shorter = 0, min(length, other_length)
            while place < shorter and wanted[start + place] == data[other + place]:
                place += 1
            if place == length == other_length:
                found[token] = middle
                break
            if place == other_length or (place < shorter and data[other + place] < wanted[start + place]):
                low = middle + 1
            else:
                high = middle


find_all = compiled(_find_all)
"""Fill `found` with the number of each wanted token in a vocabulary, -1 where it is not in there.

Both are UTF-8 bytes end to end, with offsets of one entry more than tokens; the vocabulary's tokens ascend.
"""
