"""Every preset loads, says what it is and where it is from, has the values of its source, and runs from end to end."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine import presets
from hnmine.cli.config import layered
from hnmine.errors import UsageError
from hnmine.stages.indexes import TOP_K

ROOT = Path(__file__).parents[1]
DENSE_ONLY: dict[str, Any] = {"bm25": None}

# What the sources say (shared reference: methods); every other value of a preset is checked to be a default.
SAID: dict[str, dict[str, Any]] = {
    "default": {"num_negatives": 7, "top_k": 200, "max_fn_probability": 0.03},
    "nv-retriever": {**DENSE_ONLY, "num_negatives": 4, "relative_margin": 0.05},
    "nv-embed": {**DENSE_ONLY, "num_negatives": 4, "relative_margin": 0.05},
    "rocketqa": {"score": True, "no_margin": True, "band": "0:0.1"},
    "ms-marco-ce": {"score": True, "num_negatives": 10, "absolute_margin": 3.0, "quota": "bm25=5,dense=5"},
    "bge": {
        **DENSE_ONLY, "top_k": 210, "random": 15, "num_negatives": 15, "no_margin": True, "skip_top": 10,
        "max_rank": 210, "pick": "random", "short": "random",
    },
    "kalm": {
        **DENSE_ONLY, "top_k": 100, "random": 7, "num_negatives": 7, "no_margin": True, "skip_top": 50,
        "max_rank": 100, "consistency_top": 50, "pick": "random", "short": "random",
    },
    "sfr": {
        **DENSE_ONLY, "top_k": 100, "num_negatives": 7, "no_margin": True, "skip_top": 30, "max_rank": 100,
        "pick": "random",
    },
    "arctic": {**DENSE_ONLY, "top_k": 100, "num_negatives": 10, "no_margin": True, "max_score": 0.8},
    "nomic": {
        **DENSE_ONLY, "top_k": 20, "random": 7, "num_negatives": 7, "relative_margin": 0.0, "consistency_top": 2,
        "short": "random",
    },
    "star": {**DENSE_ONLY, "top_k": 200, "num_negatives": 7, "no_margin": True, "pick": "random"},
    "ance": {**DENSE_ONLY, "top_k": 200, "num_negatives": 20, "no_margin": True, "pick": "random"},
    "tas-b": {"score": True, "no_margin": True, "pick": "margin-bins", "scores": True},
    "simans": {
        **DENSE_ONLY, "top_k": 200, "num_negatives": 15, "no_margin": True, "pick": "simans", "simans_offset": 0.0,
        "simans_width": 1.0,
    },
    "indi": {
        **DENSE_ONLY, "top_k": 200, "clusters": 256, "num_negatives": 7, "epochs": 3, "no_margin": True,
        "pick": "diverse",
    },
    "gistembed": {"no_margin": True, "guide": "dense", "guide_margin": 0.0},
    "u-marvel": {
        **DENSE_ONLY, "top_k": 100, "num_negatives": 5, "no_margin": True, "format": "n-tuple", "pad": "repeat",
    },
    "lg-anna": {"score": True, "judge_by": "dense", "rank_by": "fused", "relative_margin": 0.05},
    "peg": {**DENSE_ONLY, "num_negatives": 5, "no_margin": True, "scores": True, "format": "labeled-list"},
    "qwen3": {**DENSE_ONLY, "num_negatives": 8, "absolute_margin": -0.1},
    "unime": {**DENSE_ONLY, "num_negatives": 8, "absolute_margin": -0.1},
}  # fmt: skip
OWN = sorted(SAID.keys() - presets.ALIASES.keys())


def test_the_presets_are_those_of_the_table() -> None:
    assert presets.names() == sorted(SAID)


@pytest.mark.parametrize("name", sorted(SAID))
def test_a_preset_has_the_values_of_its_source_and_defaults_otherwise(name: str) -> None:
    options = hnmine.preset(name)
    values: dict[str, Any] = {}
    for record in (options.mine, options.filter, options.export):
        default = type(record)()
        own = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
        values |= {k: v for k, v in own.items() if v != getattr(default, k)}
    if options.bm25 is None:
        values["bm25"] = None
    if options.score is not None:
        values["score"] = True
    defaults = {"num_negatives": 7, "simans_offset": 0.0, "guide_margin": 0.0}  # said by the source, and the default
    said = {k: v for k, v in SAID[name].items() if defaults.get(k, object()) != v}
    assert values == said
    written = [key for table in presets.read(name).values() if isinstance(table, dict) for key in table]
    assert {k for k in SAID[name] if k not in ("bm25", "score")} <= set(written)


@pytest.mark.parametrize("name", OWN)
def test_a_preset_says_what_it_is_and_where_it_is_from(name: str) -> None:
    text = presets.text(name)
    first, *rest = text.splitlines()
    assert re.fullmatch(r"# .{20,115}\.", first)
    comments = " ".join(line for line in rest if line.startswith("#"))
    assert name == "default" or re.search(r"arxiv\.org/abs/\d{4}\.\d{5}|\b20\d\d\b|\.py\b|[\w-]+/[\w-]+", comments)
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", OWN)
def test_what_a_preset_has_commented_out_is_toml_of_known_tables(name: str) -> None:
    """A key behind a comment mark is one that may be turned on, so it must read."""
    lines = [line[2:] for line in presets.text(name).splitlines() if re.match(r"# [a-z_]+ = \S+$", line)]
    assert isinstance(tomllib.loads("\n".join(lines)), dict)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'simans'"):
        hnmine.preset("siman")


def test_what_stands_above_wins_and_margins_replace_each_other() -> None:
    below = {"bm25": False, "filter": {"no_margin": True, "num-negatives": 5, "skip-top": 1}, "mine": {"top_k": 9}}
    above = {"bm25": {"k1": 1.2}, "filter": {"relative-margin": 0.1, "skip_top": 2}, "seed": 3}
    assert layered(below, above) == {
        "bm25": {"k1": 1.2},
        "filter": {"num-negatives": 5, "relative-margin": 0.1, "skip_top": 2},
        "mine": {"top_k": 9},
        "seed": 3,
    }
    assert layered({"filter": {"absolute_margin": 3.0}}, {"filter": {"skip_top": 1}}) == {
        "filter": {"absolute_margin": 3.0, "skip_top": 1}
    }


SENTENCE = "a man is eating food piece of bread the girl carries baby horse rides one two three four"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 documents of four words each, eight queries with one positive each."""
    folder = tmp_path_factory.mktemp("presets") / "data"
    (folder / "qrels").mkdir(parents=True)
    texts = [" ".join(words) for words in itertools.islice(itertools.permutations(SENTENCE.split(), 4), 0, 43_680, 182)]
    assert len(texts) == 240
    corpus = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)]
    # A random model finds what is equal: at least six of eight queries pass the consistency filters.
    asked = [texts[30 * i] if i < 6 else "two baby rides" for i in range(8)]
    queries = [{"_id": f"q{i}", "text": text} for i, text in enumerate(asked)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = "".join(f"q{i}\td{30 * i}\t1\n" for i in range(8))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def indexes(data: Path, tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    place = tmp_path_factory.mktemp("indexes")
    hnmine.ingest(data, place / "collection")
    hnmine.index_bm25(place / "collection", place / "bm25")
    hnmine.index_dense(place / "collection", place / "tiny", options=hnmine.DenseOptions(model=str(tiny_encoder)))
    return place


@pytest.mark.parametrize("name", OWN)
def test_a_preset_runs_from_end_to_end(name: str, indexes: Path, tmp_path: Path, tiny_cross_encoder: Path) -> None:
    options = hnmine.preset(name)
    sources = [str(indexes / "tiny")] + ([str(indexes / "bm25")] if options.bm25 is not None else [])
    score = options.score and dataclasses.replace(options.score, reranker=str(tiny_cross_encoder), name="judge")
    chosen = dataclasses.replace(options, bm25=None, dense=None, indexes=tuple(sources), score=score)
    outcomes = dict(hnmine.run(indexes / "collection", tmp_path / "out.parquet", options=chosen))
    decided = outcomes["filter"].counts
    wanted = options.filter.num_negatives * options.filter.epochs
    assert 0 < decided["verdicts"]["negative"] <= wanted * 8
    if name != "rocketqa":  # a random reranker may find everything relevant
        assert decided["queries_short"] < 8
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert rows
    assert outcomes["export"].counts["rows"] == len(rows)


def hnmine_cli(*arguments: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hnmine", *map(str, arguments)],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_flags_win_over_the_file_and_the_file_over_the_preset(indexes: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(
        "dense = false\n[filter]\nnum_negatives = 3\nskip_top = 4\n[mine]\ntop_k = 60\n", encoding="utf-8"
    )
    given = (
        "--index",
        indexes / "tiny",
        "--preset",
        "sfr",
        "--config",
        config,
        "--skip-top",
        5,
        "--relative-margin",
        0.1,
    )
    found = hnmine_cli("run", indexes / "collection", "-o", tmp_path / "run", *map(str, given), "--json")
    assert json.loads(found)["filter"]["finished"]
    plan = json.loads((tmp_path / "run" / "decisions" / "plan.json").read_text(encoding="utf-8"))["options"]
    said = ("skip_top", "num_negatives", "max_rank", "pick", "no_margin", "relative_margin")
    assert [plan[key] for key in said] == [5, 3, 100, "random", False, 0.1]
    mined = json.loads((tmp_path / "run" / "candidates" / "plan.json").read_text(encoding="utf-8"))["options"]
    assert mined["top_k"] == 60 != TOP_K
    assert not (tmp_path / "run" / "indexes").exists()


def test_filter_takes_the_rules_of_a_preset(indexes: Path, tmp_path: Path) -> None:
    options = hnmine.MineOptions(top_k=120)
    hnmine.mine(indexes / "collection", tmp_path / "c", indexes=[indexes / "tiny"], options=options)
    hnmine_cli("filter", tmp_path / "c", "-o", tmp_path / "d", "--preset", "kalm", "-n", "2", "-q")
    table = pq.read_table(tmp_path / "d" / "part-00000.parquet").to_pylist()
    picked = [row for row in table if row["verdict"] == "negative"]
    found = {row["query_id"] for row in table if row["is_positive"] and (row["rank_tiny"] or 999) <= 50}
    assert len(found) >= 6
    assert Counter(row["query_id"] for row in picked) == dict.fromkeys(found, 2)
    assert all(50 < row["rank_tiny"] <= 100 for row in picked)
    hnmine_cli("filter", tmp_path / "c", "-o", tmp_path / "e", "--preset", "kahm", code=2)


def test_presets_are_listed_and_printed_ready_to_copy(tmp_path: Path) -> None:
    listed = hnmine_cli("presets").splitlines()
    assert [line.split()[0] for line in listed] == sorted(SAID)
    assert hnmine_cli("presets", "bge") == presets.text("bge")
    assert json.loads(hnmine_cli("presets", "bge", "--json"))["filter"]["max_rank"] == 210
