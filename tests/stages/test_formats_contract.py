"""Every training format, written by the command line and read back: nothing is lost, added, or misread."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hnmine.errors import ProblemLog
from hnmine.files.readers.examples import Example, Passage
from hnmine.options import Format
from hnmine.stages.formats import FORMATS
from hnmine.stages.formats.base import TrainingFormat
from tests.e2e.harness import contents, invoke, write_jsonl

WORDS = ["man", "eating", "food", "piece", "bread", "girl", "carries", "baby", "horse", "rides", "one", "two", "three"]
READ = [name for name, form in FORMATS.items() if type(form).examples is not TrainingFormat.examples]
BY_QUERY = {Format.BEIR}
"""Formats of which a row is less than an example."""


@dataclass(frozen=True)
class Mined:
    """Decisions, and what they picked: positives and negatives by query id; the texts of everything by id."""

    path: Path
    positives: dict[str, set[str]]
    negatives: dict[str, set[str]]
    texts: dict[str, str]


def one_line(text: str) -> str:
    """The text as a format of one line a row may have it: any white space is a space, and so is NUL."""
    return " ".join(text.replace("\0", " ").split())


@pytest.fixture(scope="module", autouse=True)
def _small_blocks() -> Iterator[None]:
    """Every file is made of several parts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HNMINE_")]:
            patch.delenv(name)
        patch.setenv("HNMINE_TEST_BLOCK_SIZE", "5")
        yield


def command(*words: object) -> dict[str, Any]:
    done = invoke(*words, "--json", "-q")
    assert done.code == 0, done.stderr
    summary: dict[str, Any] = done.json
    return summary


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Mined:
    """Fourteen queries with one or two positives, some with a judged negative; tabs, line ends and titles in texts."""
    place = tmp_path_factory.mktemp("formats")
    triples = [(a, b, c) for i, a in enumerate(WORDS) for j, b in enumerate(WORDS[:i]) for c in WORDS[:j]][:60:2]
    documents, texts, judged = [], {}, []
    for number, words in enumerate(triples):
        title, end = ("a\ttitle" if number % 3 == 0 else ""), ("\nand a line\u2028more\0" if number % 4 == 0 else "")
        text = f"{' '.join(words)}{end}"
        documents.append({"_id": f"d{number}", "title": title, "text": text})
        texts[f"d{number}"] = f"{title} {text}".strip()
    queries = []
    for number in range(14):
        queries.append({"_id": f"q{number}", "text": " ".join(reversed(triples[number])), "answers": ["bread"]})
        texts[f"q{number}"] = str(queries[-1]["text"])
        judged += [f"q{number}\td{number}\t{1 + number % 2}\n"]
        judged += [f"q{number}\td{number + 1}\t1\n"] if number % 5 == 0 else []
        judged += [f"q{number}\td{number + 9}\t0\n"] if number % 4 == 0 else []
    write_jsonl(place / "data/corpus.jsonl", documents)
    write_jsonl(place / "data/queries.jsonl", queries)
    (place / "data/qrels").mkdir()
    (place / "data/qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged), encoding="utf-8")
    path = place / "run"
    command("run", place / "data", "-o", path, "--no-dense", "-k", 9, "--random", 2, "-n", 3, "--no-margin")
    found: dict[str, dict[str, set[str]]] = {"positive": defaultdict(set), "negative": defaultdict(set)}
    for row in pq.read_table(sorted((path / "decisions").glob("*.parquet"))).to_pylist():
        if row["verdict"] in found:
            found[row["verdict"]][row["query_id"]].add(row["doc_id"])
    assert len(found["positive"]) == 14
    assert {len(own) for own in found["negative"].values()} == {3}
    return Mined(path=path, positives=dict(found["positive"]), negatives=dict(found["negative"]), texts=texts)


def place_of(folder: Path, form: Format) -> Path:
    """What `-o` is for a format: a directory, or a file of its usual name."""
    return folder / (form if FORMATS[form].beside else f"{form}{FORMATS[form].encoding.suffixes[0]}")


def ids_of(mined: Mined, passages: list[Passage]) -> list[str]:
    """The ids of documents, of those without one by their texts, which are all different; texts are checked."""
    by_text = {one_line(text): identity for identity, text in mined.texts.items()}
    found = []
    for passage in passages:
        text = one_line(f"{passage.title or ''} {passage.text or ''}")
        found.append(passage.doc_id or by_text[text])
        assert not text or text == one_line(mined.texts[found[-1]])
    return found


def read(form: Format, place: Path) -> list[Example]:
    problems = ProblemLog()
    found = list(FORMATS[form].examples(place, problems))
    assert not problems, problems.render()
    return found


@pytest.mark.parametrize("form", READ)
def test_a_file_says_what_was_picked(mined: Mined, form: Format, tmp_path: Path) -> None:
    place = place_of(tmp_path, form)
    summary = command("export", mined.path, "-o", place, "--format", form)
    examples = read(form, place)
    assert len(examples) == (14 if form in BY_QUERY else summary["counts"]["rows"])
    positives, negatives = defaultdict(set), defaultdict(set)
    by_text = {one_line(text): identity for identity, text in mined.texts.items()}
    for example in examples:
        query = example.query_id or by_text[one_line(example.query or "")]
        assert example.query is None or one_line(example.query) == one_line(mined.texts[query])
        own = ids_of(mined, list(example.positives)), ids_of(mined, list(example.negatives))
        assert [len(ids) for ids in own] == [len(set(ids)) for ids in own]
        positives[query].update(own[0])
        negatives[query].update(own[1])
        assert Path(example.where.rpartition(":")[0]).is_file()
    assert positives == mined.positives
    assert negatives == mined.negatives


@pytest.mark.parametrize("form", FORMATS)
def test_shards_that_are_merged_are_what_one_process_writes(mined: Mined, form: Format, tmp_path: Path) -> None:
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    one, many = (place_of(tmp_path / name, form) for name in ("one", "many"))
    command("export", mined.path, "-o", one, "--format", form)
    for shard in (2, 0, 1):
        command("export", mined.path, "-o", many, "--format", form, "--shard", f"{shard}/3")
    assert invoke("merge", many if FORMATS[form].beside else many.with_suffix(".hnmine") / "export").code == 0
    assert contents(many.parent) == contents(one.parent)
    assert len(json.loads((next(one.parent.rglob("plan.json"))).read_text(encoding="utf-8"))["blocks"]) >= 3


@pytest.mark.parametrize("form", [name for name in READ if not FORMATS[name].beside])
def test_a_directory_of_shards_reads_like_the_file(mined: Mined, form: Format, tmp_path: Path) -> None:
    command("export", mined.path, "-o", place_of(tmp_path, form), "--format", form)
    command("export", mined.path, "-o", tmp_path / "shards", "--format", form, "--rows-per-file", 5)
    assert len(list((tmp_path / "shards/data").iterdir())) > 2
    whole, apart = read(form, place_of(tmp_path, form)), read(form, tmp_path / "shards")
    assert [(one.query, one.positives, one.negatives) for one in whole] == [
        (one.query, one.positives, one.negatives) for one in apart
    ]
