"""BM25 as arithmetic on arrays: token counts of a block of documents, and what each posting adds to a score.

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts:
    """A block of documents as an inverted index of token counts.

    `vocabulary` is sorted by code point and holds exactly the block's tokens. Token t owns entries
    `offsets[t]:offsets[t + 1]` of `documents` (rows within the block, ascending) and `counts`; `lengths[i]` is document
    i's number of tokens, repetitions included.
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
    size = np.array(lengths, np.int32)
    position = np.empty(len(vocabulary), np.int64)
    position[np.fromiter((numbers[token] for token in vocabulary), np.int64, len(vocabulary))] = np.arange(
        len(vocabulary)
    )
    width = max(1, len(size))
    keys = position[np.array(flat, np.int32)] * width
    keys += np.repeat(np.arange(len(size), dtype=np.int64), size)
    pairs, counts = np.unique(keys, return_counts=True)
    return Counts(
        vocabulary=vocabulary,
        offsets=np.searchsorted(pairs, np.arange(len(vocabulary) + 1, dtype=np.int64) * width).astype(np.int64),
        documents=(pairs % width).astype(np.int32),
        counts=counts.astype(np.int32),
        lengths=size,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """A BM25 variant and its constants; only bm25l and bm25+ read `delta`.

    The score of a document is the sum, over the query's tokens with repetitions, of `absent` of the token plus, if the
    document has the token, the `impacts` of its posting. Raises `UsageError` for an unknown method or a parameter out
    of range.
    """

    method: str
    k1: float
    b: float
    delta: float

    def __post_init__(self) -> None:
        check_parameters(self.method, self.k1, self.b, self.delta)

    def idf(self, frequencies: Int64s, documents: int) -> Float64s:
        """The inverse document frequency of tokens that are in so many (at least one) of `documents` documents."""
        return _IDF[self.method](frequencies.astype(np.float64), documents)

    def absent(self, idf: Float64s) -> Float32s:
        """What a token adds to the score of a document without it: zero but for bm25l and bm25+."""
        share = {"bm25l": _absent_bm25l(self.k1, self.delta), "bm25+": self.delta}.get(self.method, 0.0)
        return (idf * share).astype(np.float32)

    def impacts(self, idf: Float64s, counts: Int32s, lengths: Int32s, mean_length: float) -> Float32s:
        """What postings add: given each one's token's `idf`, its count, and its document's length; never below 0."""
        norm = 1 - self.b + self.b * (lengths / mean_length)
        return (idf * _TF[self.method](counts.astype(np.float64), norm, self.k1, self.delta)).astype(np.float32)


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
