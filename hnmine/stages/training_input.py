"""A training file of a known format: its files, its examples, and the ids that `export` wrote beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.layout import existing_file, files_under
from hnmine.files.readers.rows import shards
from hnmine.files.readers.streams import InputFile
from hnmine.files.readers.tables import read_rows
from hnmine.options import Format
from hnmine.stages.export_files import sibling
from hnmine.stages.formats import FORMATS


class TrainingInput:
    """A training file, a directory of shards, or the directory of a format of several files."""

    def __init__(self, place: Path, form: Format) -> None:
        """Raises `InputError` if there is nothing of the format at `place`."""
        existing_file(str(place))
        self.place, self.form = place, form
        self.files: Sequence[InputFile] = _files(place, form)
        self._ids = _ids_beside(place)

    def examples(self, problems: ProblemLog) -> Iterator[Example]:
        """Every row, as strictly read as its trainer does; what it would refuse or misread goes to `problems`.

        Where an export has texts alone, its ids and scores are those of the file beside it.
        """
        examples = FORMATS[self.form].examples(self.place, problems)
        first = next(examples, None)
        if first is None:
            return
        if not self._ids or _has_ids(first):
            yield first
            yield from examples
            return
        ids = _InStep(self.files, self._ids, FORMATS[self.form].encoding.first_line, problems)
        for example in chain([first], examples):
            yield self._with_ids(example, ids.of(example.where))
        if not problems and ids.has_more():
            raise self._out_of_step("more rows")

    def _with_ids(self, example: Example, row: Mapping[str, Any] | None) -> Example:
        if row is None:
            raise self._out_of_step("fewer rows")
        if "document" in example.extra:  # a score told nobody on which side it is
            rest = {name: value for name, value in example.extra.items() if name != "document"}
            own, other = [example.extra["document"]], list[Passage]()
            sides = (own, other) if row["labels"] == [1] else (other, own)
            example = replace(example, extra=rest, positives=sides[0], negatives=sides[1])
        known: dict[int, list[Passage]] = {1: [], 0: []}
        for label, doc_id, score in zip(row["labels"], row["doc_ids"], row["scores"], strict=True):
            known[label].append(Passage(doc_id=doc_id, score=score))
        if [len(example.positives), len(example.negatives)] != [len(known[1]), len(known[0])]:
            raise self._out_of_step(f"another number of documents ({example.where})")
        positives, negatives = _identified(example.positives, known[1]), _identified(example.negatives, known[0])
        return replace(example, query_id=row["query_id"], positives=positives, negatives=negatives)

    def _out_of_step(self, how: str) -> InputError:
        return InputError(
            f"{self._ids[0].shown}: {how} than in {self.place}",
            expected="the ids that `hnmine export` wrote with this very file",
            remedy="export again, or remove the file of ids",
        )


class _InStep:
    """The ids of the rows of training files, a file of ids each; what was no example has its ids passed over."""

    def __init__(
        self, files: Sequence[InputFile], ids: Sequence[InputFile], first_line: int, problems: ProblemLog
    ) -> None:
        pairs = zip(files, ids, strict=False)
        self._rows = {file.shown: read_rows(own, problems) for file, own in pairs}
        self._first = first_line

    def of(self, where: str) -> Mapping[str, Any] | None:
        """The ids of the row at `file:line`, rows being asked for in order; None where there are none."""
        file, _, line = where.rpartition(":")
        wanted = int(line) - self._first + 1
        return next((row for number, row in self._rows.get(file, iter(())) if number == wanted), None)

    def has_more(self) -> bool:
        """Whether there are ids of rows behind the last one that was asked for."""
        return any(next(rows, None) is not None for rows in self._rows.values())


def _identified(passages: Sequence[Passage], known: Sequence[Passage]) -> list[Passage]:
    return [
        replace(passage, doc_id=own.doc_id, score=own.score if passage.score is None else passage.score)
        for passage, own in zip(passages, known, strict=True)
    ]


def _has_ids(example: Example) -> bool:
    passages = (*example.positives, *example.negatives)
    return example.query_id is not None and all(passage.doc_id is not None for passage in passages)


def _files(place: Path, form: Format) -> Sequence[InputFile]:
    """What is read at a place: what its fingerprint is of."""
    found = FORMATS[form]
    if not found.beside:
        return shards(place, found.encoding.suffixes)
    if place.is_dir():
        paths = [path for path in sorted(place.rglob("*")) if path.is_file() and _is_of_format(path.relative_to(place))]
    else:
        beside = (place.parent / further.name for further in found.beside)
        paths = list(dict.fromkeys([place, *(path for path in beside if path.is_file())]))
    return [InputFile(path=path, shown=str(path)) for path in paths]


def _is_of_format(path: Path) -> bool:
    """Whether a file of a directory is not what makes it an artefact."""
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and path.parts[0] not in ("ids", "receipts", "plan.json", "manifest.json", "run.json")


def _ids_beside(place: Path) -> list[InputFile]:
    if place.is_dir():
        folder = place / "ids"
        found = files_under(folder, str(folder)) if folder.is_dir() else []
        return [file for file in found if file.name.endswith(".parquet")]
    beside = sibling(place)
    return [InputFile(path=beside, shown=str(beside))] if beside.is_file() else []
