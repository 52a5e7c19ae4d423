"""The guides of docs/how-to that need little: their commands run within this process, their tables are complete."""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from markdown_blocks import ROOT, blocks
from pages import run_page, write_scripts
from test_commands import needs_model

import hnmine
from hnmine.cli.app import app
from tests.chat_server import ChatServer


@pytest.mark.slow
@needs_model
def test_own_corpus(place: Path, shell: dict[str, str]) -> None:
    page = "docs/how-to/own-corpus.md"
    write_scripts(page, place, place.parent / "tools")
    run_page(page, place, shell)
    questions = len((place / "pairs.jsonl").read_text().splitlines())
    assert pq.read_metadata(place / "faq/triplets.parquet").num_rows == 3 * questions
    assert pq.read_metadata(place / "five.parquet").num_columns == 7
    assert not (place / "bad").exists()
    exec((place / "mine.py").read_text(), {})
    assert pq.read_table(place / "from-python/triplets.parquet") == pq.read_table(place / "faq/triplets.parquet")


@pytest.mark.slow
@needs_model
def test_remining(place: Path, shell: dict[str, str]) -> None:
    page = "docs/how-to/remining.md"
    run_page(page, place, shell)
    parts = sorted((place / "two/decisions").glob("*.parquet"))
    rows = pq.read_table(parts, columns=["verdict", "previous", "sources"]).to_pylist()
    assert any(row["verdict"] == "negative" and row["previous"] is None for row in rows)
    assert any(row["previous"] == "negative" and row["sources"] == ["previous"] for row in rows)
    (script,) = blocks(page, "python")
    compile(script, "refresh.py", "exec")


@pytest.mark.slow
@needs_model
def test_audit(place: Path, shell: dict[str, str]) -> None:
    page = "docs/how-to/audit.md"
    write_scripts(page, place, place.parent / "tools")
    run_page(page, place, shell)
    exec((place / "gate.py").read_text(), {})
    before, after = (hnmine.audit(place / f"{name}.parquet") for name in ("train", "clean"))
    assert (before["problems"]["positive-among-negatives"], after["problems"]["positive-among-negatives"]) == (1, 0)


@pytest.mark.slow
def test_languages(place: Path, shell: dict[str, str], tiny_encoder: Path) -> None:
    """A tiny model lies where the multilingual one is looked for."""
    page = "docs/how-to/languages.md"
    write_scripts(page, place, place.parent / "tools")
    (place / "intfloat").mkdir()
    (place / "intfloat/multilingual-e5-small").symlink_to(tiny_encoder)
    run_page(page, place, shell)
    plan = json.loads((place / "runs/de/indexes/bm25/plan.json").read_text())
    assert plan["analyser"]["stemmer"] == "german"
    rows = pq.read_table(place / "train.ids.parquet").to_pylist()
    languages: dict[int, set[str]] = {}
    for row in rows:
        names = [row["query_id"], *row["doc_ids"]]
        languages.setdefault(row["batch_id"], set()).update(name[2:4] for name in names)
    assert len(languages) > 3
    assert all(len(found) == 1 for found in languages.values())


