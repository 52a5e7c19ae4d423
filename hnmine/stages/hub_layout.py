"""How an export stands in a dataset repository: names of files, and which of them `load_dataset` reads as one table.

`data/train-00000-of-00001.parquet`, `ids/train-...`: the names are the same wherever the export was written to, so that
a second push replaces the first.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from hnmine.files.artefact import Artefact, Json
from hnmine.files.encodings import Encoding, JsonDocument, JsonLines, Parquet, Separated
from hnmine.files.hub import CARD, LocalFile
from hnmine.files.remote import joined
from hnmine.options import Format
from hnmine.stages.export_files import COLLISIONS, sibling
from hnmine.stages.formats import FORMATS
from hnmine.stages.formats.base import RowsFile, TrainingFormat
from hnmine.stages.mixed import mixed_sibling
from hnmine.stages.splits import TRAIN, split_file

DEFAULT = "default"
IDS = "ids"
MIXED = "mixed"
_NUMBERED = re.compile(r"(?P<folder>data|ids|mixed)/(?P<split>\w+)-\d{5,}-of-\d{5,}\.\w+")
_LISTED = re.compile(rf"(?P<folder>{COLLISIONS})/(?P<split>train|validation|epoch_\d+)\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Some files of the repository that are one table: what `load_dataset(REPOSITORY, NAME)` reads."""

    name: str
    splits: dict[str, list[str]]
    """Of each split, the names of its files in the repository."""
    rows: int
    columns: dict[str, str]
    """Name to type; empty if the files do not say."""
    loader: str | None
    """The reader of `datasets` that understands the files; None if none does."""
    settings: Json
    """What that reader must be told."""

    def to_header(self) -> Json:
        """As it stands in the card's header."""
        found: list[Json] = []
        for split, names in self.splits.items():
            is_numbered = _NUMBERED.fullmatch(names[0]) is not None
            path = f"{names[0].partition('/')[0]}/{split}-*" if is_numbered else names[0]
            found.append({"split": split, "path": path})
        return {"config_name": self.name, "data_files": found, **self.settings}


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLayout:
    """The files of an export by their names in the repository, and the tables that they are."""

    files: dict[str, LocalFile]
    configs: list[Config]
    """The training rows first; then `ids`, and the format's other files."""

    @classmethod
    def of(cls, export: Artefact) -> HubLayout:
        """How a finished export stands in a repository."""
        names = _Names(FORMATS[Format(export.plan["options"]["format"])], export.plan["file"], export.plan["splits"])
        entries = export.manifest["files"]
        found = sorted((names.in_repository(name), name) for name in entries)
        found.sort(key=lambda pair: names.place(pair[0]))
        files: dict[str, LocalFile] = {}
        rows: dict[str, int] = {}
        tables: dict[str, dict[str, list[str]]] = {}
        for there, name in found:
            if there == CARD:
                continue  # the card that is pushed tells the tables apart
            entry = entries[name]
            files[there] = LocalFile(path=joined(export.path, name), bytes=entry["bytes"], sha256=entry["sha256"])
            rows[there] = entry["rows"]
            if table := names.table(there):
                tables.setdefault(table, {}).setdefault(names.split(there), []).append(there)
        configs = []
        for table, splits in tables.items():
            first = next(iter(splits.values()))[0]
            encoding = names.encoding(first)
            loader, settings = _loader(encoding)
            configs.append(
                Config(
                    name=table,
                    splits=splits,
                    rows=sum(rows[name] for own in splits.values() for name in own),
                    columns=_columns(files[first].path, encoding),
                    loader=loader,
                    settings=settings,
                )
            )
        return cls(files=files, configs=configs)

    @property
    def loadable(self) -> list[Config]:
        """The tables that `load_dataset` can read: a repository has one reader, so those of the first one's."""
        readable = [config for config in self.configs if config.loader is not None]
        return [config for config in readable if config.loader == readable[0].loader]


def is_shard(name: str) -> bool:
    """Whether a file of a repository is one that a push names, so that another push may remove it."""
    return _shard(name) is not None


