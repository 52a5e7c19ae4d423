"""Token vectors on disk: memory-mapped shards in which every text owns a run of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hnmine.engines.vectors import Rows, Vectors, open_shard
from hnmine.errors import ArtefactError
from hnmine.files.remote import fetch

_COMPARED_TOKENS = 65_536
"""Tokens of each side in memory when texts are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRows:
    """Ragged token vectors: text i owns `vectors[offsets[i]:offsets[i + 1]]`, float32 [tokens, dimension]."""

    offsets: Rows
    vectors: Vectors


class TokenStore:
    """The texts of several shards as one table, read as float32; 8 bytes a text are held in memory.

    A shard is two files: the vectors of its texts' tokens [tokens, dimension] (fp16 or fp32), and how many each text
    has (int32).
    """

    def __init__(self, vectors: Sequence[Path], lengths: Sequence[Path]) -> None:
        """Raises `ArtefactError` if a file is missing, unreadable, or does not fit the others."""
        if not vectors or len(vectors) != len(lengths):
            raise ArtefactError(
                f"{len(vectors)} files of token vectors and {len(lengths)} of lengths", expected="pairs"
            )
        fetch([*vectors, *lengths])
        self._shards = [open_shard(path) for path in vectors]
        self.dimension = int(self._shards[0].shape[1])
        counts = [_open_lengths(path) for path in lengths]
        for path, shard, own in zip(vectors, self._shards, counts, strict=True):
            if shard.shape != (int(own.sum()), self.dimension):
                raise ArtefactError(
                    f"{path}: vectors of shape {shard.shape}",
                    expected=f"{int(own.sum()):,} tokens of {self.dimension} dimensions",
                    remedy="build the index again",
                )
        self._starts = np.cumsum([0, *(len(own) for own in counts)]).astype(np.int64)
        self.offsets: Rows = np.concatenate([[0], np.cumsum(np.concatenate(counts), dtype=np.int64)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: Rows) -> TokenRows:
        """The token vectors of the texts `rows` (any order, repeats allowed)."""
        if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= len(self)):
            raise IndexError(f"row out of range for {len(self)} texts")
        offsets = np.concatenate([[0], np.cumsum(self.offsets[rows + 1] - self.offsets[rows])]).astype(np.int64)
        vectors = np.empty((int(offsets[-1]), self.dimension), np.float32)
        homes = np.searchsorted(self._starts, rows, side="right") - 1
        inside = self.offsets[rows] - self.offsets[self._starts[homes]]
        for home, first, low, high in zip(homes, inside, offsets, offsets[1:], strict=False):
            vectors[low:high] = self._shards[home][first : first + high - low]
        return TokenRows(offsets=offsets, vectors=vectors)

    def equal(self, rows: Rows, other: TokenStore, other_rows: Rows) -> npt.NDArray[np.bool_]:
        """Which of the texts `rows` have the same token vectors as those in `other_rows` of another store."""
        lengths = np.diff(self.offsets)[rows]
        same: npt.NDArray[np.bool_] = lengths == np.diff(other.offsets)[other_rows]
        if self.dimension != other.dimension:
            return np.zeros(len(rows), np.bool_)
        alike = np.flatnonzero(same)
        for low, high in runs(lengths[alike], _COMPARED_TOKENS, len(rows)):
            part = alike[low:high]
            here, there = self.take(rows[part]), other.take(other_rows[part])
            differs = np.flatnonzero((here.vectors != there.vectors).any(axis=1))
            same[part[np.searchsorted(here.offsets, differs, side="right") - 1]] = False
        return same

    def chunks(self, tokens: int, texts: int, rows: Rows | None = None) -> Iterator[tuple[Rows, TokenRows]]:
        """(rows, their token vectors) of all texts, or of those in `rows`, in order: so many tokens and texts at most.

        A text with more tokens than that is a chunk of its own.
        """
        wanted = np.arange(len(self)) if rows is None else rows
        for start, stop in runs(np.diff(self.offsets)[wanted], tokens, texts):
            yield wanted[start:stop], self.take(wanted[start:stop])


def runs(lengths: Rows, tokens: int, texts: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive runs of up to `texts` texts and `tokens` tokens in all, or of one longer text."""
    ends = np.cumsum(lengths)
    start = 0
    while start < len(lengths):
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + tokens, side="right"))
        stop = min(max(stop, start + 1), start + texts)
        yield start, stop
        start = stop


def _open_lengths(path: Path) -> npt.NDArray[np.int32]:
    try:
        lengths: npt.NDArray[np.int32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtefactError(f"{path}: {error}", remedy="build the index again") from error
    if lengths.dtype != np.int32 or lengths.ndim != 1 or (lengths < 0).any():
        raise ArtefactError(f"{path}: {lengths.dtype} of shape {lengths.shape}", expected="token counts, int32")
    return lengths
