"""Runs as sources of candidates: rankings that other systems made, joined to the collection by id.

A run may be larger than memory. Its rows are looked up a million at a time, written to disk, put in the order of the
queries (a counting sort), and sorted query by query; what is left is three memory-mapped arrays. They are kept in the
cache, under the digests of the run and of the collection, so that the workers of a stage read a run once.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.core.pool import Pairs
from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.files.artefact import Json
from hnmine.files.atomic import PENDING, locked, storage_errors, write_text
from hnmine.files.collection import Collection, Rows, rows_of
from hnmine.files.readers.runs import CHUNK, RunFile, RunRows
from hnmine.files.remote import split_named
from hnmine.files.tables import write_array
from hnmine.hashing import canonical_json, digest_json

VERSION = 1
"""Of the joined form."""
_ROW = np.dtype([("query", "<i8"), ("document", "<i8"), ("rank", "<i8"), ("score", "<f4"), ("place", "<i8")])
_FILE_BITS = 40
"""`place` is the number of the file, and in so many low bits the line."""


class RunSource:
    """One searcher's rows on disk, by query row, then by score descending, then by doc_id."""

    def __init__(self, name: str, directory: Path, digest: str, facts: Json) -> None:
        self.name = name
        self.directory = directory
        self.digest = digest
        """SHA-256 (hex) of the file that it came in."""
        self._facts = facts

    @property
    def rows(self) -> int:
        """How many rows it has, of the collection's queries."""
        return int(self._facts["rows"])

    def notes(self) -> dict[str, str]:
        """What a person should know of it."""
        said = []
        if self._facts["unknown"]:
            said.append(f"{self._facts['unknown']:,} rows of queries that the collection does not have are left out")
        if self._facts["by_rank"]:
            said.append("it has ranks alone: 1/rank stands in for its scores")
        return {f"run {self.name}": "; ".join(said)} if said else {}

    @cached_property
    def _arrays(self) -> tuple[npt.NDArray[Any], ...]:
        names = ("starts", "documents", "scores")
        return tuple(np.load(self.directory / f"{name}.npy", mmap_mode="r") for name in names)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_arrays"}

    def of(self, query_rows: Rows, k: int) -> tuple[Pairs, npt.NDArray[np.float32]]:
        """The first k documents of each given query, as pairs in rank order, and the run's scores."""
        starts, documents, scores = self._arrays
        low = np.asarray(starts[query_rows])
        lengths = np.minimum(starts[query_rows + 1], low + k) - low
        owner = np.repeat(np.arange(len(query_rows)), lengths)
        first = np.concatenate([[0], np.cumsum(lengths)])[:-1]
        picks = np.arange(int(lengths.sum())) - np.repeat(first, lengths) + np.repeat(low, lengths)
        return Pairs(owner=owner, rows=np.asarray(documents[picks])), np.asarray(scores[picks])


def open_run(spec: str) -> tuple[str | None, RunFile]:
    """(name, file) of a run given as `FILE` or `NAME=FILE`; its columns are looked at, its rows are not.

    The name is None if none is given and the rows name their searchers. Raises `InputError` for what is no run.
    """
    name, place = split_named(spec)
    file = RunFile(str(place))
    return name or (None if file.has_sources else file.name), file


def read_runs(specs: Sequence[str], collection: Collection, cache: Path) -> list[RunSource]:
    """The searchers of all runs, each given as `FILE` or `NAME=FILE`, in the order in which they come.

    Rows of queries that are not in the collection are left out. Raises `InputError` with file, line and value for
    unknown documents, repeated pairs, and ranks that contradict the scores; `UsageError` for one name for several.
    """
    return [source for spec in specs for source in _read_run(spec, collection, cache)]


def _read_run(spec: str, collection: Collection, cache: Path) -> Iterator[RunSource]:
    name, file = open_run(spec)
    digest = file.fingerprint()
    place = cache / "runs" / digest_json([VERSION, digest, collection.artefact.fingerprint])[:24]
    done = place / "sources.json"
    if not done.exists():
        with locked(place.with_suffix(".lock")):
            if not done.exists():
                write_text(done, canonical_json(_join(file, collection, place)))
    found = json.loads(done.read_text(encoding="utf-8"))
    if name is not None and len(found) > 1:
        names = ", ".join(facts["source"] for facts in found)
        raise UsageError(
            f"--run {spec}: one name for the rows of {len(found)} searchers: {names}",
            expected="the file alone: its column `source` names them",
        )
    for number, facts in enumerate(found):
        yield RunSource(name or facts["source"], place / str(number), digest, facts)