@pytest.mark.slow
def test_judge(place: Path, shell: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in for a language model, which counts what it answers."""
    server = ChatServer()
    monkeypatch.setenv("JUDGE_URL", server.url)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    page = "docs/how-to/judge.md"
    write_scripts(page, place, place.parent / "tools")
    run_page(page, place, shell)
    server.close()
    assert set(server.answered.values()) == {1}, "nothing is asked twice"
    twice = pq.read_table(sorted((place / "mined/twice").glob("part-*"))).to_pylist()
    asked = [row for row in twice if row["grade_strong"] is not None]
    assert asked
    assert all(row["grade_cheap"] >= 2 for row in asked)
    checked = pq.read_table(sorted((place / "mined/checked").glob("part-*")))
    assert checked["grade_stand-in"].null_count < len(checked)
    low = pq.read_table(sorted((place / "mined/low").glob("part-*"))).to_pandas().dropna(subset="score_gecko_stand-in")
    assert (low["verdict"] == "negative").sum() > 50
    for _, rows in low.groupby("query_id"):
        tenth = rows["score_gecko_stand-in"].nlargest(10).min()
        assert rows.loc[rows["verdict"] == "negative", "score_gecko_stand-in"].max() <= tenth
    first = pq.read_table(sorted((place / "mined/first").glob("part-*"))).to_pylist()
    assert (
        sum(row["reason"] == "relabelled" for row in first) == len((place / "first.tsv").read_text().splitlines()) - 1
    )


@pytest.mark.slow
def test_generate(place: Path, shell: dict[str, str]) -> None:
    page = "docs/how-to/generate.md"
    (pairs,), (corpus,) = blocks(page, "csv"), blocks(page, "json")
    (place / "pairs.csv").write_text(pairs)
    (place / "corpus.jsonl").write_text(corpus)
    run_page(page, place, shell)
    mined = pq.read_table(place / "mined/decisions/part-00000.parquet").to_pylist()
    picked = Counter((row["query_id"], row["sources"] == ["curated"]) for row in mined if row["verdict"] == "negative")
    assert {count for (_, is_curated), count in picked.items() if is_curated} == {1}
    numbers = pq.read_table(place / "mined/numbers/part-00000.parquet").to_pylist()
    reasons = Counter(row["reason"] for row in numbers if row["sources"] == ["curated"])
    assert reasons["where"] == 14
    assert pq.read_metadata(place / "asked/triplets.parquet").num_rows > 0


@pytest.mark.slow
def test_downsample(place: Path, shell: dict[str, str]) -> None:
    run_page("docs/how-to/downsample.md", place, shell)
    counts = json.loads((place / "small" / "manifest.json").read_text())["counts"]
    assert set(counts["systems"]) == {"bm25", "plain"}
    assert counts["documents"] < counts["documents_of"]


@pytest.mark.slow
@needs_model
def test_margin(place: Path, shell: dict[str, str]) -> None:
    page = "docs/how-to/margin.md"
    write_scripts(page, place, place.parent / "tools")
    run_page(page, place, shell)
    assert (place / "trade-off.svg").read_bytes().startswith(b"<?xml")
    margins, chosen = (
        hnmine.sweep(
            "work", options=hnmine.SweepOptions(num_negatives=(3,), **axis), truth=hnmine.TruthOptions(qrels="full.tsv")
        )
        for axis in ({"relative_margin": (0.05,)}, {"max_fn_probability": (0.05,)})
    )
    easy, hard = margins["points"][0], chosen["points"][0]
    assert hard["mean_gap"] < easy["mean_gap"], "what the page says"
    assert hard["false_negative_rate"] < easy["false_negative_rate"]


@pytest.mark.slow
@needs_model
def test_from_sentence_transformers(place: Path, shell: dict[str, str]) -> None:
    pytest.importorskip("datasets")
    page = "docs/how-to/from-sentence-transformers.md"
    write_scripts(page, place, place.parent / "tools")
    run_page(page, place, shell)
    exec((place / "dropin.py").read_text(), {})
    command, dropin = (
        {tuple(row.values()) for row in pq.read_table(place / name).to_pylist()}
        for name in ("mined/triplets.parquet", "dropin.parquet")
    )
    assert len(command) > 100
    assert command == dropin


@pytest.mark.slow
@needs_model
def test_from_flagembedding(place: Path, shell: dict[str, str]) -> None:
    page = "docs/how-to/from-flagembedding.md"
    write_scripts(page, place, place.parent / "tools")
    run_page(page, place, shell)
    before, after = (
        [json.loads(line) for line in (place / name).read_text().splitlines()]
        for name in ("toy.jsonl", "minedHN.jsonl")
    )
    assert {row["query"]: row["pos"] for row in after} == {row["query"]: row["pos"] for row in before}
    assert all(len(row["neg"]) == 5 for row in after)
    pool = {json.loads(line)["text"] for line in (place / "pool.jsonl").read_text().splitlines()}
    assert {text for row in after for text in row["neg"]} <= pool


def named(page: str, heading: str) -> tuple[set[str], set[str]]:
    """The names in the first column of a page's table, and the flags in its second."""
    text = (ROOT / page).read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:3] for line in text.splitlines() if line.startswith("| `")]
    names, flags = (re.findall(r"`([^`]+)`", " ".join(column)) for column in zip(*rows, strict=True))
    assert len(names[1:]) == len(set(names)) - 1, "one row each"
    return set(names[1:]), {flag for words in flags[1:] for flag in re.findall(r"(?:^| )(--?[a-z-]+)", words)}


def options_of_run() -> set[str]:
    command = typer.main.get_command(app)
    return {name for parameter in command.commands["run"].loaded.params for name in parameter.opts}  # type: ignore[attr-defined]


def test_every_parameter_of_mine_hard_negatives_has_its_flag() -> None:
    util = pytest.importorskip("sentence_transformers.util")
    names, flags = named("docs/how-to/from-sentence-transformers.md", "Flag by flag")
    assert names == set(inspect.signature(util.mine_hard_negatives).parameters)
    assert flags <= options_of_run()


HN_MINE = """
    input_file output_file candidate_pool range_for_sampling negative_number use_gpu_for_searching search_batch_size
    embedder_name_or_path embedder_model_class normalize_embeddings pooling_method use_fp16 devices
    query_instruction_for_retrieval query_instruction_format_for_retrieval examples_for_task examples_instruction_format
    trust_remote_code cache_dir batch_size embedder_query_max_length embedder_passage_max_length
"""
"""The fields of DataArgs and ModelArgs in scripts/hn_mine.py of FlagEmbedding, April 2026."""


def test_every_argument_of_hn_mine_has_its_flag() -> None:
    names, flags = named("docs/how-to/from-flagembedding.md", "Argument by argument")
    assert names == set(HN_MINE.split())
    assert flags <= options_of_run()
