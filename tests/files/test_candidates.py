"""The evidence table, read by queries: whatever the parts, row groups and pieces, the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hnmine.files.artefact import Draft
from hnmine.files.candidates import CandidatesTable, Sources, among, query_offsets
from hnmine.files.tables import write_table
from hnmine.schema import Kind

LENGTHS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture(params=[2, 7, 65_536])
def table(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CandidatesTable:
    """Eight queries in two parts, with row groups of 2 rows, of 7, or all rows in one."""
    monkeypatch.setattr("hnmine.files.tables.ROW_GROUP", request.param)
    draft = Draft.begin(tmp_path / "a", Kind.CANDIDATES, {"scores": [], "blocks": ["x"]})
    for part, queries in enumerate((range(5), range(5, 8))):
        ids = [f"q{q}" for q in queries for _ in range(LENGTHS[q])]
        rows = pa.table(
            {"query_id": ids, "doc_id": [f"{i}-{q}" for i, q in enumerate(ids)], "score_x": range(len(ids))}
        )
        name = f"part-{part:05d}.parquet"
        draft.commit(f"b{part}", {name: write_table(draft.path / name, rows)})
    files = {n: e for receipt in draft.receipts(["b0", "b1"]) for n, e in receipt["files"].items()}
    return CandidatesTable(draft.close(files=files, counts={}))


def test_all_rows_of_the_queries_asked_for_come_in_order(table: CandidatesTable) -> None:
    assert table.query_ids.to_pylist() == [f"q{i}" for i in range(8)]
    for queries in ([0], [1, 2], [0, 1, 2, 3, 4, 5, 6, 7], [0, 4, 5, 7], [2, 3, 6], [7], []):
        found = table.read(np.array(queries, np.int64))
        assert found["query_id"].to_pylist() == [f"q{q}" for q in queries for _ in range(LENGTHS[q])]
        places = [int(d.split("-q")[0]) for d in found["doc_id"].to_pylist()]
        assert places == [r for q in queries for r in _rows(q)]
        assert np.diff(query_offsets(found["query_id"])).tolist() == [LENGTHS[q] for q in queries]
        assert np.diff(table.offsets(np.array(queries, np.int64))).tolist() == [LENGTHS[q] for q in queries]
        assert table.size(np.array(queries, np.int64)) == found.num_rows


def _rows(query: int) -> range:
    """The rows of a query within its part."""
    before = sum(LENGTHS[:query]) - (sum(LENGTHS[:5]) if query >= 5 else 0)
    return range(before, before + LENGTHS[query])


def test_only_the_columns_asked_for_are_there(table: CandidatesTable) -> None:
    some = table.read(np.array([1, 5]), ["query_id", "score_x"])
    assert some.column_names == ["query_id", "score_x"]
    assert table.read(np.array([1, 5])).select(["query_id", "score_x"]).equals(some)
    for columns in (["score_x", "query_id"], None):
        for coded in (False, True):
            one, none = (table.read(np.arange(number), columns, coded=coded) for number in (1, 0))
            assert none.schema.equals(one.schema)
            assert none.num_rows == 0


@pytest.mark.parametrize("rows", [1, 4, 5, 100])
def test_pieces_are_whole_queries_and_no_larger_than_they_must_be(table: CandidatesTable, rows: int) -> None:
    chosen = np.array([0, 2, 3, 4, 5, 7])
    pieces = list(table.pieces(chosen, rows))
    assert np.concatenate(pieces).tolist() == chosen.tolist()
    for piece in pieces:
        assert table.size(piece[:-1]) < rows  # without its last query it would be too small
    assert all(table.size(piece) >= rows for piece in pieces[:-1])
    assert [p.tolist() for p in table.pieces(chosen[:0], rows)] == [[]]


def test_sources_name_and_are() -> None:
    column = pa.chunked_array([[["bm25"], ["random"]], [["bm25", "random"], []]])
    assert Sources(column).name("random").tolist() == [False, True, True, False]
    assert Sources(column).are("random").tolist() == [False, True, False, False]
    assert Sources(pa.chunked_array([], pa.list_(pa.string()))).name("random").tolist() == []
    coded = column.cast(pa.list_(pa.dictionary(pa.int32(), pa.string())))
    assert Sources(coded).are("random").tolist() == [False, True, False, False]
    assert Sources(coded).name("dense").tolist() == [False] * 4


def test_words_come_as_codes_if_they_are_asked_for(table: CandidatesTable) -> None:
    chosen = np.array([0, 2, 4, 6, 7])
    coded = table.read(chosen, coded=True)
    assert pa.types.is_dictionary(coded["query_id"].type)
    assert all(chunk.dictionary.equals(coded["query_id"].chunk(0).dictionary) for chunk in coded["query_id"].chunks)
    assert coded.set_column(0, "query_id", coded["query_id"].cast(pa.string())).equals(table.read(chosen))
    assert among(coded["query_id"], "q4", "q6").tolist() == among(table.read(chosen)["query_id"], "q4", "q6").tolist()
    assert among(coded["query_id"], "q4", "q6").sum() == LENGTHS[4] + LENGTHS[6]