def _join(file: RunFile, collection: Collection, place: Path) -> list[Json]:
    """Write the arrays of every searcher below `place`; returns what is known of each."""
    problems = ProblemLog()
    with storage_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        for leftover in place.glob(f"{PENDING}*"):  # of a process that was killed: who holds the lock is alone here
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(dir=place, prefix=PENDING) as folder:
            spools = _spooled(file, collection, Path(folder), problems)
            facts = []
            for number, (source, spool) in enumerate(spools.items()):
                spool.write(collection, place / str(number), problems, file.where)
                _raise(problems)
                facts.append({"source": source, "rows": spool.rows, "unknown": spool.unknown, "by_rank": spool.by_rank})
    return facts


def _raise(problems: ProblemLog) -> None:
    problems.raise_if_any(remedy="correct the run, or mine it with the corpus it was made on")


def _spooled(file: RunFile, collection: Collection, folder: Path, problems: ProblemLog) -> dict[str | None, _Spool]:
    """The rows of each searcher, looked up; the order of the searchers is that of their first rows."""
    spools: dict[str | None, _Spool] = {}
    for rows in file.rows(problems):
        query_rows = rows_of(collection.query_ids, rows.query_ids)
        known = np.flatnonzero(query_rows >= 0)
        doc_rows = np.full(len(rows), -1, np.int64)
        doc_rows[known] = rows_of(collection.doc_ids, rows.doc_ids.take(known))
        for row in known[doc_rows[known] < 0]:
            where = file.where(rows.file, int(rows.lines[row]))
            problems.add("run names an unknown document", where, rows.doc_ids[int(row)].as_py())
        _raise(problems)  # not at the end: a run of another corpus may be long
        for source, own in _by_source(rows):
            if source not in spools:
                spools[source] = _Spool(folder / f"{len(spools)}.rows", len(collection.queries), source)
            found = np.empty(len(own), _ROW)
            found["query"], found["document"] = query_rows[own], doc_rows[own]
            found["rank"], found["score"] = rows.ranks[own], rows.scores[own]
            found["place"] = rows.lines[own] | rows.file << _FILE_BITS
            spools[source].add(found)
    _raise(problems)
    shown = file.files[0].shown
    if not spools:
        raise InputError(f"{shown}: an empty run")
    for source, spool in spools.items():
        if not spool.rows:
            whose = f" of {source}" if source is not None else ""
            raise InputError(
                f"{shown}: no row{whose} is of a query of the collection ({spool.unknown:,} rows)",
                expected="the ids of the collection's queries",
                remedy="look at --split, and at how the run writes ids",
            )
    return spools


def _by_source(rows: RunRows) -> Iterator[tuple[str | None, Rows]]:
    if rows.sources is None:
        yield None, np.arange(len(rows))
        return
    coded = rows.sources.combine_chunks().dictionary_encode()
    codes = coded.indices.to_numpy()
    for code, source in enumerate(coded.dictionary.to_pylist()):
        yield source, np.flatnonzero(codes == code)


