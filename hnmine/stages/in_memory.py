"""The chain over pairs and models that are in memory already: ingest, index, mine, score, filter.

Every artefact but the decisions lies under the digest of its plan, so a directory that stays is a cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hnmine.core.rules.rank import RankWindow
from hnmine.engines.inference import import_sentence_transformers
from hnmine.engines.loaded import LoadedEncoder, LoadedReranker, Prompt
from hnmine.engines.models import resolve_model
from hnmine.errors import ArtefactError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import CandidatesTable
from hnmine.files.collection import Collection
from hnmine.files.readers.memory import MemorySource
from hnmine.hashing import digest_json
from hnmine.options import Ann, DenseOptions, FilterOptions, InputOptions, MineOptions, ScoreOptions, Store
from hnmine.schema import Side
from hnmine.stages.filter import Filter
from hnmine.stages.index_dense import IndexDense
from hnmine.stages.indexes import NamedIndex
from hnmine.stages.ingest import Ingest
from hnmine.stages.mine import Mine
from hnmine.stages.picked import Picked
from hnmine.stages.score import Score
from hnmine.stages.stage import Stage

INDEX, RERANKER = "model", "cross_encoder"
"""The names of the scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The models to run, as objects, names or paths; `keep` if their results may be used again by another call."""

    encoder: Any
    reranker: Any | None
    prompts: Mapping[Side, Prompt]
    batch_size: int
    keep: bool
    show_progress: bool

    def open(self) -> tuple[LoadedEncoder, LoadedReranker | None]:
        """The encoder, and the reranker if there is one; raises `UsageError` for a model of the other kind."""
        how: dict[str, Any] = {
            "batch_size": self.batch_size,
            "keep": self.keep,
            "show_progress": self.show_progress,
        }
        encoder = LoadedEncoder(_load(self.encoder, "SentenceTransformer"), dict(self.prompts), **how)
        if self.reranker is None:
            return encoder, None
        return encoder, LoadedReranker(_load(self.reranker, "CrossEncoder"), **how)


def mine_pairs(source: MemorySource, models: Models, *, top_k: int, place: Path) -> tuple[Collection, Artefact]:
    """The collection and its candidates, with the reranker's scores if there is one."""

    def carry_out(stage: Ingest | Stage) -> Artefact:
        path = place / f"{stage.kind}-{digest_json(stage.plan())[:24]}"
        artefact = stage.run(path, Execution()).artefact
        if artefact is None:
            raise ArtefactError(f"{path} is unfinished")
        return artefact

    encoder, reranker = models.open()
    collection = Collection(carry_out(Ingest(source, InputOptions())))
    index = carry_out(IndexDense(collection, DenseOptions(store=Store.FP32, ann=Ann.FLAT), encoder=encoder))
    candidates = carry_out(Mine(collection, [NamedIndex(name=INDEX, artefact=index)], MineOptions(top_k=top_k)))
    if reranker is not None:
        candidates = carry_out(Score(collection, candidates, ScoreOptions(name=RERANKER), reranker=reranker))
    return collection, candidates


def decide_pairs(
    collection: Collection, candidates: Artefact, options: FilterOptions, window: RankWindow, *, place: Path
) -> CandidatesTable:
    """The decisions, judged and ranked by the reranker if there is one."""
    name = RERANKER if CandidatesTable(candidates).score(RERANKER) else INDEX
    rules = replace(options, judge_by=name, rank_by=name)
    path = place / "decisions"
    Filter(collection, candidates, rules, first_rules=[window]).run(path, Execution())
    return CandidatesTable(Artefact.open(path, verify=False))


def in_input_order(collection: Collection, picked: Picked) -> Picked:
    """The same with each query's positives as the pairs had them; decisions have them by score."""
    judged = collection.qrels.of(picked.query_rows)  # every judgment is a positive here
    owner = np.repeat(np.arange(len(picked.query_rows)), np.diff(picked.chosen.positive_offsets))
    order = np.empty(len(owner), np.int64)
    order[np.lexsort((judged.doc_rows, judged.query_rows))] = np.lexsort((picked.positives.rows, owner))
    return replace(picked, positives=picked.positives.take(order))


def _load(model: Any, kind: Literal["SentenceTransformer", "CrossEncoder"]) -> Any:
    """The model itself, or the one that a name or path means."""
    if not isinstance(model, (str, Path)):
        return model
    organization = "cross-encoder" if kind == "CrossEncoder" else "sentence-transformers"
    resolved = resolve_model(str(model), revision=None, organization=organization)
    return getattr(import_sentence_transformers(), kind)(resolved.path)
