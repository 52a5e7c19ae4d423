"""Tells which form a DATA has and opens it."""

from __future__ import annotations

import sys
import weakref
from typing import BinaryIO

from hnmine.errors import InputError, UsageError
from hnmine.files.readers.classes import ClassesSource
from hnmine.files.readers.directories import open_corpus, open_directory
from hnmine.files.readers.layout import existing_file, named_files
from hnmine.files.readers.pairs import LIKELY_COLUMNS, PairsSource
from hnmine.files.readers.source import Source
from hnmine.files.readers.stdlib import StdlibSource
from hnmine.files.readers.streams import PIPE, STDIN, InputFile, spool
from hnmine.files.readers.tables import columns
from hnmine.files.readers.texts import text_columns
from hnmine.files.readers.triples import open_triples
from hnmine.files.remote import as_path
from hnmine.options import InputOptions
from hnmine.schema import Side
from hnmine.spelling import nearest

BUILT_IN = ("stdlib",)


def open_source(data: str, options: InputOptions) -> Source:
    """The input that DATA names, found complete: a directory, a file, `-` or a pipe (pairs), or `stdlib`.

    A built-in name comes before a file of that name (write `./stdlib` for the file). A file with the anchor and
    positive columns is a pairs file, one with an id and a text column a corpus alone, one whose `--class-column` is
    named has classes; a directory with the texts of entities has triples. Raises `InputError` or
    `UsageError` with everything that is missing.
    """
    if data in BUILT_IN:
        for name in ("corpus", "queries", "qrels", "split", "class_column"):
            if getattr(options, name) is not None:
                name = name.replace("_", "-")
                raise UsageError(f"--{name} does not apply to the built-in {data}", remedy=f"leave --{name} out")
        return StdlibSource()
    if data == "-":
        return _open_spooled(sys.stdin.buffer, STDIN, options)
    path = as_path(data)
    if path.is_dir():
        return open_triples(path, data, options) or open_directory(path, data, options)
    if not path.exists() and (guess := nearest(data, list(BUILT_IN))):
        raise InputError(f"{data}: no such file or directory", remedy=f"did you mean the built-in {guess}?")
    if path.exists() and not path.is_file():
        with open(path, "rb") as pipe:
            return _open_spooled(pipe, PIPE, options)
    return _open_file(existing_file(data), options)


def _open_file(file: InputFile, options: InputOptions) -> Source:
    if options.class_column is not None:
        return ClassesSource(file, options)
    names = [] if file.plain_name.endswith(".tsv") and _is_id_and_text(file) else columns(file)
    if file.plain_name.endswith(".tsv") and not names:
        return open_corpus(file, options)
    defaults = InputOptions()
    sides = (options.anchor_column, options.positive_column)
    paired = (
        not names
        or sides != (defaults.anchor_column, defaults.positive_column)
        or any(name in names for name in sides)
        or all(any(name in names for name in likely) for likely in LIKELY_COLUMNS)
    )
    if not paired and text_columns(names, Side.DOCUMENT) is not None:
        return open_corpus(file, options)
    return _open_pairs(file, options)


def _is_id_and_text(file: InputFile) -> bool:
    """Whether a TSV file is MS MARCO's collection: by its name, since it has no header to tell."""
    return file.plain_name.startswith("collection")


def _open_pairs(file: InputFile, options: InputOptions) -> PairsSource:
    return PairsSource(file, options, named_files(options.corpus) if options.corpus else ())


def _open_spooled(stream: BinaryIO, shown: str, options: InputOptions) -> PairsSource | ClassesSource:
    """Rows from a stream that can be read only once: a copy of it is kept until the source is closed."""
    copy = spool(stream)
    try:
        file = InputFile(path=copy, shown=shown)
        has_classes = options.class_column is not None
        source = ClassesSource(file, options) if has_classes else _open_pairs(file, options)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    source.on_close = weakref.finalize(source, copy.unlink, missing_ok=True)
    return source
