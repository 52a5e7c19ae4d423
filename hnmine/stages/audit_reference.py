"""What an audit compares with: a corpus, full judgments, held-out sets; all of them as sorted hashes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from hnmine.core.audit import Bools, Hashes, is_among, pair_hashes
from hnmine.errors import InputError, ProblemLog
from hnmine.files.collection import Collection
from hnmine.files.judgments import Judgments
from hnmine.files.readers.layout import named_files
from hnmine.files.readers.listed import read_listed
from hnmine.files.readers.texts import open_text_file, read_documents, read_queries
from hnmine.files.readers.training import id_hash
from hnmine.hashing import text_key
from hnmine.options import AuditOptions
from hnmine.schema import Side

TEXTS_A_STEP = 8_192


class Reference:
    """The outside knowledge of an audit. What was not given is in `unchecked`, and finds nothing."""

    def __init__(self, options: AuditOptions, collection: Collection | None) -> None:
        """Read what the options name; texts of a collection or of --corpus and --queries tie ids to texts."""
        self.unchecked: list[str] = []
        self.has_judgments = options.qrels is not None
        self._documents: _Names | None = None
        documents, queries = _Names(), _Names()
        if options.corpus is not None or collection is not None:
            texts = _corpus(options.corpus) if options.corpus is not None else _documents_of(collection)
            documents.read(texts)
            self._documents = documents
        else:
            self.unchecked.append("unknown-document: give --corpus or --collection")
        if options.queries is not None or collection is not None:
            queries.read(_queries(options.queries) if options.queries is not None else _queries_of(collection))
        self._by_id = self._by_text = np.empty(0, np.uint64)
        self._grades_by_id = self._grades_by_text = np.empty(0, np.int64)
        if options.qrels is not None:
            self._judge(Judgments(options.qrels), queries, documents)
        else:
            self.unchecked.append("relevant-among-negatives: give --qrels")
        self.min_relevance = options.min_relevance
        self._held: dict[Side, tuple[Hashes, Hashes]] = {}
        for side, given in ((Side.QUERY, options.held_out_queries), (Side.DOCUMENT, options.held_out_documents)):
            if given is None:
                noun = "queries" if side is Side.QUERY else "documents"
                self.unchecked.append(f"held-out-{side}: give --held-out-{noun}")
                continue
            listed = read_listed(given, side)
            self._held[side] = (listed.keys, np.unique(_hashes(listed.ids)))

    def _judge(self, judgments: Judgments, queries: _Names, documents: _Names) -> None:
        """Judgments by hash of id and, where the texts are known, by text; the highest grade of equal pairs."""
        grades = np.fromiter(judgments.grades.values(), np.int64, len(judgments.grades))
        query_ids = _hashes(q for q, _ in judgments.grades)
        doc_ids = _hashes(d for _, d in judgments.grades)
        self._by_id, self._grades_by_id = _highest(pair_hashes(query_ids, doc_ids), grades)
        by_text = pair_hashes(queries.keys_of(query_ids), documents.keys_of(doc_ids))
        self._by_text, self._grades_by_text = _highest(by_text[by_text != 0], grades[by_text != 0])

    def judged(self, text_pairs: Hashes, id_pairs: Hashes) -> tuple[Bools, Bools]:
        """(judged, relevant) of each pair, known by its text or by its ids. Raises if ids are all there is to compare.

        A pair that is judged both ways has the higher grade.
        """
        judged = np.zeros(len(text_pairs), np.bool_)
        relevant = judged.copy()
        if not self.has_judgments:
            return judged, relevant
        if len(id_pairs) and not id_pairs.any() and not len(self._by_text):
            raise InputError(
                "--qrels name ids, and the training rows have none",
                expected="ids in the file, or the texts behind the ids of --qrels",
                remedy="--collection DIR, or --corpus FILE and --queries FILE",
            )
        ways = ((text_pairs, self._by_text, self._grades_by_text), (id_pairs, self._by_id, self._grades_by_id))
        for pairs, known, grades in ways:
            found = is_among(pairs, known)
            judged |= found
            if len(known):
                place = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
                relevant |= found & (grades[place] >= self.min_relevance)
        return judged, relevant

    def unknown(self, keys: Hashes, ids: Hashes) -> Bools:
        """Which documents are in the corpus neither by text nor by id."""
        if self._documents is None:
            return np.zeros(len(keys), np.bool_)
        return ~(is_among(keys, self._documents.all_keys) | is_among(ids, self._documents.all_ids))

    def held_out_queries(self, keys: Hashes, ids: Hashes) -> Bools:
        """Which queries are held out, by text or by id."""
        return self._held_out(Side.QUERY, keys, ids)

    def held_out_documents(self, keys: Hashes, ids: Hashes) -> Bools:
        """Which documents are held out, by text or by id."""
        return self._held_out(Side.DOCUMENT, keys, ids)

    def _held_out(self, side: Side, keys: Hashes, ids: Hashes) -> Bools:
        if side not in self._held:
            return np.zeros(len(keys), np.bool_)
        listed_keys, listed_ids = self._held[side]
        return is_among(keys, listed_keys) | is_among(ids, listed_ids)


class _Names:
    """The ids and text keys of documents or of queries, as hashes: 16 bytes each."""

    def __init__(self) -> None:
        self._ids = self._keys = np.empty(0, np.uint64)
        self.all_ids = self.all_keys = np.empty(0, np.uint64)

    def read(self, texts: Iterator[tuple[str, int]]) -> None:
        """Take in (id, text key) pairs."""
        ids: list[npt.NDArray[np.uint64]] = []
        keys: list[npt.NDArray[np.uint64]] = []
        step: list[tuple[str, int]] = []
        for pair in texts:
            step.append(pair)
            if len(step) == TEXTS_A_STEP:
                _take(step, ids, keys)
        _take(step, ids, keys)
        self._ids, self._keys = np.concatenate(ids), np.concatenate(keys)
        order = np.argsort(self._ids, kind="stable")
        self._ids, self._keys = self._ids[order], self._keys[order]
        self.all_ids, self.all_keys = self._ids, np.unique(self._keys)

    def keys_of(self, ids: Hashes) -> Hashes:
        """The text key behind each hash of an id; 0 where the id is unknown."""
        if not len(self._ids):
            return np.zeros(len(ids), np.uint64)
        place = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[place] == ids, self._keys[place], np.uint64(0))


def _take(step: list[tuple[str, int]], ids: list[Hashes], keys: list[Hashes]) -> None:
    ids.append(_hashes(identity for identity, _ in step))
    keys.append(np.fromiter((key for _, key in step), np.uint64, len(step)))
    step.clear()


def _hashes(ids: Iterable[str]) -> Hashes:
    return np.array([id_hash(identity) for identity in ids], np.uint64)


def _highest(pairs: Hashes, grades: npt.NDArray[np.int64]) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Distinct pairs, ascending, each with its highest grade."""
    order = np.lexsort((-grades, pairs))
    pairs, grades = pairs[order], grades[order]
    distinct, first = np.unique(pairs, return_index=True)
    return distinct, grades[first]