def _shard(name: str) -> re.Match[str] | None:
    return _NUMBERED.fullmatch(name) or _LISTED.fullmatch(name)


class _Names:
    """What the names of an export's files say: their place in a repository, their table, split and encoding."""

    def __init__(self, form: TrainingFormat, one: str | None, splits: Sequence[str]) -> None:
        self._form = form
        self._moved: dict[str, str] = {}
        for split in splits if one is not None else ():
            rows = Path(split_file(str(one), split))
            self._moved |= {
                rows.as_posix(): f"data/{split}-00000-of-00001{rows.suffix.lower()}",
                sibling(rows).as_posix(): f"{IDS}/{split}-00000-of-00001.parquet",
                mixed_sibling(rows).as_posix(): f"{MIXED}/{split}-00000-of-00001.parquet",
                sibling(rows, COLLISIONS).as_posix(): f"{COLLISIONS}/{split}.parquet",
            }
        self._tables: dict[str, tuple[str, str, Encoding]] = {}
        for split in reversed(splits):  # a file that all splits share is the first one's
            self._tables[split_file(form.name, split)] = (DEFAULT, split, form.encoding)
        for further in form.beside:
            table = PurePosixPath(further.name).with_suffix("").as_posix().replace("/", "-")
            for split in reversed(splits if isinstance(further, RowsFile) else [TRAIN]):
                self._tables[split_file(further.name, split)] = (table, split, further.encoding)

    def in_repository(self, name: str) -> str:
        """The name that a file of the manifest has in a repository."""
        return self._moved.get(name, name)

    def place(self, name: str) -> tuple[int, int]:
        """Sorts files: rows, ids, the others; training rows before those of other splits."""
        table = self.table(name)
        order = [DEFAULT, IDS, MIXED, COLLISIONS, *dict.fromkeys(own for own, _, _ in self._tables.values()), None]
        return order.index(table), int(self.split(name) != TRAIN)

    def table(self, name: str) -> str | None:
        """The table that a file is of; None for small files that are no table."""
        if found := _shard(name):
            return DEFAULT if found["folder"] == "data" else found["folder"]
        return self._tables[name][0] if name in self._tables else None

    def split(self, name: str) -> str:
        """The split that a file is of."""
        found = _shard(name)
        return str(found["split"]) if found else self._tables[name][1] if name in self._tables else TRAIN

    def encoding(self, name: str) -> Encoding:
        """How a file is written."""
        if name in self._tables:
            return self._tables[name][2]
        return self._form.encoding if name.startswith("data/") else Parquet()


def _loader(encoding: Encoding) -> tuple[str | None, Json]:
    """What of `datasets` reads an encoding, and what it has to be told."""
    if isinstance(encoding, Parquet):
        return "parquet", {}
    if isinstance(encoding, JsonLines) or (isinstance(encoding, JsonDocument) and encoding.head.strip() == "["):
        return "json", {}
    if isinstance(encoding, Separated) and encoding.header:
        return "csv", {"sep": encoding.separator, "quoting": 3}
    return None, {}


def _columns(path: Path, encoding: Encoding) -> dict[str, str]:
    if isinstance(encoding, Parquet):
        return {field.name: _plain(field.type) for field in pq.read_schema(os.fspath(path))}
    with open(path, encoding="utf-8", newline="") as stream:
        first = stream.readline()
    if isinstance(encoding, JsonLines) and first.strip():
        return {name: _kind(value) for name, value in json.loads(first).items()}
    if isinstance(encoding, Separated) and encoding.header:
        return dict.fromkeys(encoding.header.rstrip("\n").split(encoding.separator), "text")
    return {}


def _plain(kind: Any) -> str:
    return str(kind).replace("large_", "").replace("element: ", "").replace("item: ", "")


def _kind(value: Any) -> str:
    names = {str: "string", bool: "bool", int: "int", float: "float", dict: "object"}
    if isinstance(value, list):
        inner: Iterator[str] = (_kind(one) for one in value)
        return f"list<{next(inner, 'string')}>"
    return names.get(type(value), "null")
