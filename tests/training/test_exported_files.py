"""What stands in an exported file, and in its sibling with the ids."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import InputError, UsageError
from hnmine.files.candidates import CandidatesTable
from tests.training.conftest import hnmine as command_line

FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list")
CASES = [(form, options) for form in FORMATS for options in ((), ("--scores",))]
Export = Callable[..., Path]


def read(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(training rows, their ids) of a file or of a directory of shards."""
    if path.is_dir():
        parts = [sorted((path / folder).glob("*.parquet")) for folder in ("data", "ids")]
        assert [p.name for p in parts[0]] == [p.name for p in parts[1]]
    else:
        parts = [[path], [path.with_name(f"{path.stem}.ids.parquet")]]
    rows = [[row for part in files for row in pq.read_table(part).to_pylist()] for files in parts]
    return rows[0], rows[1]


def texts_of(row: dict[str, Any]) -> tuple[str, list[str]]:
    """(query, documents) of a training row, whatever its format."""
    others = ("label", "labels", "score", "scores", "weight", "weights")
    query, *rest = [value for name, value in row.items() if name not in others]
    return query, rest[0] if isinstance(rest[0], list) else rest


@pytest.mark.parametrize("shards", [False, True], ids=["file", "shards"])
@pytest.mark.parametrize(("form", "options"), CASES)
def test_ids_name_the_texts_of_the_same_row(
    exported: Export, mined: Any, form: str, options: tuple[str, ...], shards: bool
) -> None:
    rows, ids = read(exported(form, *options, shards=shards))
    assert len(rows) == len(ids) > 0
    for row, known in zip(rows, ids, strict=True):
        query, documents = texts_of(row)
        assert query == mined.queries[known["query_id"]]
        assert documents == [mined.documents[doc_id] for doc_id in known["doc_ids"]]
        is_positive = [doc_id in mined.positives[known["query_id"]] for doc_id in known["doc_ids"]]
        assert known["labels"] == [int(p) for p in is_positive]
        if form == "labeled-pair":
            assert row.get("label", known["labels"][0]) == known["labels"][0]
        else:
            assert is_positive == [True] + [False] * (len(documents) - 1)
            assert row.get("labels", known["labels"]) == known["labels"]
        if options:
            assert (row["scores"] if "scores" in row else [row["score"]]) == known["scores"]


@pytest.mark.parametrize("form", FORMATS)
def test_shards_hold_the_rows_of_the_file(exported: Export, form: str) -> None:
    one, many = exported(form), exported(form, shards=True)
    assert read(one) == read(many)
    assert len(list((many / "data").iterdir())) > 1
    loaded = datasets.load_dataset(str(many), split="train", cache_dir=str(many.parent / "datasets-cache"))
    assert loaded.to_list() == read(one)[0]


@pytest.mark.parametrize(("form", "options"), CASES)
def test_nothing_but_texts_and_one_label(exported: Export, form: str, options: tuple[str, ...]) -> None:
    schema = pq.read_schema(exported(form, *options))
    names = {
        "triplet": ["anchor", "positive", "negative"],
        "n-tuple": ["anchor", "positive", "negative_1", "negative_2", "negative_3"],
        "labeled-pair": ["query", "document"],
        "labeled-list": ["query", "documents"],
    }[form]
    label = {"labeled-pair": "score" if options else "label", "labeled-list": "scores" if options else "labels"}
    label_name = label.get(form, "scores" if options else None)
    assert schema.names == names + ([label_name] if label_name else [])
    types = [str(schema.field(name).type) for name in names]
    assert set(types) <= {"string", "list<element: string>"}


def test_how_often_each_text_stands_in_a_file(exported: Export, mined: Any) -> None:
    """Triplets: positives times negatives; n-tuples and lists: one a positive; pairs: each text once."""
    triplets, n_tuples, pairs, lists = (read(exported(form))[1] for form in FORMATS)
    assert len(n_tuples) == len(lists) == sum(map(len, mined.positives.values()))
    assert Counter(row["query_id"] for row in triplets) == {q: 3 * len(p) for q, p in mined.positives.items()}
    assert max(Counter((row["query_id"], *row["doc_ids"]) for row in pairs).values()) == 1
    assert Counter(row["query_id"] for row in pairs) == {q: 3 + len(p) for q, p in mined.positives.items()}


