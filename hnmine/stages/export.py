"""`export`: write decisions as a training file that holds exactly what the trainer reads.

sentence-transformers takes every column but the label for text, and an id column silently becomes an input; so ids,
sources, ranks and scores go to a sibling file (`NAME.ids.parquet`, or `ids/`) with the same row order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.layout import Layout, end_to_end, repeated
from hnmine.errors import InputError, UsageError
from hnmine.execute.local import Block, Execution
from hnmine.files.artefact import Artefact, Draft, Json, sum_counts
from hnmine.files.candidates import CandidatesTable
from hnmine.files.collection import Collection
from hnmine.files.remote import joined, relative
from hnmine.files.tables import write_rows, write_table, writing
from hnmine.hashing import keyed_hashes_of_rows
from hnmine.options import ExportOptions, Pad, as_plain
from hnmine.schema import P_FALSE_NEGATIVE, Kind
from hnmine.stages.formats import FORMATS
from hnmine.stages.picked import Picked, Words, join, read_picked
from hnmine.stages.places import refuse_foreign
from hnmine.stages.stage import Outcome, Stage, block_size, cut, require_made_from
from hnmine.stages.training_rows import missing_scores, missing_weights, provenance_table, training_table

TEXTS_PER_BLOCK = 131_072
_KEYED = 65_536
"""Pairs whose ids are Python strings at a time."""


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
        self.file = relative(file.absolute(), path.absolute()) if file else None
        wanted = int(decisions.plan["options"]["num_negatives"])
        self.width = min(wanted, options.negatives or wanted)
        queries, form = self.table.sample(options.limit, options.seed), FORMATS[options.format]
        if options.pad is not Pad.NONE and not form.is_fixed:
            raise UsageError(
                f"--pad {options.pad}: rows of --format {options.format} have no fixed width to be filled up to",
                expected=f"--format {', '.join(name for name, known in FORMATS.items() if known.is_fixed)}",
            )
        parts, layouts, words, self.pairs_left_out = [], [], Words(), 0
        for epoch in self._epochs():
            part = read_picked(
                collection,
                self.table,
                queries,
                max_positives=options.max_positives,
                negatives=options.negatives,
                epoch=epoch,
                words=words,
            )
            layout, left_out = form.lay_out(
                part.chosen, width=self.width, keys=self._keys(part), pad=options.pad is Pad.REPEAT
            )
            parts.append(part)
            layouts.append((part.chosen, layout))
            self.pairs_left_out += left_out
        self.picked, self.layout = join(parts), end_to_end(layouts)
        self._check()
        texts = len(self.layout) + len(self.layout.places)
        usual = max(1_024, TEXTS_PER_BLOCK * len(self.layout) // max(texts, 1))
        self.block_rows = options.rows_per_file or block_size(usual)

    def _check(self) -> None:
        if not (self.layout.places < 0).any():
            is_full = FORMATS[self.options.format].is_fixed and self.options.pad is Pad.NONE
            least = self.width if is_full else 1
            raise InputError(
                "there is nothing to export: no query has a positive and enough negatives",
                expected=f"queries with at least {least} negative(s)",
                remedy="`hnmine inspect DECISIONS` shows which rule took them; --negatives N narrows n-tuples",
            )
        missing = missing_scores(self.picked, self.layout) if self.options.scores else 0
        if missing:
            raise InputError(
                f"--scores: {missing:,} chosen texts have no score under {self.table.artefact.plan['judge_by']}",
                remedy="filter again with --judge-by a score that every row has",
            )
        missing = missing_weights(self.picked, self.layout) if self.options.weight else 0
        if missing:
            raise InputError(
                f"--weight: {missing:,} chosen negatives have no {P_FALSE_NEGATIVE} in {self.table.artefact.path}",
                expected=f"decisions with the column {P_FALSE_NEGATIVE}",
                remedy="decide again: `hnmine filter CANDIDATES -o DIR` estimates it for every row",
            )

    def _epochs(self) -> list[int]:
        """The epochs whose rows are written, one after the other."""
        picked, asked = int(self.table.artefact.plan["options"]["epochs"]), self.options.epoch
        if asked is not None and not 1 <= asked <= picked:
            raise UsageError(
                f"--epoch {asked}: the decisions are for {picked} epoch(s)",
                expected=f"1 to {picked}",
                remedy="`hnmine filter --epochs N` picks for more",
            )
        return [asked] if asked is not None else list(range(1, picked + 1))

    def _keys(self, picked: Picked) -> npt.NDArray[np.uint64]:
        """A keyed random number for each positive, made from the ids and the epoch alone."""
        offsets = picked.chosen.positive_offsets
        owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        seed, rows = self.options.seed, picked.positives.rows
        turn = [str(epoch) for epoch in set(picked.epochs.tolist()) if epoch > 1]
        keys = np.empty(len(owner), np.uint64)
        for low in range(0, len(owner), _KEYED):
            part = slice(low, low + _KEYED)
            queries = picked.query_ids.take(pa.array(owner[part])).to_pylist()
            documents = self.collection.doc_ids.take(pa.array(rows[part])).to_pylist()
            pairs = ((*pair, *turn) for pair in zip(queries, documents, strict=True))
            keys[part] = keyed_hashes_of_rows(seed, "export", rows=pairs)
        return keys

    def run(self, path: Path, how: Execution) -> Outcome:
        """As every stage; a file that another program wrote is not replaced unless `how.overwrite`."""
        if self.file is not None:
            refuse_foreign(joined(path, self.file), path, overwrite=how.overwrite)
        return super().run(path, how)

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection and the decisions."""
        return {"collection": self.collection.artefact, "decisions": self.table.artefact}

    def parameters(self) -> Json:
        """The layout, and where the file goes relative to the artefact."""
        return {"options": as_plain(self.options), "width": self.width, "file": self.file, "block": self.block_rows}

    def blocks(self) -> Sequence[Block]:
        """Blocks of rows, about 131,072 texts each; the shards of a directory."""
        return cut(len(self.layout), self.block_rows, "rows")

    def sizes(self) -> Json:
        """Rows to write, and (query, positive) pairs that have too few negatives for one."""
        return {"rows": len(self.layout), "pairs_left_out": self.pairs_left_out}

    def work(self, block: Block, draft: Draft) -> None:
        """Write the rows of one block, and their provenance."""
        layout = self._rows_of(block)
        tables = {"data": self._training(layout), "ids": provenance_table(self.collection, self.picked, layout)}
        name = f"train-{block.index:05d}-of-{len(self.blocks()):05d}"
        files = {}
        for folder, table in tables.items():
            if self.file is None:
                part = f"{folder}/{name}.parquet"
                files[part] = write_table(draft.path / part, table, as_strings=True)
            else:  # what `close` joins, and nobody else reads: quick to write and to read
                part = f"{folder}/{name}.arrow"
                files[part] = write_rows(draft.path / part, table)
        counts: Json = {"rows": len(layout)}
        if self.options.pad is not Pad.NONE:
            counts["repeated"] = int(repeated(layout).sum())
        if block.index == 0:
            counts |= {
                "pairs_left_out": self.pairs_left_out,
                "queries": len(np.unique(self.picked.query_rows[self.layout.query])),
            }
        draft.commit(block.name, files, counts)

    def _rows_of(self, block: Block) -> Layout:
        start = block.index * self.block_rows
        return self.layout.between(start, start + block.size)

    def _training(self, layout: Layout) -> pa.Table:
        asked = self.options
        return training_table(
            self.collection,
            self.picked,
            layout,
            asked.format,
            width=self.width,
            scores=asked.scores,
            weight=asked.weight,
        )

    def stream(self) -> Iterator[str]:
        """Every row as one line of JSON, in the file's order: what `-o -` writes."""
        for block in self.blocks():
            for row in self._training(self._rows_of(block)).to_pylist():
                yield json.dumps(row, ensure_ascii=False) + "\n"

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


def sibling(file: Path) -> Path:
    """Where the ids of a training file go: `triplets.parquet` has `triplets.ids.parquet`."""
    return file.with_name(f"{file.stem}.ids{file.suffix}")


def _join(parts: Sequence[Path], target: Path) -> int:
    """Write the rows of all parts into one Parquet file, part by part."""
    with writing(target, as_strings=True) as writer:
        for part in parts:
            writer.write(pa.ipc.open_file(pa.memory_map(os.fspath(part))).read_all())
    return writer.rows