def _corpus(given: str) -> Iterator[tuple[str, int]]:
    problems = ProblemLog()
    for file in named_files(given):
        for found in read_documents(open_text_file(file, Side.DOCUMENT), problems):
            yield found.doc_id, text_key(f"{found.title}\n{found.text}")
    problems.raise_if_any(remedy="correct the corpus")


def _queries(given: str) -> Iterator[tuple[str, int]]:
    problems = ProblemLog()
    for file in named_files(given):
        for found in read_queries(open_text_file(file, Side.QUERY), problems):
            yield found.query_id, text_key(found.text)
    problems.raise_if_any(remedy="correct the queries")


def _documents_of(collection: Collection | None) -> Iterator[tuple[str, int]]:
    if collection is not None:
        for chunk, keys in _chunks(collection.doc_ids, collection.doc_text_keys):
            yield from zip(chunk, keys, strict=True)


def _queries_of(collection: Collection | None) -> Iterator[tuple[str, int]]:
    if collection is not None:
        for chunk, keys in _chunks(collection.query_ids, collection.query_text_keys):
            yield from zip(chunk, keys, strict=True)


def _chunks(ids: object, keys: Hashes) -> Iterator[tuple[list[str], list[int]]]:
    start = 0
    for chunk in ids.chunks:  # type: ignore[attr-defined]
        for at in range(0, len(chunk), TEXTS_A_STEP):
            piece: list[str] = chunk.slice(at, TEXTS_A_STEP).to_pylist()
            yield piece, keys[start : start + len(piece)].tolist()
            start += len(piece)
