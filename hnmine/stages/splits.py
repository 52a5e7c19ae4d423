"""The splits of a training file: rows to train on, by epoch or together, and rows to validate on, query by query."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnmine.core.layout import Layout, mix
from hnmine.core.shaping import arranged, held_out, whole_groups
from hnmine.errors import UsageError
from hnmine.files.candidates import keyed_draws
from hnmine.files.collection import Collection
from hnmine.hashing import keyed_hash
from hnmine.options import ExportOptions, Order
from hnmine.stages.picked import Picked

TRAIN, VALIDATION = "train", "validation"
_LEFT_OUT, _VALIDATION = -1, np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Rows `start` to `stop` (exclusive) of a layout, which are files of their own, named as the Hub names splits."""

    name: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class Splits:
    """Which of the picked queries are written, on which side, in which order. Raises `UsageError` if a side is empty.

    `layout` is that of the training file, whose rows `--max-rows` counts; with `by_epoch` each epoch is a split.
    """

    def __init__(
        self, collection: Collection, picked: Picked, layout: Layout, options: ExportOptions, *, by_epoch: bool
    ) -> None:
        self._picked, self._options, self._by_epoch = picked, options, by_epoch
        self._part = picked.epochs
        """Of each picked query: its epoch, validation, or left out."""
        if options.validation is not None:
            self._hold_out(collection, options.validation)
        if options.max_rows is not None:
            self._keep_first(collection, layout, options.max_rows)
        self.layout, self.splits = self.arrange(layout)
        if options.validation is not None:
            self._require_both_sides(options.validation)

    def _hold_out(self, collection: Collection, share: float) -> None:
        # By what a query says, so that the same text under two ids is on one side; another query changes nothing.
        salt = np.uint64(keyed_hash(self._options.seed, VALIDATION))
        said = collection.query_text_keys[self._picked.query_rows] ^ salt
        is_held = held_out(mix(said, np.zeros(1, np.int64)), share)
        epochs = self._picked.epochs
        self._part = np.where(is_held, np.where(epochs == epochs.min(), _VALIDATION, _LEFT_OUT), self._part)

    def _require_both_sides(self, share: float) -> None:
        sides = {split.name == VALIDATION for split in self.splits}
        if len(sides) < 2:
            found, other = ("none", "larger") if False in sides else ("every one", "smaller")
            queries = len(np.unique(self._picked.query_rows[self.layout.query]))
            raise UsageError(
                f"--validation {share:g}: {found} of the {queries:,} queries is held out",
                expected="queries on both sides",
                remedy=f"a {other} share, or another --seed",
            )

    def _keep_first(self, collection: Collection, layout: Layout, most: int) -> None:
        rows, group = np.unique(self._picked.query_rows, return_inverse=True)
        keys = keyed_draws(collection.query_ids.take(pa.array(rows)), self._options.seed, "max-rows")
        counted = layout.query[self._part[layout.query] != _LEFT_OUT]
        keep = whole_groups(group[counted], keys, most)
        self._part = np.where(keep[group], self._part, _LEFT_OUT)
        if not (self._part[layout.query] != _LEFT_OUT).any():
            raise UsageError(f"--max-rows {most}: the rows of one query are more", expected="a larger number")

    def arrange(self, layout: Layout) -> tuple[Layout, list[Split]]:
        """The rows that are written, split by split, in their order: of this layout or of another one over the same."""
        options = self._options
        hard = options.order is Order.EASY_TO_HARD
        if options.validation is None and options.max_rows is None and not (hard or self._by_epoch):
            return layout, [Split(name=TRAIN, start=0, stop=len(layout))]
        part = self._part[layout.query]
        order = arranged(part, self._picked.difficulties(layout) if hard else None)
        order = order[part[order] != _LEFT_OUT]
        part = part[order]
        if not self._by_epoch:
            part[part != _VALIDATION] = 1
        parts, starts = np.unique(part, return_index=True)
        stops = [*starts[1:].tolist(), len(part)]
        splits = [
            Split(name=self._name(one), start=start, stop=stop)
            for one, start, stop in zip(parts.tolist(), starts.tolist(), stops, strict=True)
        ]
        return layout.take(order), splits

    def _name(self, part: int) -> str:
        if part == _VALIDATION:
            return VALIDATION
        return f"epoch_{part}" if self._by_epoch else TRAIN


def split_file(file: str, split: str) -> str:
    """The file of a split beside that of the training rows: `validation.jsonl` for `train.jsonl`, and
    `qrels.validation.tsv` for `qrels.train.tsv`; else with its name before the suffix: `triplets.validation.parquet`.
    """
    folder, base = posixpath.split(file)
    parts = base.split(".")
    if split != VALIDATION:
        return file
    if TRAIN in parts:
        return posixpath.join(folder, ".".join(split if part == TRAIN else part for part in parts))
    stem, suffix = posixpath.splitext(base)
    return posixpath.join(folder, f"{stem}.{split}{suffix}")
