"""What does not belong together is refused with exit code 4, named, and never mixed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import build_cross_encoder, build_encoder
from tests.e2e.harness import STAGES, Chain, Done, contents, write_jsonl

Call = Callable[..., Done]

CHANGED = {
    "ingest": (["--title-separator", "|"], 'title_separator: " " -> "|"'),
    "bm25": (["--k1", "2"], "options.k1: 1.5 -> 2.0"),
    "dense": (["--max-length", "32"], "options.max_length: null -> 32"),
    "search": (["-k", "21"], "options.top_k: 20 -> 21"),
    "mine": (["-k", "21"], "options.top_k: 20 -> 21"),
    "score": (["--max-length", "32"], "options.max_length: null -> 32"),
    "filter": (["-n", "5"], "options.num_negatives: 4 -> 5"),
    "export": (["--rows-per-file", "25"], "options.rows_per_file: 20 -> 25"),
    "export-file": (["--format", "labeled-pair"], 'options.format: "triplet" -> "labeled-pair"'),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_changed_parameter(stage: str, chain: Chain, call: Call, tmp_path: Path) -> None:
    artefact = chain.artefact(stage, tmp_path)
    assert call(*chain.command(stage, tmp_path)).code == 0
    flags, difference = CHANGED[stage]

    refused = call(*chain.command(stage, tmp_path, *flags))

    assert refused.code == 4
    assert difference in refused.stderr
    assert "--overwrite" in refused.stderr
    assert contents(artefact) == contents(chain.path(stage))

    assert call(*chain.command(stage, tmp_path, *flags, "--overwrite")).code == 0
    assert call(*chain.command(stage, tmp_path / "fresh", *flags)).code == 0
    assert contents(artefact) == contents(chain.artefact(stage, tmp_path / "fresh"))
    assert contents(artefact) != contents(chain.path(stage))


def test_a_changed_parameter_of_an_unfinished_artefact(chain: Chain, call: Call, tmp_path: Path) -> None:
    assert call(*chain.command("mine", tmp_path, "--shard", "0/2")).code == 0
    before = contents(tmp_path / "mine")
    refused = call(*chain.command("mine", tmp_path, "-k", "21", "--shard", "1/2"))
    assert refused.code == 4
    assert "options.top_k: 20 -> 21" in refused.stderr
    assert contents(tmp_path / "mine") == before


def test_a_changed_input(chain: Chain, call: Call, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(chain.data, data)
    assert call("ingest", data, "-o", tmp_path / "c").code == 0
    assert call("index", "bm25", tmp_path / "c", "-o", tmp_path / "i").code == 0
    with open(data / "corpus.jsonl", "a", encoding="utf-8") as stream:
        stream.write('{"_id": "new", "title": "", "text": "a horse"}\n')

    refused = call("ingest", data, "-o", tmp_path / "c")
    assert refused.code == 4
    assert "fingerprint.corpus: " in refused.stderr

    assert call("ingest", data, "-o", tmp_path / "c", "--overwrite").code == 0
    stale = call("index", "bm25", tmp_path / "c", "-o", tmp_path / "i")
    assert stale.code == 4
    assert "inputs.collection: " in stale.stderr


def test_changed_weights_of_an_encoder(chain: Chain, call: Call, tmp_path: Path) -> None:
    """The model's name and path stay the same; only its bytes change."""
    model = build_encoder(tmp_path / "model")
    command = ["index", "dense", chain.path("ingest"), "--model", model, "-o", tmp_path / "index"]
    assert call(*command).code == 0
    before = contents(tmp_path / "index")
    other = build_encoder(tmp_path / "other" / "model", seed=1)
    shutil.rmtree(model)
    shutil.move(other, model)

    refused = call(*command)

    assert refused.code == 4
    assert "model.fingerprint: " in refused.stderr
    assert contents(tmp_path / "index") == before


def test_changed_weights_of_a_reranker(chain: Chain, call: Call, tmp_path: Path) -> None:
    model = build_cross_encoder(tmp_path / "model")
    command = ["score", chain.path("ingest"), chain.path("mine"), "--reranker", model, "-o", tmp_path / "scored"]
    assert call(*command, "--limit", "5").code == 0
    shutil.rmtree(model)
    build_cross_encoder(model, seed=1)
    refused = call(*command, "--limit", "5")
    assert refused.code == 4
    assert "reranker.fingerprint: " in refused.stderr


