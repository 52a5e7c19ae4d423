"""`export`: write decisions as a training file that holds exactly what the trainer reads.

sentence-transformers takes every column but the label for text, and an id column silently becomes an input; so ids,
sources, ranks and scores go to a sibling file (`NAME.ids.parquet`, or `ids/`) with the same row order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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
from hnmine.files.encodings import Encoding, JsonDocument, Parquet
from hnmine.files.remote import joined, relative
from hnmine.hashing import keyed_hashes_of_rows
from hnmine.options import ExportOptions, Format, Pad, as_plain
from hnmine.schema import P_FALSE_NEGATIVE, Kind
from hnmine.stages.batch_plan import Planned, plan_batches
from hnmine.stages.batch_plan import check as check_batches
from hnmine.stages.collisions import Collisions, InFile, find_collisions
from hnmine.stages.formats import FORMATS
from hnmine.stages.formats.base import Documents, DocumentsFile, FurtherFile, Queries, QueriesFile, Rows, RowsFile
from hnmine.stages.picked import Ints, Picked, Words, join, read_picked
from hnmine.stages.places import refuse_foreign
from hnmine.stages.prompts import Prompts
from hnmine.stages.stage import Outcome, Stage, block_size, cut, require_made_from
from hnmine.stages.training_rows import missing_scores, missing_weights, provenance_table, training_table

TEXTS_PER_BLOCK = 131_072
COLLISIONS = "collisions"
_KEYED = 65_536
"""Pairs whose ids are Python strings at a time."""
_NO_KEYS = np.empty(0, np.uint64)


class Export(Stage):
    """Writes training files in the format of a trainer.

    `file` is the single file to write; without it the artefact's own directory gets shards in `data/`, or the format's
    files under their own names, and `ids/`.
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
        check_batches(options, collection)
        self.form = form = FORMATS[options.format]
        self.has_scores = options.scores or form.needs_scores
        self.prompts = self._prompts()
        queries = self.table.sample(options.limit, options.seed)
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
        self.collisions, self.planned = self._batches(queries, parts[0].query_rows)
        if self.planned is not None:
            self.layout = self.layout.take(self.planned.order)
        if options.rows_per_file is not None and form.beside:
            raise UsageError(f"--rows-per-file: --format {options.format} is a directory of files with fixed names")
        keys = self._keys(self.picked) if any(isinstance(file, RowsFile) for file in form.beside) else _NO_KEYS
        self.further = [Further(file, self, keys) for file in form.beside]
        texts = len(self.layout) + len(self.layout.places)
        usual = max(1_024, TEXTS_PER_BLOCK * len(self.layout) // max(texts, 1))
        self.block_rows = options.rows_per_file or block_size(usual)

    def _prompts(self) -> Prompts:
        asked = {"--instruction": self.options.instruction, "--document-instruction": self.options.document_instruction}
        for flag, value in asked.items():
            if value is not None and not self.form.has_texts:
                raise UsageError(f"{flag}: --format {self.options.format} has ids and no texts")
        query, document = asked.values()
        return Prompts(self.collection, query, document, in_field=self.form.has_instruction)

    def _check(self) -> None:
        if not (self.layout.places < 0).any():
            is_full = self.form.is_fixed and self.options.pad is Pad.NONE
            least = self.width if is_full else 1
            raise InputError(
                "there is nothing to export: no query has a positive and enough negatives",
                expected=f"queries with at least {least} negative(s)",
                remedy="`hnmine inspect DECISIONS` shows which rule took them; --negatives N narrows n-tuples",
            )
        missing = missing_scores(self.picked, self.layout) if self.has_scores else 0
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

    def _batches(self, positions: Ints, query_rows: Ints) -> tuple[Collisions | None, Planned | None]:
        """The pairs that must not share a batch, and the plan of batches, as far as they were asked for.

        `positions` in the decisions are those of the queries that are `query_rows` of the collection (ascending).
        """
        options, layout = self.options, self.layout
        if options.batch_plan is None and not options.collisions:
            return None, None
        documents = self.picked.documents(layout.places)
        rows = InFile.of(self.picked.query_rows[layout.query], layout.offsets, documents)
        positions = positions[np.searchsorted(query_rows, rows.queries)]
        collisions = find_collisions(self.collection, self.table, positions, rows)
        if options.batch_plan is None:
            return collisions, None
        epochs = self.picked.epochs[layout.query]
        return collisions, plan_batches(self.collection, self.table, positions, collisions, epochs, options)

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
        named = [self.form.name, *(further.name for further in self.form.beside)] if self.form.beside else []
        return {
            "options": as_plain(self.options),
            "width": self.width,
            "file": self.file,
            "block": self.block_rows,
            **({"names": named} if named else {}),
        }

    def blocks(self) -> Sequence[Block]:
        """Blocks of rows, about 131,072 texts each; then those of each further file of the format."""
        found = cut(len(self.layout), self.block_rows, _ROWS)
        for number, further in enumerate(self.further):
            found += cut(further.rows, further.block_rows, _further(number))
        if self.collisions is not None:
            found += cut(len(self.collisions), block_size(TEXTS_PER_BLOCK), COLLISIONS)
        return [replace(block, index=index) for index, block in enumerate(found)]

    def sizes(self) -> Json:
        """Rows to write, and (query, positive) pairs that have too few negatives for one."""
        return {"rows": len(self.layout), "pairs_left_out": self.pairs_left_out}

    def work(self, block: Block, draft: Draft) -> None:
        """Write the rows of one block, and their provenance; or a part of a further file."""
        table, _, number = block.name.partition("-")
        if table == COLLISIONS:
            self._list_collisions(block, int(number), draft)
            return
        if table != _ROWS:
            further = self.further[int(table.removeprefix(_FURTHER))]
            part = f"{table}/{number}{further.file.encoding.part_suffix}"
            rows = further.file.encoding.write_part(draft.path / part, further.table(int(number), block.size))
            draft.commit(block.name, {part: rows}, {})
            return
        layout = self._rows_of(block)
        batches = None if self.planned is None else self.planned.batch[block.index * self.block_rows :][: len(layout)]
        ids = provenance_table(self.collection, self.picked, layout, batches)
        tables = {"data": self._training(layout), "ids": ids}
        name = f"train-{block.index:05d}-of-{self._shards:05d}"
        files = {}
        for folder, rows_of_it in tables.items():
            encoding = self.form.encoding if folder == "data" else Parquet()
            if self.is_sharded or (folder == "ids" and self.file is None):
                part = f"{folder}/{name}{encoding.suffixes[0]}"
                files[part] = encoding.write(draft.path / part, rows_of_it)
            else:  # what `close` joins, and nobody else reads
                part = f"{folder}/{name}{encoding.part_suffix}"
                files[part] = encoding.write_part(draft.path / part, rows_of_it)
        counts: Json = {"rows": len(layout)}
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

    def _list_collisions(self, block: Block, number: int, draft: Draft) -> None:
        """Write a part of the pairs that must not share a batch."""
        assert self.collisions is not None
        start = number * block_size(TEXTS_PER_BLOCK)
        pairs = self.collisions.table(self.collection, start, start + block.size)
        part = f"{COLLISIONS}/{number:05d}{Parquet.part_suffix}"
        draft.commit(block.name, {part: Parquet().write_part(draft.path / part, pairs)}, {})

    @property
    def _shards(self) -> int:
        return len(cut(len(self.layout), self.block_rows))

    @property
    def is_sharded(self) -> bool:
        """Whether each block is a file of its own: the format has one file, and no name was given for it."""
        return self.file is None and not self.form.beside

    def _rows_of(self, block: Block) -> Layout:
        start = block.index * self.block_rows
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
            prompts=self.prompts,
        )

    def stream(self) -> Iterator[str]:
        """Every row as one line of text (JSON unless the format has another), in the file's order: `-o -`."""
        if self.form.beside or isinstance(self.form.encoding, JsonDocument):
            raise UsageError(
                f"-o -: --format {self.options.format} is no stream of lines", expected="a file or a directory"
            )
        for block in self.blocks():
            yield from self.form.encoding.lines(self._training(self._rows_of(block)))

    @classmethod
    def close(cls, draft: Draft) -> Artefact:
        """Join the parts into the files that are wanted whole, and write the manifest."""
        form = FORMATS[Format(draft.plan["options"]["format"])]
        file = draft.plan["file"]
        receipts = draft.receipts(draft.plan["blocks"])
        parts = {name: rows for receipt in receipts for name, rows in receipt["files"].items()}
        whole: dict[str, tuple[str, Encoding]] = {}
        if file is not None:
            whole = {"data": (file, form.encoding), "ids": (sibling(Path(file)).as_posix(), Parquet())}
        elif form.beside:
            whole = {"data": (form.name, form.encoding)}
        if any(part.startswith(f"{COLLISIONS}/") for part in parts):
            whole[COLLISIONS] = (
                f"{COLLISIONS}.parquet" if file is None else sibling(Path(file), COLLISIONS).as_posix(),
                Parquet(),
            )
        for number, further in enumerate(form.beside):
            whole[_further(number)] = (further.name, further.encoding)
        files: Json = {name: entry for name, entry in parts.items() if name.partition("/")[0] not in whole}
        for table, (name, encoding) in whole.items():
            own = sorted(part for part in parts if part.startswith(f"{table}/"))
            encoding.join([draft.path / part for part in own], draft.path / name)
            files[name] = draft.describe(name, sum(parts[part]["rows"] for part in own))
        return draft.close(files=files, counts=sum_counts(r["counts"] for r in receipts))


