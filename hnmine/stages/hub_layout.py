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
from hnmine.files.hub import LocalFile
from hnmine.files.remote import joined
from hnmine.options import Format
from hnmine.stages.export import sibling
from hnmine.stages.formats import FORMATS

DEFAULT = "default"
IDS = "ids"
_SHARD = re.compile(r"(data|ids)/(?P<split>\w+)-\d{5,}-of-\d{5,}\.\w+")


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
        one = export.plan["file"]
        files: dict[str, LocalFile] = {}
        rows: dict[str, int] = {}
        for name, entry in export.manifest["files"].items():
            there = _name_in_repository(name, Path(one) if one else None)
            path = joined(export.path, name)
            files[there] = LocalFile(path=path, bytes=entry["bytes"], sha256=entry["sha256"])
            rows[there] = entry["rows"]
        encodings = {form.name: form.encoding, **{further.name: further.encoding for further in form.beside}}
        tables: dict[str, dict[str, list[str]]] = {}
        files = {name: files[name] for name in sorted(files, key=lambda name: _place(name, form.name))}
        for name in files:
            shard = _SHARD.fullmatch(name)
            split = shard["split"] if shard else "train"
            tables.setdefault(_table(name, form.name), {}).setdefault(split, []).append(name)
        configs = []
        for table, splits in tables.items():
            first = next(iter(splits.values()))[0]
            encoding: Encoding = Parquet() if table == IDS else encodings.get(first, form.encoding)
            loader, settings = _loader(encoding)
            configs.append(
                Config(
                    name=table,
                    splits={split: sorted(names) for split, names in splits.items()},
                    rows=sum(rows[name] for names in splits.values() for name in names),
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
    return _SHARD.fullmatch(name) is not None


def _name_in_repository(name: str, one: Path | None) -> str:
    if one is None:
        return name
    if name == one.as_posix():
        return f"data/train-00000-of-00001{one.suffix.lower()}"
    if name == sibling(one).as_posix():
        return "ids/train-00000-of-00001.parquet"
    return PurePosixPath(name).name


def _place(name: str, main: str) -> tuple[int, str]:
    """Sorts the files: rows, ids, the others."""
    table = _table(name, main)
    return [DEFAULT, IDS, table].index(table), name


def _table(name: str, main: str) -> str:
    if name == main or name.startswith("data/"):
        return DEFAULT
    if name.startswith("ids/"):
        return IDS
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