@pytest.fixture(scope="module")
def doubted(mined: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Decisions of the command line with a ceiling on the estimate that half of the candidates are above."""
    path = tmp_path_factory.mktemp("doubted") / "decisions"
    ceiling = median(
        p for p in pq.read_table(mined.path / "decisions" / "part-00000.parquet")["p_false_negative"].to_pylist() if p
    )
    command_line("filter", mined.path, "-o", path, "-n", 3, "--no-margin", "--max-fn-probability", ceiling)
    return path, ceiling


@pytest.mark.parametrize("scores", [(), ("--scores",)], ids=["", "scores"])
@pytest.mark.parametrize(
    ("form", "column"),
    [("triplet", "weight"), ("n-tuple", "weights"), ("labeled-pair", "weight"), ("labeled-list", "weights")],
)
def test_a_weight_is_one_less_the_estimate_of_the_decisions(
    doubted: tuple[Path, float], tmp_path: Path, form: str, column: str, scores: tuple[str, ...]
) -> None:
    decisions, ceiling = doubted
    plain, weighted = tmp_path / "p.parquet", tmp_path / "w.parquet"
    asked = hnmine.ExportOptions(format=form, scores=bool(scores))
    hnmine.export(decisions, plain, options=asked)
    hnmine.export(decisions, weighted, options=replace(asked, weight=True))
    table = pq.read_table(weighted)
    assert table.column_names[-1] == column
    assert table.drop_columns([column]).equals(pq.read_table(plain)), "nothing else changes, the order neither"
    decided = pq.read_table(decisions / "part-00000.parquet").to_pylist()
    estimate = {(row["query_id"], row["doc_id"]): row["p_false_negative"] for row in decided}
    seen = set()
    for row, known in zip(*read(weighted), strict=True):
        documents = zip(known["doc_ids"], known["labels"], strict=True)
        expected = [1.0 if label else 1.0 - estimate[known["query_id"], doc_id] for doc_id, label in documents]
        expected = expected[1:] if form == "triplet" else expected
        found = row[column] if column == "weights" else [row[column]]
        assert found == pytest.approx(expected, abs=1e-7)
        seen.update(found)
    negatives = {w for w in seen if w < 1.0}
    assert len(negatives) > 20, "with one weight for all there is nothing to see"
    assert min(negatives) >= 1.0 - ceiling - 1e-7, "what --max-fn-probability let through"


def test_weights_of_decisions_without_estimates_are_refused_with_the_remedy(
    mined: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = CandidatesTable.column_names.fget  # type: ignore[attr-defined]
    without = property(lambda self: [name for name in names(self) if name != "p_false_negative"])
    monkeypatch.setattr(CandidatesTable, "column_names", without)
    with pytest.raises(InputError, match=r"--weight: 144 chosen negatives have no p_false_negative") as refused:
        hnmine.export(mined.path, tmp_path / "t.parquet", options=hnmine.ExportOptions(weight=True, max_positives=1))
    assert "hnmine filter" in refused.value.render()
    hnmine.export(mined.path, tmp_path / "t.parquet")


@pytest.mark.parametrize("form", FORMATS)
def test_rows_of_a_query_are_not_clumped(exported: Export, form: str) -> None:
    ids = [row["query_id"] for row in read(exported(form))[1]]
    neighbours = sum(a == b for a, b in itertools.pairwise(ids))
    assert neighbours < 0.15 * len(ids)


def test_the_seed_decides_the_order_and_nothing_else(exported: Export, tmp_path: Path, mined: Any) -> None:
    def write(name: str, seed: int) -> Path:
        hnmine.export(mined.path, tmp_path / name, options=hnmine.ExportOptions(seed=seed))
        return tmp_path / name

    first, again, other = write("a.parquet", 1), write("b.parquet", 1), write("c.parquet", 2)
    for ending in (".parquet", ".ids.parquet"):
        bytes_of = [path.with_name(path.stem + ending).read_bytes() for path in (first, again, other)]
        assert bytes_of[0] == bytes_of[1] != bytes_of[2]
    assert Counter(map(str, read(first)[0])) == Counter(map(str, read(other)[0]))
    assert read(first)[0] != read(other)[0]


@pytest.fixture(scope="module")
def ragged(mined: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decisions with 0 to 6 negatives a query."""
    path = tmp_path_factory.mktemp("ragged") / "decisions"
    hnmine.filter(mined.path, path, options=hnmine.FilterOptions(num_negatives=6, relative_margin=0.1))
    return path


def written(decisions: Path, path: Path, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(ids of the rows, counts) of an export."""
    outcome = hnmine.export(decisions, path, options=hnmine.ExportOptions(**options))
    return read(path)[1], outcome.counts


def test_short_queries_give_no_n_tuple_and_are_counted(ragged: Path, mined: Any, tmp_path: Path) -> None:
    lists, list_counts = written(ragged, tmp_path / "l.parquet", format="labeled-list")
    lengths = {row["query_id"]: len(row["doc_ids"]) - 1 for row in lists}
    assert len(set(lengths.values())) > 2  # else there is nothing to see
    pairs = sum(map(len, mined.positives.values()))
    assert list_counts["pairs_left_out"] == pairs - len(lists) > 0
    for width in (6, 2):
        rows, counts = written(ragged, tmp_path / f"{width}.parquet", format="n-tuple", negatives=width)
        wide = {query for query, length in lengths.items() if length >= width}
        assert {row["query_id"] for row in rows} == wide
        assert {len(row["doc_ids"]) for row in rows} == {width + 1}
        assert counts == {
            "rows": len(rows),
            "pairs_left_out": pairs - len(rows),
            "queries": len(wide),
        }


def test_short_queries_are_padded_with_their_first_negative_and_counted(
    ragged: Path, mined: Any, tmp_path: Path
) -> None:
    lists, _ = written(ragged, tmp_path / "l.parquet", format="labeled-list")
    own = {(row["query_id"], row["doc_ids"][0]): row["doc_ids"][1:] for row in lists}
    rows, counts = written(ragged, tmp_path / "t.parquet", format="n-tuple", pad="repeat")
    assert {(row["query_id"], row["doc_ids"][0]): row["doc_ids"][1:] for row in rows} == {
        key: [*negatives, *[negatives[0]] * (6 - len(negatives))] for key, negatives in own.items()
    }
    steps = {(row["query_id"], row["doc_ids"][0]): row["steps"][1:] for row in rows}
    assert steps == {key: ["none"] * len(n) + ["repeated"] * (6 - len(n)) for key, n in own.items()}
    assert counts["repeated"] == sum(6 - len(n) for n in own.values()) > 0
    assert counts["pairs_left_out"] == sum(map(len, mined.positives.values())) - len(own)
    texts = pq.read_table(tmp_path / "t.parquet").to_pylist()
    for row, known in zip(texts, rows, strict=True):
        assert texts_of(row)[1] == [mined.documents[doc_id] for doc_id in known["doc_ids"]]
    with pytest.raises(UsageError, match=r"--pad repeat: --format triplet .*\n  expected: --format n-tuple"):
        written(ragged, tmp_path / "x.parquet", pad="repeat")


def test_negatives_narrows_to_the_first_picks(mined: Any, tmp_path: Path) -> None:
    wide, _ = written(mined.path, tmp_path / "3.parquet", format="n-tuple")
    narrow, _ = written(mined.path, tmp_path / "1.parquet", format="n-tuple", negatives=1)
    assert pq.read_schema(tmp_path / "1.parquet").names == ["anchor", "positive", "negative_1"]
    assert [row["doc_ids"] for row in narrow] == [row["doc_ids"][:2] for row in wide]
    for row in wide:
        assert row["ranks"][1:] == sorted(row["ranks"][1:])


def test_max_positives_keeps_the_best(mined: Any, tmp_path: Path) -> None:
    everything, _ = written(mined.path, tmp_path / "all.parquet", format="n-tuple")
    one, _ = written(mined.path, tmp_path / "one.parquet", format="n-tuple", max_positives=1)
    scores = defaultdict(dict)
    for row in everything:
        scores[row["query_id"]][row["doc_ids"][0]] = row["scores"][0]
    assert max(map(len, scores.values())) == 2
    assert {row["query_id"]: row["doc_ids"][0] for row in one} == {
        query: max(found, key=lambda doc_id: found[doc_id]) for query, found in scores.items()
    }
    assert len(one) == len(mined.queries)


def test_a_query_without_negatives_keeps_its_positives_in_pairs_alone(ragged: Path, mined: Any, tmp_path: Path) -> None:
    pairs, counts = written(ragged, tmp_path / "pairs.parquet", format="labeled-pair")
    triplets, _ = written(ragged, tmp_path / "triplets.parquet", format="triplet")
    bare = set(mined.queries) - {row["query_id"] for row in triplets}
    assert bare
    for query in bare:
        own = [row for row in pairs if row["query_id"] == query]
        assert {row["doc_ids"][0] for row in own} == mined.positives[query]
    assert counts["pairs_left_out"] == 0


def test_nothing_to_export_is_an_error(mined: Any, tmp_path: Path) -> None:
    hnmine.filter(mined.path, tmp_path / "none", options=hnmine.FilterOptions(max_score=-2))
    for form in FORMATS:
        with pytest.raises(InputError, match="nothing to export"):
            hnmine.export(tmp_path / "none", tmp_path / f"{form}.parquet", options=hnmine.ExportOptions(format=form))
    assert [path.name for path in tmp_path.iterdir()] == ["none"]
