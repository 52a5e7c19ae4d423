"""How an export stands in a dataset repository: names of files, and which of them `load_dataset` reads as one table.

`data/train-00000-of-00001.parquet`, `ids/train-...`: the names are the same wherever the export was written to, so that
a second push replaces the first.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from hnmine.files.artefact import Artefact, Json
from hnmine.files.encodings import Encoding, JsonDocument, JsonLines, Parquet, Separated
from hnmine.files.hub import CARD, LocalFile
from hnmine.files.remote import joined
from hnmine.options import Format
from hnmine.stages.export import FURTHER, whole_files
from hnmine.stages.formats import FORMATS, TrainingFormat
from hnmine.stages.splits import TRAIN

DEFAULT = "default"
IDS = "ids"
_SHARD = re.compile(r"(?P<folder>data|ids|mixed|collisions)/(?P<split>\w+)-\d{5,}-of-\d{5,}\.\w+")
_TABLES = {"data": DEFAULT}
"""The tables of folders, where these are not called as they are."""


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
            is_sharded = _SHARD.fullmatch(names[0]) is not None
            path = f"{names[0].partition('/')[0]}/{split}-*" if is_sharded else names[0]
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
        form = FORMATS[Format(export.plan["options"]["format"])]
        whole = {name: (piece, encoding) for piece, (name, encoding) in whole_files(export.plan).items()}
        fixed = form.fixed(export.plan["splits"], "")
        standing = []
        files: dict[str, LocalFile] = {}
        for name, entry in export.manifest["files"].items():
            if name == CARD:
                continue  # the repository's own says the same
            found = _stand(name, whole.get(name), form, is_one=export.plan["file"] is not None)
            files[found.name] = LocalFile(path=joined(export.path, name), bytes=entry["bytes"], sha256=entry["sha256"])
            if name not in fixed:
                standing.append((found, entry["rows"]))
        standing.sort(key=lambda one: ([DEFAULT, IDS, one[0].table].index(one[0].table), one[0].name))
        configs = []
        for table in dict.fromkeys(found.table for found, _ in standing):
            own = [(found, rows) for found, rows in standing if found.table == table]
            splits: dict[str, list[str]] = {}
            for found, _ in own:
                splits.setdefault(found.split, []).append(found.name)
            first = own[0][0]
            loader, settings = _loader(first.encoding)
            configs.append(
                Config(
                    name=table,
                    splits=splits,
                    rows=sum(rows for _, rows in own),
                    columns=_columns(files[first.name].path, first.encoding),
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
    return _SHARD.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """A file in the repository: its name there, the table and the split that it belongs to, and how it is read."""

    name: str
    table: str
    split: str
    encoding: Encoding


def _stand(name: str, whole: tuple[str, Encoding] | None, form: TrainingFormat, *, is_one: bool) -> _Standing:
    """Where a file of an export stands: `whole` says what it was joined of, `is_one` whether it was named by a user."""
    shard = _SHARD.fullmatch(name)
    if whole is None:
        folder, split = (shard["folder"], shard["split"]) if shard else (_stem(name), TRAIN)
        encoding = form.encoding if folder == "data" else Parquet()
        return _Standing(name=name, table=_TABLES.get(folder, folder), split=split, encoding=encoding)
    piece, encoding = whole
    folder, _, split = piece.partition("/")
    table = _TABLES.get(folder, folder)
    if is_one:
        name = f"{folder}/{split}-00000-of-00001{PurePosixPath(name).suffix.lower()}"
    elif folder.removeprefix(FURTHER).isdecimal():
        table = _stem(form.beside[int(folder.removeprefix(FURTHER))].name)
        split = TRAIN if split == folder else split
    return _Standing(name=name, table=table, split=split, encoding=encoding)


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix().replace("/", "-")


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
