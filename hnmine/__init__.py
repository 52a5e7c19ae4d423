"""Mine hard negatives: candidates, evidence, verdicts and training files.

In a notebook::

    import hnmine
    hnmine.run("pairs.parquet", "triplets.parquet")                    # the whole chain, artefacts beside the file
    hnmine.mine_hard_negatives(dataset, model, relative_margin=0.05)   # a datasets.Dataset, in memory

Or stage by stage, where changing your mind about negatives costs seconds::

    hnmine.ingest("scifact", "work/collection")
    hnmine.index_bm25("work/collection", "work/bm25")
    hnmine.mine("work/collection", "work/candidates", indexes=["work/bm25"])
    hnmine.filter("work/candidates", "work/decisions", options=hnmine.FilterOptions(num_negatives=5))
    hnmine.export("work/decisions", "triplets.parquet")

The names of `__all__` are the public API; they are loaded when they are first used, so `import hnmine` is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "hnmine.api": (
        "audit",
        "downsample",
        "export",
        "filter",
        "generate",
        "import_training",
        "index_bm25",
        "index_dense",
        "index_late",
        "index_sparse",
        "ingest",
        "judge",
        "merge",
        "mine",
        "preset",
        "report",
        "push",
        "run",
        "score",
        "search",
        "sweep",
    ),
    "hnmine.dropin": ("mine_hard_negatives",),
    "hnmine.errors": (
        "ArtefactError",
        "HnmineError",
        "InputError",
        "MissingDependencyError",
        "Preempted",
        "StorageError",
        "UsageError",
    ),
    "hnmine.execute.local": ("Execution",),
    "hnmine.files.artefact": ("Artefact",),
    "hnmine.files.collection": ("Collection",),
    "hnmine.options": (
        "Anchor",
        "AuditOptions",
        "Backend",
        "Bm25Engine",
        "Bm25Method",
        "Bm25Options",
        "DenseOptions",
        "DownsampleOptions",
        "Dtype",
        "ExportOptions",
        "FilterOptions",
        "Format",
        "GenerateOptions",
        "ImportOptions",
        "InputOptions",
        "JudgeOptions",
        "LateOptions",
        "MineOptions",
        "OnError",
        "Pick",
        "ReportOptions",
        "ScoreOptions",
        "Short",
        "SearchOptions",
        "SparseOptions",
        "Store",
        "SweepOptions",
        "TruthOptions",
    ),
    "hnmine.stages.chain": ("RunOptions",),
    "hnmine.stages.stage": ("Outcome",),
}
_WHERE = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_WHERE)]

if TYPE_CHECKING:
    from hnmine.api import (
        audit,
        downsample,
        export,
        filter,
        generate,
        import_training,
        index_bm25,
        index_dense,
        index_late,
        index_sparse,
        ingest,
        judge,
        merge,
        mine,
        preset,
        push,
        report,
        run,
        score,
        search,
        sweep,
    )
    from hnmine.dropin import mine_hard_negatives
    from hnmine.errors import (
        ArtefactError,
        HnmineError,
        InputError,
        MissingDependencyError,
        Preempted,
        StorageError,
        UsageError,
    )
    from hnmine.execute.local import Execution
    from hnmine.files.artefact import Artefact
    from hnmine.files.collection import Collection
    from hnmine.options import (
        Anchor,
        AuditOptions,
        Backend,
        Bm25Engine,
        Bm25Method,
        Bm25Options,
        DenseOptions,
        DownsampleOptions,
        Dtype,
        ExportOptions,
        FilterOptions,
        Format,
        GenerateOptions,
        ImportOptions,
        InputOptions,
        JudgeOptions,
        LateOptions,
        MineOptions,
        OnError,
        Pick,
        ReportOptions,
        ScoreOptions,
        SearchOptions,
        Short,
        SparseOptions,
        Store,
        SweepOptions,
        TruthOptions,
    )
    from hnmine.stages.chain import RunOptions
    from hnmine.stages.stage import Outcome


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'hnmine' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
