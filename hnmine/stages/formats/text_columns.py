"""Reads files whose columns a trainer takes by their place: one label, and every other column is a text.

So in sentence-transformers 6.2 (`base/data_collator.py`) and PyLate 1.6 (`utils/collator.py`); what they would refuse,
and what they would silently take for something else, is refused here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers.rows import TrainingRows

SUFFIXES = (".parquet", ".jsonl")
OUR_OWN = ("weight", "weights", "difficulty")
"""What `export --weight` and `--difficulty` add: to be dropped, or renamed, before training."""
RESERVED = ("return_loss", "dataset_name")
PLACES = {
    **dict.fromkeys(("anchor", "query", "question", "hypothesis"), 0),
    **dict.fromkeys(("positive", "answer", "response", "entailment"), 1),
    **dict.fromkeys(("negative", "contradiction"), 2),
}
"""Where a column of this name is expected, since the trainer goes by the place."""
_IDS = re.compile(r"(?:.*_)?(?:id|ids|idx)")
_NUMBER = re.compile(r"_?\d+$")


class BadRow(Exception):
    """A row that the trainer would refuse or misread: the kind of problem and the value. Never leaves the formats."""

    def __init__(self, kind: str, value: object) -> None:
        self.kind, self.value = kind, value
        super().__init__(kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """How a trainer tells columns apart: `labels` by name, the first that is there, and which it does not read."""

    labels: tuple[str, ...]
    query: re.Pattern[str] | None = None
    """Columns of queries; None: the first is the query, whatever its name."""
    unread: re.Pattern[str] | None = None
    """Columns that it leaves alone; None: there are none, and an id is a text."""


SENTENCE_TRANSFORMERS = Trainer(labels=("label", "labels", "score", "scores"))
PYLATE = Trainer(labels=("label", "scores"), query=re.compile("query|anchor"), unread=re.compile("_id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A row as the trainer reads it: the inputs in order, the label if there is one, and columns of ours."""

    where: str
    inputs: list[Any]
    label: Any
    extra: Mapping[str, Any]


class TextColumns:
    """A file, or a directory of shards, whose columns a trainer reads by their place.

    Raises `InputError`, with all that is wrong with the columns, if they are not `fewest` to `most` texts and at most
    one label (`needs_label`: exactly one).
    """

    def __init__(
        self,
        place: Path,
        trainer: Trainer,
        *,
        expected: str,
        fewest: int,
        most: int | None = None,
        needs_label: bool = False,
    ) -> None:
        self._rows = TrainingRows(place, SUFFIXES)
        names = self._rows.columns
        labels = [name for name in trainer.labels if name in names]
        self.label = labels[0] if labels else None
        self.is_score = self.label in ("score", "scores")
        """Whether the label is a score, which does not say what is a positive."""
        self._own = [name for name in names if name in OUR_OWN]
        unread = [name for name in names if trainer.unread is not None and trainer.unread.search(name)]
        self.inputs = [name for name in names if name not in (*labels[:1], *self._own, *unread)]
        self._known = {*names}
        wrong = list(self._complaints(trainer, labels))
        if len(self.inputs) < fewest or (most is not None and len(self.inputs) > most):
            bound = f"{fewest}" if most == fewest else f"{fewest} or more" if most is None else f"{fewest} to {most}"
            wrong.append(f"{len(self.inputs)} columns of texts ({', '.join(self.inputs)}) where {bound} are read")
        if needs_label and not labels:
            wrong.append(f"no column of labels ({', '.join(trainer.labels)})")
        if wrong:
            raise InputError(
                f"{self._rows.files[0].shown}: " + "; ".join(wrong),
                expected=f"{expected}, in this order and nothing else",
                remedy="drop or rename columns, or export again",
            )

    def _complaints(self, trainer: Trainer, labels: Sequence[str]) -> Iterator[str]:
        for name in self._rows.columns:
            if name in RESERVED:
                yield f"{name} is a word of the trainer's own"
        for name in labels[1:]:
            yield f"{name} beside {labels[0]}: only one is the label, the trainer takes the other for a text"
        for place, name in enumerate(self.inputs):
            if name in labels:
                continue
            if _IDS.fullmatch(name):
                yield f"{name}: the trainer takes ids for texts"
            elif PLACES.get(name, place) != place:
                yield f"{name} is column {place + 1} of the texts: the trainer goes by the place, not by the name"
            elif trainer.query is not None and bool(trainer.query.search(name)) != (place == 0):
                told = "a document" if place == 0 else "a query"
                yield f"{name}: the trainer takes it for {told}, by its name"
        stems = {_NUMBER.sub("", name) for name in self.inputs[2:]}
        if len(stems) > 1:
            yield f"{', '.join(self.inputs[2:])}: not one kind of text, but the trainer takes each for a negative"

    def rows(self, problems: ProblemLog) -> Iterator[Found]:
        """The rows; those with a key of no column go to `problems`."""
        for where, row in self._rows.read(problems):
            if more := [name for name in row if name not in self._known]:
                problems.add("unknown column", where, ", ".join(more))
                continue
            yield Found(
                where=where,
                inputs=[row.get(name) for name in self.inputs],
                label=row.get(self.label) if self.label else None,
                extra={name: row[name] for name in self._own if row.get(name) is not None},
            )


def text(value: object, name: str) -> str:
    """A text, which may be empty; `BadRow` for anything else: the trainer would fail on it."""
    if not isinstance(value, str):
        raise BadRow("not a text", f"{name}: {value!r}"[:120])
    return value


def texts(values: object, name: str) -> list[str]:
    """A list of texts, not empty; `BadRow` otherwise."""
    if not isinstance(values, list) or not values:
        raise BadRow("not a list of texts", f"{name}: {values!r}"[:120])
    return [text(value, name) for value in values]


def number(value: object, name: str) -> float:
    """A finite number, as a float; `BadRow` otherwise."""
    try:
        found = float(value) if isinstance(value, (int, float)) else math.nan
    except OverflowError:  # JSON has whole numbers of any length
        found = math.inf
    if not math.isfinite(found):
        raise BadRow("not a finite number", f"{name}: {value!r}"[:120])
    return found


def numbers(values: object, name: str) -> list[float]:
    """A list of finite numbers; `BadRow` otherwise."""
    if not isinstance(values, list):
        raise BadRow("not a list of numbers", f"{name}: {values!r}"[:120])
    return [number(value, name) for value in values]
