"""What ingest makes of records that only all blocks together can tell the type of."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import hnmine
from hnmine.files.tables import common_schema
from hnmine.options import OnError
from hnmine.stages import ingest


def write(folder: Path, documents: list[dict[str, object]]) -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "query"}) + "\n")
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1\n")
    return folder


def test_a_metadata_column_has_one_type_in_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "2")
    years: list[object] = [1999, 2000, 2001.5, None, 3, 4]
    codes: list[object] = [1, 2, "x", "y", None, None]
    extra: list[dict[str, object]] = [{}, {}, {}, {}, {"late": True}, {}]
    documents = [
        {"_id": f"d{i}", "text": f"text {i}", "year": years[i], "code": codes[i], **extra[i]} for i in range(6)
    ]
    hnmine.ingest(write(tmp_path / "data", documents), tmp_path / "c")
    parts = sorted((tmp_path / "c" / "documents").glob("*.parquet"))
    assert len(parts) == 3
    schemas = [ds.dataset(part).schema for part in parts]
    assert schemas[0] == schemas[1] == schemas[2]
    table = ds.dataset(tmp_path / "c" / "documents", format="parquet").to_table()
    assert table["year"].to_pylist() == [1999.0, 2000.0, 2001.5, None, 3.0, 4.0]
    assert table["code"].to_pylist() == ["1", "2", "x", "y", None, None]
    assert table["late"].to_pylist() == [None] * 4 + [True, None]
    first = (tmp_path / "c" / "manifest.json").read_bytes()
    hnmine.ingest(tmp_path / "data", tmp_path / "again")
    assert (tmp_path / "again" / "manifest.json").read_bytes() == first


def test_common_schema() -> None:
    found = common_schema([pa.schema([("a", pa.int64()), ("b", pa.null())]), pa.schema([("b", pa.string())])])
    assert found == pa.schema([("a", pa.int64()), ("b", pa.string())])
    assert (
        common_schema([pa.schema([("a", pa.int64())]), pa.schema([("a", pa.string())])]).field("a").type == pa.string()
    )


def test_the_tokens_of_what_is_left_out_are_listed() -> None:
    source = Path(inspect.getfile(ingest)).read_text(encoding="utf-8")
    used = {token for line in source.splitlines() if "self.left_out[" in line for token in re.findall(r'"(\w+)"', line)}
    assert used == set(ingest.LEFT_OUT)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("pairs.csv", b"anchor,positive\n", "the corpus has no documents (read: pairs.csv)"),
        ("pairs.jsonl", b"", "the corpus has no documents (read: pairs.jsonl)"),
        ("pairs.csv", "anchor,positive\na,\u00e9\n".encode("latin-1"), "iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"),
        (
            "pairs.jsonl",
            b'{"anchor": {"text": "a"}, "positive": "x"}\n',
            "nested values are taken out first, such as jq",
        ),
        ("pairs.csv", b'anchor,positive\na,"x" y\n', "a quotation mark within a quoted field is written twice"),
    ],
)
def test_the_message_names_the_file_and_the_way_out(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(hnmine.InputError) as caught:
        hnmine.ingest(tmp_path / name, tmp_path / "c")
    assert told in str(caught.value)
    assert not (tmp_path / "c").exists()


def test_a_file_of_which_everything_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("anchor,positive\na,\n")
    with pytest.raises(hnmine.InputError, match="without --on-error skip every problem is told"):
        hnmine.ingest(tmp_path / "pairs.csv", tmp_path / "c", options=hnmine.InputOptions(on_error=OnError.SKIP))
