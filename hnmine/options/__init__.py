"""Every option of every stage, once: the CLI flags, the TOML keys and the Python arguments are made from these records.

A field's default is the documented default; its metadata carry the help text and, for the command line, the flags.
`None` means "decide from the data" or "off", and the help says which.
"""

from __future__ import annotations

from hnmine.options.data import By, DownsampleOptions, GenerateOptions, ImportOptions, InputOptions, OnError, Write
from hnmine.options.evidence import JudgeOptions, MineOptions, ScoreOptions, SearchOptions
from hnmine.options.export import BatchPlan, ExportOptions, Format, Mixing, Order, Pad, PushOptions
from hnmine.options.indexes import (
    Ann,
    Bm25Engine,
    Bm25Method,
    Bm25Options,
    DenseOptions,
    LateOptions,
    SparseOptions,
    Store,
)
from hnmine.options.models import Backend, Dtype, ModelOptions, TextModelOptions
from hnmine.options.records import Options, SampleOptions, as_plain, from_mapping, option, option_fields
from hnmine.options.reports import AuditOptions, ReportOptions, TruthOptions
from hnmine.options.rules import Anchor, Existing, FilterOptions, Pick, Relabel, Short, SweepOptions

__all__ = [
    "Anchor",
    "Ann",
    "AuditOptions",
    "Backend",
    "BatchPlan",
    "Bm25Engine",
    "Bm25Method",
    "Bm25Options",
    "By",
    "DenseOptions",
    "DownsampleOptions",
    "Dtype",
    "Existing",
    "ExportOptions",
    "FilterOptions",
    "Format",
    "GenerateOptions",
    "ImportOptions",
    "InputOptions",
    "JudgeOptions",
    "LateOptions",
    "MineOptions",
    "Mixing",
    "ModelOptions",
    "OnError",
    "Options",
    "Order",
    "Pad",
    "Pick",
    "PushOptions",
    "Relabel",
    "ReportOptions",
    "SampleOptions",
    "ScoreOptions",
    "SearchOptions",
    "Short",
    "SparseOptions",
    "Store",
    "SweepOptions",
    "TextModelOptions",
    "TruthOptions",
    "Write",
    "as_plain",
    "from_mapping",
    "option",
    "option_fields",
]
