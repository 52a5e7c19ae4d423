"""`export`: write decisions as a training file that holds exactly what the trainer reads.

sentence-transformers takes every column but the label for text, and an id column silently becomes an input; so ids,
sources, ranks and scores go to a sibling file (`NAME.ids.parquet`, or `ids/`) with the same row order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.layout import Layout, end_to_end, repeated
from hnmine.errors import InputError, UsageError
from hnmine.execute.local import Block, Execution
from hnmine.files.artefact import Artefact, Draft, Json, sum_counts
from hnmine.files.atomic import write_text
from hnmine.files.candidates import CandidatesTable
from hnmine.files.collection import Collection
from hnmine.files.encodings import JsonDocument, Parquet
from hnmine.files.remote import joined, relative
from hnmine.hashing import keyed_hashes_of_rows
from hnmine.options import ExportOptions, Format, Order, Pad, as_plain
from hnmine.schema import P_FALSE_NEGATIVE, Kind
from hnmine.stages.batch_plan import Planned, plan_batches
from hnmine.stages.batch_plan import check as check_batches
from hnmine.stages.collisions import Collisions, InFile, find_collisions
from hnmine.stages.columns import renamed
from hnmine.stages.export_checks import check_layout, refuse_ids
from hnmine.stages.export_files import (
    COLLISIONS,
    FURTHER,
    MIXED,
    OF_SPLIT,
    Further,
    Listed,
    rows_per_block,
    whole_files,
)
from hnmine.stages.formats import FORMATS
from hnmine.stages.formats.base import (
    DocumentsFile,
    RowsFile,
)
from hnmine.stages.mixed import mixer_of
from hnmine.stages.picked import Ints, Picked, Words, join, read_picked
from hnmine.stages.places import refuse_foreign
from hnmine.stages.prompts import Prompts
from hnmine.stages.splits import VALIDATION, Split, Splits, split_file
from hnmine.stages.stage import Outcome, Stage, block_size, cut, refuse_inputs, require_made_from
from hnmine.stages.training_rows import missing_scores, missing_weights, provenance_table, training_table

_KEYED = 65_536
"""Pairs whose ids are Python strings at a time."""


class Export(Stage):
    """Writes training files in the format of a trainer.

    `index` is where the index is whose vectors are mixed, if its place is not the recorded one. `file` is the single
    file to write; without it the artefact's own directory gets shards in `data/`, or the format's
    files under their own names, and `ids/`.
    """

    kind = Kind.EXPORT
    label = "export"
    unit = "rows"

    def __init__(
        self,
        collection: Collection,
        decisions: Artefact,
        options: ExportOptions,
        *,
        path: Path,
        file: Path | None,
        index: str | None = None,
    ) -> None:
        require_made_from(collection.artefact, decisions)
        check_layout(options)
        check_batches(options, collection)
        self.collection = collection
        self.table = CandidatesTable(decisions)
        self.options = options
        self.file = relative(file.absolute(), path.absolute()) if file else None
        wanted = int(decisions.plan["options"]["num_negatives"])
        self.width = min(wanted, options.negatives or wanted)
        self.form = form = FORMATS[options.format]
        self.has_scores = options.scores or form.needs_scores
        self.prompts = Prompts(
            collection, options.instruction, options.document_instruction, in_field=form.has_instruction
        )
        self.mixer = mixer_of(decisions, options, index)
        queries = self.table.sample(options.limit, options.seed)
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
        self.picked, layout = join(parts), end_to_end(layouts)
        self._require_rows(layout)
        by_epoch = self.is_sharded and len(parts) > 1
        self._shape = Splits(collection, self.picked, layout, options, by_epoch=by_epoch)
        self.layout, self.splits = self._shape.layout, self._shape.splits
        self._require_values()
        self.collisions, self.planned = self._batches(queries, parts[0].query_rows)
        if self.planned is not None:
            self.layout = self.layout.take(self.planned.order)
        self._names: list[str] | None = None
        if options.columns:
            self._names = renamed(self._training(self.layout.between(0, 1)), options.columns)
        self.further = list(self._further())
        self._check_ids()
        usual = rows_per_block(collection, self.layout, vectors=options.mixed)
        self.block_rows = options.rows_per_file or block_size(usual)

    def _further(self) -> Iterator[Further | Listed]:
        """The pieces of the format's further files: one each, and one a split where a file has rows of its own.

        And the pairs of each split that must not share a batch.
        """
        piece = partial(
            Further,
            collection=self.collection,
            picked=self.picked,
            of=self.layout,
            scores=self.has_scores,
            prompts=self.prompts,
        )
        for number, file in enumerate(self.form.beside):
            if not isinstance(file, RowsFile):
                yield piece(file, f"{FURTHER}{number}", None)
                continue
            own = file.lay_out(self.picked.chosen, self.width, self._keys(self.picked))
            layout, splits = self._shape.arrange(own)
            for split in splits:
                rows = layout.between(split.start, split.stop)
                yield piece(file, f"{FURTHER}{number}{OF_SPLIT}{split.name}", rows)

        if self.collisions is not None:
            for split in self.splits:
                pairs = self.collisions.among(split.start, split.stop)
                yield Listed(self.collection, pairs, f"{COLLISIONS}{OF_SPLIT}{split.name}")

    def _batches(self, positions: Ints, query_rows: Ints) -> tuple[Collisions | None, Planned | None]:
        """The pairs that must not share a batch, and the plan of batches, as far as they were asked for.

        `positions` in the decisions are those of the queries that are `query_rows` of the collection (ascending).
        """
        options, layout = self.options, self.layout
        if options.batch_plan is None and not options.collisions:
            return None, None
        rows = InFile.of(self.picked.query_rows[layout.query], layout.offsets, self.picked.documents(layout.places))
        positions = positions[np.searchsorted(query_rows, rows.queries)]
        collisions = find_collisions(self.collection, self.table, positions, rows)
        if options.batch_plan is None:
            return collisions, None
        split = np.repeat(np.arange(len(self.splits)), [len(split) for split in self.splits])
        part = split * (self.picked.epochs.max() + 1) + self.picked.epochs[layout.query]
        return collisions, plan_batches(self.collection, self.table, positions, collisions, part, options)

    def _require_rows(self, layout: Layout) -> None:
        if not (layout.places < 0).any():
            is_full = self.form.is_fixed and self.options.pad is Pad.NONE
            least = self.width if is_full else 1
            raise InputError(
                "there is nothing to export: no query has a positive and enough negatives",
                expected=f"queries with at least {least} {'negative' if least == 1 else 'negatives'}",
                remedy=f"`hnmine inspect {self.table.artefact.path}` shows which rule took them, or that the corpus has"
                " too few documents" + ("; --negatives N makes n-tuples narrower" if is_full else ""),
            )

    def _require_values(self) -> None:
        options = self.options
        compares = self.has_scores or options.difficulty or options.order is Order.EASY_TO_HARD
        missing = missing_scores(self.picked, self.layout) if compares else 0
        if missing:
            raise InputError(
                f"scores: {missing:,} chosen texts have no score under {self.table.artefact.plan['judge_by']}",
                remedy="filter again with --judge-by a score that every row has",
            )
        missing = missing_weights(self.picked, self.layout) if self.options.weight else 0
        if missing:
            raise InputError(
                f"--weight: {missing:,} chosen negatives have no {P_FALSE_NEGATIVE} in {self.table.artefact.path}",
                expected=f"decisions with the column {P_FALSE_NEGATIVE}",
                remedy="decide again: `hnmine filter CANDIDATES -o DIR` estimates it for every row",
            )

    def _check_ids(self) -> None:
        """Raise `InputError` for ids that the format's readers would take for something else."""
        if self.form.ids_without is None:
            return
        is_whole = any(isinstance(file, DocumentsFile) and file.whole for file in self.form.beside)
        rows = np.unique(self.picked.documents(self.layout.places))
        doc_ids = self.collection.doc_ids if is_whole else self.collection.doc_ids.take(pa.array(rows))
        query_ids = self.picked.query_ids.take(pa.array(np.unique(self.layout.query)))
        remedy = "rename them in DATA, or write --format jsonl, which holds any id"
        what = f"--format {self.options.format}"
        refuse_ids(self.form.ids_without, what, remedy, document=doc_ids, query=query_ids)

    def _epochs(self) -> list[int]:
        """The epochs whose rows are written, one after the other."""
        picked, asked = int(self.table.artefact.plan["options"]["epochs"]), self.options.epoch
        if asked is not None and not 1 <= asked <= picked:
            raise UsageError(
                f"--epoch {asked}: the decisions are for {picked} epoch(s)",
                expected=f"1 to {picked}",
                remedy="`hnmine filter --epochs N` picks for more",
            )
        if asked is None and picked > 1 and not self.form.takes_epochs:
            raise UsageError(
                f"the decisions are for {picked} epochs, and --format {self.options.format} holds a query once",
                expected=f"--epoch 1 to {picked}",
                remedy="export each epoch to a directory of its own: --epoch 1 -o DIR-1",
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
        """As every stage; a file is never written into an input, nor over another program's unless `how.overwrite`."""
        if self.file is not None:
            for split in self.splits:
                file = joined(path, split_file(self.file, split.name))
                refuse_inputs(file, self.inputs())
                refuse_foreign(file, path, overwrite=how.overwrite)
        return super().run(path, how)

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection, the decisions, and the index whose vectors are mixed."""
        mixed = {f"index:{self.mixer.name}": self.mixer.index} if self.mixer else {}
        return {"collection": self.collection.artefact, "decisions": self.table.artefact, **mixed}

    def parameters(self) -> Json:
        """The layout, and where the file goes relative to the artefact."""
        splits = [split.name for split in self.splits]
        named = [name for name, _ in whole_files(self.form, None, splits, lists=self.collisions is not None).values()]
        named += self.form.fixed(splits, "")
        return {
            "options": as_plain(self.options),
            "width": self.width,
            "file": self.file,
            "block": self.block_rows,
            "splits": splits,
            **({"names": named} if named else {}),
            **({"mixed": self.mixer.parameters()} if self.mixer else {}),
        }

    def blocks(self) -> Sequence[Block]:
        """Blocks of rows, about 128 MiB of text each, split by split; then those of the format's further files."""
        found = [block for split in self.splits for block in cut(len(split), self.block_rows, split.name)]
        for further in self.further:
            found += cut(further.rows, further.block_rows, further.name)
        return [replace(block, index=index) for index, block in enumerate(found)]

    def sizes(self) -> Json:
        """Rows to write, and (query, positive) pairs that have too few negatives for one."""
        return {"rows": len(self.layout), "pairs_left_out": self.pairs_left_out}

    def work(self, block: Block, draft: Draft) -> None:
        """Write the rows of one block, and their provenance; or a part of a further file."""
        piece, _, digits = block.name.rpartition("-")
        number = int(digits)
        further = next((further for further in self.further if further.name == piece), None)
        if further is not None:
            folder, _, of = piece.partition(OF_SPLIT)
            encoding = further.encoding
            part = f"{folder}/{of or folder}-{digits}{encoding.part_suffix}"
            rows = encoding.write_part(draft.path / part, further.table(number, block.size))
            draft.commit(block.name, {part: rows}, {})
            return
        split, layout = self._split(piece), self._rows_of(block)
        ids = provenance_table(self.collection, self.picked, layout, self._batches_of(split, number, len(layout)))
        tables = {"data": self._written(layout), "ids": ids}
        counts: Json = {"rows": len(layout)}
        if self.mixer is not None:
            tables[MIXED], counts["rows_without_mixture"] = self.mixer.table(self.collection, self.picked, layout)
        name = f"{split.name}-{number:05d}-of-{len(cut(len(split), self.block_rows)):05d}"
        files = {}
        for folder, rows_of_it in tables.items():
            encoding = self.form.encoding if folder == "data" else Parquet()
            if self.is_sharded or (folder != "data" and self.file is None):
                part = f"{folder}/{name}{encoding.suffixes[0]}"
                files[part] = encoding.write(draft.path / part, rows_of_it)
            else:  # what `close` joins, and nobody else reads
                part = f"{folder}/{name}{encoding.part_suffix}"
                files[part] = encoding.write_part(draft.path / part, rows_of_it)
        if self.options.validation is not None:
            counts["validation_rows"] = len(layout) if split.name == VALIDATION else 0
        if self.options.pad is not Pad.NONE:
            counts["repeated"] = int(repeated(layout).sum())
        if block.index == 0:
            counts |= {
                "pairs_left_out": self.pairs_left_out,
                "queries": len(np.unique(self.picked.query_rows[self.layout.query])),
            }
            counts |= {} if self.planned is None else self.planned.counts
            counts |= {} if self.collisions is None else {"collisions": len(self.collisions)}
        draft.commit(block.name, files, counts)

    def _batches_of(self, split: Split, number: int, rows: int) -> npt.NDArray[np.int32] | None:
        """The batch of each row of a block, from 0 in each split; None without a plan."""
        if self.planned is None:
            return None
        start = split.start + number * self.block_rows
        return np.asarray(self.planned.batch[start : start + rows] - self.planned.batch[split.start], np.int32)

    @property
    def is_sharded(self) -> bool:
        """Whether each block is a file of its own: the format has one file, and no name was given for it."""
        return self.file is None and not self.form.beside

    def _split(self, name: str) -> Split:
        return next(split for split in self.splits if split.name == name)

    def _rows_of(self, block: Block) -> Layout:
        name, _, number = block.name.rpartition("-")
        start = self._split(name).start + int(number) * self.block_rows
        return self.layout.between(start, start + block.size)

    def _training(self, layout: Layout) -> pa.Table:
        return training_table(
            self.collection,
            self.picked,
            layout,
            self.options.format,
            width=self.width,
            scores=self.has_scores,
            weight=self.options.weight,
            difficulty=self.options.difficulty,
            prompts=self.prompts,
        )

    def _written(self, layout: Layout) -> pa.Table:
        """The rows with the names that were asked for."""
        table = self._training(layout)
        return table if self._names is None else table.rename_columns(self._names)

    def stream(self) -> Iterator[str]:
        """Every row as one line of text (JSON unless the format has another), in the file's order: `-o -`."""
        if self.form.beside or isinstance(self.form.encoding, JsonDocument):
            raise UsageError(
                f"-o -: --format {self.options.format} is no stream of lines", expected="a file or a directory"
            )
        if self.options.validation is not None:
            raise UsageError("-o -: --validation makes two files", expected="a file or a directory")
        if self.mixer is not None:
            raise UsageError("-o -: mixed vectors are a file of their own", expected="a file or a directory")
        if self.options.collisions:
            raise UsageError("-o -: --collisions are a file of their own", expected="a file or a directory")
        for start in range(0, len(self.layout), self.block_rows):
            rows = self.layout.between(start, start + self.block_rows)
            yield from self.form.encoding.lines(self._written(rows))

    @classmethod
    def close(cls, draft: Draft) -> Artefact:
        """Join the parts into the files that are wanted whole, and write the manifest."""
        form = FORMATS[Format(draft.plan["options"]["format"])]
        receipts = draft.receipts(draft.plan["blocks"])
        parts = {name: rows for receipt in receipts for name, rows in receipt["files"].items()}
        asked = draft.plan["options"]
        lists = bool(asked["collisions"] or asked["batch_plan"])
        whole = whole_files(form, draft.plan["file"], draft.plan["splits"], lists=lists)
        files: Json = {}
        for piece, (name, encoding) in whole.items():
            own = sorted(part for part in parts if part.startswith(f"{piece}-"))
            if own:
                encoding.join([draft.path / part for part in own], draft.path / name)
                files[name] = draft.describe(name, sum(parts.pop(part)["rows"] for part in own))
        for name, text in form.fixed(draft.plan["splits"], draft.plan["inputs"]["decisions"]).items():
            write_text(draft.path / name, text)
            files[name] = draft.describe(name, 0)
        return draft.close(files=parts | files, counts=sum_counts(r["counts"] for r in receipts))
