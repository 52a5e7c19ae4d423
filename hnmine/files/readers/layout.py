"""Finds the parts of a collection in a directory: BEIR's names and MS MARCO's, and the split to read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hnmine.errors import InputError, UsageError
from hnmine.files.readers.streams import InputFile
from hnmine.files.remote import as_path
from hnmine.spelling import nearest, nearest_file

DEFAULT_SPLIT = "train"

_PACKED = r"(?:\.(?:gz|bz2|xz|zst))?"
_TEXTS = re.compile(rf"\.(?:jsonl|ndjson|json|parquet){_PACKED}$", re.IGNORECASE)
_QRELS = re.compile(rf"\.(?:tsv|txt|qrels?|trec){_PACKED}$", re.IGNORECASE)
_ABOUT = re.compile(r"(?:readme|licen[cs]e|notice)\b", re.IGNORECASE)
_MSMARCO = re.compile(rf"^(collection|queries|qrels)(?:\.(.+))?\.tsv{_PACKED}$", re.IGNORECASE)


def files_under(directory: Path, shown: str) -> list[InputFile]:
    """The files right in `directory`, sorted by name, hidden ones left out."""
    return [
        InputFile(path=path, shown=f"{shown.rstrip('/')}/{path.name}")
        for path in sorted(directory.iterdir(), key=lambda path: path.name)
        if path.is_file() and not path.name.startswith(".")
    ]


def named_files(given: str) -> tuple[InputFile, ...]:
    """The file, or the JSONL and Parquet files of the directory, that an option names. Raises `InputError`."""
    path = as_path(given)
    if path.is_dir():
        files = tuple(file for file in files_under(path, given) if _TEXTS.search(file.name))
        if not files:
            raise InputError(f"{given}: no JSONL or Parquet file in this directory")
        return _unambiguous(files)
    return (existing_file(given),)


def existing_file(given: str) -> InputFile:
    """The file called `given`; raises `InputError` with the nearest name in its directory when there is none."""
    path = as_path(given)
    if not path.exists():
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = nearest_file(path.name, siblings)
        raise InputError(
            f"{given}: no such file or directory",
            remedy=f"did you mean {path.parent / guess}?" if guess else None,
        )
    return InputFile(path=path, shown=given)


def beir_texts(directory: Path, shown: str, stem: str) -> tuple[InputFile, ...]:
    """The files of BEIR's part `stem`: `stem*.jsonl*`, `stem*.parquet`, or those in a directory `stem`; () if none.

    Raises `InputError` when two files are the same part twice.
    """
    found = [
        file
        for file in files_under(directory, shown)
        if re.match(rf"{stem}(?![a-z])", file.name, re.IGNORECASE) and _TEXTS.search(file.name)
    ]
    inner = directory / stem
    if inner.is_dir():
        found += [file for file in files_under(inner, f"{shown.rstrip('/')}/{stem}") if _TEXTS.search(file.name)]
    return _unambiguous(tuple(found))


def _unambiguous(files: tuple[InputFile, ...]) -> tuple[InputFile, ...]:
    """The files, unless one repeats another in a different form, or a whole (`corpus.jsonl`) lies beside its pieces."""
    names = [_TEXTS.sub("", file.name) for file in files]
    whole = any(other != name and re.match(rf"{re.escape(name)}\W", other) for name in names for other in names)
    if len(set(names)) < len(names) or whole:
        raise InputError(
            f"which of {', '.join(file.shown for file in files)} is meant?",
            expected="one file, or numbered pieces of one",
            remedy="name the file with --corpus or --queries",
        )
    return files


def beir_splits(directory: Path, shown: str) -> dict[str, InputFile]:
    """The qrels in `directory` by split, sorted by name. Raises `InputError` when a split is there twice."""
    return _by_split((split_of(file), file) for file in files_under(directory, shown) if _is_qrels(file))


def _is_qrels(file: InputFile) -> bool:
    return _QRELS.search(file.name) is not None and not _ABOUT.match(file.name)


def split_of(file: InputFile) -> str:
    """The split a qrels file is named after: `train` for `train.tsv.gz` and `qrels.train.tsv`."""
    bare = _QRELS.sub("", file.name)
    return bare.removeprefix("qrels.")


def msmarco_parts(
    directory: Path, shown: str
) -> tuple[tuple[InputFile, ...], dict[str, InputFile], dict[str, InputFile]]:
    """MS MARCO's files: the collection (() if none), and queries and qrels by split."""
    found: dict[str, list[tuple[str, InputFile]]] = {"collection": [], "queries": [], "qrels": []}
    for file in files_under(directory, shown):
        if match := _MSMARCO.match(file.name):
            found[match[1].lower()].append((match[2] or "", file))
    collection = _by_split(found["collection"])
    return tuple(collection.values()), _by_split(found["queries"]), _by_split(found["qrels"])


def _by_split(found: Iterable[tuple[str, InputFile]]) -> dict[str, InputFile]:
    splits: dict[str, InputFile] = {}
    for split, file in found:
        if split in splits:
            raise InputError(f"{splits[split].shown} and {file.shown} are the same part", remedy="keep one of them")
        splits[split] = file
    return splits


def choose_split(splits: Mapping[str, InputFile], wanted: str | None, shown: str) -> str:
    """The split to read: the wanted one, else `train`, else the only one.

    Raises `UsageError` for a wanted split that is not there and `InputError` when there is nothing to choose by; both
    list the splits.
    """
    listed = ", ".join(sorted(splits)) or "none"
    if wanted is not None:
        if wanted in splits:
            return wanted
        guess = nearest(wanted, list(splits))
        raise UsageError(
            f"{shown}: no split {wanted!r}",
            expected=f"one of: {listed}",
            remedy=f"--split {guess}" if guess else "name one of them with --split",
        )
    if DEFAULT_SPLIT in splits:
        return DEFAULT_SPLIT
    if len(splits) == 1:
        return next(iter(splits))
    raise InputError(f"{shown}: several splits and none is train: {listed}", remedy="name one with --split")