def test_overwrite_never_removes_what_is_not_hnmines(chain: Chain, call: Call, tmp_path: Path) -> None:
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.tex").write_text("years of work", encoding="utf-8")
    assert call("ingest", chain.data, "-o", mine, "--overwrite").code == 2
    shutil.copytree(chain.path("filter"), tmp_path / "filter")
    (tmp_path / "filter" / "notes.txt").write_text("more work", encoding="utf-8")
    refused = call(*chain.command("filter", tmp_path, "-n", "5", "--overwrite"))
    assert refused.code == 2
    assert "notes.txt" in refused.stderr
    assert (mine / "chapter.tex").read_text(encoding="utf-8") == "years of work"
    assert (tmp_path / "filter" / "notes.txt").exists()


def test_an_input_is_never_written_over(chain: Chain, call: Call, tmp_path: Path) -> None:
    decisions = tmp_path / "decisions"
    shutil.copytree(chain.path("filter"), decisions)
    (tmp_path / "link").symlink_to(decisions)
    before = contents(decisions)
    command = ["export", decisions, "--collection", chain.path("ingest"), "--overwrite", "-o"]
    for place in (decisions, tmp_path / "link", decisions / "part-00000.parquet"):
        refused = call(*command, place)
        assert refused.code == 2
        assert "is, or is in, the decisions that it would be made from" in refused.stderr
        assert contents(decisions) == before


def test_a_file_of_somebody_else_is_not_replaced(chain: Chain, call: Call, tmp_path: Path) -> None:
    target = tmp_path / "train.parquet"
    target.write_bytes(b"precious")
    refused = call(*chain.command("export-file", tmp_path))
    assert refused.code == 2
    assert str(target) in refused.stderr
    assert target.read_bytes() == b"precious"
    assert call(*chain.command("export-file", tmp_path, "--overwrite")).code == 0
    assert target.read_bytes() == (chain.root / "train.parquet").read_bytes()


def test_run_never_writes_over_its_own_input(call: Call, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pairs = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"anchor": ["one horse", "two"], "positive": ["a horse rides", "two babies"]}), pairs)
    before = pairs.read_bytes()
    for more in ([], ["--overwrite"]):
        assert call("run", pairs, "-o", pairs, "--no-dense", *more).code == 2
    assert pairs.read_bytes() == before
    assert not (tmp_path / "pairs.hnmine").exists()


@pytest.fixture
def copy(chain: Chain, tmp_path: Path) -> Path:
    """A copy of the scored candidates, to damage."""
    return Path(shutil.copytree(chain.path("score"), tmp_path / "candidates"))


def decide(call: Call, chain: Chain, candidates: Path, tmp_path: Path) -> Done:
    """Filter the given candidates."""
    done = call("filter", candidates, "--collection", chain.path("ingest"), "-o", tmp_path / "decisions")
    assert not (tmp_path / "decisions" / "manifest.json").exists() or done.code == 0
    return done


def test_the_copy_itself_is_accepted(chain: Chain, call: Call, copy: Path, tmp_path: Path) -> None:
    assert decide(call, chain, copy, tmp_path).code == 0


def test_another_kind(chain: Chain, call: Call, tmp_path: Path) -> None:
    refused = decide(call, chain, chain.path("bm25"), tmp_path)
    assert refused.code == 4
    assert str(chain.path("bm25")) in refused.stderr
    assert "index-bm25" in refused.stderr


def test_another_format_version(chain: Chain, call: Call, copy: Path, tmp_path: Path) -> None:
    plan = json.loads((copy / "plan.json").read_text(encoding="utf-8"))
    (copy / "plan.json").write_text(json.dumps({**plan, "format": 99}), encoding="utf-8")
    refused = decide(call, chain, copy, tmp_path)
    assert refused.code == 4
    assert f"{copy} has format version 99" in refused.stderr


def test_a_flipped_byte(chain: Chain, call: Call, copy: Path, tmp_path: Path) -> None:
    part = copy / "part-00002.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    refused = decide(call, chain, copy, tmp_path)
    assert refused.code == 4
    assert f"{part} is corrupt" in refused.stderr


def test_a_missing_part(chain: Chain, call: Call, copy: Path, tmp_path: Path) -> None:
    part = copy / "part-00001.parquet"
    part.unlink()
    refused = decide(call, chain, copy, tmp_path)
    assert refused.code == 4
    assert f"{part} is missing" in refused.stderr