_ROWS = "rows"
_FURTHER = "further"


def _further(number: int) -> str:
    """The name of the blocks, and of the folder of the parts, of a format's further file."""
    return f"{_FURTHER}{number}"


class Further:
    """A further file of a format over what an export picked: how many rows it has, and any of its blocks."""

    def __init__(self, file: FurtherFile, export: Export, keys: npt.NDArray[np.uint64]) -> None:
        self.file = file
        self._collection, self._picked = export.collection, export.picked
        self._layout: Layout | None = None
        self._scores, self._prompts = export.has_scores, export.prompts
        match file:
            case RowsFile():
                self._layout = file.lay_out(export.picked.chosen, export.width, keys)
                self.rows = len(self._layout)
            case DocumentsFile(whole=True):
                self._chosen = None
                self.rows = len(export.collection.doc_ids)
            case DocumentsFile():
                self._chosen = np.unique(export.picked.documents(export.layout.places))
                self.rows = len(self._chosen)
            case QueriesFile():
                self._chosen = np.unique(export.picked.query_rows[export.layout.query])
                self.rows = len(self._chosen)
        self.block_rows = block_size(TEXTS_PER_BLOCK // 2)

    def table(self, number: int, size: int) -> pa.Table:
        """The columns of a block's rows."""
        start = number * self.block_rows
        if isinstance(self.file, RowsFile):
            assert self._layout is not None
            layout = self._layout.between(start, start + size)
            rows_of_it = Rows(self._collection, self._picked, layout, scores=self._scores, prompts=self._prompts)
            return self.file.table(rows_of_it)
        rows = np.arange(start, start + size) if self._chosen is None else self._chosen[start : start + size]
        if isinstance(self.file, QueriesFile):
            return self.file.table(Queries(self._collection, rows, self._prompts))
        return self.file.table(Documents(self._collection, rows, self._prompts))


def sibling(file: Path, table: str = "ids") -> Path:
    """Where the ids, or the collisions, of a training file go: `triplets.jsonl` has `triplets.ids.parquet`."""
    return file.with_name(f"{file.stem}.{table}.parquet")
