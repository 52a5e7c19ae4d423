"""A collection's texts as training files take them: each different text once."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from hnmine.files.collection import Collection


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
