"""A collection's texts as training files take them: each different text once."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hnmine.files import collection
from hnmine.files.collection import Collection, rows_in_order, rows_of


def ingested(folder: Path) -> Path:
    """300 documents, every text of which is there three times."""
    lines = [json.dumps({"id": f"d{i:03d}", "text": f"about the matter number {i % 100}"}) for i in range(300)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    subprocess.run([sys.executable, "-m", "hnmine", "ingest", folder / "corpus.jsonl", "-o", folder / "c"], check=True)
    return folder / "c"


def test_a_text_of_several_documents_is_held_once(tmp_path: Path) -> None:
    found = Collection.open(ingested(tmp_path)).document_dictionary(np.array([5, 105, 205, 7, 5]))
    assert found.dictionary.to_pylist() == ["about the matter number 5", "about the matter number 7"]
    assert found.indices.to_pylist() == [0, 0, 0, 1, 0]


@pytest.mark.parametrize("step", [1, 7, 1_000])
def test_rows_of_ids_that_come_in_order_are_found_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(collection, "_LOOKED_UP", step)
    names = [f"q{i}" for i in np.random.default_rng(0).permutation(100)]
    ids = pa.chunked_array([names[:30], names[30:31], names[31:]], pa.string())
    for picks in (range(100), range(0, 100, 9), [99], [0, 1, 2, 98], []):
        wanted = pa.array([names[i] for i in picks], pa.string())
        assert rows_in_order(ids, wanted).tolist() == list(picks)
    wanted = pa.array([names[3], "x", names[40], "y", "z", names[99], "w"], pa.string())
    assert rows_in_order(ids, wanted).tolist() == rows_of(ids, wanted).tolist() == [3, -1, 40, -1, -1, 99, -1]
