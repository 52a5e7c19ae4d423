"""`run` with conditions on columns: what is not there is told before the work, and a condition narrows the search."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hnmine
from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact

ROWS = [
    (f"what number {n}", f"the number {n} is {'odd' if n % 2 else 'even'}", "de" if n % 3 else "en") for n in range(12)
]
BOTH = r"(?s)query\.speech: the queries have no column.*document\.parnt: the documents have no column 'parnt'"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    lines = ["anchor,positive,lang", *(",".join(row) for row in ROWS)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "pairs.csv"


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    root = tmp_path / "beir"
    (root / "qrels").mkdir(parents=True)
    docs = [json.dumps({"_id": f"d{n}", "text": text, "lang": lang}) for n, (_, text, lang) in enumerate(ROWS)]
    (root / "corpus.jsonl").write_text("\n".join(docs) + "\n")
    queries = [json.dumps({"_id": f"q{n}", "text": text, "lang": lang}) for n, (text, _, lang) in enumerate(ROWS)]
    (root / "queries.jsonl").write_text("\n".join(queries) + "\n")
    (root / "qrels" / "train.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(12))
    )
    return root


def run(data: Path, out: Path, **options: object) -> None:
    chosen = hnmine.FilterOptions(num_negatives=2, no_margin=True, **options)  # type: ignore[arg-type]
    hnmine.run(data, out, options=hnmine.RunOptions(dense=None, filter=chosen))


def test_a_header_tells_before_anything_is_written(csv: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"query\.lagn: the queries have no column 'lagn'; did you mean 'lang'"):
        run(csv, tmp_path / "out", where="query.lagn == 'de'")
    with pytest.raises(UsageError, match="the documents have no column 'lang'"):
        run(csv, tmp_path / "out", where="document.lang == query.lang")
    assert not (tmp_path / "out").exists()
    run(csv, tmp_path / "out", where="query.lang == 'de'")


def test_a_collection_tells_everything_before_anything_is_written(beir: Path, tmp_path: Path) -> None:
    hnmine.ingest(beir, tmp_path / "collection")
    with pytest.raises(UsageError, match=BOTH):
        run(tmp_path / "collection", tmp_path / "out", where="document.lang == query.speech", group_by="parnt")
    with pytest.raises(UsageError, match="a text cannot be compared with a number"):
        run(tmp_path / "collection", tmp_path / "out", where="document.lang == 3")
    assert not (tmp_path / "out").exists()


def test_json_lines_tell_before_anything_is_indexed(beir: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=BOTH):
        run(beir, tmp_path / "out", where="document.lang == query.speech", group_by="parnt")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["collection"]


def test_a_condition_of_the_rules_narrows_the_search(beir: Path, tmp_path: Path) -> None:
    run(beir, tmp_path / "out", where="document.lang == query.lang")
    assert Artefact.open(tmp_path / "out" / "candidates").plan["options"]["where"] == "document.lang == query.lang"
    counts = Artefact.open(tmp_path / "out" / "decisions").counts
    assert "where" not in counts["reasons"]
    assert counts["verdicts"]["negative"] == 24
