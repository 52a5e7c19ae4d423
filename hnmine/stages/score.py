"""`score`: a reranker's opinion of every candidate, as one more column of evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from hnmine.engines.models import resolve_model
from hnmine.engines.reranker import CrossEncoderReranker, Reranker
from hnmine.errors import UsageError
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json
from hnmine.files.candidates import CandidatesTable, ScoreInfo, nullable_floats, query_offsets
from hnmine.files.collection import Collection, rows_of
from hnmine.files.tables import part_name, write_table
from hnmine.options import ScoreOptions, as_plain
from hnmine.schema import DOC_ID, QUERY_ID, Kind, score_column
from hnmine.stages.mine import check_name
from hnmine.stages.stage import Stage, block_size, cut, require_made_from

BLOCK = 256


def score_name(options: ScoreOptions) -> str:
    """The name of the score's column: as asked, else the last part of the reranker's name or path."""
    return options.name or options.reranker.rstrip("/").rsplit("/", 1)[-1]


class Score(Stage):
    """Scores every row of a candidates table with a cross-encoder.

    `reranker` is one that is there already, in place of the model that the options name; `options.name` names it.
    """

    kind = Kind.CANDIDATES
    label = "score"
    unit = "pairs"

    def __init__(
        self, collection: Collection, candidates: Artefact, options: ScoreOptions, *, reranker: Reranker | None = None
    ) -> None:
        require_made_from(collection.artefact, candidates)
        self.collection = collection
        self.table = CandidatesTable(candidates)
        self.options = options
        self.block = block_size(BLOCK)
        self.name = check_name(score_name(options))
        if self.table.score(self.name) is not None:
            raise UsageError(f"the candidates have a score called {self.name!r} already", remedy="--name OTHER")
        self._notes: Json = {}
        self.reranker = reranker if reranker is not None else self._load()
        self.chosen = self.table.sample(options.limit, options.seed)

    def _load(self) -> Reranker:
        asked = self.options
        resolved = resolve_model(
            asked.reranker, revision=asked.revision, organization="cross-encoder", backend=asked.backend
        )
        self._notes = {"reranker": f"{resolved.name} from {resolved.origin}"}
        return CrossEncoderReranker(resolved, asked)

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection and the candidates."""
        return {"collection": self.collection.artefact, "candidates": self.table.artefact}

    def parameters(self) -> Json:
        """The reranker by its bytes, and everything that moves floating point."""
        hidden = {"reranker", "device"}
        info = ScoreInfo(name=self.name, scale=self.reranker.scale, origin="reranker")
        return {
            "options": {k: v for k, v in as_plain(self.options).items() if k not in hidden},
            "reranker": self.reranker.describe(),
            "scores": [s.to_plan() for s in [*self.table.scores, info]],
            "rank_by": self.table.artefact.plan["rank_by"],
            "block": self.block,
        }

    def blocks(self) -> Sequence[Block]:
        """Blocks of 256 queries; sizes count pairs."""
        cuts = cut(len(self.chosen), self.block, "scores")
        return [Block(name=b.name, index=b.index, size=self.table.size(self._queries(b.index))) for b in cuts]

    def _queries(self, index: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return self.chosen[index * self.block : (index + 1) * self.block]

    def sizes(self) -> Json:
        """Pairs to score."""
        return {"queries": len(self.chosen), "pairs": self.table.size(self.chosen)}

    def notes(self) -> Json:
        """Which model was taken, and from where."""
        return dict(self._notes)

    def work(self, block: Block, draft: Draft) -> None:
        """Score the pairs of one block of queries."""
        table = self.table.read(self._queries(block.index))
        offsets = query_offsets(table[QUERY_ID])
        query_rows = rows_of(self.collection.query_ids, table[QUERY_ID].take(pa.array(offsets[:-1])))
        queries = self.collection.query_texts(query_rows)
        documents = self.collection.document_texts(rows_of(self.collection.doc_ids, table[DOC_ID]))
        owner = np.repeat(np.arange(len(queries)), np.diff(offsets)).tolist()
        scores = self.reranker.score([(queries[q], d) for q, d in zip(owner, documents, strict=True)])
        scored = table.append_column(score_column(self.name), nullable_floats(scores))
        name = part_name(block.index)
        nulls = {s.name: scored[score_column(s.name)].null_count for s in self.table.scores}
        nulls[self.name] = int((~np.isfinite(scores)).sum())
        counts = {"queries": len(queries), "candidates": len(scores), "null_scores": nulls}
        draft.commit(block.name, {name: write_table(draft.path / name, scored)}, counts)