def test_a_run_with_another_decision_says_how_to_decide_again(chain: Chain, call: Call, tmp_path: Path) -> None:
    run = ["run", chain.data, "-o", tmp_path / "run", "--no-dense", "--limit", "20"]
    assert call(*run, "-n", "2").code == 0
    decided = call(*run, "-n", "3")
    assert decided.code == 4
    assert "options.num_negatives: 2 -> 3" in decided.stderr
    assert f"try: hnmine filter {tmp_path / 'run'} -o OTHER, with the new options" in decided.stderr
    mined = call(*run, "-n", "2", "-k", "7")
    assert mined.code == 4
    assert "another -o, or --overwrite here, which keeps what stands before mine" in mined.stderr
    assert "hnmine filter" not in mined.stderr
    anew = call(*run, "-n", "3", "--overwrite", "--json")
    assert anew.code == 0, anew.stderr
    assert {step: told["blocks"]["done_now"] > 0 for step, told in anew.json.items()} == {
        **dict.fromkeys(("ingest", "index bm25", "mine"), False),
        **dict.fromkeys(("filter", "export"), True),
    }


def test_an_edited_plan(chain: Chain, call: Call, copy: Path, tmp_path: Path) -> None:
    plan = (copy / "plan.json").read_text(encoding="utf-8")
    (copy / "plan.json").write_text(plan.replace('"logit"', '"cosine"'), encoding="utf-8")
    refused = decide(call, chain, copy, tmp_path)
    assert refused.code == 4
    assert f"{copy / 'plan.json'} was changed" in refused.stderr


@pytest.mark.parametrize("name", ["plan.json", "manifest.json"])
@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_cut_description(name: str, text: str, chain: Chain, call: Call, copy: Path, tmp_path: Path) -> None:
    (copy / name).write_text(text, encoding="utf-8")
    refused = decide(call, chain, copy, tmp_path)
    assert refused.code == 4
    assert f"{copy / name} is corrupt" in refused.stderr


def test_an_unfinished_artefact(chain: Chain, call: Call, copy: Path, tmp_path: Path) -> None:
    (copy / "manifest.json").unlink()
    refused = decide(call, chain, copy, tmp_path)
    assert refused.code == 4
    assert "unfinished" in refused.stderr


def test_nothing_there(chain: Chain, call: Call, tmp_path: Path) -> None:
    assert decide(call, chain, tmp_path / "nowhere", tmp_path).code == 4
    (tmp_path / "empty").mkdir()
    assert decide(call, chain, tmp_path / "empty", tmp_path).code == 4


def test_a_damaged_result_is_not_taken_for_finished(chain: Chain, call: Call, tmp_path: Path) -> None:
    assert call(*chain.command("filter", tmp_path)).code == 0
    part = tmp_path / "filter" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    refused = call(*chain.command("filter", tmp_path))
    assert refused.code == 4
    assert str(part) in refused.stderr
    assert call(*chain.command("filter", tmp_path, "--overwrite")).code == 0
    assert contents(tmp_path / "filter") == contents(chain.path("filter"))


@pytest.fixture
def other(chain: Chain, call: Call, tmp_path: Path) -> Path:
    """A collection with the same ids and other texts."""
    data = tmp_path / "data"
    shutil.copytree(chain.data, data)
    rows = [json.loads(line) for line in (data / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    write_jsonl(data / "corpus.jsonl", [{**row, "text": row["text"] + " horse"} for row in rows])
    assert call("ingest", data, "-o", tmp_path / "other").code == 0
    return tmp_path / "other"


def test_a_stale_collection_is_refused_by_every_stage_that_reads_one(
    chain: Chain, call: Call, other: Path, tmp_path: Path
) -> None:
    out = ["-o", tmp_path / "out"]
    calls = {
        "mine": ["mine", other, "--index", chain.path("bm25")],
        "score": ["score", other, chain.path("mine"), "--reranker", chain.reranker],
        "filter": ["filter", chain.path("mine"), "--collection", other],
        "export": ["export", chain.path("filter"), "--collection", other],
    }
    for stage, command in calls.items():
        refused = call(*command, *out)
        assert refused.code == 4, stage
        assert str(other) in refused.stderr, stage
        assert "fingerprint" in refused.stderr, stage
        assert not (tmp_path / "out").exists(), stage


def test_a_collection_made_anew_in_the_same_place_is_noticed(chain: Chain, call: Call, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(chain.data, data)
    run = ["run", data, "-o", tmp_path / "run", "--no-dense"]
    assert call(*run).code == 0
    with open(data / "corpus.jsonl", "a", encoding="utf-8") as stream:
        stream.write('{"_id": "new", "title": "", "text": "a horse"}\n')
    assert call(*run).code == 4
    assert call("ingest", data, "-o", tmp_path / "run" / "collection", "--overwrite").code == 0
    refused = call("export", tmp_path / "run", "-o", tmp_path / "x.parquet")
    assert refused.code == 4
    assert str(tmp_path / "run" / "collection") in refused.stderr
