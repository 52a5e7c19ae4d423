"""BM25 over postings on disk: a fast kernel finds, one pair kernel scores; rank-bm25 is the reference."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.core.bm25 import check_parameters
from hnmine.core.pool import Pairs
from hnmine.engines.analysis import Analyser
from hnmine.engines.bags import Bags
from hnmine.engines.kernels import in_threads, keep_compiled
from hnmine.engines.postings import Vocabulary, open_postings
from hnmine.engines.retriever import OVERFETCH, Bools, Queries, Retriever, Rows, Scores
from hnmine.errors import MissingDependencyError, UsageError
from hnmine.schema import Scale

_SLICE = 64
"""Queries a thread takes at a time."""
_DEEPER = 16
"""How many times as many candidates are looked at where more tie than the kernel over-fetches."""
_Kernel = Callable[[Bags, int, "Bools | None"], tuple[Rows, Scores]]
_SCORING = ("offsets", "documents", "impacts", "absent")


class _Bm25Index(Retriever):
    """What both engines share: the opened arrays, and queries as token numbers."""

    scale = Scale.BM25

    def __init__(self, directory: Path, *, analyser: Analyser, name: str, tie_order: Rows) -> None:
        super().__init__(name=name, tie_order=tie_order)
        self.analyser = analyser
        self._arrays = open_postings(directory, documents=self.size)
        self._last_bags: tuple[Queries, Bags] | None = None
        self._vocabulary = Vocabulary(self._arrays["vocabulary"], self._arrays["vocabulary_offsets"])

    def _bags(self, queries: Queries) -> Bags:
        # Each query as token numbers, unknown tokens left out. The last block's are kept: a search asks for them, and
        # who scores more pairs asks again.
        if self._last_bags is None or self._last_bags[0] is not queries:
            tokens = [self.analyser.tokens(text) for text in queries.texts]
            found = self._vocabulary.find_all(list(chain.from_iterable(tokens)))
            known = found >= 0
            ends = np.cumsum([0, *map(len, tokens)])
            offsets = np.concatenate([[0], np.cumsum(known)])[ends].astype(np.int64)
            self._last_bags = queries, Bags.of(found[known], offsets)
        return self._last_bags[1]

    def _is_hit(self, scores: Scores) -> npt.NDArray[np.bool_]:
        return scores > 0

    def _matched(self, queries: Queries, pairs: Pairs) -> Bools:
        # Without a token of the query a document is no hit, although bm25l and bm25+ give it a score above 0.
        offsets, documents = self._arrays["offsets"], self._arrays["documents"]
        matched = np.zeros(len(pairs.rows), np.bool_)
        order = np.argsort(pairs.owner, kind="stable")
        bounds = np.searchsorted(pairs.owner[order], np.arange(len(queries) + 1))
        for bag, low, high in zip(self._bags(queries).lists(), bounds, bounds[1:], strict=False):
            own = order[low:high]
            for token in set(bag) if len(own) else ():
                postings = documents[offsets[token] : offsets[token + 1]]
                place = np.minimum(np.searchsorted(postings, pairs.rows[own]), len(postings) - 1)
                matched[own] |= postings[place] == pairs.rows[own]
        return matched

    def _search(self, queries: Queries, k: int) -> tuple[Rows, Scores]:
        return self._found(queries, k, None)

    def _search_among(self, queries: Queries, k: int, among: Bools) -> tuple[Rows, Scores]:
        return self._found(queries, k, among)

    def _found(self, queries: Queries, k: int, among: Bools | None) -> tuple[Rows, Scores]:
        rows = np.full((len(queries), k), -1, np.int64)
        scores = np.zeros((len(queries), k), np.float32)
        bags = self._bags(queries)

        def fill(part: slice) -> None:
            rows[part], scores[part] = self._best(bags[part], k, among)

        in_threads(fill, [slice(start, start + _SLICE) for start in range(0, len(bags), _SLICE)])
        return rows, scores

    @abstractmethod
    def _best(self, bags: Bags, k: int, among: Bools | None) -> tuple[Rows, Scores]:
        """Kernel for queries given as known tokens: as `_search`; called by several threads."""

    def _matches(self, bag: list[int], among: Bools | None) -> Rows:
        # Rows of the documents (of `among`) that have a token of the query, ascending.
        offsets, documents = self._arrays["offsets"], self._arrays["documents"]
        matched = np.zeros(self.size, np.bool_)
        for token in set(bag):
            matched[documents[offsets[token] : offsets[token + 1]]] = True
        return np.flatnonzero(matched if among is None else matched & among)

    def _top(self, rows: Rows, scores: Scores, k: int) -> tuple[Rows, Scores]:
        # The first k by (score descending, doc_id), padded with row -1.
        order = np.lexsort((self.tie_order[rows], -scores))[:k]
        padding = (0, k - len(order))
        return np.pad(rows[order], padding, constant_values=-1), np.pad(scores[order], padding)


class MaxScoreIndex(_Bm25Index):
    """BM25 by a kernel that skips what cannot win, over memory-mapped postings; every score from one exact pair kernel.

    The scores of `search` and `pair_scores` are sums in float64 over the query's distinct tokens, in order of first
    occurrence and each times its number of occurrences, rounded to float32 once. The kernel
    (`hnmine.engines.maxscore`) finds these very scores, but leaves ties at the cut to chance; where more documents tie
    than it over-fetches, it looks deeper. Uses all cores that the process may run on.
    """

    finds_pair_scores = True
    overfetch = 16

    def __init__(self, directory: Path, *, analyser: Analyser, name: str, tie_order: Rows) -> None:
        super().__init__(directory, analyser=analyser, name=name, tie_order=tie_order)
        self._kernel: _Kernel | None = None
        self._most_absent = float(self._arrays["absent"].max(initial=0))

    def _found(self, queries: Queries, k: int, among: Bools | None) -> tuple[Rows, Scores]:
        if self._kernel is None:
            self._kernel = self._load_kernel()  # before threads start, or each would compile its own
        return super()._found(queries, k, among)

    def _load_kernel(self) -> _Kernel:
        """A function of (token numbers of each query, k, mask or None): (rows, float32 scores), row -1 where none."""
        from hnmine.engines.maxscore import search

        index = [self._arrays[name] for name in (*_SCORING, "peaks")]
        least = np.zeros(len(self._arrays["peaks"]), np.float32)

        def find(bags: Bags, k: int, among: Bools | None) -> tuple[Rows, Scores]:
            rows, scores = np.full((len(bags), k), -1, np.int32), np.zeros((len(bags), k), np.float32)
            allowed = np.empty(0, np.bool_) if among is None else among
            search(*index, least, self.size, allowed, bags.tokens, bags.times, bags.offsets, rows, scores)
            return rows.astype(np.int64), scores

        return find

    def _best(self, bags: Bags, k: int, among: Bools | None) -> tuple[Rows, Scores]:
        assert self._kernel is not None
        rows, scores = self._kernel(bags, k, among)
        limit = self.size if among is None else int(np.count_nonzero(among))
        if k < limit:
            for place in np.flatnonzero(self._cut_is_open(bags, scores, k)):
                rows[place], scores[place] = self._settled(bags[place : place + 1], k, among, limit)
        return rows, scores

    def _cut_is_open(self, bags: Bags, scores: Scores, k: int) -> Bools:
        # Might a document that the kernel left out belong to a query's first k - overfetch? A float32 sum of n positive
        # numbers is off by at most n - 1 roundings, and the final score, absent part included, by one more.
        wanted, last = (scores[:, place].astype(np.float64) for place in (max(0, k - self.overfetch - 1), -1))
        length = bags.lengths()
        rounding = 2.0**-23 * ((length + 1) * wanted + length * self._most_absent)
        return (last > 0) & (wanted - last <= rounding)

    def _settled(self, bag: Bags, k: int, among: Bools | None, limit: int) -> tuple[Rows, Scores]:
        # One query's best by exact score, from as many as it takes until those left out cannot belong to them.
        assert self._kernel is not None
        depth, is_open = k, True
        while is_open:
            depth = min(limit, _DEEPER * depth)
            (rows,), scores = self._kernel(bag, depth, among)
            is_open = depth < limit and bool(self._cut_is_open(bag, scores, k))
        rows = rows[rows >= 0]
        return self._top(rows, self._pair_scores(bag, np.array([0, len(rows)]), rows), k)

    def pair_scores(self, queries: Queries, offsets: Rows, rows: Rows) -> Scores:
        """The score of each pair, the same bits whatever the batch or the number of threads.

        A pair without a common token has the sum of `absent` over the query's tokens: 0 but for bm25l and bm25+.
        """
        return self._pair_scores(self._bags(queries), np.array(offsets, np.int64), np.array(rows, np.int64))

    def _pair_scores(self, bags: Bags, offsets: Rows, rows: Rows) -> Scores:
        scores = np.zeros(len(rows), np.float32)
        if not len(rows):
            return scores
        from hnmine.engines.maxscore import score_pairs

        index = [self._arrays[name] for name in _SCORING]
        asked = (bags.tokens, bags.times, bags.offsets)

        def fill(part: slice) -> None:
            score_pairs(*index, *asked, offsets, rows, part.start, part.stop, scores)

        stops = [*range(0, len(bags), _SLICE), len(bags)]
        in_threads(fill, [slice(start, stop) for start, stop in pairwise(stops)])
        return scores


class Bm25sIndex(MaxScoreIndex):
    """BM25 by bm25s' numba kernel, which sums in float32; the same documents and scores, from the same postings."""

    finds_pair_scores = False
    overfetch = OVERFETCH

    def _load_kernel(self) -> _Kernel:
        retriever = self._bm25s()

        def find(bags: Bags, k: int, among: Bools | None) -> tuple[Rows, Scores]:
            rows, scores = np.full((len(bags), k), -1, np.int64), np.zeros((len(bags), k), np.float32)
            known = np.flatnonzero(bags.lengths())
            if not len(known):
                return rows, scores
            # One thread per call: bm25s' own threads go through OpenMP, which neither forks nor nests.
            mask = None if among is None else among.astype(np.float32)
            asked = [bag for bag in bags.lists() if bag]
            found = retriever.retrieve(asked, k=k, show_progress=False, n_threads=1, weight_mask=mask)
            rows[known], scores[known] = np.where(found.scores > 0, found.documents, -1), found.scores
            return rows, scores

        return find

    def _bm25s(self) -> Any:
        import bm25s
        from bm25s.numba import retrieve_utils

        # bm25s compiles its kernel anew in every process (5 s); kept by numba, it loads in 0.2 s.
        kernel = getattr(retrieve_utils, "_retrieve_internal_jitted_serial", None)
        if kernel is not None:
            keep_compiled(kernel)
        retriever = bm25s.BM25(backend="numba", auto_compile=False)
        retriever.scores = {
            "data": self._arrays["impacts"],
            "indices": self._arrays["documents"],
            "indptr": self._arrays["offsets"],
            "num_docs": self.size,
        }
        # What `BM25.load` sets besides the scores. Queries come as token numbers, which bm25s looks up in this set.
        retriever.vocab_dict = {}
        retriever.unique_token_ids_set = range(len(self._arrays["absent"]))
        retriever.nonoccurrence_array = None
        return retriever


