"""`export --push` against a stand-in for the Hub, by huggingface_hub's own requests over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import hnmine
from hnmine.cli.app import app
from hnmine.errors import MissingDependencyError, Preempted, StorageError, UsageError
from hnmine.files.artefact import Artefact
from hnmine.files.hub import ATTEMPTS, DatasetRepository, Pushed
from hnmine.options import ExportOptions, Format, PushOptions
from hnmine.schema import Kind
from hnmine.stages.card import BEGIN, END, card
from hnmine.stages.hub_layout import HubLayout
from hnmine.stages.push import Push
from tests.e2e.hub import READER, TOKEN, Fault, Hub, Repository

pytest.importorskip("huggingface_hub")
ROOT = Path(__file__).parents[2]
REPOSITORY = "me/numbers-with-negatives"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory: forty questions about numbers, BM25 candidates, three negatives each."""
    place = tmp_path_factory.mktemp("numbers")
    rows = [{"anchor": f"what is number {n}", "positive": f"the number {n} is as it is"} for n in range(40)]
    rows.append({"anchor": "what is number 0", "positive": "zero | is what number 0 is called"})
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    hnmine.ingest(place / "pairs.jsonl", place / "collection")
    options = hnmine.Bm25Options(language="english", k1=1.2)
    hnmine.index_bm25(place / "collection", place / "indexes" / "words", options=options)
    hnmine.mine(place, place / "candidates", options=hnmine.MineOptions(top_k=20))
    rules = hnmine.FilterOptions(num_negatives=3, skip_top=2, max_fn_probability=0.5, seed=7)
    hnmine.filter(place, place / "decisions", options=rules)
    return place


@pytest.fixture(scope="module")
def file(work: Path) -> Path:
    """The export of a single file: its artefact."""
    hnmine.export(work, work / "out" / "triplets.parquet")
    return work / "out" / "triplets.hnmine" / "export"


