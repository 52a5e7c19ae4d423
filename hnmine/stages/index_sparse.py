"""`index sparse`: encode documents and queries block by block into sparse vectors, then turn these into postings.

Blocks keep rows of (term, weight); they are turned into postings when the index is closed, so an index built from many
blocks, on many machines, is the one built in a single pass. Query vectors are kept beside the documents'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.core.sparse import SparseRows, invert
from hnmine.engines.models import resolve_model
from hnmine.engines.retriever import Rows
from hnmine.engines.sparse import SparseIndex, read_postings, read_queries, write_sparse
from hnmine.engines.sparse_encoder import SparseTextEncoder
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json, sum_counts
from hnmine.files.collection import Collection
from hnmine.files.tables import read_table, write_table
from hnmine.options import SparseOptions, as_plain
from hnmine.schema import Kind, Side
from hnmine.stages.append import Earlier
from hnmine.stages.encoding import EncodingStage, place, texts_digest
from hnmine.stages.stage import block_size, cut

BLOCK = 8_192


class IndexSparse(EncodingStage):
    """Builds a learned sparse index over a collection."""

    kind = Kind.SPARSE_INDEX
    label = "index sparse"
    unit = "texts"
    anew = None

    def __init__(self, collection: Collection, options: SparseOptions) -> None:
        self.collection = collection
        self.options = options
        self.block = block_size(BLOCK)
        resolved = resolve_model(
            options.model, revision=options.revision, organization="sparse-encoder", backend=options.backend
        )
        self._encoder = SparseTextEncoder(resolved, options)
        self._notes: Json = {"model": resolved.note}

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection."""
        return {"collection": self.collection.artefact}

    def parameters(self) -> Json:
        """The model by its bytes, and everything that moves floating point."""
        options = {k: v for k, v in as_plain(self.options).items() if k not in ("model", "device")}
        return {"options": options, "model": self._encoder.describe(), "block": self.block}

    def blocks(self) -> Sequence[Block]:
        """Blocks of 8,192 documents, then of 8,192 queries."""
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
        """Encode one block and write its vectors."""
        side_name, start = place(block, self.block)
        if side_name == "documents":
            texts, side = self.collection.document_texts_between(start, start + block.size), Side.DOCUMENT
        else:
            texts, side = self.collection.query_texts(np.arange(start, start + block.size)), Side.QUERY
        encoded = self._encoder.encode(texts, side)
        name = f"vectors/{block.name}.parquet"
        counts = {
            side_name: len(texts),
            f"truncated_{side_name}": encoded.truncated,
            f"empty_{side_name}": int((np.diff(encoded.vectors.offsets) == 0).sum()),
            f"weights_{side_name}": len(encoded.vectors.terms),
        }
        rows = write_table(draft.path / name, _to_table(encoded.vectors))
        draft.commit(block.name, {name: rows}, counts, made_from=self.made_from(block))

    def take_over(self, block: Block, earlier: Earlier, draft: Draft) -> None:
        """Write the block's vectors from the earlier index, which has them as postings and query vectors."""
        table, start = place(block, self.block)
        path, stop = earlier.artefact.path, start + block.size
        if table == "documents":
            found = read_postings(path).between(start, stop)
        else:
            found = read_queries(path).take(np.arange(start, stop))
        for name in earlier.files(block.name):
            write_table(draft.path / name, _to_table(found))

    @classmethod
    def close(cls, draft: Draft) -> Artefact:
        """Turn the documents' vectors into postings; put the queries' one behind the other."""
        receipts = draft.receipts(draft.plan["blocks"])
        names = [name for receipt in receipts for name in receipt["files"]]
        documents = _Vectors([draft.path / name for name in names if name.startswith("vectors/documents-")])
        queries = _Vectors([draft.path / name for name in names if name.startswith("vectors/queries-")])
        dimension = draft.plan["model"]["dimension"]
        written = write_sparse(draft.path, invert(documents, dimension), SparseRows.stack(queries))
        files = {name: draft.describe(name, rows) for name, rows in written.items()}
        counts = {**sum_counts(receipt["counts"] for receipt in receipts), "terms": dimension}
        return draft.close(files=files, counts=dict(sorted(counts.items())))


class _Vectors(Sequence[SparseRows]):
    """The vectors of several parts, each read when it is asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, place: int) -> SparseRows:  # type: ignore[override]
        return _from_table(read_table([self._paths[place]]))


def open_sparse(artefact: Artefact, *, name: str, tie_order: Rows) -> SparseIndex:
    """The retriever of a finished sparse index; its arrays are memory-mapped."""
    return SparseIndex(artefact.path, name=name, tie_order=tie_order)


def _to_table(rows: SparseRows) -> pa.Table:
    offsets = pa.array(rows.offsets)
    return pa.table(
        {
            "terms": pa.LargeListArray.from_arrays(offsets, pa.array(rows.terms)),
            "weights": pa.LargeListArray.from_arrays(offsets, pa.array(rows.weights)),
        }
    )


def _from_table(table: pa.Table) -> SparseRows:
    # Parquet cuts long columns into row groups, which are chunks here.
    if not table.num_rows:
        return SparseRows(offsets=np.zeros(1, np.int64), terms=np.empty(0, np.int32), weights=np.empty(0, np.float32))
    terms, weights = (table[name].combine_chunks() for name in ("terms", "weights"))
    return SparseRows(
        offsets=terms.offsets.to_numpy(), terms=terms.flatten().to_numpy(), weights=weights.flatten().to_numpy()
    )
