"""`ingest`: read DATA once, check everything, and write a collection.

Documents, queries and qrels are streamed into parts of 65,536 rows. All problems of the input are collected first and
reported together; with `--on-error skip` bad records are left out and counted. Nothing is left behind when it fails.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.errors import ArtefactError, InputError, ProblemLog, UsageError
from hnmine.execute.local import Execution, pause_for_tests
from hnmine.files.artefact import Artefact, Draft, Json, remove_artefact
from hnmine.files.collection import rows_of
from hnmine.files.readers import Document, Judgment, Query, Source, open_source
from hnmine.files.tables import (
    TextRows,
    chunks,
    common_schema,
    conform,
    metadata_array,
    part_name,
    read_table,
    write_rows,
    write_table,
)
from hnmine.hashing import keyed_hash, keyed_hashes, text_keys
from hnmine.options import InputOptions, OnError
from hnmine.schema import DOC_ID, GRADE, QUERY_ID, SCORE, TEXT, TEXT_KEY, TITLE, Kind
from hnmine.stages.stage import Outcome, Preview, block_size, machine, now, peak_memory

BLOCK = 65_536
_JUDGMENTS = 65_536
"""Judgments that are Python objects at a time."""
_FILE, _LINE = "file", "line"
LEFT_OUT = ("documents_not_in_sample", "judgments_repeated", "queries_not_in_sample", "queries_not_judged")
"""The tokens of the counter `left_out`."""


class Ingest:
    """Streams one DATA into a collection, sequentially; blocks that are there already are not written again."""

    kind = Kind.COLLECTION

    def __init__(self, data: str | Source, options: InputOptions) -> None:
        if options.sample is not None and not 0 < options.sample <= 1:
            raise UsageError(f"--sample {options.sample}: not a fraction", expected="a number above 0, up to 1")
        self.source = data if isinstance(data, Source) else open_source(data, options)
        self.options = options
        if options.negative_columns and self.source.kind != "pairs":
            raise UsageError(
                f"--negative-columns: {self.source.kind} data has no such columns", remedy="give a pairs file"
            )
        self.block = block_size(BLOCK)
        self.problems = ProblemLog()
        self.left_out: Counter[str] = Counter()

    def plan(self) -> Json:
        """The plan: what was read (by content), how, and in which blocks."""
        return {
            "inputs": {},
            "source": self.source.describe(),
            "fingerprint": self.source.fingerprint(),
            "title_separator": self.options.title_separator,
            **({"score_scale": str(scale)} if (scale := self.source.score_scale) is not None else {}),
            **_knowledge(self.source),
            "on_error": str(self.options.on_error),
            "sample": self.options.sample,
            "block": self.block,
        }

    def preview(self, path: Path) -> Preview:
        """What `run` would do at `path`."""
        return Preview(kind=self.kind, path=path, blocks_total=0, blocks_finished=0, sizes={}, plan=self.plan())

    def run(self, path: Path, how: Execution) -> Outcome:
        """Write the collection at `path`, or leave a finished one of the same plan as it is.

        Raises `InputError` with every problem found in the data, and then leaves nothing behind, and `UsageError` if
        what is read is at `path` or in it.
        """
        began = time.monotonic()
        for place in self.source.reads():
            if place.resolve().is_relative_to(path.resolve()):
                raise UsageError(f"{path} is read to make it", expected="another place", remedy="choose another -o")
        is_new = not path.exists()
        draft = Draft.begin(path, self.kind, self.plan(), overwrite=how.overwrite)
        with draft.held(shared=False):
            return self._carry_out(draft, how, began, is_new=is_new)

    def _carry_out(self, draft: Draft, how: Execution, began: float, *, is_new: bool) -> Outcome:
        started, path = now(), draft.path
        blocks: list[str] = []
        done_now = 0
        if draft.is_closed:
            artefact = Artefact.open(path, self.kind)
            draft.tidy()
        else:
            draft.write_run({"started": started, **machine()}, {})
            try:
                blocks, done_now, counts = self._write(draft, how)
                receipts = draft.receipts(blocks)
                files = {name: entry for receipt in receipts for name, entry in receipt["files"].items()}
                artefact = draft.close(files=files, counts=counts)
            except InputError:
                remove_artefact(path)
                if is_new:
                    path.rmdir()
                raise
            except (ArtefactError, FileNotFoundError):
                if not draft.is_closed_by_another():
                    raise
                artefact = Artefact.open(path, self.kind)
                draft.tidy()
            record: Json = {"started": started, "finished": now(), "seconds": round(time.monotonic() - began, 3)}
            record |= {"peak_memory_bytes": peak_memory(), "notes": dict(self.source.notes())}
            draft.write_run({**record, **machine()}, {})
        return Outcome(
            kind=self.kind,
            path=path,
            artefact=artefact,
            blocks_total=len(blocks),
            blocks_done_now=done_now,
            seconds=time.monotonic() - began,
            peak_memory=peak_memory(),
            notes=dict(self.source.notes()),
        )

    def _write(self, draft: Draft, how: Execution) -> tuple[list[str], int, Json]:
        """Stream all parts; returns (blocks, blocks written now, manifest counts)."""
        judgments = self._sampled(self._read_judgments())
        judged = pc.unique(judgments[QUERY_ID]) if len(judgments) else None
        documents = self._unique(self.source.documents(self.problems), "duplicate document id", "doc_id")
        further = {
            "negatives": self._read_pairs(self.source.negatives(self.problems)),
            "curated": self._read_pairs(self.source.curated(self.problems)),
        }
        named = [judgments[DOC_ID], *(pairs[DOC_ID] for pairs in further.values())]
        documents = self._sampled_documents(documents, *named)
        queries = self._unique(self.source.queries(self.problems), "duplicate query id", "query_id")
        queries = self._judged(queries, judged)
        how.progress.start("ingest", None, 0, "records")
        blocks: list[str] = []
        written = 0
        sizes: dict[str, int] = {}
        try:
            for table, records, columns in (
                ("documents", documents, _document_columns),
                ("queries", queries, _query_columns),
            ):
                sizes[table] = 0
                index = -1
                for index, block in enumerate(chunks(records, self.block)):
                    how.stop.check()
                    done_now = self._write_block(draft, table, index, block, columns)
                    written += done_now
                    blocks.append(f"{table}-{index:05d}")
                    sizes[table] += len(block)
                    how.progress.advance(len(block))
                    if done_now:
                        pause_for_tests()
                if index < 0:
                    if table == "documents":
                        self._fail_if_any()
                        raise InputError(
                            f"the corpus has no documents{self._read()}",
                            expected="at least one document with a text",
                            remedy="without --on-error skip every problem is told" if self.problems else None,
                        )
                    written += self._write_block(draft, table, 0, [], columns)
                    blocks.append(f"{table}-00000")
        finally:
            how.progress.finish()
        self._unify(draft, blocks)
        kept = self._check_judgments(draft, judgments, sizes)
        self._fail_if_any()
        if not draft.is_finished("qrels-00000"):
            name = part_name(0, "qrels")
            draft.commit("qrels-00000", {name: write_table(draft.path / name, kept)})
            written += 1
        blocks.append("qrels-00000")
        for table, pairs in further.items():
            if not len(pairs):
                continue
            blocks.append(f"{table}-00000")
            if not draft.is_finished(blocks[-1]):
                name = part_name(0, table)
                draft.commit(blocks[-1], {name: write_table(draft.path / name, pairs)})
                written += 1
        return blocks, written, self._counts(kept, sizes)

    def _sampled(self, judgments: pa.Table) -> pa.Table:
        """The judgments of the queries that `--sample` keeps."""
        if self.options.sample is None:
            return judgments
        keep = [self._is_in_sample("query", query_id) for query_id in judgments[QUERY_ID].to_pylist()]
        return judgments.filter(pa.array(keep, pa.bool_()))

    def _sampled_documents(self, documents: Iterable[Document], *named: pa.ChunkedArray) -> Iterator[Document]:
        """The documents that `--sample` keeps: those that are named, and a keyed fraction of the others."""
        if self.options.sample is None:
            yield from documents
            return
        judged = {doc_id for ids in named for doc_id in ids.to_pylist()}
        for document in documents:
            if document.doc_id in judged or self._is_in_sample("document", document.doc_id):
                yield document
            else:
                self.left_out["documents_not_in_sample"] += 1

    def _is_in_sample(self, what: str, identity: str) -> bool:
        return keyed_hash(0, f"sample-{what}", identity) < (self.options.sample or 1) * 2.0**64

    def _read(self) -> str:
        """` (read: FILE, FILE)`, for a message that is about no single file."""
        names = self.source.describe().get("files")
        if not isinstance(names, list) or not names:
            return ""
        return f" (read: {', '.join(names[:5])}{', ...' * (len(names) > 5)})"

    def _fail_if_any(self) -> None:
        if self.options.on_error is OnError.FAIL:
            self.problems.raise_if_any()

    def _write_block(
        self, draft: Draft, table: str, index: int, block: Sequence[Any], columns: Callable[[Sequence[Any]], pa.Table]
    ) -> int:
        """Write one block unless it is there already; of bad input too, since the judgments are checked against it."""
        name = f"{table}-{index:05d}"
        if draft.is_finished(name):
            return 0
        if draft.is_closed_by_another():
            raise ArtefactError(f"{draft.path} is finished")  # which `run` hears
        full = columns(block)
        part = part_name(index, table)
        rows = f"texts/{table}-{index:05d}.arrow"
        wanted = [DOC_ID, TITLE, TEXT] if table == "documents" else [QUERY_ID, TEXT]
        write_rows(draft.path / rows, full.select(wanted))
        draft.commit(name, {part: write_table(draft.path / part, full), rows: len(block)})
        return 1

    def _unify(self, draft: Draft, blocks: Sequence[str]) -> None:
        """Give each metadata column one type in all parts: the one that holds all of them, else text.

        A block knows only its own rows, so the types it found may be too narrow: whole numbers here, fractions there.
        """
        if self.problems and self.options.on_error is OnError.FAIL:
            return
        for table in ("documents", "queries"):
            names = {block: part_name(int(block[-5:]), table) for block in blocks if block.startswith(table)}
            schemas = {block: pq.read_schema(draft.path / name) for block, name in names.items()}
            wanted = common_schema(list(schemas.values()))
            for block, name in names.items():
                if not schemas[block].equals(wanted):
                    part = read_table([draft.path / name])
                    rows = f"texts/{block}.arrow"
                    written = write_table(draft.path / name, conform(part, wanted))
                    draft.commit(block, {name: written, rows: written})

    def _unique(self, records: Iterable[Any], kind: str, id_field: str) -> Iterator[Any]:
        """Pass records on, reporting every id that was seen before; 8 bytes a record are held."""
        seen = SeenHashes()
        for block in chunks(records, 8192):
            ids = (getattr(record, id_field) for record in block)
            repeated = seen.add(np.array(keyed_hashes(0, last=ids), np.uint64))
            for record, again in zip(block, repeated.tolist(), strict=True):
                if again:
                    self.problems.add(kind, record.where, getattr(record, id_field))
                else:
                    yield record

    def _judged(self, queries: Iterable[Query], judged: pa.Array | None) -> Iterator[Query]:
        """Only the queries that the split judges; all of them if nothing is judged."""
        if judged is None:
            yield from queries
            return
        for block in chunks(queries, 8192):
            keep = pc.is_in(pa.array([q.query_id for q in block], pa.string()), value_set=judged).to_pylist()
            for query, wanted in zip(block, keep, strict=True):
                if wanted:
                    yield query
                else:
                    self.left_out["queries_not_judged" if self.options.sample is None else "queries_not_in_sample"] += 1

    def _read_pairs(self, found: Iterable[Judgment]) -> pa.Table:
        """Pairs that the source calls negatives, of the queries that `--sample` keeps."""
        return _scored(self._sampled(_judgments_of(found)).select([QUERY_ID, DOC_ID, SCORE]))

    def _read_judgments(self) -> pa.Table:
        """All judgments, and where each stood."""
        return _judgments_of(self.source.qrels(self.problems))

    def _check_judgments(self, draft: Draft, judged: pa.Table, sizes: Mapping[str, int]) -> pa.Table:
        """Drop judgments that point nowhere or contradict another, and report them."""
        table = _scored(judged.drop_columns([_FILE, _LINE]))
        if not self.source.has_queries:
            return table

        def where(row: int) -> str:
            return f"{judged[_FILE][row].as_py()}:{judged[_LINE][row].as_py()}"

        rows = {
            name: TextRows([draft.path / f"texts/{name}-{i:05d}.arrow" for i in range(max(1, -(-size // self.block)))])
            for name, size in sizes.items()
        }
        query_rows = rows_of(rows["queries"].column(QUERY_ID), table[QUERY_ID]) if len(table) else np.empty(0, np.int64)
        doc_rows = rows_of(rows["documents"].column(DOC_ID), table[DOC_ID]) if len(table) else np.empty(0, np.int64)
        keep = np.ones(len(table), bool)
        for kind, bad, column in (
            ("judgment of an unknown query", query_rows < 0, QUERY_ID),
            ("judgment of an unknown document", doc_rows < 0, DOC_ID),
        ):
            for place in np.flatnonzero(bad):
                self.problems.add(kind, where(int(place)), table[column][int(place)].as_py())
            keep &= ~bad
        pair = query_rows * np.int64(max(sizes["documents"], 1)) + doc_rows
        _, first, inverse = np.unique(
            np.where(keep, pair, -1 - np.arange(len(pair))), return_index=True, return_inverse=True
        )
        grades = table[GRADE].to_numpy()
        repeated = np.flatnonzero(first[inverse] != np.arange(len(pair)))
        for place in repeated:
            if grades[place] != grades[first[inverse[place]]]:
                pair_text = f"{table[QUERY_ID][int(place)].as_py()} {table[DOC_ID][int(place)].as_py()}"
                self.problems.add("two different grades for one pair", where(int(place)), pair_text)
            else:
                self.left_out["judgments_repeated"] += 1
        keep[repeated] = False
        kept = table.filter(pa.array(keep)).take(pa.array(np.argsort(query_rows[keep], kind="stable")))
        least = self.source.min_relevance
        if not (kept[GRADE].to_numpy() >= least).any():
            self._fail_if_any()
            raise InputError(
                f"there are no positives at all: no judgment has a grade of {least} or more{self._read()}",
                expected=f"qrels with at least one (query, document) pair of grade {least} or more",
                remedy="without --on-error skip every problem is told"
                if self.problems
                else "look at the file given as qrels and at --split",
            )
        return kept

    def _counts(self, qrels: pa.Table, sizes: Mapping[str, int]) -> Json:
        grades = Counter(qrels[GRADE].to_pylist())
        return {
            "documents": sizes["documents"],
            "queries": sizes["queries"],
            "judgments": len(qrels),
            "grades": {str(grade): grades[grade] for grade in sorted(grades)},
            "left_out": dict(sorted(self.left_out.items())),
            "skipped": dict(sorted(self.problems.counts.items())),
        }


def _knowledge(source: Source) -> Json:
    """What an input knows of its judgments, where that is not the usual."""
    least, where = source.min_relevance, source.negatives_where
    return {
        **({"min_relevance": least} if least != 1 else {}),
        **({"closed_world": True} if source.closed_world else {}),
        **({"negatives_where": where} if where else {}),
    }


class SeenHashes:
    """The hashes seen so far, 8 bytes each, in sorted runs of doubling size."""

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[np.uint64]] = []

    def add(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Remember `hashes`; returns which of them were seen before (here or in an earlier call)."""
        repeated = np.ones(len(hashes), np.bool_)
        repeated[np.unique(hashes, return_index=True)[1]] = False
        for run in self._runs:
            place = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            repeated |= run[place] == hashes
        fresh = np.sort(hashes[~repeated])
        while self._runs and len(self._runs[-1]) <= 2 * len(fresh):
            fresh = np.sort(np.concatenate([self._runs.pop(), fresh]))
        if len(fresh):
            self._runs.append(fresh)
        return repeated


