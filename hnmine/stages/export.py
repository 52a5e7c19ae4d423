"""`export`: write decisions as a training file that holds exactly what the trainer reads.

sentence-transformers takes every column but the label for text, and an id column silently becomes an input; so ids,
sources, ranks and scores go to a sibling file (`NAME.ids.parquet`, or `ids/`) with the same row order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.core.layout import Chosen, Layout, lay_out
from hnmine.errors import InputError, UsageError
from hnmine.execute.local import Block, Execution
from hnmine.files.artefact import Artefact, Draft, Json, sum_counts
from hnmine.files.atomic import replacing
from hnmine.files.candidates import CandidatesTable, floats, query_offsets, ranks
from hnmine.files.collection import Collection, rows_of
from hnmine.files.tables import ROW_GROUP, write_table
from hnmine.hashing import keyed_hash
from hnmine.options import ExportOptions, Format, as_plain
from hnmine.schema import DOC_ID, PICK_RANK, QUERY_ID, SOURCES, STEP, VERDICT, Kind, Verdict
from hnmine.stages.places import refuse_foreign
from hnmine.stages.stage import Outcome, Stage, block_size, cut, require_made_from

TEXTS_PER_BLOCK = 131_072
READ_BLOCK = 4_096


class Export(Stage):
    """Writes one training file (or a directory of shards) in one of sentence-transformers' layouts.

    `file` is the single file to write; without it the artefact's own directory gets `data/` and `ids/`.
    """

    kind = Kind.EXPORT
    label = "export"
    unit = "rows"

    def __init__(
        self, collection: Collection, decisions: Artefact, options: ExportOptions, *, path: Path, file: Path | None
    ) -> None:
        require_made_from(collection.artefact, decisions)
        limits = {
            "--max-positives": options.max_positives,
            "--negatives": options.negatives,
            "--rows-per-file": options.rows_per_file,
        }
        for flag, value in limits.items():
            if value is not None and value < 1:
                raise UsageError(f"{flag} {value}: at least 1")
        self.collection = collection
        self.table = CandidatesTable(decisions)
        self.options = options
        self.file = os.path.relpath(file.absolute(), path.absolute()) if file else None
        wanted = int(decisions.plan["options"]["num_negatives"])
        self.width = min(wanted, options.negatives or wanted)
        self._read_decisions()
        self.block_rows = options.rows_per_file or block_size(max(1_024, TEXTS_PER_BLOCK // (self.width + 2)))

    def _read_decisions(self) -> None:
        """Hold ids and numbers of the chosen rows; the texts stay on disk."""
        judge = self.table.artefact.plan["judge_by"]
        rank_by = self.table.artefact.plan["rank_by"]
        chosen = self.table.sample(self.options.limit, self.options.seed)
        query_rows, kept, positions = [], [], []
        n_pos: list[npt.NDArray[np.int64]] = []
        n_neg: list[npt.NDArray[np.int64]] = []
        for start in range(0, len(chosen), READ_BLOCK):
            block = chosen[start : start + READ_BLOCK]
            table = self.table.read(block)
            offsets = query_offsets(table[QUERY_ID])
            owner = np.repeat(np.arange(len(block)), np.diff(offsets))
            verdict = table[VERDICT].combine_chunks()
            pick = table[PICK_RANK].fill_null(0).to_numpy()
            is_positive = pc.equal(verdict, Verdict.POSITIVE.value).to_numpy(zero_copy_only=False)
            is_negative = pc.equal(verdict, Verdict.NEGATIVE.value).to_numpy(zero_copy_only=False)
            is_negative &= pick <= (self.options.negatives or pick.max(initial=0))
            positive = np.flatnonzero(is_positive)
            if self.options.max_positives is not None:
                positive = positive[_within(owner[positive]) < self.options.max_positives]
            negative = np.flatnonzero(is_negative)
            negative = negative[np.lexsort((pick[negative], owner[negative]))]
            n_pos.append(np.bincount(owner[positive], minlength=len(block)))
            n_neg.append(np.bincount(owner[negative], minlength=len(block)))
            picks = np.concatenate([positive, negative])
            columns = [DOC_ID, SOURCES, STEP]
            extra = {
                "score": floats(table, judge)[picks] if judge else np.full(len(picks), np.nan),
                "rank": ranks(table, rank_by)[picks] if rank_by else np.zeros(len(picks), np.int64),
                "is_positive": is_positive[picks],
            }
            small = table.select(columns).take(pa.array(picks))
            for name, values in extra.items():
                small = small.append_column(name, pa.array(values))
            kept.append(small)
            positions.append(np.repeat([0, 1], [len(positive), len(negative)]))
            query_rows.append(rows_of(self.collection.query_ids, table[QUERY_ID].take(pa.array(offsets[:-1]))))
        everything = pa.concat_tables(kept).combine_chunks()
        is_negative_row = np.concatenate(positions).astype(bool)
        self._positives = everything.filter(pa.array(~is_negative_row))
        self._negatives = everything.filter(pa.array(is_negative_row))
        self._query_rows = np.concatenate(query_rows)
        self._chosen = Chosen(
            positive_offsets=np.concatenate([[0], np.cumsum(np.concatenate(n_pos))]).astype(np.int64),
            positives=rows_of(self.collection.doc_ids, self._positives[DOC_ID]),
            negative_offsets=np.concatenate([[0], np.cumsum(np.concatenate(n_neg))]).astype(np.int64),
            negatives=rows_of(self.collection.doc_ids, self._negatives[DOC_ID]),
        )
        self._query_ids = self.collection.query_ids.take(pa.array(self._query_rows)).to_pylist()
        self._layout, self._left_out = lay_out(self._chosen, self.options.format, width=self.width, keys=self._keys())
        if not len(self._layout):
            least = self.width if self.options.format is Format.N_TUPLE else 1
            raise InputError(
                "there is nothing to export: no query has a positive and enough negatives",
                expected=f"queries with at least {least} negative(s)",
                remedy="`hnmine inspect DECISIONS` shows which rule took them; --negatives N narrows n-tuples",
            )
        if self.options.scores:
            missing = int(np.isnan(self._scores(self._layout.places)).sum())
            if missing:
                raise InputError(
                    f"--scores: {missing:,} chosen texts have no score under {judge}",
                    remedy="filter again with --judge-by a score that every row has",
                )

    def _keys(self) -> npt.NDArray[np.uint64]:
        owner = np.repeat(np.arange(len(self._query_ids)), np.diff(self._chosen.positive_offsets))
        pairs = zip(owner.tolist(), self._positives[DOC_ID].to_pylist(), strict=True)
        seed = self.options.seed
        return np.fromiter((keyed_hash(seed, "export", self._query_ids[q], d) for q, d in pairs), np.uint64, len(owner))

    def run(self, path: Path, how: Execution) -> Outcome:
        """As every stage; a file that another program wrote is not replaced unless `how.overwrite`."""
        if self.file is not None:
            refuse_foreign(path / self.file, path, overwrite=how.overwrite)
        return super().run(path, how)

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection and the decisions."""
        return {"collection": self.collection.artefact, "decisions": self.table.artefact}

    def parameters(self) -> Json:
        """The layout, and where the file goes relative to the artefact."""
        return {"options": as_plain(self.options), "width": self.width, "file": self.file, "block": self.block_rows}

    def blocks(self) -> Sequence[Block]:
        """Blocks of rows, about 131,072 texts each; the shards of a directory."""
        return cut(len(self._layout), self.block_rows, "rows")

    def sizes(self) -> Json:
        """Rows to write."""
        return {"rows": len(self._layout), "pairs_left_out": self._left_out}

    def work(self, block: Block, draft: Draft) -> None:
        """Write the rows of one block, and their provenance."""
        total = len(self.blocks())
        name = f"train-{block.index:05d}-of-{total:05d}.parquet"
        rows = np.arange(block.index * self.block_rows, block.index * self.block_rows + block.size)
        files = {
            f"data/{name}": write_table(draft.path / "data" / name, self.training_rows(rows)),
            f"ids/{name}": write_table(draft.path / "ids" / name, self.provenance_rows(rows)),
        }
        counts: Json = {"rows": len(rows)}
        if block.index == 0:
            used = np.diff(self._chosen.positive_offsets) * np.minimum(np.diff(self._chosen.negative_offsets), 1)
            counts |= {"pairs_left_out": self._left_out, "queries": int((used > 0).sum())}
        draft.commit(block.name, files, counts)

    @classmethod
    def close(cls, draft: Draft) -> Artefact:
        """Join the parts into the single file, if one is wanted, and write the manifest."""
        if draft.plan["file"] is None:
            return super().close(draft)
        receipts = draft.receipts(draft.plan["blocks"])
        names = sorted(name for receipt in receipts for name in receipt["files"])
        final = {"data": draft.plan["file"], "ids": sibling(Path(draft.plan["file"])).as_posix()}
        files: Json = {}
        for table, name in final.items():
            parts = [draft.path / part for part in names if part.startswith(f"{table}/")]
            rows = _join(parts, draft.path / name)
            files[name] = draft.describe(name, rows)
        return draft.close(files=files, counts=sum_counts(r["counts"] for r in receipts))

    def _documents(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The document row at each place."""
        return _at(places, self._chosen.positives, self._chosen.negatives)

    def _scores(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return _at(places, self._positives["score"].to_numpy(), self._negatives["score"].to_numpy())

    def _slice(self, rows: npt.NDArray[np.int64]) -> Layout:
        start, stop = int(rows[0]), int(rows[-1]) + 1
        offsets = self._layout.offsets[start : stop + 1]
        places = self._layout.places[offsets[0] : offsets[-1]]
        return Layout(query=self._layout.query[start:stop], offsets=offsets - offsets[0], places=places)

    def training_rows(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        """The given (consecutive) rows as the trainer reads them: texts, then the label."""
        layout = self._slice(rows)
        queries = self.collection.queries.take(self._query_rows[layout.query])["text"].combine_chunks()
        texts = self.collection.document_text_array(self._documents(layout.places))
        labels = (layout.places >= 0).astype(np.int64)
        scores = self._scores(layout.places).astype(np.float32)
        return _columns(self.options, self.width, queries, texts, layout.offsets, labels, scores)

    def provenance_rows(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        """Ids, sources, ranks, scores and steps of the given rows, in the same order."""
        layout = self._slice(rows)
        offsets = pa.array(layout.offsets, pa.int32())
        position = np.where(layout.places >= 0, layout.places, -1 - layout.places + self._positives.num_rows)
        both = pa.concat_tables([self._positives, self._negatives]).take(pa.array(position)).combine_chunks()
        query_ids = pa.array(self._query_ids, pa.string()).take(pa.array(layout.query))
        rank = both["rank"].to_numpy()
        columns: dict[str, Any] = {
            QUERY_ID: query_ids,
            "doc_ids": both[DOC_ID],
            "labels": pa.array((layout.places >= 0).astype(np.int8)),
            "scores": pa.array(both["score"].to_numpy().astype(np.float32), mask=np.isnan(both["score"].to_numpy())),
            "ranks": pa.array(rank.astype(np.int32), mask=rank == 0),
            SOURCES: both[SOURCES],
            "steps": both[STEP],
        }
        lists = {
            name: pa.ListArray.from_arrays(offsets, _flat(values))
            for name, values in columns.items()
            if name != QUERY_ID
        }
        return pa.table({QUERY_ID: query_ids, **lists})

    def stream(self) -> Iterator[str]:
        """Every row as one line of JSON, in the file's order: what `-o -` writes."""
        import json

        for block in self.blocks():
            rows = np.arange(block.index * self.block_rows, block.index * self.block_rows + block.size)
            for row in self.training_rows(rows).to_pylist():
                yield json.dumps(row, ensure_ascii=False) + "\n"


def sibling(file: Path) -> Path:
    """Where the ids of a training file go: `triplets.parquet` has `triplets.ids.parquet`."""
    return file.with_name(f"{file.stem}.ids{file.suffix}")


def _columns(
    options: ExportOptions,
    width: int,
    queries: pa.Array,
    texts: pa.Array,
    offsets: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
) -> pa.Table:
    """A layout's columns: texts in the trainer's order, then at most one label column."""
    lists = pa.array(offsets, pa.int32())
    score_lists = pa.ListArray.from_arrays(lists, pa.array(scores))
    if options.format is Format.LABELED_PAIR:
        label = {"score": pa.array(scores)} if options.scores else {"label": pa.array(labels)}
        return pa.table({"query": queries, "document": texts, **label})
    if options.format is Format.LABELED_LIST:
        label = (
            {"scores": score_lists} if options.scores else {"labels": pa.ListArray.from_arrays(lists, pa.array(labels))}
        )
        return pa.table({"query": queries, "documents": pa.ListArray.from_arrays(lists, texts), **label})
    places = np.arange(len(texts)).reshape(len(queries), -1)
    names = ["negative"] if options.format is Format.TRIPLET else [f"negative_{i + 1}" for i in range(width)]
    columns = {name: texts.take(pa.array(places[:, i])) for i, name in enumerate(["positive", *names])}
    return pa.table({"anchor": queries, **columns, **({"scores": score_lists} if options.scores else {})})


def _at(places: npt.NDArray[np.int64], positives: npt.NDArray[Any], negatives: npt.NDArray[Any]) -> npt.NDArray[Any]:
    result = np.empty(len(places), positives.dtype)
    is_positive = places >= 0
    result[is_positive] = positives[places[is_positive]]
    result[~is_positive] = negatives[-1 - places[~is_positive]]
    return result


def _within(owner: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.arange(len(owner)) - np.searchsorted(owner, owner, side="left")


def _flat(values: Any) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _join(parts: Sequence[Path], target: Path) -> int:
    """Write the rows of all parts into one Parquet file, part by part."""
    rows = 0
    schema = pq.read_schema(parts[0])
    with replacing(target) as pending, pq.ParquetWriter(pending, schema, compression="zstd") as writer:
        for part in parts:
            table = pq.read_table(part)
            writer.write_table(table, row_group_size=ROW_GROUP)
            rows += table.num_rows
    return rows
