"""`downsample`: a small corpus to evaluate with. What is judged, and what several searchers have among their first k.

After MMTEB (Enevoldsen et al. 2025, arXiv 2502.13595): documents that no searcher places high hardly change a ranking
metric, and cost as much to encode as any other. What a system that did not feed the pool would lose is measured, too:
each one that did is taken out once, and judged in the corpus of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.errors import UsageError
from hnmine.execute.local import Block
from hnmine.files.artefact import Artefact, Draft, Json, sum_counts
from hnmine.files.cache import default_cache
from hnmine.files.candidates import keyed_sample
from hnmine.files.collection import Collection
from hnmine.files.encodings import Encoding, JsonLines
from hnmine.options import DownsampleOptions
from hnmine.schema import Kind
from hnmine.stages.export_checks import refuse_ids
from hnmine.stages.formats import beir
from hnmine.stages.formats.base import Documents, Queries
from hnmine.stages.indexes import check_names, queries_with_positives
from hnmine.stages.rankings import Ranking, of_candidates, of_runs
from hnmine.stages.runs import read_runs
from hnmine.stages.stage import Stage, block_size, cut, require_made_from
from hnmine.stages.systems import Yardstick, brought, measured

BLOCK = 65_536
_WHOLE: dict[str, tuple[str, Encoding]] = {
    "corpus": ("corpus.jsonl", JsonLines()),
    "queries": ("queries.jsonl", JsonLines()),
    "qrels": ("qrels/test.tsv", beir.QRELS),
}
"""What is joined of parts: the folder of these, the file and its encoding. The names are BEIR's."""
Bools = npt.NDArray[np.bool_]


