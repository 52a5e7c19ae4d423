"""Many blocks' token counts become one collection's postings, term by term, in bounded memory.

A merge as of external sorting: every block is an inverted index of its own (`hnmine.core.bm25.Counts`) in a file that
is memory-mapped, and the collection's arrays are written from the first token to the last, a few tokens' postings at a
time. What is held grows with the vocabulary and with nothing else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.bm25 import Counts, Int32s, Int64s, Scoring
from hnmine.engines.postings import ARRAYS
from hnmine.files.remote import fetch
from hnmine.files.tables import mapped, write_array, write_rows, writing_array

_STEP = 1 << 21
"""Postings, or tokens of blocks, that are in memory at a time."""
_Piece = tuple[slice, Int64s, Int32s, Int32s]


def write_counts(path: Path, counts: Counts) -> int:
    """Write a block's counts to a file for `merge`; returns its number of documents."""
    columns = {}
    for name in Counts.__slots__:
        flat = pa.array(getattr(counts, name), pa.large_string() if name == "vocabulary" else None)
        columns[name] = pa.LargeListArray.from_arrays(pa.array([0, len(flat)], pa.int64()), flat)
    write_rows(path, pa.table(columns))
    return len(counts.lengths)


def merge(paths: Sequence[Path], directory: Path, scoring: Scoring) -> dict[str, int]:
    """Write the arrays of `open_postings` from the counts of blocks, in this order; counts terms and postings.

    The bytes are the same however the documents were cut into blocks. A collection has at most 2**31 - 1 documents.
    """
    fetch(paths)
    blocks = [_Block(path) for path in paths]
    places = {name: directory / f"{name}.npy" for name in ARRAYS}
    firsts = np.cumsum([0, *(len(block.lengths) for block in blocks)])
    documents = int(firsts[-1])
    with writing_array(places["lengths"], np.int32, documents) as write:
        for block in blocks:
            write(block.lengths)
    lengths = np.asarray(np.load(places["lengths"], mmap_mode="r"))
    vocabulary = _union([block.vocabulary for block in blocks])
    ends, text = _bytes_of(vocabulary)
    write_array(places["vocabulary_offsets"], ends)
    write_array(places["vocabulary"], text)
    offsets = np.concatenate([[0], np.cumsum(_frequencies(blocks, vocabulary))]).astype(np.int64)
    write_array(places["offsets"], offsets)
    idf = scoring.idf(np.diff(offsets), documents)
    write_array(places["absent"], scoring.absent(idf))
    mean_length = int(lengths.sum(dtype=np.int64)) / max(documents, 1)
    peaks = np.zeros(len(vocabulary), np.float32)
    with ExitStack() as stack:
        append = {
            name: stack.enter_context(writing_array(places[name], ARRAYS[name], int(offsets[-1])))
            for name in ("documents", "counts", "impacts")
        }
        for tokens, frequencies, rows, counts in _pieces(blocks, firsts, vocabulary, offsets):
            impacts = scoring.impacts(np.repeat(idf[tokens], frequencies), counts, lengths[rows], mean_length)
            starts = np.cumsum(frequencies) - frequencies
            peaks[tokens] = np.maximum(peaks[tokens], np.maximum.reduceat(impacts, starts))
            append["documents"](rows)
            append["counts"](counts)
            append["impacts"](impacts)
    write_array(places["peaks"], peaks)
    return {"terms": len(vocabulary), "postings": int(offsets[-1])}


class _Block:
    """A block's counts, memory-mapped."""

    def __init__(self, path: Path) -> None:
        table = pa.ipc.open_file(mapped(path)).read_all()
        columns = {name: table[name].chunk(0).flatten() for name in table.column_names}
        self.vocabulary: pa.LargeStringArray = columns.pop("vocabulary")
        arrays: dict[str, npt.NDArray[Any]] = {name: column.to_numpy() for name, column in columns.items()}
        self.offsets, self.documents, self.counts, self.lengths = (arrays[name] for name in Counts.__slots__[1:])

    def find(self, token: str) -> int:
        """How many of the block's tokens come before this one."""
        return bisect_left(range(len(self.vocabulary)), token, key=lambda place: self.vocabulary[place].as_py())


class _Part:
    """Some of a block's tokens, with their postings."""

    def __init__(self, block: _Block, first: int, tokens: slice) -> None:
        self.vocabulary = block.vocabulary[tokens]
        self.begins = block.offsets[tokens.start : tokens.stop + 1]
        self._block, self._first = block, first

    def postings(self) -> tuple[Int32s, Int32s]:
        """Documents of the collection and counts."""
        own = slice(self.begins[0], self.begins[-1])
        return self._block.documents[own] + np.int32(self._first), self._block.counts[own]


