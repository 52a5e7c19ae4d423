"""Rows of a training file, or of a directory of its shards, each with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers.layout import existing_file, files_under
from hnmine.files.readers.streams import SUFFIXES, InputFile
from hnmine.files.readers.tables import Row, columns, read_rows

SHARDS = "data"
"""The folder of an export, and of a data set of the Hub, that holds the shards."""


class TrainingRows:
    """The rows of a file, or of the shards in a directory, in order.

    `columns` are those of the first file, in its order; of JSON lines, all keys of its first 100 lines. Raises
    `InputError` where there is no file of these rows, and where the shards have different columns.
    """

    def __init__(self, place: Path, suffixes: Sequence[str]) -> None:
        """`suffixes` are those that the files of a directory may have."""
        self.files = shards(place, suffixes)
        self.columns = columns(self.files[0])
        for file in self.files[1:]:
            own = columns(file)
            if set(own) != set(self.columns):
                raise InputError(
                    f"{file.shown}: columns {', '.join(own)}", expected=f"those of the first file: {self.columns}"
                )

    def read(self, problems: ProblemLog) -> Iterator[tuple[str, Row]]:
        """`file:row` and the values by column; what is no row goes to `problems`."""
        for file in self.files:
            for number, row in read_rows(file, problems):
                yield f"{file.shown}:{number}", row


def shards(place: Path, suffixes: Sequence[str]) -> list[InputFile]:
    """The file at `place`; of a directory, the files in its `data`, or else right in it, that have these suffixes."""
    if not place.is_dir():
        return [existing_file(str(place))]
    folder = place / SHARDS if (place / SHARDS).is_dir() else place
    found = [file for file in files_under(folder, str(folder)) if _plain_suffix(file) in suffixes]
    if not found:
        raise InputError(f"{folder}: no file that ends in {' or '.join(suffixes)}")
    return found


def _plain_suffix(file: InputFile) -> str:
    path = Path(file.path.name.lower())
    return Path(path.stem).suffix if path.suffix in SUFFIXES else path.suffix