class Downsample(Stage):
    """Writes a small collection in BEIR's layout, and what systems are worth in it."""

    kind = Kind.DOWNSAMPLED
    label = "downsample"
    unit = "documents"

    def __init__(
        self,
        collection: Collection,
        candidates: Sequence[Artefact],
        options: DownsampleOptions,
        *,
        cache: Path | None = None,
    ) -> None:
        if options.top_k < 1:
            raise UsageError(f"--top-k {options.top_k}: at least 1")
        if not candidates and not options.run:
            raise UsageError(
                "nothing to pool", expected="--candidates DIR or --run FILE, of several retrievers at best"
            )
        self.collection = collection
        self.options = options
        self.block = block_size(BLOCK)
        require_made_from(collection.artefact, *candidates)
        self._candidates = list(candidates)
        self._runs = {
            name: read_runs(given, collection, cache or default_cache())
            for name, given in (("run", options.run), ("system", options.system))
        }
        rows = queries_with_positives(collection.qrels, collection.min_relevance)
        ids = collection.query_ids.take(pa.array(rows))
        self.query_rows = rows[keyed_sample(ids, options.limit, options.seed)]
        self.judged = collection.qrels.of(self.query_rows)
        documents = len(collection.documents)
        found = [ranking for one in candidates for ranking in of_candidates(one, collection, self.query_rows)]
        self.pooled: list[Ranking] = found + of_runs(self._runs["run"], self.query_rows, documents)
        self.others: list[Ranking] = of_runs(self._runs["system"], self.query_rows, documents)
        check_names([one.name for one in (*self.pooled, *self.others)])
        self._tops = [one.first(options.top_k) for one in self.pooled]
        self.doc_rows = np.flatnonzero(self._corpus())
        refuse_ids(
            beir.IDS_WITHOUT,
            "BEIR's layout",
            "rename them in DATA",
            document=collection.doc_ids.take(pa.array(self.doc_rows)),
            query=collection.query_ids.take(pa.array(self.query_rows)),
        )

    def _corpus(self, without: int | None = None) -> Bools:
        """Which documents are judged, or pooled from any system but one."""
        mask = np.zeros(len(self.collection.documents), np.bool_)
        mask[self.judged.doc_rows] = True
        for number, rows in enumerate(self._tops):
            if number != without:
                mask[rows] = True
        return mask

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection, and the candidates."""
        candidates = {f"candidates:{number}": one for number, one in enumerate(self._candidates)}
        return {"collection": self.collection.artefact, **candidates}

    def parameters(self) -> Json:
        """Depth and sample; runs by their digests."""
        runs = {option: {run.name: run.digest for run in runs} for option, runs in self._runs.items()}
        options = {"top_k": self.options.top_k, "limit": self.options.limit, "seed": self.options.seed, **runs}
        return {"options": options, "block": self.block}

    def blocks(self) -> Sequence[Block]:
        """Blocks of 65,536 documents, queries, judgments; and one in which systems are measured."""
        found = [
            *cut(len(self.doc_rows), self.block, "corpus"),
            *cut(len(self.query_rows), self.block, "queries"),
            *cut(len(self.judged.query_rows), self.block, "qrels"),
            Block(name="systems-00000", index=0, size=0),
        ]
        return [Block(name=block.name, index=index, size=block.size) for index, block in enumerate(found)]

    def sizes(self) -> Json:
        """What of the collection is kept."""
        return {
            "queries": len(self.query_rows),
            "documents": len(self.doc_rows),
            "documents_of": len(self.collection.documents),
        }

    def notes(self) -> Json:
        """What is left out of runs, and which rankings are not as deep as the pool asks for."""
        found = {name: words for runs in self._runs.values() for run in runs for name, words in run.notes().items()}
        shallow = [f"{one.name} {one.deepest}" for one in self.pooled if one.deepest < self.options.top_k]
        said = f"{', '.join(shallow)}: less than --top-k {self.options.top_k}, and all that they have is taken"
        return found | ({"deepest rank": said} if shallow else {})

    def work(self, block: Block, draft: Draft) -> None:
        """Write a part of one of the files, or measure the systems."""
        table, _, number = block.name.rpartition("-")
        if table == "systems":
            draft.commit(block.name, {}, self._measured())
            return
        _, encoding = _WHOLE[table]
        part = slice(int(number) * self.block, int(number) * self.block + block.size)
        counts = {"documents" if table == "corpus" else "judgments" if table == "qrels" else table: block.size}
        name = f"{table}/part-{number}{encoding.part_suffix}"
        rows = encoding.write_part(draft.path / name, self._table(table, part))
        draft.commit(block.name, {name: rows}, counts)

    def _table(self, table: str, part: slice) -> pa.Table:
        if table == "corpus":
            return beir.documents(Documents(self.collection, self.doc_rows[part]))
        if table == "queries":
            return beir.queries(Queries(self.collection, self.query_rows[part]))
        judged = self.judged.take(np.arange(len(self.judged.query_rows))[part])
        asked = self.query_rows[judged.query_rows]
        return pa.table(
            {
                "query-id": self.collection.query_ids.take(pa.array(asked)),
                "corpus-id": self.collection.doc_ids.take(pa.array(judged.doc_rows)),
                "score": pa.array(judged.grades),
            }
        )

    def _measured(self) -> Json:
        """What systems are worth, and what each ranking brought."""
        yardstick = Yardstick(self.judged, len(self.query_rows), len(self.collection.documents))
        alone = [self._corpus(without=number) for number in range(len(self.pooled))]
        is_judged = np.zeros(yardstick.documents, np.bool_)
        is_judged[self.judged.doc_rows] = True
        return {
            "documents_of": yardstick.documents,
            "documents_judged": int(is_judged.sum()),
            "pool": {
                one.name: brought(top, is_judged, others)
                for one, top, others in zip(self.pooled, self._tops, alone, strict=True)
            },
            **measured(yardstick, self.pooled, self.others, self._corpus(), alone),
        }

    @classmethod
    def close(cls, draft: Draft) -> Artefact:
        """Join the parts, and write the manifest."""
        receipts = draft.receipts(draft.plan["blocks"])
        parts = {name: rows["rows"] for receipt in receipts for name, rows in receipt["files"].items()}
        files: Json = {}
        for folder, (name, encoding) in _WHOLE.items():
            own = sorted(part for part in parts if part.startswith(f"{folder}/part-"))
            encoding.join([draft.path / part for part in own], draft.path / name)
            files[name] = draft.describe(name, sum(parts[part] for part in own))
        return draft.close(files=files, counts=sum_counts(receipt["counts"] for receipt in receipts))
