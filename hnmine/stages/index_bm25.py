"""`index bm25`: count terms block by block, then combine the counts into postings and score them.

Blocks keep integer counts; document frequencies and lengths are combined when the index is closed, so an index built
from many blocks, on many machines, scores as one built in a single pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.core.bm25 import Counts, check_parameters, combine, count, impacts
from hnmine.engines.analysis import Analyser, detect_language, normalise_language
from hnmine.engines.arithmetic import numpy_facts
from hnmine.engines.bm25 import Bm25sIndex, MaxScoreIndex, RankBm25Index, write_postings
from hnmine.engines.postings import counts_between, open_postings
from hnmine.engines.retriever import Retriever, Rows
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json, sum_counts
from hnmine.files.collection import Collection
from hnmine.files.tables import part_name, read_table, write_table
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
        check_parameters(options.method, options.k1, options.b, options.delta)
        if options.engine is Bm25Engine.RANK_BM25:
            RankBm25Index.check_method(options.method)
        self.collection = collection
        self.options = options
        self.block = block_size(BLOCK)
        language = options.language
        if language == "auto":
            language = detect_language(self._sample())
        self.analyser = Analyser(normalise_language(language))

    def _sample(self) -> list[str]:
        total = len(self.collection.documents)
        rows = np.unique(np.linspace(0, total - 1, min(LANGUAGE_SAMPLE, total)).astype(np.int64))
        return self.collection.document_texts(rows)

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
            write_table(draft.path / name, _to_table(counts))

    def work(self, block: Block, draft: Draft) -> None:
        """Count the terms of one block of documents."""
        start = block.index * self.block
        texts = self.collection.document_texts_between(start, start + block.size)
        counts = count(self.analyser.tokens(text) for text in texts)
        name = part_name(block.index, "counts")
        write_table(draft.path / name, _to_table(counts))
        numbers = {
            "documents": block.size,
            "tokens": int(counts.lengths.sum()),
            "empty": int((counts.lengths == 0).sum()),
        }
        draft.commit(block.name, {name: block.size}, numbers, made_from=self.made_from(block))

    @classmethod
    def close(cls, draft: Draft) -> Artefact:
        """Combine the counts of all blocks and score the postings."""
        receipts = draft.receipts(draft.plan["blocks"])
        parts = [name for receipt in receipts for name in receipt["files"]]
        postings = combine([_from_table(read_table([draft.path / name])) for name in parts])
        options = draft.plan["options"]
        scores, absent = impacts(
            postings, Bm25Method(options["method"]), k1=options["k1"], b=options["b"], delta=options["delta"]
        )
        names = write_postings(draft.path / POSTINGS, postings, scores, absent)
        files = {f"{POSTINGS}/{name}": draft.describe(f"{POSTINGS}/{name}", 0) for name in names}
        counts = sum_counts(receipt["counts"] for receipt in receipts)
        counts |= {"terms": len(postings.vocabulary), "postings": len(postings.documents)}
        return draft.close(files=files, counts=dict(sorted(counts.items())))


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


def _to_table(counts: Counts) -> pa.Table:
    arrays: dict[str, Any] = {
        "vocabulary": counts.vocabulary,
        "document_offsets": counts.document_offsets,
        "tokens": counts.tokens,
        "counts": counts.counts,
        "lengths": counts.lengths,
    }
    types = {"vocabulary": pa.large_string()}
    columns = {}
    for name, values in arrays.items():
        flat = pa.array(values, types.get(name))
        columns[name] = pa.LargeListArray.from_arrays(pa.array([0, len(flat)], pa.int64()), flat)
    return pa.table(columns)


def _from_table(table: pa.Table) -> Counts:
    def flat(name: str) -> Any:
        return table[name].combine_chunks().flatten() if table.num_rows else pa.array([])

    return Counts(
        vocabulary=flat("vocabulary").to_pylist(),
        document_offsets=flat("document_offsets").to_numpy(),
        tokens=flat("tokens").to_numpy(),
        counts=flat("counts").to_numpy(),
        lengths=flat("lengths").to_numpy(),
    )
