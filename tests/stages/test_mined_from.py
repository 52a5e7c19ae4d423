"""A block of candidates is mined again exactly when something that it depends on has changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hnmine
from hnmine.execute.local import Execution
from hnmine.stages.stage import Outcome
from tests.e2e.harness import contents, write_jsonl

DOCUMENTS, QUERIES, SIZE = 24, 12, 4


def draw(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, (count, 3)).astype(np.float16)


@dataclass(frozen=True, kw_only=True)
class World:
    """All that a mine reads; lists are by row, and queries are judged by pairs of rows."""

    texts: list[str] = field(default_factory=lambda: [f"text {i}" for i in range(DOCUMENTS)])
    years: list[int] = field(default_factory=lambda: [i % 3 for i in range(DOCUMENTS)])
    answers: list[str] = field(default_factory=lambda: [f"text {i}" for i in range(QUERIES)])
    query_years: list[int] = field(default_factory=lambda: [1] * QUERIES)
    judged: dict[tuple[int, int], int] = field(default_factory=lambda: {(i, i): 1 for i in range(QUERIES)})
    documents: np.ndarray = field(default_factory=lambda: draw(1, DOCUMENTS))
    queries: np.ndarray = field(default_factory=lambda: draw(2, QUERIES))
    run: dict[int, int] = field(default_factory=lambda: {i: DOCUMENTS - 1 - i for i in range(QUERIES)})
    excluded: list[str] = field(default_factory=lambda: ["d20"])

    def build(self, root: Path) -> Path:
        """The collection, its index, the run and the list of exclusions, in a directory."""
        pairs = zip(self.texts, self.years, strict=True)
        rows: list[dict[str, Any]] = [{"_id": f"d{i}", "text": t, "year": y} for i, (t, y) in enumerate(pairs)]
        write_jsonl(root / "data" / "corpus.jsonl", rows)
        known = zip(self.answers, self.query_years, strict=True)
        rows = [{"_id": f"q{i}", "text": f"query {i}", "answers": [a], "year": y} for i, (a, y) in enumerate(known)]
        write_jsonl(root / "data" / "queries.jsonl", rows)
        lines = [f"q{query}\td{document}\t{grade}" for (query, document), grade in self.judged.items()]
        (root / "data" / "qrels").mkdir()
        (root / "data" / "qrels" / "train.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
        np.save(root / "d.npy", self.documents)
        np.save(root / "q.npy", self.queries)
        (root / "other.trec").write_text("".join(f"q{q} Q0 d{d} 1 1.0 other\n" for q, d in self.run.items()))
        (root / "excluded.txt").write_text("\n".join(self.excluded) + "\n")
        hnmine.ingest(root / "data", root / "collection")
        options = hnmine.DenseOptions(vectors=str(root / "d.npy"), query_vectors=str(root / "q.npy"))
        hnmine.index_dense(root, root / "indexes" / "dense", options=options)
        return root

    def mine(self, root: Path, output: str, how: Execution | None = None) -> Outcome:
        """Mine with everything that there is."""
        options = hnmine.MineOptions(
            top_k=4,
            random=2,
            run=(str(root / "other.trec"),),
            where="document.year >= query.year",
            exclude_documents=str(root / "excluded.txt"),
        )
        return hnmine.mine(root, root / output, options=options, how=how)


def with_row(values: np.ndarray, row: int) -> np.ndarray:
    changed = values.copy()
    changed[row] = 5
    return changed


PLAIN = World()
CHANGES = {
    "nothing": (PLAIN, 3),
    "a judgment of query 0": (replace(PLAIN, judged={**PLAIN.judged, (0, 7): 1}), 2),
    "a grade of query 0": (replace(PLAIN, judged={**PLAIN.judged, (0, 0): 2}), 2),
    "the vector of query 5": (replace(PLAIN, queries=with_row(PLAIN.queries, 5)), 2),
    "an answer of query 5": (replace(PLAIN, answers=[*PLAIN.answers[:5], "other", *PLAIN.answers[6:]]), 2),
    "the year of query 11": (replace(PLAIN, query_years=[*PLAIN.query_years[:11], 2]), 2),
    "the run of query 0": (replace(PLAIN, run={**PLAIN.run, 0: 3}), 2),
    "the run of queries 0 and 11": (replace(PLAIN, run={**PLAIN.run, 0: 3, 11: 3}), 1),
    "a document's vector": (replace(PLAIN, documents=with_row(PLAIN.documents, 3)), 0),
    "a document's text": (replace(PLAIN, texts=["other", *PLAIN.texts[1:]]), 0),
    "a document's year": (replace(PLAIN, years=[2, *PLAIN.years[1:]]), 0),
    "what is excluded": (replace(PLAIN, excluded=["d21"]), 0),
}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HNMINE_TEST_BLOCK_SIZE", str(SIZE))
        return PLAIN.mine(PLAIN.build(tmp_path_factory.mktemp("earlier")), "candidates").path


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_mined_again_and_nothing_else(
    earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", str(SIZE))
    world, taken = CHANGES[change]
    root = world.build(tmp_path)
    plain = world.mine(root, "plain")
    appended = world.mine(root, "appended", Execution(append=earlier))
    assert contents(appended.path) == contents(plain.path)
    assert appended.blocks_taken_over == taken
    assert (contents(plain.path) == contents(earlier)) is (change == "nothing")