def _union(vocabularies: Sequence[pa.LargeStringArray]) -> pa.LargeStringArray:
    """All different tokens, ascending: the order of UTF-8 is that of code points."""
    found, more = pa.array([], pa.large_string()), []
    for vocabulary in vocabularies:
        more.append(vocabulary)
        if sum(map(len, more)) > max(len(found), _STEP):
            found, more = pc.unique(pa.chunked_array([found, *more])), []
    found = pc.unique(pa.chunked_array([found, *more]))
    return found.take(pc.sort_indices(found))


def _bytes_of(vocabulary: pa.LargeStringArray) -> tuple[Int64s, npt.NDArray[np.uint8]]:
    """Where each token begins, and one more; the UTF-8 bytes of all."""
    _, ends, text = vocabulary.buffers()
    begins = np.frombuffer(ends, np.int64, len(vocabulary) + 1) if len(vocabulary) else np.zeros(1, np.int64)
    return begins, np.frombuffer(text or b"", np.uint8, int(begins[-1]))


def _frequencies(blocks: Sequence[_Block], vocabulary: pa.LargeStringArray) -> Int64s:
    """In how many documents each token is."""
    frequencies = np.zeros(len(vocabulary), np.int64)
    more: list[_Block] = []
    for left, block in zip(range(len(blocks) - 1, -1, -1), blocks, strict=True):
        more.append(block)
        # Looking up begins with a pass over the whole vocabulary: for several blocks at once.
        if not left or sum(len(own.vocabulary) for own in more) > max(len(vocabulary), _STEP):
            for own, numbers in zip(more, _numbers([own.vocabulary for own in more], vocabulary), strict=True):
                frequencies[numbers] += np.diff(own.offsets)
            more = []
    return frequencies


def _numbers(vocabularies: Sequence[pa.LargeStringArray], among: pa.LargeStringArray) -> list[Int32s]:
    """The place of each token in `among`, which has them all."""
    found = pc.index_in(pa.chunked_array(vocabularies, pa.large_string()), value_set=among).to_numpy()
    return np.split(found, np.cumsum([len(own) for own in vocabularies])[:-1])


def _pieces(
    blocks: Sequence[_Block], firsts: Int64s, vocabulary: pa.LargeStringArray, offsets: Int64s
) -> Iterator[_Piece]:
    """The postings from the first token to the last: (tokens, how many of each, documents, counts).

    A piece has at most `_STEP` postings; a token that has more by itself comes block by block.
    """
    bounds = [0]
    while bounds[-1] < len(vocabulary):
        fitting = int(np.searchsorted(offsets, offsets[bounds[-1]] + _STEP, side="right")) - 1
        bounds.append(max(fitting, bounds[-1] + 1))
    inner = [vocabulary[bound].as_py() for bound in bounds[1:-1]]
    cuts = [[0, *map(block.find, inner), len(block.vocabulary)] for block in blocks]
    for place, (low, high) in enumerate(pairwise(bounds)):
        parts = [
            _Part(block, int(first), slice(*own[place : place + 2]))
            for block, first, own in zip(blocks, firsts, cuts, strict=False)
        ]
        own_offsets = offsets[low : high + 1]
        if own_offsets[-1] - own_offsets[0] > _STEP:
            for part in parts:
                rows, counts = part.postings()
                if len(rows):
                    yield slice(low, high), np.array([len(rows)]), rows, counts
        else:
            yield slice(low, high), np.diff(own_offsets), *_gathered(parts, vocabulary[low:high], own_offsets)


def _gathered(parts: Sequence[_Part], vocabulary: pa.LargeStringArray, offsets: Int64s) -> tuple[Int32s, Int32s]:
    """The postings of all parts: documents and counts, token after token, in each the blocks in their order."""
    free = offsets[:-1] - offsets[0]  # where the next posting of a token goes
    rows, counts = np.empty(offsets[-1] - offsets[0], np.int32), np.empty(offsets[-1] - offsets[0], np.int32)
    for part, numbers in zip(parts, _numbers([part.vocabulary for part in parts], vocabulary), strict=True):
        begins = part.begins
        sizes = np.diff(begins)
        target = np.repeat(free[numbers] - (begins[:-1] - begins[0]), sizes) + np.arange(begins[-1] - begins[0])
        rows[target], counts[target] = part.postings()
        free[numbers] += sizes
    return rows, counts
