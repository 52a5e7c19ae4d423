"""Postings on disk: plain arrays that open memory-mapped, and a vocabulary that is searched where it lies."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.core.bm25 import Counts
from hnmine.errors import ArtefactError

ARRAYS = {
    "vocabulary": np.uint8,
    "vocabulary_offsets": np.int64,
    "offsets": np.int64,
    "documents": np.int32,
    "counts": np.int32,
    "lengths": np.int32,
    "impacts": np.float32,
    "peaks": np.float32,
    "absent": np.float32,
}
"""The files of an index, NAME.npy, and their types.

Token t owns entries `offsets[t]:offsets[t + 1]` of `documents` (row numbers in collection order, ascending), `counts`
and `impacts`, the highest of which is `peaks[t]`; `absent` and `impacts` are those of `hnmine.core.bm25.Scoring`, and
`lengths` has the number of tokens of every document. The vocabulary is two arrays: the tokens' UTF-8 bytes end to end,
ascending by code point, and where each begins (one more entry than tokens), so that it is searched where it lies.
"""
_CACHED_TOKENS = 1 << 20
_SCANNED = 1 << 24
"""Postings looked at at a time for those of a block."""


def open_postings(directory: Path, *, documents: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an index, by name, memory-mapped and read-only.

    Raises `ArtefactError` if one is missing or unreadable, or if they do not fit each other or a collection of
    `documents` documents.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, kind in ARRAYS.items():
        path = directory / f"{name}.npy"
        try:
            # A plain array over the map: numba does not take a `memmap`.
            array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (FileNotFoundError, ValueError, EOFError) as error:
            raise ArtefactError(f"{path}: {error}", remedy="build the index again") from error
        if array.dtype != kind or array.ndim != 1:
            raise ArtefactError(
                f"{path}: {array.dtype} of shape {array.shape}",
                expected=f"one dimension of {np.dtype(kind)}",
                remedy="build the index again",
            )
        arrays[name] = array
    sizes = {name: len(array) for name, array in arrays.items()}
    tokens = sizes["absent"]
    postings = int(arrays["offsets"][-1]) if sizes["offsets"] else 0
    text = int(arrays["vocabulary_offsets"][-1]) if sizes["vocabulary_offsets"] else 0
    expected = {
        "vocabulary": text,
        "vocabulary_offsets": tokens + 1,
        "offsets": tokens + 1,
        "documents": postings,
        "counts": postings,
        "lengths": documents,
        "impacts": postings,
        "peaks": tokens,
        "absent": tokens,
    }
    if sizes != expected:
        raise ArtefactError(
            f"{directory}: the index's arrays do not fit each other or the collection: {sizes}",
            expected=str(expected),
            remedy="build the index again from this collection",
        )
    return arrays


def counts_between(arrays: Mapping[str, npt.NDArray[Any]], start: int, stop: int) -> Counts:
    """The token counts of documents `start` to `stop` (exclusive), as they were before they became these postings."""
    parts = [np.empty(0, np.int64)]
    for low in range(0, len(arrays["documents"]), _SCANNED):
        documents = arrays["documents"][low : low + _SCANNED]
        parts.append(low + np.flatnonzero((documents >= start) & (documents < stop)))
    found = np.concatenate(parts)
    used, first = np.unique(np.searchsorted(arrays["offsets"], found, side="right") - 1, return_index=True)
    data, ends = arrays["vocabulary"], arrays["vocabulary_offsets"]
    return Counts(
        vocabulary=[data[ends[token] : ends[token + 1]].tobytes().decode() for token in used],
        offsets=np.append(first, len(found)).astype(np.int64),
        documents=arrays["documents"][found] - np.int32(start),
        counts=arrays["counts"][found],
        lengths=arrays["lengths"][start:stop],
    )


class Vocabulary:
    """Finds the number of a token by binary search over the bytes on disk; what was found is kept, up to a bound."""

    def __init__(self, data: npt.NDArray[Any], offsets: npt.NDArray[Any]) -> None:
        self._bytes = data
        self._data = memoryview(data)  # type: ignore[arg-type]
        self._offsets = offsets
        self._size = len(offsets) - 1
        self._found: dict[str, int] = {}

    def find(self, token: str) -> int:
        """The token's number, -1 if it is not in the collection."""
        number = self._found.get(token)
        if number is None:
            wanted = token.encode()
            number = bisect_left(range(self._size), wanted, key=self._at)
            if number == self._size or self._at(number) != wanted:
                number = -1
            if len(self._found) >= _CACHED_TOKENS:
                self._found.clear()
            self._found[token] = number
        return number

    def find_all(self, tokens: Sequence[str]) -> npt.NDArray[np.int64]:
        """The numbers of some tokens, as `find` has them; many at once are found sooner."""
        distinct = set(tokens)
        if len(self._found) + len(distinct) > _CACHED_TOKENS:
            self._found.clear()
        if unknown := sorted(distinct - self._found.keys()):
            from hnmine.engines.lookup import find_all

            wanted = [token.encode() for token in unknown]
            ends = np.cumsum([0, *map(len, wanted)])
            numbers = np.empty(len(wanted), np.int64)
            find_all(self._bytes, self._offsets, np.frombuffer(b"".join(wanted), np.uint8), ends, numbers)
            self._found.update(zip(unknown, numbers.tolist(), strict=True))
        return np.fromiter(map(self._found.__getitem__, tokens), np.int64, len(tokens))

    def _at(self, number: int) -> bytes:
        return self._data[self._offsets[number] : self._offsets[number + 1]].tobytes()
