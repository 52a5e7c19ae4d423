"""`index late`: encode documents and queries block by block into a vector for every token (ColBERT).

Vectors are kept in fp16 and searched as they are: nothing is compressed, clustered or pruned, so every score is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hnmine.engines.late import LateIndex
from hnmine.engines.late_encoder import LateTextEncoder
from hnmine.engines.models import resolve_model
from hnmine.engines.retriever import Rows
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json
from hnmine.files.collection import Collection
from hnmine.files.tables import write_array
from hnmine.options import LateOptions, as_plain
from hnmine.schema import Kind, Side
from hnmine.stages.encoding import EncodingStage, place, texts_digest
from hnmine.stages.stage import block_size, cut

BLOCK = 2_048
"""Texts of a block: a text has a hundred vectors and more, so blocks are smaller than a dense index's."""


class IndexLate(EncodingStage):
    """Builds a late-interaction index over a collection."""

    kind = Kind.LATE_INDEX
    label = "index late"
    unit = "texts"
    anew = None

    def __init__(self, collection: Collection, options: LateOptions) -> None:
        self.collection = collection
        self.options = options
        self.block = block_size(BLOCK)
        resolved = resolve_model(options.model, revision=options.revision, organization=None, backend=options.backend)
        self._encoder = LateTextEncoder(resolved, options)
        self._notes: Json = {"model": resolved.note}

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection."""
        return {"collection": self.collection.artefact}

    def parameters(self) -> Json:
        """The model by its bytes, and everything that moves floating point."""
        options = {k: v for k, v in as_plain(self.options).items() if k not in ("model", "device")}
        return {"options": options, "model": self._encoder.describe(), "block": self.block}

    def blocks(self) -> Sequence[Block]:
        """Blocks of 2,048 documents, then of 2,048 queries."""
        documents = cut(len(self.collection.documents), self.block, "documents")
        queries = cut(len(self.collection.queries), self.block, "queries")
        return [*documents, *(Block(name=b.name, index=b.index + len(documents), size=b.size) for b in queries)]

    def sizes(self) -> Json:
        """Texts to encode."""
        return {"documents": len(self.collection.documents), "queries": len(self.collection.queries)}

    def notes(self) -> Json:
        """Which model was taken, and from where."""
        return self._notes

    def made_from(self, block: Block) -> str:
        """The block's texts."""
        return texts_digest(self.collection, block, self.block)

    def work(self, block: Block, draft: Draft) -> None:
        """Encode one block and write its token vectors, and how many each text has."""
        side_name, start = place(block, self.block)
        if side_name == "documents":
            texts, side = self.collection.document_texts_between(start, start + block.size), Side.DOCUMENT
        else:
            texts, side = self.collection.query_texts(np.arange(start, start + block.size)), Side.QUERY
        encoded = self._encoder.encode(texts, side)
        vectors, lengths = f"vectors/{block.name}.npy", f"lengths/{block.name}.npy"
        counts = {
            side_name: len(texts),
            f"truncated_{side_name}": encoded.truncated,
            f"empty_{side_name}": int((encoded.lengths == 0).sum()),
            f"tokens_{side_name}": len(encoded.vectors),
        }
        files = {
            vectors: write_array(draft.path / vectors, encoded.vectors),
            lengths: write_array(draft.path / lengths, encoded.lengths),
        }
        draft.commit(block.name, files, counts, made_from=self.made_from(block))

    @classmethod
    def summarise(cls, draft: Draft, counts: Json) -> Json:
        """Add the dimension."""
        return {**counts, "dimension": draft.plan["model"]["dimension"]}


def open_late(artefact: Artefact, *, name: str, tie_order: Rows) -> LateIndex:
    """The retriever of a finished late-interaction index; its vectors are memory-mapped."""
    documents, queries = (
        (artefact.files(f"vectors/{side}-", ".npy"), artefact.files(f"lengths/{side}-", ".npy"))
        for side in ("documents", "queries")
    )
    return LateIndex(documents, queries, name=name, tie_order=tie_order)
