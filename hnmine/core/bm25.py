"""BM25 as arithmetic on arrays: token counts of blocks, their postings, and what each posting adds to a score.

Counts are integers and blocks keep nothing of the collection's statistics, so an index built in any number of blocks
scores like one built in one go. The five variants are those of Kamphuis, de Vries, Boytsov and Lin, "Which BM25 Do You
Mean? A Large-Scale Reproducibility Study of Scoring Variants", ECIR 2020.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnmine.errors import UsageError

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Float64s = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]

_CHUNK = 1 << 22
"""Postings scored at a time: bounds the float64 intermediates to a few hundred megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts:
    """One block of documents as token counts.

    Document i owns entries `document_offsets[i]:document_offsets[i + 1]` of `tokens` (positions in `vocabulary`,
    ascending) and `counts`; `lengths[i]` is its number of tokens, repetitions included. `vocabulary` is sorted and
    holds exactly the block's tokens.
    """

    vocabulary: list[str]
    document_offsets: Int64s
    tokens: Int32s
    counts: Int32s
    lengths: Int32s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Postings:
    """A collection as an inverted index.

    Token t owns entries `offsets[t]:offsets[t + 1]` of `documents` (row numbers in collection order, ascending) and
    `counts`; `lengths` has the number of tokens of every document. `vocabulary` is sorted by code point.
    """

    vocabulary: list[str]
    offsets: Int64s
    documents: Int32s
    counts: Int32s
    lengths: Int32s


def count(documents: Iterable[Sequence[str]]) -> Counts:
    """The token counts of one block of documents, each given as its tokens; a document may be empty."""
    numbers: dict[str, int] = {}
    flat = array("i")
    lengths = array("i")
    for tokens in documents:
        flat.extend([numbers.setdefault(token, len(numbers)) for token in tokens])
        lengths.append(len(tokens))
    vocabulary = sorted(numbers)
    size = np.frombuffer(lengths, np.int32).copy() if lengths else np.empty(0, np.int32)
    position = np.empty(len(vocabulary), np.int64)
    position[np.fromiter((numbers[token] for token in vocabulary), np.int64, len(vocabulary))] = np.arange(
        len(vocabulary)
    )
    width = max(1, len(vocabulary))
    keys = np.repeat(np.arange(len(size), dtype=np.int64) * width, size)
    if flat:
        keys += position[np.frombuffer(flat, np.int32)]
    pairs, counts = np.unique(keys, return_counts=True)
    return Counts(
        vocabulary=vocabulary,
        document_offsets=np.searchsorted(pairs, np.arange(len(size) + 1, dtype=np.int64) * width).astype(np.int64),
        tokens=(pairs % width).astype(np.int32),
        counts=counts.astype(np.int32),
        lengths=size,
    )


def combine(blocks: Sequence[Counts]) -> Postings:
    """The postings of all blocks' documents, in block order; the same however the documents were cut into blocks.

    Goes through `blocks` twice and holds one at a time, so a sequence that reads each block when asked keeps memory at
    the size of the result. A collection has at most 2**31 - 1 documents.
    """
    names: set[str] = set()
    for block in blocks:
        names.update(block.vocabulary)
    vocabulary = sorted(names)
    number = {token: place for place, token in enumerate(vocabulary)}

    def mapped(block: Counts) -> Int32s:
        return np.fromiter(map(number.__getitem__, block.vocabulary), np.int32, len(block.vocabulary))

    frequencies = np.zeros(len(vocabulary), np.int64)
    lengths: list[Int32s] = [np.empty(0, np.int32)]
    for block in blocks:
        frequencies[mapped(block)] += np.bincount(block.tokens, minlength=len(block.vocabulary))
        lengths.append(block.lengths)
    offsets = np.concatenate([[0], np.cumsum(frequencies)]).astype(np.int64)
    documents = np.empty(offsets[-1], np.int32)
    counts = np.empty(offsets[-1], np.int32)
    free = offsets[:-1].copy()  # where the next posting of a token goes
    first = 0
    for block in blocks:
        # Sorted vocabularies map in order, so sorting by the block's own token number sorts by the collection's.
        order = np.argsort(block.tokens, kind="stable")
        in_block = np.bincount(block.tokens, minlength=len(block.vocabulary))
        starts = np.cumsum(in_block) - in_block
        global_tokens = mapped(block)
        target = np.repeat(free[global_tokens] - starts, in_block) + np.arange(len(order))
        owner = np.repeat(np.arange(first, first + len(block.lengths), dtype=np.int32), np.diff(block.document_offsets))
        documents[target] = owner[order]
        counts[target] = block.counts[order]
        free[global_tokens] += in_block
        first += len(block.lengths)
    return Postings(
        vocabulary=vocabulary, offsets=offsets, documents=documents, counts=counts, lengths=np.concatenate(lengths)
    )


# Inverse document frequency: of a token in `df` of `n` documents.


def _idf_lucene(df: Float64s, n: int) -> Float64s:
    """Lucene 8: ln(1 + (n - df + 0.5) / (df + 0.5)), never negative."""
    return np.log1p((n - df + 0.5) / (df + 0.5))


