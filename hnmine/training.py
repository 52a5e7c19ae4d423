"""Batch samplers for sentence-transformers' trainers, made from what lies beside an exported training file.

Give one to the training arguments of any of its trainers, and load the file as it is, neither shuffled nor filtered::

    from hnmine.training import PlannedBatches

    args = SentenceTransformerTrainingArguments(
        "model", per_device_train_batch_size=64, batch_sampler=PlannedBatches("triplets.parquet")
    )

On several GPUs set `dataloader_drop_last=True` too: else accelerate fills up the incomplete batches at the end with
rows that no plan put there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.batches.collisions import Held, fill
from hnmine.errors import InputError, UsageError
from hnmine.files.remote import as_path
from hnmine.files.tables import read_table
from hnmine.schema import BATCH_ID, DOC_ID, QUERY_ID
from hnmine.stages.export_files import COLLISIONS, sibling

Ints = npt.NDArray[np.int64]
DOC_IDS = "doc_ids"


class Batches(ABC):
    """The batches of one data set, as lists of row numbers: what a `DataLoader` takes for a `batch_sampler`.

    `set_epoch`, which trainers call before each epoch, counts from 0. With `drop_last` batches of fewer than
    `batch_size` rows are left out.
    """

    def __init__(self, batch_size: int, *, drop_last: bool, seed: int) -> None:
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Go on to the batches of another epoch, or back to those of an earlier one."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._kept())

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._kept())

    def _kept(self) -> list[list[int]]:
        return [one for one in self._batches() if not self.drop_last or len(one) == self.batch_size]

    def _draw(self) -> np.random.Generator:
        """What an epoch's order is drawn with: from the seed and the epoch alone."""
        return np.random.default_rng([self._seed, self._epoch])

    @abstractmethod
    def _batches(self) -> Sequence[list[int]]:
        """The batches of the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exported:
    """The rows of one split that was exported: where their ids are, and the pairs that must not share a batch."""

    shown: str
    split: str
    ids: Sequence[Path]
    collisions: Path

    def read(self, columns: list[str], remedy: str = "export again") -> pa.Table:
        """Columns of the ids."""
        missing = [str(path) for path in self.ids if not path.exists()]
        if missing:
            raise InputError(f"{missing[0]} is missing", remedy=remedy)
        found = read_table(self.ids, columns)
        lacks = [name for name in columns if name not in found.column_names]
        if lacks:
            raise InputError(f"{self.ids[0]} has no column {', '.join(lacks)}", remedy=remedy)
        return found


class _Sampler(ABC):
    """A `batch_sampler` of training arguments: called by the trainer with a data set, it gives that one's batches.

    `files` are training files that `hnmine export` wrote, or directories. A data set is known by its number of rows,
    and if those of several are equal, by the name of its split.
    """

    def __init__(self, *files: str | Path) -> None:
        if not files:
            raise UsageError(
                f"{type(self).__name__}() without a file", expected="the training file(s) of hnmine export"
            )
        self.files = [as_path(file) for file in files]

    def __call__(
        self,
        dataset: Sized,
        batch_size: int,
        drop_last: bool = False,
        valid_label_columns: list[str] | None = None,
        generator: Any = None,
        seed: int | None = 0,
    ) -> Batches:
        """The batches of a data set; `InputError` if it has not the rows of (exactly one of) the files."""
        known = [(one, one.read([QUERY_ID]).num_rows) for file in self.files for one in _exported(file)]
        fitting = [one for one, rows in known if rows == len(dataset)]
        if len(fitting) > 1:
            fitting = [one for one in fitting if one.split == str(getattr(dataset, "split", ""))]
        if len(fitting) != 1:
            counts = ", ".join(f"{one.shown} has {rows:,}" for one, rows in known)
            raise InputError(
                f"a data set of {len(dataset):,} rows, and {counts}",
                expected="the rows of one file, all of them, in its order",
                remedy="load the file as it is; name the file of each data set, that to evaluate on too",
            )
        return self._batches(fitting[0], batch_size, drop_last=drop_last, seed=seed or 0)

    @abstractmethod
    def _batches(self, file: _Exported, batch_size: int, *, drop_last: bool, seed: int) -> Batches:
        """The batches of a file."""


class PlannedBatches(_Sampler):
    """The batches that `hnmine export --batch-plan` put rows into, the same in every epoch.

    In the first epoch they come in the order of the file, in others in another one, the incomplete ones always last.
    `InputError` for a file without a plan, or with larger batches than the trainer's.
    """

    def _batches(self, file: _Exported, batch_size: int, *, drop_last: bool, seed: int) -> Batches:
        numbers = file.read([BATCH_ID], "export with --batch-plan PLAN --batch-size N")[BATCH_ID].to_numpy()
        starts = np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))
        lengths = np.diff(starts, append=len(numbers))
        if int(lengths.max(initial=0)) > batch_size:
            raise InputError(
                f"{file.shown}: batches of {lengths.max()} rows, and the trainer's have {batch_size}",
                remedy=f"per_device_train_batch_size={lengths.max()}, or export with --batch-size {batch_size}",
            )
        return _Planned(starts, lengths, batch_size, drop_last=drop_last, seed=seed)


class CollisionFreeBatches(_Sampler):
    """Random batches, others in every epoch, none with two rows that must not share one.

    For files of `hnmine export --collisions`, with or without a plan, and any batch size. `InputError` where no list of
    collisions lies beside a file.
    """

    def _batches(self, file: _Exported, batch_size: int, *, drop_last: bool, seed: int) -> Batches:
        return _Free(_held(file), batch_size, drop_last=drop_last, seed=seed)


class _Planned(Batches):
    def __init__(self, starts: Ints, lengths: Ints, batch_size: int, *, drop_last: bool, seed: int) -> None:
        super().__init__(batch_size, drop_last=drop_last, seed=seed)
        self._starts, self._lengths = starts, lengths

    def _batches(self) -> list[list[int]]:
        order = np.arange(len(self._starts))
        if self._epoch:
            order = self._draw().permutation(len(order))
            order = order[np.argsort(self._lengths[order] < self.batch_size, kind="stable")]
        ends = self._starts + self._lengths
        return [list(range(self._starts[number], ends[number])) for number in order.tolist()]


class _Free(Batches):
    def __init__(self, held: Held, batch_size: int, *, drop_last: bool, seed: int) -> None:
        super().__init__(batch_size, drop_last=drop_last, seed=seed)
        self._held = held
        self._made: tuple[int, list[list[int]]] | None = None

    def _batches(self) -> list[list[int]]:
        if self._made is None or self._made[0] != self._epoch:
            order = self._draw().permutation(len(self._held)).tolist()
            found = list(fill(self._held, order, self.batch_size))
            self._made = (self._epoch, sorted(found, key=lambda batch: len(batch) < self.batch_size))
        return self._made[1]


def held_rows(file: str | Path) -> Held:
    """What the rows of a training file hold, and what their queries must not see, as the list beside it says."""
    return _held(_exported(as_path(file))[0])


def _held(file: _Exported) -> Held:
    if not file.collisions.exists():
        raise InputError(f"{file.collisions} is missing", remedy="export again with --collisions or --batch-plan")
    ids, pairs = file.read([QUERY_ID, DOC_IDS]), read_table([file.collisions], [QUERY_ID, DOC_ID])
    queries, documents = pc.unique(ids[QUERY_ID]), pc.unique(pairs[DOC_ID])
    lists = ids[DOC_IDS].combine_chunks()
    return Held.of(
        _places(ids[QUERY_ID], queries),
        np.concatenate([[0], np.cumsum(pc.list_value_length(lists).to_numpy())]).astype(np.int64),
        _places(lists.flatten(), documents, missing=len(documents)),  # one that no query must not see
        pairs=(_places(pairs[QUERY_ID], queries), _places(pairs[DOC_ID], documents)),
        queries=len(queries),
    )


def _places(values: pa.Array | pa.ChunkedArray, among: pa.Array, *, missing: int = 0) -> Ints:
    """The place of each value among others."""
    return np.asarray(pc.index_in(values, value_set=among).fill_null(missing).to_numpy(), np.int64)


def _exported(place: Path) -> list[_Exported]:
    """What was exported to a file or, split by split, to a directory."""
    if not place.is_dir():
        ids, listed = sibling(place), sibling(place, COLLISIONS)
        return [_Exported(shown=str(place), split="train", ids=[ids], collisions=listed)]
    shards: dict[str, list[Path]] = {}
    for path in sorted((place / "ids").glob("*-of-*.parquet")):
        shards.setdefault(path.name.rsplit("-", 3)[0], []).append(path)
    if not shards:
        raise InputError(
            f"{place / 'ids'} has no ids of training rows", expected="a directory that hnmine export wrote"
        )
    return [
        _Exported(shown=f"{place} ({split})", split=split, ids=ids, collisions=place / COLLISIONS / f"{split}.parquet")
        for split, ids in shards.items()
    ]