class RankBm25Index(_Bm25Index):
    """rank-bm25's own numbers over the same tokens: slow, in memory, the reference.

    `method` robertson is its `BM25Okapi`, bm25l `BM25L`, bm25+ `BM25Plus`; any other raises `UsageError`. Its formulas
    differ from those of `hnmine.core.bm25` in two places: `BM25Okapi` multiplies by k1 + 1 and gives words in more than
    half of the documents a quarter of the average IDF, which can be below 0; `BM25L` multiplies by the term frequency
    once more, so that a document without the token gets 0. A document is a hit if it shares a token with the query and
    scores above 0.
    """

    def __init__(
        self,
        directory: Path,
        *,
        analyser: Analyser,
        name: str,
        tie_order: Rows,
        method: str,
        k1: float,
        b: float,
        delta: float,
    ) -> None:
        check_parameters(method, k1, b, delta)
        variant = self.check_method(method)
        try:
            import rank_bm25
        except ImportError as error:
            raise MissingDependencyError("rank-bm25 is not installed", remedy="pip install rank-bm25") from error
        super().__init__(directory, analyser=analyser, name=name, tie_order=tie_order)
        self._model: Any = None
        if len(self._arrays["documents"]):  # rank-bm25 divides by zero where there is no token at all
            settings = {"k1": k1, "b": b} | ({} if method == "robertson" else {"delta": delta})
            self._model = getattr(rank_bm25, variant)(self._documents(), **settings)
            # It turns this list into an array for every token of every query.
            self._model.doc_len = np.array(self._model.doc_len)

    @staticmethod
    def check_method(method: str) -> str:
        """The name of rank-bm25's class for a method; `UsageError` if it has none."""
        variant = {"robertson": "BM25Okapi", "bm25l": "BM25L", "bm25+": "BM25Plus"}.get(method)
        if variant is None:
            raise UsageError(
                f"rank-bm25 has no method {str(method)!r}",
                expected="robertson, bm25l or bm25+",
                remedy="--engine bm25s, which has them all",
            )
        return variant

    def _documents(self) -> Iterable[list[int]]:
        # Every document as its token numbers, repetitions included.
        documents = self._arrays["documents"]
        order = np.argsort(documents, kind="stable")
        tokens = np.repeat(np.arange(len(self._arrays["absent"])), np.diff(self._arrays["offsets"]))[order]
        counts = self._arrays["counts"][order]
        starts = np.searchsorted(documents[order], np.arange(self.size + 1))
        for start, stop in pairwise(starts):
            yield np.repeat(tokens[start:stop], counts[start:stop]).tolist()

    def _best(self, bags: Bags, k: int, among: Bools | None) -> tuple[Rows, Scores]:
        rows, best = np.full((len(bags), k), -1, np.int64), np.zeros((len(bags), k), np.float32)
        for query, bag in enumerate(bags.lists()):
            if bag:
                matches = self._matches(bag, among)
                with np.errstate(invalid="ignore"):
                    scores = self._model.get_scores(bag)[matches].astype(np.float32)
                rows[query], best[query] = self._top(matches, scores, k)
        return rows, best

    def pair_scores(self, queries: Queries, offsets: Rows, rows: Rows) -> Scores:
        """rank-bm25's score of each pair; 0 for a query without a known token."""
        scores = np.zeros(len(rows), np.float32)
        for query, bag in enumerate(self._bags(queries).lists()):
            part = slice(offsets[query], offsets[query + 1])
            if bag and part.stop > part.start:
                with np.errstate(invalid="ignore"):
                    scores[part] = self._model.get_batch_scores(bag, rows[part].tolist())
        return scores