@pytest.fixture(scope="module")
def shards(work: Path) -> Path:
    """An export in several files."""
    options = ExportOptions(format=Format.LABELED_LIST, rows_per_file=15)
    hnmine.export(work, work / "shards", options=options)
    return work / "shards"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running stand-in that this process' huggingface_hub asks, without waiting between tries."""
    import huggingface_hub.constants

    with Hub().running() as hub:
        for name, value in hub.variables(tmp_path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        hub.slept = []
        monkeypatch.setattr(time, "sleep", hub.slept.append)
        yield hub


def push(artefact: Path, repository: str = REPOSITORY, **options: Any) -> Pushed:
    return hnmine.push(artefact, repository, **options)


def contents(export: Path) -> dict[str, bytes]:
    """The files of an export by their names on the Hub."""
    layout = HubLayout.of(Artefact.open(export, Kind.EXPORT))
    return {name: file.path.read_bytes() for name, file in layout.files.items()}


def of_repository(hub: Hub, repository: str = REPOSITORY) -> dict[str, bytes]:
    """The files of a repository, less those that the Hub and the card bring."""
    own = (".gitattributes", "README.md")
    return {name: content for name, content in hub.repositories[repository].files.items() if name not in own}


# What is pushed


def test_a_file_goes_in_one_commit_with_its_ids_and_a_card(hub: Hub, file: Path) -> None:
    done = push(file)
    assert set(done.uploaded) == {
        "data/train-00000-of-00001.parquet",
        "ids/train-00000-of-00001.parquet",
        "README.md",
    }
    assert (done.unchanged, done.removed) == ((), ())
    assert of_repository(hub) == contents(file)
    found = hub.repositories[REPOSITORY]
    assert not found.private
    assert len(found.commits) == 2
    assert done.commit == found.sha
    assert done.url == f"{hub.address}/datasets/{REPOSITORY}"


def test_what_is_pushed_loads_as_two_tables(hub: Hub, shards: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    push(shards)
    place = hub.write(REPOSITORY, tmp_path / "downloaded")
    assert sorted(name for name in of_repository(hub)) == [
        f"{folder}/train-0000{part}-of-00003.parquet" for folder in ("data", "ids") for part in range(3)
    ]
    assert datasets.get_dataset_config_names(str(place)) == ["default", "ids"]
    rows = datasets.load_dataset(str(place), split="train", cache_dir=str(tmp_path / "cache"))
    ids = datasets.load_dataset(str(place), "ids", split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == ["query", "documents", "labels"]
    assert len(rows) == len(ids) == 41
    texts = dict(zip(*hnmine_columns(shards, "documents", "doc_id", "text"), strict=True))
    for row, about in zip(rows, ids, strict=True):
        assert row["documents"] == [texts[doc_id] for doc_id in about["doc_ids"]]
        assert row["labels"] == about["labels"]


def hnmine_columns(export: Path, table: str, *names: str) -> list[list[Any]]:
    found = Artefact.open(export).input("collection", Kind.COLLECTION)
    tables = [pq.read_table(path, columns=list(names)) for path in found.files(f"{table}/")]
    return [pa.concat_tables(tables)[name].to_pylist() for name in names]


def test_the_card_says_what_how_and_by_what(hub: Hub, file: Path, work: Path) -> None:
    from huggingface_hub import DatasetCard

    push(file, license="cc-by-4.0")
    found = DatasetCard(hub.repositories[REPOSITORY].files["README.md"].decode())
    header = found.data.to_dict()
    assert header["license"] == "cc-by-4.0"
    assert header["language"] == ["en"]
    assert header["size_categories"] == ["n<1K"]
    assert header["tags"] == ["hard-negatives", "hnmine", "sentence-transformers", "triplet"]
    assert header["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]},
        {"config_name": "ids", "data_files": [{"split": "train", "path": "ids/train-*"}]},
    ]
    text = found.text
    decisions = Artefact.open(work / "decisions")
    rows = Artefact.open(file).counts["rows"]
    assert f"{rows:,} rows for 40 queries" in text
    assert f'load_dataset("{REPOSITORY}", "ids")' in text
    assert f"Made by hnmine {hnmine.__version__}." in text
    assert "| `words` | BM25 (lucene) |  | k1 1.2, b 0.75, analyser english |" in text
    reasons = decisions.counts["reasons"]
    assert reasons["skip-top"] > 0
    assert f"| `skip-top` | `--skip-top 2` | {reasons['skip-top']:,} | the first `count` documents" in text
    assert f"| `max-fn-probability` | `--max-fn-probability 0.5` | {reasons.get('max-fn-probability', 0):,} |" in text
    chosen = [
        row["p_false_negative"]
        for row in pq.read_table(decisions.files()[0]).to_pylist()
        if row["verdict"] == "negative"
    ]
    assert f"Estimated share of false negatives among the chosen: {sum(chosen) / len(chosen):.2%}" in text
    assert "`cc-by-4.0`, as named by whoever pushed this." in text
    assert "| default | `negative` | string | a mined hard negative" in text
    for line in (
        f"pip install hnmine=={hnmine.__version__}",
        "hnmine ingest DATA -o collection",
        "hnmine index bm25 collection -o indexes/words --language english --k1 1.2",
        "hnmine mine collection -o candidates --index indexes/words --top-k 20",
        "hnmine filter candidates -o decisions --seed 7 --num-negatives 3 --skip-top 2 --max-fn-probability 0.5",
        "hnmine export decisions -o train",
    ):
        assert f"\n{line}\n" in text


def test_the_card_names_models_and_neither_places_nor_hosts(
    hub: Hub, work: Path, tiny_encoder: Path, tiny_cross_encoder: Path, tmp_path: Path
) -> None:
    import platform

    options = hnmine.DenseOptions(model=str(tiny_encoder), query_prompt="query : ", dtype="fp32", device="cpu")
    hnmine.index_dense(work, work / "indexes" / "tiny", options=options)
    hnmine.mine(work, work / "mined", indexes=[work / "indexes" / "tiny"], options=hnmine.MineOptions(top_k=8))
    scoring = hnmine.ScoreOptions(reranker=str(tiny_cross_encoder), name="judge", device="cpu", dtype="fp32")
    hnmine.score(work, work / "mined", work / "scored-by-tiny", options=scoring)
    hnmine.filter(work / "scored-by-tiny", tmp_path / "decided", options=hnmine.FilterOptions(no_margin=True))
    hnmine.export(tmp_path / "decided", tmp_path / "rows.parquet")
    export = Artefact.open(tmp_path / "rows.hnmine" / "export")
    text = card(export, HubLayout.of(export), REPOSITORY).render()
    index = Artefact.open(work / "indexes" / "tiny")
    scored = Artefact.open(work / "scored-by-tiny")
    assert (
        f"| `tiny` | dense vectors, cosine | tiny (local), weights `{index.plan['model']['fingerprint'][:16]}` |"
        in text
    )
    assert "query prompt `query : `" in text
    assert (
        f"| `judge` | cross-encoder, logit | tiny (local), weights `{scored.plan['reranker']['fingerprint'][:16]}` |"
        in text
    )
    lines = {line.partition(" collection")[0]: line for line in text.splitlines() if line.startswith("hnmine ")}
    assert lines["hnmine index dense"].endswith(" --dtype fp32 --model models/tiny --query-prompt 'query : '")
    assert lines["hnmine score"].endswith(" candidates -o scored --dtype fp32 --reranker models/tiny --name judge")
    for private in (str(work), str(tmp_path), str(tiny_encoder.parent), platform.node(), str(Path.home())):
        assert private not in text


def test_what_the_card_cannot_find_it_says(work: Path, tmp_path: Path) -> None:
    hnmine.filter(work / "candidates", tmp_path / "decided", collection=work / "collection")
    hnmine.export(tmp_path / "decided", tmp_path / "rows.parquet", collection=work / "collection")
    (tmp_path / "decided").rename(tmp_path / "moved")
    export = Artefact.open(tmp_path / "rows.hnmine" / "export")
    text = card(export, HubLayout.of(export), REPOSITORY).render()
    assert "The decisions were not at hand" in text
    assert "What the candidates were mined with was not at hand" in text
    assert "documents, 40 queries" in text


# Pushing again


def test_what_is_there_is_not_uploaded_again(hub: Hub, file: Path) -> None:
    first = push(file)
    hub.requests.clear()
    hub.uploaded = 0
    again = push(file)
    assert again.uploaded == again.removed == ()
    assert again.commit == first.commit
    assert hub.uploaded == hub.asked("/commit/|/preupload/|PUT") == 0


def test_another_export_replaces_the_shards_of_the_earlier_one(hub: Hub, file: Path, shards: Path) -> None:
    push(shards)
    names = ["data/notes.txt", "data/train.parquet", "data/train-1.parquet", "collisions/notes.parquet", "train.jsonl"]
    own = dict.fromkeys(names, b"mine")
    hub.repositories[REPOSITORY].files |= own
    done = push(file)
    assert len(done.removed) == 6
    assert of_repository(hub) == {**contents(file), **own}
    assert len(hub.repositories[REPOSITORY].commits) == 3


def test_files_of_another_origin_are_replaced_only_if_asked(hub: Hub, file: Path) -> None:
    own = {"data/train-00000-of-00002.parquet": b"a", "README.md": b"---\nlicense: mit\n---\n"}
    hub.repositories[REPOSITORY] = Repository(False, dict(own))
    with pytest.raises(UsageError, match=r"hnmine did not push.*data/train-00000-of-00002\.parquet") as refused:
        push(file)
    assert "--overwrite" in refused.value.render()
    assert hub.repositories[REPOSITORY].files == own
    assert hub.uploaded == 0
    push(file, how=hnmine.Execution(overwrite=True))
    assert of_repository(hub) == contents(file)


def test_what_people_wrote_into_the_card_stays(hub: Hub, file: Path, shards: Path) -> None:
    from huggingface_hub import DatasetCard

    written = "---\nlicense: mit\npretty_name: Numbers\ntags:\n- maths\nconfigs:\n- config_name: extra\n"
    written += "  data_files: extra.parquet\ndataset_info:\n  splits: []\n---\n# Numbers\n\nAsk Ada.\n"
    hub.repositories[REPOSITORY] = Repository(False, {"README.md": written.encode()})
    push(file)
    first = DatasetCard(hub.repositories[REPOSITORY].files["README.md"].decode())
    assert first.data.license == "mit"
    assert first.data.pretty_name == "Numbers"
    assert first.data.tags[:2] == ["maths", "hard-negatives"]
    assert [config["config_name"] for config in first.data.to_dict()["configs"]] == ["default", "ids", "extra"]
    assert "dataset_info" not in first.data.to_dict()
    assert first.text.lstrip().startswith(f"# Numbers\n\nAsk Ada.\n\n{BEGIN}")
    assert "`mit`, as named" in first.text
    edited = hub.repositories[REPOSITORY].files["README.md"].decode().replace(END, f"{END}\n\nThanks to all.")
    hub.repositories[REPOSITORY].files["README.md"] = edited.encode()
    push(shards, license="apache-2.0")
    second = DatasetCard(hub.repositories[REPOSITORY].files["README.md"].decode())
    assert second.data.license == "apache-2.0"
    assert "Ask Ada." in second.text
    assert second.text.count(BEGIN) == second.text.count(END) == 1
    assert second.text.rstrip().endswith("Thanks to all.")
    assert "format `labeled-list`" in second.text
    assert "format `triplet`" not in second.text


def test_a_card_that_is_no_yaml_is_told(hub: Hub, file: Path) -> None:
    hub.repositories[REPOSITORY] = Repository(False, {"README.md": b"---\na: [\n---\n"})
    with pytest.raises(UsageError, match="is no YAML"):
        push(file)


# Formats


@pytest.mark.parametrize("form", list(Format))
def test_what_load_dataset_reads_of_every_format_is_in_the_header(form: Format, work: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    scores = form in (Format.GPL, Format.PYLATE_KD)
    hnmine.export(work, tmp_path / "out", options=ExportOptions(format=form, validation=0.2, scores=scores))
    export = Artefact.open(tmp_path / "out", Kind.EXPORT)
    layout, place = as_pushed(export, tmp_path / "pushed")
    loadable = [config.name for config in layout.loadable]
    assert loadable, "ids at least"
    assert datasets.get_dataset_config_names(str(place)) == loadable
    for config in layout.loadable:
        found = datasets.load_dataset(str(place), config.name, cache_dir=str(tmp_path / "cache"))
        assert list(found) == list(config.splits)
        assert sum(len(rows) for rows in found.values()) == config.rows
        if config.columns:
            assert found["train"].column_names == list(config.columns)
    main = layout.configs[0]
    assert (main.name, list(main.splits)) == ("default", ["train", "validation"])
    assert main.rows >= export.counts["rows"]  # a TREC run has a line for each document of a row
    assert len(layout.files) == len([name for name in export.manifest["files"] if name != "README.md"])


def as_pushed(export: Artefact, place: Path) -> tuple[HubLayout, Path]:
    """The files of an export and its card as they stand in a repository."""
    layout = HubLayout.of(export)
    for name, file in layout.files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(file.path.read_bytes())
    (place / "README.md").write_text(card(export, layout, REPOSITORY).render(), encoding="utf-8")
    return layout, place


def test_everything_beside_a_single_file_has_its_place(hub: Hub, work: Path, tmp_path: Path) -> None:
    options = ExportOptions(validation=0.2, collisions=True, columns=("anchor=question",))
    hnmine.export(work, tmp_path / "rows.parquet", options=options)
    push(tmp_path / "rows.hnmine" / "export")
    assert sorted(of_repository(hub)) == [
        "collisions/train.parquet",
        "collisions/validation.parquet",
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
        "ids/train-00000-of-00001.parquet",
        "ids/validation-00000-of-00001.parquet",
    ]
    own = {"data/train": "rows", "data/validation": "rows.validation", "ids/validation": "rows.validation.ids"}
    for there, name in own.items():
        pushed = of_repository(hub)[f"{there}-00000-of-00001.parquet"]
        assert pushed == (tmp_path / f"{name}.parquet").read_bytes()
    text = hub.repositories[REPOSITORY].files["README.md"].decode()
    assert "| default | `question` | string | the query |" in text
    hnmine.export(work, tmp_path / "plain.parquet")
    push(tmp_path / "plain.hnmine" / "export")
    assert len(of_repository(hub)) == 2, "what the second push has none of goes"


def test_a_format_of_several_files_keeps_their_names(hub: Hub, work: Path, tmp_path: Path) -> None:
    hnmine.export(work, tmp_path / "beir", options=ExportOptions(format=Format.BEIR))
    push(tmp_path / "beir")
    ids = "ids/train-00000-of-00001.parquet"
    assert set(of_repository(hub)) == {"qrels/train.tsv", "corpus.jsonl", "queries.jsonl", ids}
    assert hub.asked("PUT /objects") == 1, "small texts travel in the commit"
    text = hub.repositories[REPOSITORY].files["README.md"].decode()
    for name in (ids, "corpus.jsonl", "queries.jsonl"):
        assert f"- `{name}`: " in text
    assert of_repository(hub) == contents(tmp_path / "beir")


# Failures


def passing(status: int | None = None, path: str = ".", **how: Any) -> Fault:
    return Fault(path=path, status=status, **how)


STEPS = ["POST /api/repos/create", "GET /api/datasets/[^/]+/[^/]+$", "/tree/", "/preupload/", "/objects/batch"]
STEPS += ["PUT /objects/", "POST /verify", "/validate-yaml", "/commit/"]


@pytest.mark.parametrize("path", STEPS)
@pytest.mark.parametrize("fault", ["500", "cut", "lost"])
def test_what_fails_for_a_moment_is_tried_again(hub: Hub, file: Path, path: str, fault: str) -> None:
    status = 500 if fault == "500" else None
    hub.faults = [Fault(path=path, status=status, after=fault == "lost")]
    push(file)
    assert hub.faults == [], "the fault was injected"
    assert of_repository(hub) == contents(file)
    assert len(hub.repositories[REPOSITORY].commits) == 2, "no second commit for an answer that was lost"
    assert hub.slept


@pytest.mark.parametrize("status", [None, 500])
def test_a_card_that_does_not_arrive_is_waited_for(hub: Hub, file: Path, shards: Path, status: int | None) -> None:
    push(file)
    card = hub.repositories[REPOSITORY].files["README.md"]
    hub.faults = [Fault(path="README.md", status=status, times=1_000)]
    with pytest.raises(StorageError, match="run the same command again"):
        push(shards)
    assert of_repository(hub) == contents(file)
    assert hub.repositories[REPOSITORY].files["README.md"] == card
    hub.faults = [Fault(path="README.md", status=status, times=4)]
    push(shards)
    assert hub.faults == []
    assert of_repository(hub) == contents(shards)


@pytest.mark.parametrize("path", ["/objects/batch", "/commit/"])
def test_retry_after_is_waited_for(hub: Hub, file: Path, path: str) -> None:
    hub.faults = [Fault(path=path, status=429, headers={"Retry-After": "17"})]
    push(file)
    assert [round(seconds) for seconds in hub.slept] in ([17], [18])
    assert of_repository(hub) == contents(file)


@pytest.mark.parametrize("status", [None, 500, 503, 429])
def test_a_hub_that_stays_away_is_a_storage_error_and_nothing_is_lost(hub: Hub, file: Path, status: int | None) -> None:
    hub.faults = [Fault(path="/commit/", status=status, times=ATTEMPTS)]
    with pytest.raises(StorageError, match=f"failed {ATTEMPTS} times") as failed:
        push(file)
    assert failed.value.exit_code == 7
    assert "run the same command again" in failed.value.render()
    assert of_repository(hub) == {}
    arrived = hub.uploaded
    assert arrived > 0
    push(file)
    assert hub.uploaded == arrived, "what arrived is not uploaded again"
    assert of_repository(hub) == contents(file)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(path="/repos/create", status=401), "does not accept the token"),
        (Fault(path="/preupload/", status=403), "the token may not write to"),
        (Fault(path="/preupload/", status=404), "does not find it"),
        (Fault(path="/commit/", status=400, body='{"error": "too many files"}'), "too many files"),
    ],
)
def test_what_the_hub_refuses_is_told_at_once(hub: Hub, file: Path, fault: Fault, said: str) -> None:
    hub.faults = [fault]
    with pytest.raises(UsageError, match=said) as refused:
        push(file)
    assert refused.value.exit_code == 2
    assert TOKEN not in refused.value.render()
    assert hub.slept == []


def test_a_conflict_passes(hub: Hub, file: Path) -> None:
    hub.faults = [Fault(path="/commit/", status=409), Fault(path="/commit/", status=412)]
    push(file)
    assert of_repository(hub) == contents(file)


def test_storage_that_is_full_is_no_usage_error(hub: Hub, file: Path) -> None:
    hub.faults = [Fault(path="/commit/", status=413)]
    with pytest.raises(StorageError, match="does not take the files"):
        push(file)


def test_a_page_instead_of_json_passes(hub: Hub, file: Path) -> None:
    hub.faults = [Fault(path="/validate-yaml", status=502, headers={"Content-Type": "text/html"}, body="<html>")]
    push(file)
    assert of_repository(hub) == contents(file)


def test_a_licence_that_the_hub_does_not_know(hub: Hub, file: Path) -> None:
    with pytest.raises(UsageError, match='"license" must be one of') as refused:
        push(file, license="Apache 2")
    assert "--license takes an identifier of the Hub" in refused.value.render()
    assert of_repository(hub) == {}


def test_private_is_private_or_refused(hub: Hub, file: Path) -> None:
    push(file, private=True)
    assert hub.repositories[REPOSITORY].private
    push(file)
    assert hub.repositories[REPOSITORY].private, "without --private a repository stays what it is"
    hub.repositories["me/open"] = Repository()
    with pytest.raises(UsageError, match="is public, and stays so"):
        push(file, "me/open", private=True)
    assert of_repository(hub, "me/open") == {}


def test_a_token_that_may_only_read_and_an_owner_that_is_not_there(
    hub: Hub, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"may not write to .*/datasets/somebody/else.*rights to create"):
        push(file, "somebody/else")
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(UsageError, match="may not write"):
        push(file)


@pytest.mark.parametrize("name", ["numbers", "me/numbers/more", "me/num bers", "me/", "me/a--b"])
def test_names_that_no_repository_has(hub: Hub, file: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--push"):
        push(file, name)
    assert hub.requests == []


def test_without_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UsageError, match="there is no token") as refused:
        DatasetRepository(REPOSITORY).check()
    assert "hf auth login" in refused.value.render()


def test_checks_before_the_work_tell_a_bad_token_and_forgive_a_hub_that_is_away(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    DatasetRepository(REPOSITORY).check()
    for fault in (Fault(path="whoami", status=500), Fault(path="whoami")):
        hub.faults = [fault]
        DatasetRepository(REPOSITORY).check()
        assert hub.faults == []
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    with pytest.raises(UsageError, match="does not accept the token"):
        DatasetRepository(REPOSITORY).check()


def test_offline_is_told(hub: Hub, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE"):
        DatasetRepository(REPOSITORY).check()
    assert hub.requests == []


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match="huggingface_hub") as missing:
        Push(PushOptions(push=REPOSITORY))
    assert "pip install 'hnmine[hub]'" in missing.value.render()


def test_a_signal_stops_between_uploads_and_the_same_command_goes_on(
    hub: Hub, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hnmine.files.hub._AT_ONCE", 2)
    how = hnmine.Execution()
    arrived: Callable[[], bool] = lambda: hub.asked("POST /verify") >= 2  # noqa: E731
    monkeypatch.setattr(how.stop, "check", lambda: type(how.stop).check(_signalled(how.stop, arrived())))
    with pytest.raises(Preempted):
        push(shards, how=how)
    assert of_repository(hub) == {}
    assert 0 < hub.asked("PUT") < 6
    before = hub.asked("PUT")
    push(shards)
    assert of_repository(hub) == contents(shards)
    assert hub.asked("PUT") == 6 > before


def _signalled(flag: Any, is_so: bool) -> Any:
    flag.signal = signal.SIGTERM if is_so else None
    return flag


# The command line


def run(hub: Hub, place: Path, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hnmine", *map(str, arguments)],
        cwd=place,
        env={**os.environ, **hub.variables(place), "PYTHONPATH": str(ROOT), **more},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_pushes_what_it_exported_and_pushes_again_without_exporting(
    hub: Hub, work: Path, tmp_path: Path
) -> None:
    command = ["export", str(work), "-o", str(tmp_path / "rows.parquet"), "--push", REPOSITORY]
    hub.faults = [Fault(path="/preupload/", status=403)]
    failed = CliRunner().invoke(app, [*command, "--json"])
    assert failed.exit_code == 2, failed.stderr
    assert "may not write" in failed.stderr
    assert "push" not in json.loads(failed.stdout)
    done = run(hub, tmp_path, *command, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["blocks"]["done_now"] == 0
    assert summary["push"]["url"] == f"{hub.address}/datasets/{REPOSITORY}"
    assert len(summary["push"]["uploaded"]) == 3
    assert of_repository(hub)["data/train-00000-of-00001.parquet"] == (tmp_path / "rows.parquet").read_bytes()
    hub.requests.clear()
    shown = CliRunner().invoke(app, [*command, "--dry-run"])
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout == hub.repositories[REPOSITORY].files["README.md"].decode()
    assert "push: 3 files" in shown.stderr
    assert hub.requests == [], "a dry run asks nothing of the Hub"


def test_the_command_does_not_push_what_a_condition_fails(hub: Hub, work: Path, tmp_path: Path) -> None:
    command = ["export", work, "-o", tmp_path / "rows.parquet", "--push", REPOSITORY, "--fail-if", "rows<1000"]
    assert CliRunner().invoke(app, [str(word) for word in command]).exit_code == 6
    assert hub.repositories == {}
    assert CliRunner().invoke(app, [str(word) for word in command[:-1]] + ["rows>1000"]).exit_code == 0
    assert len(of_repository(hub)) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "-", "--push", REPOSITORY], "contradict"),
        (["-o", "rows", "--license", "mit"], "go with --push"),
        (["-o", "rows", "--push", REPOSITORY, "--shard", "0/2"], "is not a whole export"),
        (["-o", "rows", "--push", "numbers"], "ORG/NAME"),
    ],
)
def test_flags_that_contradict_each_other(
    hub: Hub, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["export", str(work), *arguments])
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_pushes_at_its_end_and_a_bad_token_stops_it_at_its_beginning(
    hub: Hub, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    command = ["run", str(work / "pairs.jsonl"), "-o", str(out), "--no-dense", "-n", "2", "--push", REPOSITORY]
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    refused = CliRunner().invoke(app, command)
    assert (refused.exit_code, "does not accept the token" in refused.stderr) == (2, True)
    assert not out.exists()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    planned = CliRunner().invoke(app, [*command, "--dry-run"])
    assert "when the export is finished" in planned.stderr
    assert hub.repositories == {}
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["push"]["commit"] == hub.repositories[REPOSITORY].sha
    assert of_repository(hub)["data/train-00000-of-00001.parquet"] == (out / "triplets.parquet").read_bytes()
    alone = CliRunner().invoke(app, [*command, "--only", "export"])
    assert (alone.exit_code, "is not a whole export" in alone.stderr) == (2, True)


def test_from_an_object_store(hub: Hub, work: Path, file: Path) -> None:
    pytest.importorskip("fsspec")
    hnmine.export(work, "memory://lake/rows.parquet")
    push("memory://lake/rows.hnmine/export")  # type: ignore[arg-type]
    assert of_repository(hub) == contents(file)


def test_by_the_hubs_own_protocol_for_large_files(hub: Hub, work: Path, file: Path, tmp_path: Path) -> None:
    """Xet, which huggingface_hub takes where hf_xet is installed; the stand-in keeps no content of it."""
    pytest.importorskip("hf_xet")
    own = Artefact.open(file).manifest["files"]
    command = ["export", str(work), "-o", str(tmp_path / "rows.parquet"), "--push", REPOSITORY]
    done = run(hub, tmp_path, *command, HF_HUB_DISABLE_XET="0")
    assert done.returncode == 0, done.stderr
    assert len(hub.shards) == 1, "it went by Xet"
    assert hub.objects == {}
    assert sorted(hub.repositories[REPOSITORY].lfs.values()) == sorted(entry["sha256"] for entry in own.values())
    hub.requests.clear()
    push(tmp_path / "rows.hnmine" / "export")
    assert hub.asked("PUT|/commit/|xet") == 0
