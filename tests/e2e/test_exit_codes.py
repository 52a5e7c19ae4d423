"""Every exit code, from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hnmine.stages.vocabulary import DECIDED
from tests.e2e.harness import Chain, Cli, Done, write_jsonl

Call = Callable[..., Done]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["mine", "DATA", "--topk", "5", "-o", "OUT"], "--topk"),
        (["mien"], "mien"),
        (["index", "bm26", "DATA", "-o", "OUT"], "bm26"),
        (["ingest", "DATA"], "-o OUTPUT missing"),
        (["index", "bm25", "DATA", "-o", "OUT", "--method", "bm26"], "bm26"),
        (["index", "bm25", "DATA", "-o", "OUT", "--k1", "much"], "--k1"),
        (["index", "bm25", "DATA", "-o", "OUT", "--b", "1.5"], "b"),
        (["index", "bm25", "DATA", "-o", "OUT", "--engine", "rank-bm25"], "lucene"),
        (["index", "bm25", "DATA", "-o", "OUT", "--language", "klingon"], "klingon"),
        (["index", "bm25", "DATA", "-o", "OUT", "--shard", "5/5"], "--shard 5/5"),
        (["index", "bm25", "DATA", "-o", "OUT", "--shard", "x/5"], "--shard x/5"),
        (["index", "bm25", "DATA", "-o", "OUT", "--shard", "-1/5"], "--shard -1/5"),
        (["index", "bm25", "DATA", "-o", "OUT", "--shard", "1"], "--shard 1"),
        (["index", "bm25", "DATA", "-o", "OUT", "--shard", "0/2", "--overwrite"], "contradict"),
        (["ingest", "DATA", "-o", "OUT", "--fail-if", "documents"], "--fail-if"),
        (["ingest", "DATA", "-o", "OUT", "--fail-if", "documents>many"], "--fail-if"),
        (["mine", "DATA", "-o", "OUT"], "--index"),
        (["mine", "DATA", "--index", "BM25", "-k", "-1", "-o", "OUT"], "--top-k -1"),
        (["mine", "DATA", "--index", "BM25", "--random", "-1", "-o", "OUT"], "--random -1"),
        (["mine", "DATA", "--index", "BM25", "--limit", "-1", "-o", "OUT"], "--limit -1"),
        (["mine", "DATA", "--index", "BM25", "--rank-by", "bm26", "-o", "OUT"], "--rank-by bm26"),
        (["mine", "DATA", "--index", "BM25", "--index", "BM25", "-o", "OUT"], "two sources are called"),
        (["filter", "MINED", "-o", "OUT", "--relative-margin", "0.1", "--no-margin"], "contradict"),
        (["filter", "MINED", "-o", "OUT", "--min-score", "2", "--max-score", "1"], "--min-score"),
        (["filter", "MINED", "-o", "OUT", "--judge-by", "dnese"], "did you mean 'dense'"),
        (["filter", "MINED", "-o", "OUT", "-n", "0"], "--num-negatives 0"),
        (["filter", "MINED", "-o", "OUT", "--limit", "0"], "--limit 0"),
        (["export", "DECIDED", "-o", "OUT", "--rows-per-file", "0"], "--rows-per-file 0"),
        (["export", "DECIDED", "-o", "-", "--json"], "--json"),
        (["index", "dense", "DATA", "--query-vectors", "x.npy", "-o", "OUT"], "--vectors"),
        (["inspect", "DECIDED", "--query", "nobody"], "nobody"),
    ],
)
def test_usage(arguments: list[str], told: str, chain: Chain, call: Call, tmp_path: Path) -> None:
    names = {
        "DATA": chain.path("ingest"),
        "OUT": tmp_path / "out",
        "BM25": chain.path("bm25"),
        "MINED": chain.path("mine"),
        "DECIDED": chain.path("filter"),
    }
    done = call(*[names.get(argument, argument) for argument in arguments])
    assert done.code == 2, done.stderr
    assert told in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("[mine]\ntop-j = 5", "did you mean 'top-k'?"),
        ("[mien]\ntop-k = 5", "did you mean 'mine'?"),
        ("[mine]\ntop-k = 'five'", "not a whole number"),
        ("[bm25]\nmethod = 'bm26'", "not one of"),
        ("[mine\n", "TOML"),
        ("indexes = 'one'", "not a list"),
        ("[filter]\nnum_negative = 5", "did you mean 'num_negatives'?"),
        ("[judge]\nurl = 'x'", "a judge is a step of its own: hnmine score DIR --judge"),
    ],
)
def test_a_configuration_that_is_wrong(toml: str, told: str, chain: Chain, call: Call, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(toml, encoding="utf-8")
    done = call("run", chain.data, "-o", tmp_path / "out", "--config", tmp_path / "run.toml")
    assert done.code == 2, done.stderr
    assert told in done.stderr
    assert "run.toml" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_configuration_is_told_all_that_is_wrong_with_it(call: Call, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text("[mine]\ntop-j = 5\n[filter]\nepochs = 'two'\n[score]\nreranker = 'x'\nuntill = 3\n")
    done = call("run", tmp_path, "-o", tmp_path / "out", "--config", config)
    assert done.code == 2
    for told in ("[mine]: unknown key 'top-j'", "[filter]: epochs = 'two'", "[score]: unknown key 'untill'"):
        assert f"{config} {told}" in done.stderr


def test_names_that_cannot_be_columns_are_refused_before_any_work(chain: Chain, call: Call, tmp_path: Path) -> None:
    for flags in (["--model", tmp_path / "my model"], ["--no-dense", "--reranker", tmp_path / "a b"]):
        done = call("run", chain.data, "-o", tmp_path / "out", *flags)
        assert done.code == 2, done.stderr
        assert not (tmp_path / "out").exists()


def test_bad_input_is_3(call: Call, tmp_path: Path) -> None:
    done = call("ingest", tmp_path / "nowhere", "-o", tmp_path / "out")
    assert done.code == 3
    assert str(tmp_path / "nowhere") in done.stderr


def test_a_run_over_a_corpus_alone_ends_before_any_work(call: Call, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "d", "text": "a horse"}])
    done = call("run", tmp_path / "corpus.jsonl", "-o", tmp_path / "out", "--no-dense")
    assert done.code == 3
    assert "a corpus alone, without queries" in done.stderr
    assert "--write queries" in done.stderr
    assert not (tmp_path / "out").exists()


def test_files_named_by_options_that_are_not_there(chain: Chain, call: Call, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    vectors = ["index", "dense", chain.path("ingest"), "--vectors", missing, "--query-vectors", missing]
    for command in (["mine", chain.path("ingest"), "--run", missing], vectors):
        done = call(*command, "-o", tmp_path / "out")
        assert done.code == 3, done.stderr
        assert str(missing) in done.stderr
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["dense", "score"])
def test_a_model_that_is_not_there_is_5(stage: str, chain: Chain, call: Call, tmp_path: Path) -> None:
    flag = {"dense": "--model", "score": "--reranker"}[stage]
    done = call(*chain.command(stage, tmp_path, flag, "nobody/no-such-model"))
    assert done.code == 5
    assert "nobody/no-such-model" in done.stderr
    assert not (tmp_path / stage).exists()


def test_a_condition_that_holds_is_6_and_the_work_is_done(chain: Chain, call: Call, tmp_path: Path) -> None:
    command = chain.command("filter", tmp_path)
    for mistyped in (command, ["run", chain.data, "-o", tmp_path / "run"]):  # told before any work
        assert "did you mean 'yield'?" in call(*mistyped, "--fail-if", "yeild<1").stderr
    assert list(tmp_path.iterdir()) == []
    done = call(*command, "--fail-if", "yield<0.2", "--fail-if", "verdicts.negative>=1", "--json")
    assert done.code == 6
    assert set(done.json["counts"]) <= {*DECIDED, "advice"}
    assert "verdicts.negative>=1 holds" in done.stderr
    assert done.json["finished"]
    assert (tmp_path / "filter" / "manifest.json").exists()
    assert call(*command, "--fail-if", "verdicts.negative<1").code == 0
    assert call(*command, "--fail-if", "yeild<1").code == 2
    for known in ("reasons.skip-top", "reasons_of_short_queries.where", "steps.relaxed-half", "negatives_per_query.99"):
        assert call(*command, "--fail-if", f"{known}>0").code == 0
        assert call(*command, "--fail-if", f"{known}<1").code == 6
    mistyped = call(*command, "--fail-if", "reasons.skip-tpo>0")
    assert mistyped.code == 2
    assert "did you mean 'reasons.skip-top'?" in mistyped.stderr
    for nobodys in ("grades.1", "reasons.99", "left_out.queries_not_judged"):  # counters that a filter does not have
        assert call(*command, "--fail-if", f"{nobodys}>0").code == 2
    ingested = call(
        *chain.command("ingest", tmp_path), "--fail-if", "left_out.judgments_repeated>0", "--fail-if", "grades.7>0"
    )
    assert ingested.code == 0, ingested.stderr


def test_a_name_that_is_no_text_is_2(cli: Cli, tmp_path: Path) -> None:
    done = cli("audit", f"{tmp_path}/b\udce9b\udce9.parquet")
    assert done.code == 2, done.stderr
    assert rf"'{tmp_path}/b\xe9b\xe9.parquet' is not UTF-8" in done.stderr


def test_a_directory_that_is_gone_is_7(
    chain: Chain, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = call("export", chain.path("filter"), "-o", "out.parquet")
    assert done.code == 7, done.stderr
    assert "the current directory is not there any more" in done.stderr


def test_a_bug_keeps_its_traceback_and_is_1(chain: Chain, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import hnmine.stages.ingest as i\n"
        "def broken(*a):\n    raise ZeroDivisionError('a bug')\n"
        "i.Ingest.run = broken\n",
        encoding="utf-8",
    )
    from tests.e2e.harness import ROOT

    done = cli("ingest", chain.data, "-o", tmp_path / "out", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.code == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: a bug" in done.stderr
    assert done.stdout == ""