def _idf_robertson(df: Float64s, n: int) -> Float64s:
    """Robertson et al., Okapi at TREC-3, 1994: ln((n - df + 0.5) / (df + 0.5)), at least 0 as in bm25s."""
    return np.log(np.maximum((n - df + 0.5) / (df + 0.5), 1.0))


def _idf_atire(df: Float64s, n: int) -> Float64s:
    """Trotman, Jia and Crane, "Towards an Efficient and Effective Search Engine", 2012: ln(n / df)."""
    return np.log(n / df)


def _idf_bm25l(df: Float64s, n: int) -> Float64s:
    """Lv and Zhai, "When Documents Are Very Long, BM25 Fails!", SIGIR 2011: ln((n + 1) / (df + 0.5))."""
    return np.log((n + 1) / (df + 0.5))


def _idf_bm25plus(df: Float64s, n: int) -> Float64s:
    """Lv and Zhai, "Lower-Bounding Term Frequency Normalization", CIKM 2011: ln((n + 1) / df)."""
    return np.log((n + 1) / df)


# Saturated term frequency less its value at tf = 0; `norm` = 1 - b + b * length / average length.


def _tf_plain(tf: Float64s, norm: Float64s, k1: float, delta: float) -> Float64s:
    """Robertson and Lucene: tf / (tf + k1 * norm)."""
    return tf / (tf + k1 * norm)


def _tf_atire(tf: Float64s, norm: Float64s, k1: float, delta: float) -> Float64s:
    """ATIRE, and BM25+ less its constant: (k1 + 1) * tf / (tf + k1 * norm)."""
    return (k1 + 1) * tf / (tf + k1 * norm)


def _tf_bm25l(tf: Float64s, norm: Float64s, k1: float, delta: float) -> Float64s:
    """BM25L: (k1 + 1) * (c + delta) / (k1 + c + delta) with c = tf / norm, less the same at c = 0."""
    shifted = tf / norm + delta
    return (k1 + 1) * shifted / (k1 + shifted) - _absent_bm25l(k1, delta)


def _absent_bm25l(k1: float, delta: float) -> float:
    return (k1 + 1) * delta / (k1 + delta) if delta else 0.0


_IDF: dict[str, Callable[[Float64s, int], Float64s]] = {
    "lucene": _idf_lucene,
    "robertson": _idf_robertson,
    "atire": _idf_atire,
    "bm25l": _idf_bm25l,
    "bm25+": _idf_bm25plus,
}
_TF: dict[str, Callable[[Float64s, Float64s, float, float], Float64s]] = {
    "lucene": _tf_plain,
    "robertson": _tf_plain,
    "atire": _tf_atire,
    "bm25l": _tf_bm25l,
    "bm25+": _tf_atire,
}


def impacts(postings: Postings, method: str, k1: float, b: float, delta: float) -> tuple[Float32s, Float32s]:
    """What each posting adds to a score, and what each token adds to the score of a document without it.

    The score of a document is the sum, over the query's tokens with repetitions, of `absent[token]` plus, if the
    document has the token, its posting's value. Returns (float32 of shape (postings,), float32 of shape (vocabulary,)),
    computed in float64. `absent` is zero but for bm25l and bm25+, the only methods that read `delta`. Raises
    `UsageError` for an unknown method or a parameter out of range.
    """
    check_parameters(method, k1, b, delta)
    documents = len(postings.lengths)
    frequencies = np.diff(postings.offsets)
    idf = _IDF[method](frequencies.astype(np.float64), documents)
    absent = idf * {"bm25l": _absent_bm25l(k1, delta), "bm25+": delta}.get(method, 0.0)
    values = np.empty(len(postings.documents), np.float32)
    total = int(postings.lengths.sum(dtype=np.int64))
    for start in range(0, len(values), _CHUNK):
        part = slice(start, min(start + _CHUNK, len(values)))
        # The tokens whose postings lie in this part, each repeated for its postings here.
        first, last = np.searchsorted(postings.offsets, [part.start, part.stop - 1], side="right") - 1
        bounds = np.clip(postings.offsets[first : last + 2], part.start, part.stop)
        token = np.repeat(np.arange(first, last + 1), np.diff(bounds))
        norm = 1 - b + b * (postings.lengths[postings.documents[part]] / (total / documents))
        values[part] = idf[token] * _TF[method](postings.counts[part].astype(np.float64), norm, k1, delta)
    return values, absent.astype(np.float32)


def check_parameters(method: str, k1: float, b: float, delta: float) -> None:
    """Raise `UsageError` with every BM25 parameter that is out of range; NaN is out of every range."""
    problems = []
    if method not in _IDF:
        problems.append(f"unknown BM25 method {method!r}; expected one of {', '.join(_IDF)}")
    if not 0 <= k1 < np.inf:
        problems.append(f"k1 = {k1}; expected a number of at least 0")
    if not 0 <= b <= 1:
        problems.append(f"b = {b}; expected a number from 0 to 1")
    if not 0 <= delta < np.inf:
        problems.append(f"delta = {delta}; expected a number of at least 0")
    if problems:
        raise UsageError("\n".join(problems))
