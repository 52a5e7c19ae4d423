"""Parquet parts: what is read back, and how it lies in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.engines.vectors import VectorStore
from hnmine.files.artefact import Artefact, Draft
from hnmine.files.tables import TextRows, read_table, write_array, write_rows, write_table
from hnmine.schema import FORMAT_VERSION, Kind

TABLE = pa.table(
    {
        "query_id": pa.array(["q"] * 500),
        "doc_id": pa.array([f"d{i}" for i in range(500)]),
        "score_x": pa.array([0.5, None] * 250, pa.float32()),
        "text_key": pa.array(range(500), pa.uint64()),
        "rank_x": pa.array(range(500), pa.int32()),
        "sources": pa.array([["bm25"], ["bm25", "dense"]] * 250),
        "reason": pa.array(["picked", "not-needed"] * 250).dictionary_encode(),
    }
)


def test_strings_that_repeat_have_a_dictionary_and_numbers_and_ids_have_none(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", TABLE)
    group = pq.read_metadata(tmp_path / "a.parquet").row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    with_dictionary = {c.path_in_schema for c in columns if c.has_dictionary_page}
    assert with_dictionary == {"query_id", "sources.list.element", "reason"}


def test_a_row_group_holds_those_texts_alone_that_are_in_its_rows(tmp_path: Path) -> None:
    texts = pa.array([f"a long text number {i} " * 20 for i in range(100)]).dictionary_encode()
    table = pa.table({"text": texts, "word": pa.array(["x", "y"] * 50).dictionary_encode()})
    write_table(tmp_path / "whole.parquet", table, as_strings=True)
    write_table(tmp_path / "cut.parquet", table, as_strings=True, row_group=30)
    whole, cut = (pq.ParquetFile(tmp_path / f"{name}.parquet") for name in ("whole", "cut"))
    assert [cut.metadata.row_group(i).num_rows for i in range(cut.num_row_groups)] == [30, 30, 30, 10]
    assert cut.read().equals(whole.read())
    sizes = [sum(f.metadata.row_group(i).total_byte_size for i in range(f.num_row_groups)) for f in (whole, cut)]
    assert sizes[1] < 1.1 * sizes[0]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert write_table(tmp_path / "a.parquet", TABLE) == 500
    assert read_table([tmp_path / "a.parquet"]).equals(TABLE)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files, as Linux lists them")
def test_words_with_nulls_survive_row_groups(tmp_path: Path) -> None:
    words = [None, "b", "a", None, None, None, "c"]
    coded = pa.array(words).dictionary_encode()
    write_table(tmp_path / "a.parquet", pa.table({"word": coded}), as_strings=True, row_group=2)
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 4
    assert pq.read_table(tmp_path / "a.parquet")["word"].to_pylist() == words


def test_what_is_mapped_keeps_no_file_open(tmp_path: Path) -> None:
    vectors, texts = tmp_path / "v.npy", tmp_path / "t.arrow"
    write_array(vectors, np.arange(6, dtype=np.float16).reshape(3, 2))
    write_rows(texts, TABLE.select(["doc_id"]))
    before = len(list(Path("/proc/self/fd").iterdir()))
    stores, tables = VectorStore([vectors] * 40), TextRows([texts] * 40)
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 10
    assert stores.take(np.array([119, 0])).tolist() == [[4, 5], [0, 1]]
    assert tables.take(np.array([19_999]))["doc_id"].to_pylist() == ["d499"]


@pytest.mark.parametrize("version", [1, FORMAT_VERSION])
def test_an_artefact_of_an_earlier_version_is_read_and_keeps_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr("hnmine.files.artefact.FORMAT_VERSION", version)
    draft = Draft.begin(tmp_path / "a", Kind.CANDIDATES, {"blocks": []})
    monkeypatch.undo()
    Draft.reopen(tmp_path / "a").close(files={}, counts={})
    opened = Artefact.open(tmp_path / "a")
    assert draft.path == opened.path
    assert opened.plan["format"] == opened.manifest["format"] == version
