"""`ids` and `pylate-kd` as sentence-transformers joins them, and every format read back as it was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import sentence_transformers as st
from sentence_transformers.sentence_transformer import losses

from hnmine.errors import ProblemLog
from hnmine.options import Format
from hnmine.stages.formats import FORMATS
from tests.docs.markdown_blocks import blocks
from tests.training.conftest import hnmine
from tests.training.test_exported_files import texts_of
from tests.training.test_training import assert_learned, record, train

resolve_ids = getattr(st.util, "resolve_ids", None)
Export = Callable[..., Path]


@pytest.fixture(scope="module")
def by_id(mined: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("by-id")
    made: dict[tuple[str, ...], Path] = {}

    def export(*words: str) -> Path:
        if words not in made:
            made[words] = folder / str(len(made))
            hnmine("export", mined.path, "-o", made[words], "--format", *words)
        return made[words]

    return export


def load(folder: Path, name: str) -> Any:
    """As the documentation says: the directory, and the name of a part."""
    return datasets.load_dataset(str(folder), name, split="train", cache_dir=str(folder.parent / "cache"))


def test_each_text_is_stored_once(by_id: Callable[..., Path], mined: Any) -> None:
    parts = {name: pq.read_table(by_id("ids") / f"{name}.parquet") for name in ("train", "queries", "documents")}
    named = {one for row in parts["train"]["document_ids"].to_pylist() for one in row}
    assert parts["documents"]["document_id"].to_pylist() == sorted(named, key=list(mined.documents).index)
    assert parts["queries"]["query_id"].to_pylist() == list(mined.queries)
    assert dict(zip(*parts["documents"].to_pydict().values(), strict=True)).items() <= mined.documents.items()
    assert dict(zip(*parts["queries"].to_pydict().values(), strict=True)) == mined.queries
    assert parts["train"]["labels"].to_pylist() == [[1, 0, 0, 0]] * parts["train"].num_rows
    assert pq.read_table(by_id("pylate-kd") / "train.parquet").equals(
        pq.read_table(by_id("ids", "--scores") / "train.parquet")
    )


@pytest.mark.skipif(resolve_ids is None, reason="resolve_ids came with sentence-transformers 6")
def test_resolved_ids_are_the_n_tuple_and_train(
    by_id: Callable[..., Path], exported: Export, student: Any, tmp_path: Path
) -> None:
    folder = by_id("ids", "--scores")
    data = load(folder, "train")
    lookups = {"query_id": load(folder, "queries"), "document_ids": load(folder, "documents")}
    data.set_transform(resolve_ids(lookups))
    wanted = pq.read_table(exported("n-tuple", "--scores")).to_pylist()
    assert [list(row.values()) for row in data] == [list(row.values()) for row in wanted]
    assert list(data[0]) == ["query", "document_1", "document_2", "document_3", "document_4", "scores"]
    batches: list[tuple[Any, Any]] = []
    loss = record(losses.DistillKLDivLoss(student, similarity_fct=st.util.pairwise_cos_sim), batches)
    how = st.SentenceTransformerTrainingArguments
    assert_learned(train(st.SentenceTransformerTrainer, how, student, data, loss, tmp_path))
    assert {len(inputs) for inputs, _ in batches} == {5}
    assert {tuple(labels.shape) for _, labels in batches} == {(16, 4), (len(wanted) % 16, 4)} - {(0, 4)}


@pytest.mark.parametrize("scores", [(), ("--scores",)], ids=["", "scores"])
@pytest.mark.parametrize(
    ("form", "shards"),
    [*((form, False) for form in ("triplet", "n-tuple", "labeled-pair", "labeled-list", "pylate")), ("triplet", True)],
)
def test_what_is_written_is_read_back(exported: Export, form: str, scores: tuple[str, ...], shards: bool) -> None:
    place = exported(form, *scores, shards=shards)
    files = sorted((place / "data").glob("*")) if shards else [place]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    problems = ProblemLog()
    found = list(FORMATS[Format(form)].examples(place, problems))
    assert not problems
    assert len(found) == len(rows) > 40
    for row, one in zip(rows, found, strict=True):
        query, documents = texts_of(row)
        passages = [*one.positives, *one.negatives] or [one.extra["document"]]
        assert (one.query, [p.text for p in passages]) == (query, documents)
        if scores:
            assert [p.score for p in passages] == (row["scores"] if "scores" in row else [row["score"]])
        else:
            assert [p.score for p in passages] == [None] * len(documents)
            labels = row.get("labels") or [row.get("label", 1)] + [0] * (len(documents) - 1)
            assert len(one.positives) == sum(labels)


@pytest.mark.parametrize("words", [("ids",), ("ids", "--scores"), ("pylate-kd",)], ids=" ".join)
def test_ids_are_read_back_with_their_texts(by_id: Callable[..., Path], mined: Any, words: tuple[str, ...]) -> None:
    rows = pq.read_table(by_id(*words) / "train.parquet").to_pylist()
    problems = ProblemLog()
    found = list(FORMATS[Format(words[0])].examples(by_id(*words), problems))
    assert not problems
    assert len(found) == len(rows) > 40
    for row, one in zip(rows, found, strict=True):
        passages = [*one.positives, *one.negatives]
        assert (one.query_id, one.query) == (row["query_id"], mined.queries[row["query_id"]])
        assert [p.doc_id for p in passages] == row["document_ids"]
        assert [p.text for p in passages] == [mined.documents[one] for one in row["document_ids"]]
        assert [p.score for p in passages] == row.get("scores", [None] * 4)
        assert {p.doc_id for p in one.positives} <= mined.positives[row["query_id"]]


def test_validation_rows_are_a_split_of_the_rows(by_id: Callable[..., Path]) -> None:
    folder = by_id("ids", "--validation", "0.3")
    parts = datasets.load_dataset(str(folder), "train", cache_dir=str(folder.parent / "cache"))
    read = {split: pq.read_table(folder / f"{split}.parquet").to_pylist() for split in ("train", "validation")}
    assert {split: rows.to_list() for split, rows in parts.items()} == read
    assert load(folder, "queries").num_rows > len(read["train"]) / 2


@pytest.mark.skipif(resolve_ids is None, reason="resolve_ids came with sentence-transformers 6")
def test_the_example_of_the_documentation(
    by_id: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    [example] = [block for block in blocks("docs/formats.md", "python") if "resolve_ids(" in block]
    (tmp_path / "ids").symlink_to(by_id("ids"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    names: dict[str, Any] = {}
    exec(example, names)
    assert list(names["train"][0]) == ["query", "document_1", "document_2", "document_3", "document_4", "labels"]
