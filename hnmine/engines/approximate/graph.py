"""A graph of near documents that a search walks: HNSW.

Malkov & Yashunin 2018, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
World graphs".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from hnmine.core.recall import doubling
from hnmine.engines.approximate.base import CHUNK, Approximate
from hnmine.engines.nearest import import_faiss
from hnmine.engines.retriever import Rows, Scores
from hnmine.engines.vectors import Vectors, VectorStore
from hnmine.files.atomic import replacing
from hnmine.options import Ann

FILE = "graph.faiss"
_LINKS, _BUILD_BREADTH = 32, 40
_NARROWEST, _BROADEST = 64, 4_096


class Graph(Approximate):
    """FAISS's HNSW over fp16 copies of the vectors, which it reads here and there.

    Built by one thread, because the graph depends on the order in which documents join it.
    """

    @classmethod
    def facts_of(cls, documents: int, dimension: int) -> dict[str, Any]:
        """Links of a document, how far was looked for them, and FAISS's version."""
        facts = {"kind": Ann.HNSW, "links": _LINKS, "build_breadth": _BUILD_BREADTH}
        return {**facts, "faiss": import_faiss().__version__}

    @classmethod
    def build(cls, facts: dict[str, Any], vectors: VectorStore, folder: Path) -> list[str]:
        """Add the documents one after the other."""
        faiss = import_faiss()
        stored = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexHNSWSQ(vectors.dimension, stored, facts["links"], faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = facts["build_breadth"]
        with _one_thread(faiss):
            for _, chunk in vectors.chunks(CHUNK):
                index.train(chunk[:1])  # fp16 learns nothing, but FAISS asks for it
                index.add(chunk)
        with replacing(folder / FILE) as pending:
            faiss.write_index(index, str(pending))
        return [FILE]

    @cached_property
    def _index(self) -> Any:
        faiss = import_faiss()
        mapped = getattr(faiss, "IO_FLAG_MMAP_IFC", 0)  # FAISS 1.11 and later
        return faiss.read_index(str(self.folder / FILE), mapped)

    def breadths(self) -> Sequence[int]:
        """Lengths of the queue: 64 to 4,096, or to all documents."""
        return [b for b in doubling(min(_BROADEST, self._index.ntotal)) if b >= min(_NARROWEST, self._index.ntotal)]

    def search(self, wanted: Vectors, depth: int, breadth: int) -> tuple[Rows, Scores]:
        """See `Approximate.search`; the queue is at least as long as `depth`."""
        parameters = import_faiss().SearchParametersHNSW(efSearch=max(breadth, depth))
        scores, rows = self._index.search(wanted, depth, params=parameters)
        return rows, scores

    def worth(self, k: int, breadth: int) -> int:
        """As many as the queue holds at most, or the search would be broader."""
        return min(breadth, super().worth(k, breadth))

    def words(self, breadth: int, depth: int) -> str:
        """What a search of this effort does, for people."""
        return f"hnsw, efSearch {breadth:,}"


@contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
