"""1 - p_false_negative as a column of each training format, from numbers written down here, and as a chance."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.core.layout import Layout
from hnmine.hashing import keyed_hash
from hnmine.options import Format
from hnmine.stages.formats import FORMATS, Rows
from hnmine.stages.picked import _weights


class Given(Rows):
    """Rows whose columns are written down."""

    queries = documents = None  # type: ignore[assignment]

    def __init__(self, offsets: list[int], documents: list[str], weights: list[float]) -> None:
        self.layout = Layout(query=np.arange(len(offsets) - 1), offsets=np.array(offsets), places=np.empty(0, np.int64))
        self.queries = pa.array([f"q{i}" for i in range(len(offsets) - 1)])
        self.documents = pa.array(documents)
        self.labels = pa.array([int(name.startswith("p")) for name in documents])
        self.scores = None
        self.weights = pa.array(weights, pa.float32())


def rows(offsets: list[int], documents: list[str], weights: list[float]) -> Rows:
    return Given(offsets, documents, weights)


@pytest.mark.parametrize(
    ("form", "given", "expected"),
    [
        (Format.TRIPLET, rows([0, 2, 4], ["p0", "a", "p1", "b"], [1.0, 0.75, 1.0, 0.5]), {"weight": [0.75, 0.5]}),
        (
            Format.N_TUPLE,
            rows([0, 3, 6], ["p0", "a", "b", "p1", "c", "d"], [1.0, 0.75, 0.5, 1.0, 0.25, 0.0]),
            {"weights": [[1.0, 0.75, 0.5], [1.0, 0.25, 0.0]]},
        ),
        (Format.LABELED_PAIR, rows([0, 1, 2], ["p0", "a"], [1.0, 0.75]), {"weight": [1.0, 0.75]}),
        (
            Format.LABELED_LIST,
            rows([0, 3, 5], ["p0", "a", "b", "p1", "c"], [1.0, 0.75, 0.5, 1.0, 0.25]),
            {"weights": [[1.0, 0.75, 0.5], [1.0, 0.25]]},
        ),
    ],
    ids=["triplet", "n-tuple", "labeled-pair", "labeled-list"],
)
def test_each_format(form: Format, given: Rows, expected: dict[str, list[object]]) -> None:
    table = FORMATS[form].table(given, width=2)
    (name,) = expected
    assert table.column_names[-1] == name
    assert table[name].to_pylist() == expected[name]


def test_a_positive_weighs_one_and_what_was_not_estimated_nothing_known() -> None:
    verdict = ["positive", "negative", "negative"]
    table = pa.table({"verdict": verdict, "p_false_negative": [None, 0.25, None]})
    assert _weights(table).tolist() == pytest.approx([1.0, 0.75, np.nan], nan_ok=True)
    assert _weights(table.drop_columns(["p_false_negative"])).tolist() == pytest.approx(
        [1, np.nan, np.nan], nan_ok=True
    )


WORDS = ["man", "food", "bread", "girl", "baby", "horse", "rides", "one", "two", "three"]


def test_filter_draws_by_the_estimates_that_it_writes(tmp_path: Path) -> None:
    pairs = [{"anchor": " ".join(WORDS[i : i + 2]), "positive": " ".join(WORDS[i : i + 3])} for i in range(8)]
    texts = [f"{a} {b}" for a in WORDS for b in WORDS if a < b]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"c{i}", "text": text}) + "\n" for i, text in enumerate(texts))
    )
    given = hnmine.InputOptions(corpus=str(tmp_path / "corpus.jsonl"))
    hnmine.ingest(tmp_path / "pairs.jsonl", tmp_path / "collection", options=given)
    hnmine.index_bm25(tmp_path / "collection", tmp_path / "bm25", options=hnmine.Bm25Options(language="none"))
    hnmine.mine(tmp_path / "collection", tmp_path / "c", indexes=[tmp_path / "bm25"])
    asked = hnmine.FilterOptions(num_negatives=3, pick="random", no_margin=True, seed=5)
    hnmine.filter(tmp_path / "c", tmp_path / "plain", options=asked)
    hnmine.filter(tmp_path / "c", tmp_path / "d", options=replace(asked, fn_weight=True))

    def picked(name: str) -> dict[str, list[str]]:
        rows = [r for r in pq.read_table(tmp_path / name / "part-00000.parquet").to_pylist() if r["pick_rank"]]
        rows.sort(key=lambda r: r["pick_rank"])
        return {q: [r["doc_id"] for r in rows if r["query_id"] == q] for q in {r["query_id"] for r in rows}}

    def place(row: dict[str, object]) -> float:
        """An exponential clock: at rate 1 - p, the first to ring is drawn first."""
        p = row["p_false_negative"]
        uniform = ((keyed_hash(5, "pick", str(row["query_id"]), str(row["doc_id"])) >> 12) + 0.5) / 2**52
        return -math.log(uniform) / (1 - float(str(p)))

    drawn = picked("d")
    assert drawn != picked("plain")
    decided = pq.read_table(tmp_path / "d" / "part-00000.parquet").to_pylist()
    assert len(drawn) == len(pairs)
    for query, order in drawn.items():
        own = [r for r in decided if r["query_id"] == query and r["verdict"] in ("negative", "reserve")]
        assert len({round(r["p_false_negative"], 3) for r in own}) >= 3
        assert order == [r["doc_id"] for r in sorted(own, key=place)]