class _Spool:
    """One searcher's rows as they come, on disk; sorted by query when all are there."""

    def __init__(self, path: Path, queries: int, source: str | None) -> None:
        self._path = path
        self._source = source
        self._counts = np.zeros(queries, np.int64)
        self._without = {"rank": 0, "score": 0}
        self._first_without: dict[str, int] = {}
        self.unknown = 0

    @property
    def rows(self) -> int:
        """Rows of known queries."""
        return int(self._counts.sum())

    @property
    def by_rank(self) -> bool:
        """Whether no row has a score."""
        return self._without["score"] == self.rows

    def add(self, found: npt.NDArray[Any]) -> None:
        """Append rows; those of unknown queries are only counted."""
        known = found[found["query"] >= 0]
        self.unknown += len(found) - len(known)
        self._counts += np.bincount(known["query"], minlength=len(self._counts))
        for name, lacks in (("rank", known["rank"] < 0), ("score", np.isnan(known["score"]))):
            if lacks.any():
                self._first_without.setdefault(name, int(known["place"][np.argmax(lacks)]))
            self._without[name] += int(lacks.sum())
        with open(self._path, "ab") as stream:
            known.tofile(stream)

    def write(
        self, collection: Collection, target: Path, problems: ProblemLog, where: Callable[[int, int], str]
    ) -> None:
        """Write `starts`, `documents` and `scores`; rows that cannot be ordered, or come twice, go to `problems`."""

        def report(kind: str, place: int, value: object) -> None:
            problems.add(kind, where(place >> _FILE_BITS, place & ((1 << _FILE_BITS) - 1)), value)

        for name, lacking in self._without.items():
            if 0 < lacking < self.rows and (name == "score" or self.by_rank):
                whose = f" of {self._source}" if self._source is not None else ""
                report(f"missing {name}, where other rows{whose} have one", self._first_without[name], "")
                return
        starts = np.concatenate([[0], np.cumsum(self._counts)])
        with_ranks = not self._without["rank"]
        sorted_path = self._path.with_suffix(".sorted")
        by_query = np.memmap(sorted_path, _ROW, "w+", shape=(self.rows,))
        upto = starts[:-1].copy()
        with open(self._path, "rb") as stream:
            while len(part := np.fromfile(stream, _ROW, CHUNK)):
                part = part[np.argsort(part["query"], kind="stable")]
                unique, first, lengths = np.unique(part["query"], return_index=True, return_counts=True)
                within = np.arange(len(part)) - np.repeat(first, lengths)
                by_query[np.repeat(upto[unique], lengths) + within] = part
                upto[unique] += lengths
        self._path.unlink()
        documents = np.memmap(self._path.with_suffix(".documents"), np.int64, "w+", shape=(self.rows,))
        scores = np.memmap(self._path.with_suffix(".scores"), np.float32, "w+", shape=(self.rows,))
        for low, high in _slices(starts):
            part = np.asarray(by_query[low:high])
            self._check(part, collection, report, with_ranks)
            if self.by_rank:
                part = part[np.lexsort((collection.tie_order[part["document"]], part["rank"], part["query"]))]
                queries = part["query"]
                scores[low:high] = 1 / (np.arange(len(part)) - np.searchsorted(queries, queries) + 1)
            else:
                ties = collection.tie_order[part["document"]]
                part = part[np.lexsort((ties, -part["score"].astype(np.float64), part["query"]))]
                scores[low:high] = part["score"]
            documents[low:high] = part["document"]
        if problems:
            return
        for name, array in (("starts", starts), ("documents", documents), ("scores", scores)):
            write_array(target / f"{name}.npy", array)

    def _check(
        self, part: npt.NDArray[Any], collection: Collection, report: Callable[[str, int, object], None], ranks: bool
    ) -> None:
        """Report pairs that come twice, and scores that rise with the rank, in rows of whole queries."""

        def ids(row: Any) -> str:
            query = collection.query_ids[int(row["query"])].as_py()
            return f"{query} {collection.doc_ids[int(row['document'])].as_py()}"

        by_pair = part[np.lexsort((part["place"], part["document"], part["query"]))]
        same = (by_pair["query"][1:] == by_pair["query"][:-1]) & (by_pair["document"][1:] == by_pair["document"][:-1])
        for row in by_pair[1:][same]:
            report("one document twice for a query", int(row["place"]), ids(row))
        if ranks and not self.by_rank:
            by_rank = part[np.lexsort((-part["score"].astype(np.float64), part["rank"], part["query"]))]
            behind = (by_rank["query"][1:] == by_rank["query"][:-1]) & (by_rank["rank"][1:] > by_rank["rank"][:-1])
            for row in by_rank[1:][behind & (by_rank["score"][1:] > by_rank["score"][:-1])]:
                shown = f"{ids(row)}: rank {row['rank']}, score {row['score']:g}"
                report("a score above that of a better rank: a distance? negate it", int(row["place"]), shown)


def _slices(starts: Rows) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of rows of whole queries, about a million at a time."""
    low, total = 0, int(starts[-1])
    while low < total:
        end = int(starts[np.searchsorted(starts, low + CHUNK, side="right") - 1])
        if end <= low:  # one query with more than that
            end = int(starts[np.searchsorted(starts, low, side="right")])
        yield low, end
        low = end
