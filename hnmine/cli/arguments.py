"""Arguments and groups of flags that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hnmine import options as opt
from hnmine.cli import completion
from hnmine.cli.flags import AppendFlags, CommonFlags, EstimateFlags, ExecutorFlags, ModelFlags, ShardFlags

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="BEIR or MS MARCO directory, pairs file, file with classes, knowledge graph, `stdlib`, collection, or - "
        "(stdin).",
        autocompletion=completion.data,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the artefact goes.")]
Candidates = Annotated[
    Path,
    typer.Argument(metavar="CANDIDATES", help="Candidates, or a run directory.", autocompletion=completion.candidates),
]
Rules = Annotated[
    str | None,
    typer.Option(
        "--rules",
        help="A TOML file whose [filter] table has the rules, or a preset's name.",
        autocompletion=completion.preset_names,
    ),
]

INPUT, COMMON, SHARD = (opt.InputOptions, "Input"), (CommonFlags, "Every command"), (ShardFlags, "Every command")
MODEL, EXECUTOR = (ModelFlags, "Every command"), (ExecutorFlags, "Every command")
PUSH = (opt.PushOptions, "Hugging Face Hub")
APPEND, ESTIMATE = (AppendFlags, "Every command"), (EstimateFlags, "Every command")


Indexes = Annotated[
    list[str],
    typer.Option(
        "--index",
        metavar="<str>",
        help="Index to search: DIR or NAME=DIR; repeatable.",
        autocompletion=completion.indexes,
    ),
]


CollectionDir = Annotated[
    Path | None,
    typer.Option(
        "--collection", help="The collection [default: where run.json says].", autocompletion=completion.collections
    ),
]


Preset = Annotated[
    str | None,
    typer.Option(
        "--preset", help="A published recipe: `hnmine presets`; flags win.", autocompletion=completion.preset_names
    ),
]


ChainData = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        help="Pairs file (CSV, TSV, JSON lines, Parquet), BEIR or MS MARCO directory, `stdlib`, file with classes, "
        "knowledge graph, collection, or - (stdin).",
        autocompletion=completion.data,
    ),
]
ChainOutput = Annotated[
    Path | None, typer.Option("--output", "-o", help="A directory, or the training file: FILE.parquet.")
]
Config = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; flags win.")]
FurtherIndex = Annotated[
    list[str],
    typer.Option(
        "--index",
        metavar="<str>",
        help="A further, ready-made index: DIR or NAME=DIR.",
        autocompletion=completion.indexes,
    ),
]
Reranker = Annotated[str | None, typer.Option("--reranker", help="Score with this cross-encoder too.")]
NoBm25 = Annotated[bool, typer.Option("--no-bm25", help="Build no BM25 index.")]
NoDense = Annotated[bool, typer.Option("--no-dense", help="Build no dense index.")]

CHAIN = (
    (opt.FilterOptions, "Rules"),
    (opt.MineOptions, "Mining"),
    (opt.ExportOptions, "Layout"),
    (opt.DenseOptions, "Dense index"),
    (opt.Bm25Options, "BM25 index"),
    INPUT,
    COMMON,
)