def _metadata_columns(records: Sequence[Document | Query], taken: Iterable[str]) -> dict[str, pa.Array]:
    names: dict[str, None] = {}
    for record in records:
        names.update(dict.fromkeys(record.metadata))
    reserved = set(taken)
    return {
        (f"{name}_" if name in reserved else name): metadata_array([r.metadata.get(name) for r in records])
        for name in names
    }


def _document_columns(block: Sequence[Document]) -> pa.Table:
    keys = text_keys(f"{d.title}\n{d.text}" for d in block)
    return pa.table(
        {
            DOC_ID: pa.array([d.doc_id for d in block], pa.string()),
            TITLE: pa.array([d.title for d in block], pa.string()),
            TEXT: pa.array([d.text for d in block], pa.string()),
            **_metadata_columns(block, (DOC_ID, TITLE, TEXT, TEXT_KEY)),
            TEXT_KEY: pa.array(keys, pa.uint64()),
        }
    )


def _query_columns(block: Sequence[Query]) -> pa.Table:
    return pa.table(
        {
            QUERY_ID: pa.array([q.query_id for q in block], pa.string()),
            TEXT: pa.array([q.text for q in block], pa.string()),
            **_metadata_columns(block, (QUERY_ID, TEXT, TEXT_KEY)),
            TEXT_KEY: pa.array(text_keys(q.text for q in block), pa.uint64()),
        }
    )


def _judgments_of(judgments: Iterable[Judgment]) -> pa.Table:
    return pa.concat_tables(
        [_judgments([]), *map(_judgments, chunks(judgments, _JUDGMENTS))],
    ).unify_dictionaries()


def _scored(judgments: pa.Table) -> pa.Table:
    """The judgments without the column of scores, if none has one."""
    return judgments if judgments[SCORE].null_count < len(judgments) else judgments.drop_columns([SCORE])


def _judgments(block: Sequence[Judgment]) -> pa.Table:
    return pa.table(
        {
            QUERY_ID: pa.array([j.query_id for j in block], pa.string()),
            DOC_ID: pa.array([j.doc_id for j in block], pa.string()),
            GRADE: pa.array([j.grade for j in block], pa.int32()),
            SCORE: pa.array([j.score for j in block], pa.float32()),
            _FILE: pa.array([j.file for j in block], pa.dictionary(pa.int32(), pa.string())),
            _LINE: pa.array([j.line for j in block], pa.int64()),
        }
    )
