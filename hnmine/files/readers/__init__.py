"""Readers of every input format: `open_source` for a DATA, `runs.RunFile` for a run, `read_qrels` for qrels."""

from __future__ import annotations

from hnmine.files.readers.opening import open_source
from hnmine.files.readers.qrels import read_qrels
from hnmine.files.readers.records import Document, Judgment, Query, RunRow
from hnmine.files.readers.source import Source
from hnmine.files.readers.streams import InputFile
from hnmine.files.readers.trec import read_trec_run

__all__ = [
    "Document",
    "InputFile",
    "Judgment",
    "Query",
    "RunRow",
    "Source",
    "open_source",
    "read_qrels",
    "read_trec_run",
]
