"""`index dense`: encode documents and queries block by block into memory-mapped vector shards.

Vectors are kept by hnmine, so that every later score is exact; query vectors are kept beside the documents'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.engines.dense import DenseIndex
from hnmine.engines.encoder import Encoder, SentenceTransformerEncoder
from hnmine.engines.http_json import is_remote
from hnmine.engines.models import resolve_model
from hnmine.engines.remote_encoder import RemoteEncoder
from hnmine.engines.retriever import Rows
from hnmine.engines.vectors import open_vectors, scale_of
from hnmine.errors import InputError, PlanDoesNotFit, UsageError
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json, sum_counts
from hnmine.files.collection import Collection
from hnmine.files.remote import as_path
from hnmine.files.tables import write_array
from hnmine.hashing import digest_file
from hnmine.options import Ann, Backend, DenseOptions, Dtype, Store, as_plain
from hnmine.schema import Kind, Scale, Side
from hnmine.stages import searching
from hnmine.stages.encoding import EncodingStage, place, texts_digest
from hnmine.stages.kept_documents import KeptDocuments, check_kept
from hnmine.stages.stage import block_size, cut

BLOCK = 8_192
_GOOD_AGREEMENT, _POOR_AGREEMENT = 0.999, 0.99
_NUMPY = {Store.FP16: np.float16, Store.FP32: np.float32}


class IndexDense(EncodingStage):
    """Builds a dense index over a collection, with a model or from ready-made vectors.

    `encoder` is an encoder that is there already, in place of the model that the options name.
    """

    kind = Kind.DENSE_INDEX
    label = "index dense"
    unit = "texts"

    def __init__(self, collection: Collection, options: DenseOptions, *, encoder: Encoder | None = None) -> None:
        self.collection = collection
        self.options = options
        self.block = block_size(BLOCK)
        self._ready: dict[Side, npt.NDArray[np.floating]] = {}
        self._encoder: Encoder | None = encoder
        self._notes: Json = {}
        self._is_checked = False
        self._kept = self._open_kept()
        if options.query_vectors and not options.vectors:
            raise UsageError("--query-vectors goes with --vectors")
        if options.vectors:
            self._read_vectors(options)
        elif encoder is None and is_remote(options.model):
            remote = RemoteEncoder(options)
            self._encoder = remote
            self._notes = {"model": f"{remote.model} at {options.model}, known by its name alone"}
        elif encoder is None:
            if options.remote_model is not None:
                raise UsageError("--remote-model goes with a URL as --model")
            resolved = resolve_model(options.model, revision=options.revision, backend=options.backend)
            self._encoder = SentenceTransformerEncoder(resolved, options)
            self._notes = {"model": resolved.note}
        if self._kept is not None and self._encoder is not None:
            self._kept.check(self._encoder)
            self._notes |= self._kept.notes()

    def _open_kept(self) -> KeptDocuments | None:
        options = self.options
        check_kept(options)
        if options.keep_documents is None:
            return None
        return KeptDocuments.open(options.keep_documents, self.collection, compensate=options.compensate_drift)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ready": {}}  # another process opens the vectors itself

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.options.vectors:
            self._read_vectors(self.options)

    def _read_vectors(self, options: DenseOptions) -> None:
        wanted = {Side.DOCUMENT: (options.vectors, self.collection.doc_ids)}
        if len(self.collection.queries):
            if not options.query_vectors:
                raise UsageError(
                    "--vectors without --query-vectors: the collection has queries, which need vectors too"
                )
            wanted[Side.QUERY] = (options.query_vectors, self.collection.query_ids)
        for side, (path, ids) in wanted.items():
            self._ready[side] = open_vectors(as_path(str(path)), ids)
        if len({v.shape[1] for v in self._ready.values()}) > 1:
            shapes = ", ".join(f"{side} {v.shape[1]}" for side, v in self._ready.items())
            raise InputError(f"the vectors differ in dimension: {shapes}")

    @property
    def scale(self) -> Scale:
        """Cosine if all vectors have length 1, else dot product."""
        if self._kept is not None:
            return self._kept.scale
        scales = {scale_of(vectors) for vectors in self._ready.values()}
        return Scale.DOT if Scale.DOT in scales else Scale.COSINE

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection, and the index whose documents are kept."""
        kept = {"documents": self._kept.index} if self._kept is not None else {}
        return {"collection": self.collection.artefact, **kept}

    def parameters(self) -> Json:
        """The model by its bytes (or the vectors' files), and everything that moves floating point."""
        # Where a model was found and how many texts a call takes are not the user's decision; describe() has the rest.
        hidden = {"model", "remote_model", "vectors", "query_vectors", "keep_documents", "device", "ann"}
        options = {k: v for k, v in as_plain(self.options).items() if k not in hidden}
        if self._encoder is not None:
            source: Json = {"model": self._encoder.describe()}
        else:
            paths = {"documents": self.options.vectors, "queries": self.options.query_vectors}
            source = {"vectors": {name: digest_file(as_path(path)) for name, path in paths.items() if path}}
        return {"options": options, **source, "scale": str(self.scale), "ann": self._ann, "block": self.block}

    @cached_property
    def _ann(self) -> Json:
        if self.options.ann is Ann.FLAT:
            return {"kind": Ann.FLAT}  # without asking the model for its dimension
        sizes = len(self.collection.documents), len(self.collection.queries), self._dimension()
        return searching.facts_of(self.options.ann, *sizes)

    def blocks(self) -> Sequence[Block]:
        """Blocks of 8,192 documents, then of 8,192 queries."""
        documents = cut(len(self.collection.documents), self.block, "documents")
        queries = cut(len(self.collection.queries), self.block, "queries")
        shifted = [Block(name=b.name, index=b.index + len(documents), size=b.size) for b in queries]
        return [*documents, *shifted]

    def sizes(self) -> Json:
        """Texts to encode."""
        return {"documents": len(self.collection.documents), "queries": len(self.collection.queries)}

    def notes(self) -> Json:
        """Which model was taken, from where, and how far reduced arithmetic moves its vectors."""
        return self._notes

    @property
    def anew(self) -> str | None:
        """Ready-made vectors are never taken over."""
        if self._kept is not None:
            return "--keep-documents takes over the documents by itself"
        return None if self._encoder is not None else "the vectors are there already"

    def made_from(self, block: Block) -> str | None:
        """The block's texts."""
        return texts_digest(self.collection, block, self.block) if self.anew is None else None

    def work(self, block: Block, draft: Draft) -> None:
        """Encode one block and write its vectors."""
        self._check_arithmetic()
        side_name, start = place(block, self.block)
        side = Side.DOCUMENT if side_name == "documents" else Side.QUERY
        vectors, truncated = self._vectors(side, start, start + block.size)
        dtype = _NUMPY[self.options.store]
        with np.errstate(over="ignore"):
            stored = vectors.astype(dtype)
        if not np.isfinite(stored).all():
            raise InputError(
                "vectors do not fit into fp16", expected="values up to 65,504", remedy="--store fp32, or normalise them"
            )
        name = f"vectors/{block.name}.npy"
        draft.commit(
            block.name,
            {name: write_array(draft.path / name, stored)},
            {side_name: len(stored), f"truncated_{side_name}": truncated},
            made_from=self.made_from(block),
        )

    def _check_arithmetic(self) -> None:
        """Compare reduced arithmetic with fp32 on a few documents, once a process: note it, refuse what is wrong.

        The documents depend on the collection alone, so all workers see the same. Raises `PlanDoesNotFit` below a
        cosine of 0.99, unless this arithmetic was asked for by name.
        """
        encoder = self._encoder
        if self._is_checked or not isinstance(encoder, SentenceTransformerEncoder) or encoder.is_exact:
            return
        self._is_checked = True
        texts = self._spread_texts()
        least = encoder.agreement(texts)
        note = "not compared with fp32, which does not run here"
        if least is not None:
            note = f"least cosine to fp32 {least:.5f} on {len(texts)} documents"
            is_asked_for = self.options.dtype is not Dtype.AUTO or self.options.backend is not Backend.TORCH
            if least < _POOR_AGREEMENT and not is_asked_for:
                what = f"{encoder.arithmetic}: {note}"
                raise PlanDoesNotFit(what, changes={"dtype": "fp32"}, remedy="--dtype fp32")
            if least < _GOOD_AGREEMENT:
                note += "; these vectors are poor: --backend torch --dtype fp32 gives the model's own"
        self._notes = {**self._notes, encoder.arithmetic: note}

    def _spread_texts(self) -> list[str]:
        """At most 32 documents (at most one in 64, but 4), from the shortest to the longest of 512 evenly spaced."""
        total = len(self.collection.documents)
        rows = np.unique(np.linspace(0, total, min(512, total), endpoint=False).astype(np.int64))
        texts = sorted(self.collection.document_texts(rows), key=len)
        wanted = min(len(texts), 32, max(4, total // 64))
        return [texts[place] for place in np.linspace(0, len(texts) - 1, wanted).astype(np.int64)] if texts else []

    def _vectors(self, side: Side, start: int, stop: int) -> tuple[npt.NDArray[np.floating], int]:
        if self._encoder is None:
            ready = self._ready.get(side)
            return (ready[start:stop], 0) if ready is not None else (np.empty((0, self._dimension()), np.float32), 0)
        if side is Side.DOCUMENT and self._kept is not None:
            return self._kept.documents(start, stop), 0
        if side is Side.DOCUMENT:
            texts = self.collection.document_texts_between(start, stop)
        else:
            texts = self.collection.query_texts(np.arange(start, stop))
        if not texts:
            return np.empty((0, self._dimension()), np.float32), 0
        encoded = self._encoder.encode(texts, side)
        if self._kept is not None:
            return self._kept.queries(encoded.vectors, self._encoder), encoded.truncated
        return encoded.vectors, encoded.truncated

    def _dimension(self) -> int:
        return self._encoder.dimension if self._encoder else next(iter(self._ready.values())).shape[1]

    @classmethod
    def shared(cls, parameters: Json) -> Json:
        """All but the approximate search, which is built anew from all vectors."""
        return {name: value for name, value in parameters.items() if name != "ann"}

    @classmethod
    def close(cls, draft: Draft) -> Artefact:
        """Build the approximate search, if the plan has one, from all blocks; a kill during it costs all of it."""
        receipts = draft.receipts(draft.plan["blocks"])
        files = {name: entry for receipt in receipts for name, entry in receipt["files"].items()}
        first = np.load(draft.path / "vectors/documents-00000.npy", mmap_mode="r")
        built, recall = searching.build(draft)
        counts = sum_counts(receipt["counts"] for receipt in receipts)
        return draft.close(files={**files, **built}, counts={**counts, "dimension": int(first.shape[1]), **recall})


def open_dense(artefact: Artefact, *, name: str, tie_order: Rows) -> DenseIndex:
    """The retriever of a finished dense index; its vectors are memory-mapped."""
    approximate, efforts = searching.search_of(artefact)
    return DenseIndex(
        artefact.files("vectors/documents-", ".npy"),
        artefact.files("vectors/queries-", ".npy"),
        name=name,
        tie_order=tie_order,
        scale=Scale(artefact.plan["scale"]),
        approximate=approximate,
        efforts=efforts,
    )
