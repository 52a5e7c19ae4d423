"""`index bm25`: count terms block by block, then merge the counts into postings and score them.

Blocks keep integer counts; document frequencies and lengths are added up when the index is closed, so an index built
from many blocks, on many machines, scores as one built in a single pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.core.bm25 import Scoring, count
from hnmine.engines.analysis import Analyser, detect_language, normalise_language
from hnmine.engines.arithmetic import numpy_facts
from hnmine.engines.bm25 import Bm25sIndex, MaxScoreIndex, RankBm25Index
from hnmine.engines.merging import merge, write_counts
from hnmine.engines.postings import ARRAYS, counts_between, open_postings
from hnmine.engines.retriever import Retriever, Rows
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json, sum_counts
from hnmine.files.collection import Collection
from hnmine.files.tables import part_name
from hnmine.options import Bm25Engine, Bm25Method, Bm25Options, as_plain
from hnmine.schema import Kind
from hnmine.stages.append import Earlier
from hnmine.stages.stage import Stage, block_size, cut

BLOCK = 65_536
LANGUAGE_SAMPLE = 2_000
POSTINGS = "postings"


class IndexBm25(Stage):
    """Builds a BM25 index over a collection."""

    kind = Kind.BM25_INDEX
    label = "index bm25"
    unit = "documents"
    anew = None

    def __init__(self, collection: Collection, options: Bm25Options) -> None:
        _scoring(as_plain(options))  # refuses what is out of range
        if options.engine is Bm25Engine.RANK_BM25:
            RankBm25Index.check_method(options.method)
        self.collection = collection
        self.options = options
        self.block = block_size(BLOCK)
        language = options.language
        if language == "auto":
            language = detect_language(sample_texts(collection))
        self.analyser = Analyser(normalise_language(language))

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection."""
        return {"collection": self.collection.artefact}

    def parameters(self) -> Json:
        """The variant, its constants, and everything that changes a token."""
        return {
            "options": as_plain(self.options),
            "analyser": self.analyser.describe(),
            "arithmetic": numpy_facts(),
            "block": self.block,
        }

    def blocks(self) -> Sequence[Block]:
        """Blocks of 65,536 documents."""
        return cut(len(self.collection.documents), self.block, "counts")

    def sizes(self) -> Json:
        """How many documents there are to count."""
        return {"documents": len(self.collection.documents)}

    def made_from(self, block: Block) -> str:
        """The block's texts."""
        start = block.index * self.block
        return self.collection.texts_digest("documents", start, start + block.size)

    def take_over(self, block: Block, earlier: Earlier, draft: Draft) -> None:
        """Write the block's counts from the earlier index, which has them as postings."""
        start = block.index * self.block
        arrays = open_postings(earlier.artefact.path / POSTINGS, documents=earlier.artefact.counts["documents"])
        counts = counts_between(arrays, start, start + block.size)
        for name in earlier.files(block.name):
            write_counts(draft.path / name, counts)

    def work(self, block: Block, draft: Draft) -> None:
        """Count the terms of one block of documents."""
        start = block.index * self.block
        texts = self.collection.document_texts_between(start, start + block.size)
        counts = count(self.analyser.tokens(text) for text in texts)
        name = part_name(block.index, "counts", ".arrow")
        write_counts(draft.path / name, counts)
        numbers = {
            "documents": block.size,
            "tokens": int(counts.lengths.sum()),
            "empty": int((counts.lengths == 0).sum()),
        }
        draft.commit(block.name, {name: block.size}, numbers, made_from=self.made_from(block))

    @classmethod
    def close(cls, draft: Draft) -> Artefact:
        """Merge the counts of all blocks into postings, and score them."""
        receipts = draft.receipts(draft.plan["blocks"])
        parts = [draft.path / name for receipt in receipts for name in receipt["files"]]
        sizes = merge(parts, draft.path / POSTINGS, _scoring(draft.plan["options"]))
        names = [f"{POSTINGS}/{name}.npy" for name in ARRAYS]
        counts = sum_counts(receipt["counts"] for receipt in receipts) | sizes
        return draft.close(files={name: draft.describe(name, 0) for name in names}, counts=dict(sorted(counts.items())))


def sample_texts(collection: Collection) -> list[str]:
    """Evenly spaced texts of a collection, to tell its language by."""
    total = len(collection.documents)
    rows = np.unique(np.linspace(0, total - 1, min(LANGUAGE_SAMPLE, total)).astype(np.int64))
    return collection.document_texts(rows)


def _scoring(options: Mapping[str, Any]) -> Scoring:
    return Scoring(**{name: options[name] for name in ("method", "k1", "b", "delta")})


def open_bm25(artefact: Artefact, *, name: str, tie_order: Rows) -> Retriever:
    """The retriever of a finished BM25 index; its arrays are memory-mapped."""
    options = artefact.plan["options"]
    analyser = Analyser(artefact.plan["analyser"]["language"])
    directory: Path = artefact.path / POSTINGS
    engine = Bm25Engine(options["engine"])
    if engine is Bm25Engine.RANK_BM25:
        return RankBm25Index(
            directory,
            analyser=analyser,
            name=name,
            tie_order=tie_order,
            method=Bm25Method(options["method"]),
            k1=options["k1"],
            b=options["b"],
            delta=options["delta"],
        )
    kind = Bm25sIndex if engine is Bm25Engine.BM25S else MaxScoreIndex
    return kind(directory, analyser=analyser, name=name, tie_order=tie_order)
