"""What a newcomer meets first: the help, the examples in it, and what a wrong turn is answered with."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hnmine.cli.app import app
from hnmine.cli.help import ORDER
from hnmine.cli.terminal import duration

ROOT = typer.main.get_command(app)


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        yield path, command.loaded
        return
    for name, child in command.commands.items():
        yield from leaves(child, (*path, name))


COMMANDS = dict(leaves(ROOT))


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments, prog_name="hnmine", env={"HF_HUB_OFFLINE": "1", "COLUMNS": "100"})


def examples(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.startswith("    hnmine ")]


def test_alone_it_shows_what_to_try_and_the_commands_in_the_order_of_the_work() -> None:
    shown = call().output
    assert "hnmine run stdlib" in shown
    assert "hnmine doctor" in shown
    listed = re.findall(r"(?m)^  ([a-z]+)  ", shown.split("Commands:")[1])
    assert listed[: len(ORDER)] == list(ORDER)


def test_no_command_is_cut_short_in_a_terminal_of_eighty_columns() -> None:
    shown = CliRunner().invoke(app, [], prog_name="hnmine", env={"COLUMNS": "80"}).output.split("Commands:")[1]
    assert len(shown.splitlines()) > len(ORDER)
    assert "..." not in shown


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_parses(path: tuple[str, ...]) -> None:
    shown = call(*path, "--help").output
    found = examples(shown)
    assert found, "no example"
    for line in found:
        arguments = shlex.split(re.split(" [|>] ", line)[0])[1:]
        assert tuple(arguments[: len(path)]) == path, line
        COMMANDS[path].make_context(" ".join(path), arguments[len(path) :])


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_shows_every_option_once_in_a_group_and_no_variables(path: tuple[str, ...]) -> None:
    shown = call(*path, "--help").output
    flags = [max(p.opts, key=len) for p in COMMANDS[path].params if p.param_type_name == "option"]
    for flag in flags:
        assert len(re.findall(rf"(?m)^  (?:-\w, )?{re.escape(flag)}(?= |$)", shown)) == 1, flag
    assert "env var" not in shown
    assert f"HNMINE_{'_'.join(path).upper()}_" in shown
    assert shown.count("--help") == 1


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_fits_a_narrow_terminal(path: tuple[str, ...]) -> None:
    how = {"resilient_parsing": True, "terminal_width": 60, "max_content_width": 60}
    shown = COMMANDS[path].get_help(COMMANDS[path].make_context(" ".join(path), [], **how))
    assert not [line for line in shown.splitlines() if len(line) > 60 and not line.startswith("    ")]


def test_options_of_run_stand_in_groups() -> None:
    shown = call("run", "--help").output
    groups = re.findall(r"(?m)^(\w[\w ]+):$", shown)
    assert groups == [
        "Arguments", "Options", "Rules", "Sampling", "Mining", "Layout", "Dense index", "BM25 index", "Input",
        "Hugging Face Hub", "Every command",
    ]  # fmt: skip
    rules = shown.split("\nRules:")[1].split("\nMining:")[0]
    assert "--relative-margin" in rules
    assert "--top-k" not in rules


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("rnu stdlib", "no command 'rnu'; did you mean 'run'?"),
        ("rnu stdlib", "try: hnmine run stdlib"),
        ("index bm52 x -o y", "try: hnmine index bm25 x -o y"),
        ("bm25 x -o y", "try: hnmine index bm25 x -o y"),
        ("stdlib -o y", "try: hnmine run stdlib -o y"),
        ("index stdlib -o y", "try: hnmine index bm25 stdlib -o y"),
        ("version", "try: hnmine --version"),
        ("help rnu", "did you mean 'run'?"),
        ("run stdlib -o x --num-negative 3", "run has no option --num-negative; did you mean --num-negatives?"),
        ("run stdlib -o x --num_negatives 3", "did you mean --num-negatives?"),
        ("filter x -o y --slices 3", "filter has no option --slices; it is one of search"),
        ("run stdlib -o x --short rlax", "--short rlax: no such choice; did you mean 'relax'?"),
        ("run stdlib -o x --short=rlax", "expected: one of keep, drop, relax, random"),
        ("run stdlib -o x --format FlagEmbeding", "did you mean 'flagembedding'?"),
        ("run stdlib -o x -n five", "--num-negatives five: not a whole number"),
        ("run stdlib -o x --relative-margin 5%", "try: --relative-margin 0.05"),
        ("run stdlib -o x --relative-margin much", "--relative-margin much: not a number"),
        ("run stdlib", "-o OUTPUT missing"),
        ("run stdlib -o", "-o: OUTPUT missing"),
        ("run stdlib y", "try: -o y, if that is where the output goes"),
        ("run stdlib y -o z", "run takes DATA alone: what is y?"),
        ("mine stdlib", "expected: such as hnmine mine "),
        ("export", "DECISIONS missing"),
        ("inspect x --query q --sample 2", "--query and --sample show different things"),
        ("mine stdlib -o x --shard 5/5", "--shard 5/5"),
    ],
)
def test_what_cannot_be_read_is_answered_with_what_to_do(
    line: str, wanted: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*line.split())
    assert done.exit_code == 2
    assert wanted in done.output
    assert done.output.startswith("hnmine: ")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_value_of_a_variable_is_shown() -> None:
    done = CliRunner().invoke(
        app, ["run", "stdlib", "-o", "x"], prog_name="hnmine", env={"HNMINE_RUN_FORMAT": "tripel"}
    )
    assert (done.exit_code, "--format tripel: no such choice; did you mean 'triplet'?" in done.output) == (2, True)


def test_help_is_a_command_too() -> None:
    assert call("help").output == call("--help").output
    assert call("help", "index", "dense").output == call("index", "dense", "--help").output


def collection(place: Path) -> Path:
    (place / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": f"granite number {i}"} for i in range(4)]
    (place / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (place / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "granite"}) + "\n")
    (place / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1\n")
    return place


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    place = tmp_path_factory.mktemp("mined")
    assert (
        call("run", str(collection(place / "data")), "-o", str(place / "run"), "--no-dense", "-n", "2").exit_code == 0
    )
    return place / "run"


def test_what_can_be_checked_is_checked_before_the_first_stage(tmp_path: Path) -> None:
    data, out = collection(tmp_path / "data"), tmp_path / "out"
    done = call("run", str(data), "-o", str(out), "--model", str(tmp_path / "no-model"), "-n", "0")
    assert "--num-negatives 0: at least 1" in done.output
    assert "no-model' is in none of the three places" in done.output
    assert done.exit_code == 2
    assert not out.exists()
    alone = call("run", str(data), "-o", str(out), "--model", str(tmp_path / "no-model"))
    assert alone.exit_code == 5
    assert not out.exists()


def test_nothing_to_mine_from_is_told_before_the_first_stage(tmp_path: Path) -> None:
    data, out = collection(tmp_path / "data"), tmp_path / "out"
    done = call("run", str(data), "-o", str(out), "--no-bm25", "--no-dense")
    assert (done.exit_code, out.exists()) == (2, False)
    assert "--random N" in done.output
    with_random = call(
        "run", str(data), "-o", str(out), "--no-bm25", "--no-dense", "--random", "2", "--short", "random"
    )
    assert with_random.exit_code == 0, with_random.output


def test_a_training_file_is_answered_with_the_directory_of_its_artefacts(tmp_path: Path) -> None:
    data, file = collection(tmp_path / "data"), tmp_path / "triplets.parquet"
    assert call("run", str(data), "-o", str(file), "--no-dense").exit_code == 0
    shown = call("inspect", str(tmp_path / "triplets.hnmine")).output
    assert "columns of triplets.parquet: anchor string, positive string, negative string" in shown
    assert "columns of triplets.ids.parquet: query_id string, epoch int32, " in shown
    assert "  columns: query_id string, doc_id string, relevance int32" in shown
    assert re.search(r"verdicts +negative 3, positive 1\n", shown)
    done = call("inspect", str(file))
    assert done.exit_code == 4
    assert f"try: {tmp_path / 'triplets.hnmine'}" in done.output


@pytest.mark.parametrize(
    ("line", "code", "wanted"),
    [
        ("run {here}/pears.parquet -o {here}/x", 3, "pears.parquet: no such file or directory"),
        ("run {here} -o {here}/x", 3, "no corpus in this directory"),
        ("run {here}/data -o {here}/x --no-dense --split tset", 2, "no split 'tset'"),
        ("run {here}/data -o {here}/x.jsonl --no-dense", 2, "-o - > FILE.jsonl"),
        ("run {here}/data -o {here}/x.Parquet --no-dense", 2, "/x.parquet"),
        ("run {here}/faq.csv -o {here}/x --no-dense", 3, "--anchor-column question --positive-column answer"),
        ("run {here}/faq.csv -o {here}/x --no-dense --anchor-column qestion", 2, "--anchor-column question"),
        ("run stdlb -o {here}/x", 3, "did you mean the built-in stdlib?"),
        ("filter {here}/nothing -o {here}/x", 4, "does not exist"),
        ("inspect {here}", 4, "is not a directory with an artefact"),
        ("run {here}/data -o {here}/x --no-dense --judge-by bm52", 2, "makes no such score; did you mean 'bm25'?"),
        ("run {here}/data -o {here}/x --no-dense --limit 0", 2, "--limit 0: at least 1"),
        ("run {here}/data -o {here}/x --no-dense --where lang='en'", 2, "it cannot be read; a comparison is =="),
        ("run {here}/data -o {here}/x --config {here}/rnu.toml", 2, "try: {here}/run.toml"),
        (
            "run {here}/data -o {here}/x --config {here}/run.toml",
            2,
            "unknown key 'num-negativs'; did you mean 'num-neg",
        ),
        ("run {here}/data -o {here}/x --model ./no-model", 5, "not asked, for this is a path"),
        ("filter {here}/faq.csv -o {here}/x", 4, "`hnmine audit {here}/faq.csv` looks at a training file"),
        ("filter {here} -o {here}/x --rules simanz", 2, "did you mean 'simans'?"),
        ("filter {here}/made -o {here}/x", 4, "try: {here}/mode, if that is meant"),
        ("export {here}/mode/candidates -o {here}/x.parquet", 4, "try: {here}/mode/decisions, if that is meant"),
        ("mine {here}/mode -o {here}/x --index {here}/mode", 4, "try: --index {here}/mode/indexes/bm25"),
        ("sweep {here}/mode -o {here}/x.txt", 2, "try: -o {here}/x.json"),
        ("sweep {here}/mode --relative-margin 0..1", 2, "--relative-margin: '0..1' is not a number"),
        ("report {here}/mode -o {here}/mode", 2, "try: -o {here}/mode/report.html"),
        ("audit {here}/faq.csv", 3, "a file of pairs has no negatives yet: hnmine run {here}/faq.csv"),
        ("merge {here}/nothing", 4, "does not exist"),
    ],
)
def test_wrong_turns(mined: Path, tmp_path: Path, line: str, code: int, wanted: str) -> None:
    collection(tmp_path / "data")
    (tmp_path / "faq.csv").write_text("question,answer\nwhat,that\n")
    (tmp_path / "run.toml").write_text("[filter]\nnum-negativs = 3\n")
    if "mode" in line + wanted:
        shutil.copytree(mined, tmp_path / "mode")
    done = call(*line.format(here=tmp_path).split())
    assert (done.exit_code, wanted.format(here=tmp_path) in done.output) == (code, True), done.output
    assert not list(tmp_path.glob("x*"))


def test_doctor_names_the_extra_of_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "faiss" else real(name))
    done = call("doctor")
    works, missing = done.output.split("Not here, and not needed for what works:")
    assert done.exit_code == 0
    assert re.search(
        r"  dense models +find documents that mean the same.*\n.*\n +pip install 'hnmine\[dense\]'", missing
    )
    assert re.search(r"  BM25 +finds documents by their words", works)
    assert done.output.rstrip().endswith("--limit 500 --no-dense")


def test_doctor_exits_5_when_something_installed_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr(os, "access", lambda *_: False)
    done = call("doctor")
    assert done.exit_code == 5
    assert re.search(r"Broken:\n  cache .* cannot be written\n +--cache-dir DIR", done.output)
    found = {one["name"]: one for one in json.loads(call("doctor", "--json").stdout)}
    assert found["cache"]["is_broken"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (45, "45 s"),
        (91, "1 min 31 s"),
        (599.7, "10 min"),
        (720, "12 min"),
        (9000, "2.5 h"),
        (float("inf"), "inf h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_verbose_shows_the_plan_and_the_default_does_not(tmp_path: Path) -> None:
    data = collection(tmp_path / "data")
    plain = call("ingest", str(data), "-o", str(tmp_path / "plain")).output
    more = call("ingest", str(data), "-o", str(tmp_path / "more"), "-v").output
    assert "plan," not in plain
    assert 'plan, kind: "collection"' in more
    assert "plan, fingerprint: {" in more
    assert "plan, blocks" not in more
