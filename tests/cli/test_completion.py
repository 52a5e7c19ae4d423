"""What the shell offers: by the completion protocol of each shell, and in a real bash."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnmine.cli.app import app

ROOT = Path(__file__).parents[2]


def artefact(path: Path, kind: str, **plan: object) -> None:
    path.mkdir(parents=True)
    (path / "plan.json").write_text(json.dumps({"kind": kind, **plan}))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, one of them without candidates, a lone artefact, plain directories and files."""
    scores = [{"name": "bm25"}, {"name": "e5"}]
    artefact(tmp_path / "runs/first/collection", "collection")
    artefact(tmp_path / "runs/first/candidates", "candidates", scores=scores)
    artefact(tmp_path / "runs/first/decisions", "decisions")
    artefact(tmp_path / "runs/first/indexes/e5", "index-dense")
    artefact(tmp_path / "runs/began/collection", "collection")
    artefact(tmp_path / "mined", "candidates", scores=scores)
    artefact(tmp_path / ".hidden", "candidates")
    artefact(tmp_path / "two words", "candidates")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/plan.json").write_text("{")
    (tmp_path / "pairs.parquet").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(line: str) -> list[str]:
    """What bash is offered at the end of a line."""
    words = line.split(" ")
    asked = {"_HNMINE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = CliRunner().invoke(app, [], prog_name="hnmine", env=asked)
    assert done.exit_code == 0, done.output
    return done.output.split()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("hnmine filter ", ["mined", "runs/first", "runs/first/candidates"]),
        ("hnmine filter runs/", ["runs/first", "runs/first/candidates"]),
        ("hnmine filter runs/first/", ["runs/first/candidates"]),
        ("hnmine filter .h", [".hidden"]),
        ("hnmine filter nothing", []),
        ("hnmine export ", ["runs/first", "runs/first/decisions"]),
        ("hnmine mine x --index ", ["runs/first/indexes/e5"]),
        ("hnmine score runs/first ", ["mined", "runs/first", "runs/first/candidates"]),
        ("hnmine filter x --collection runs/b", ["runs/began", "runs/began/collection"]),
        ("hnmine filter mined --judge-by e", ["e5"]),
        ("hnmine filter runs/first --rank-by e", ["e5"]),
        ("hnmine run pa", []),
        ("hnmine run st", ["stdlib"]),
        ("hnmine run x --format tev", ["tevatron", "tevatron-v2"]),
        ("hnmine run x --preset nv", ["nv-embed", "nv-retriever"]),
        ("hnmine presets sim", ["simans"]),
        ("hnmine run x --only b", ["bm25"]),
        ("hnmine plan x --launcher ", ["slurm", "k8s"]),
        ("hnmine run x --relat", ["--relative-margin"]),
        ("hnmine index ", ["bm25", "dense", "sparse", "late"]),
        ("hnmine insp", ["inspect"]),
    ],
)
def test_bash_is_offered(place: Path, line: str, found: list[str]) -> None:
    assert offered(line) == found


def test_zsh_and_fish_are_offered_the_same(place: Path) -> None:
    def ask(**variables: str) -> str:
        return CliRunner().invoke(app, [], prog_name="hnmine", env=variables).output

    zsh = ask(_HNMINE_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="hnmine filter runs/")
    assert re.findall(r'"([^"]+)"', zsh) == ["runs/first", "runs/first/candidates"]
    action = {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    fish = ask(_HNMINE_COMPLETE="complete_fish", _TYPER_COMPLETE_ARGS="hnmine run x --preset nv-r", **action)
    assert fish.startswith("nv-retriever\t")


def test_a_real_bash_completes_and_loads_nothing_heavy(place: Path) -> None:
    """The script of `--show-completion`, sourced; what nothing is offered for goes to the shell's own completion."""
    heavy = {"torch", "faiss", "numpy", "pyarrow", "sentence_transformers", "numba"}
    tool = place / "hnmine"
    tool.write_text(
        f"#!{sys.executable}\nimport atexit, sys\nfrom hnmine.cli import main\n"
        f"atexit.register(lambda: print(*{heavy} & sys.modules.keys(), file=open('heavy', 'a')))\n"
        "main()\n"
    )
    tool.chmod(0o755)
    script = """
eval "$(_HNMINE_COMPLETE=source_bash hnmine)"
complete -p hnmine
COMP_WORDS=(hnmine filter ru); COMP_CWORD=2; _hnmine_completion hnmine; echo "${COMPREPLY[@]}"
COMP_WORDS=(hnmine run pa); COMP_CWORD=2; _hnmine_completion hnmine; echo "${#COMPREPLY[@]}"
"""
    environment = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "complete -o default -F _hnmine_completion hnmine",
        "runs/first runs/first/candidates",
        "0",
    ]
    assert (place / "heavy").read_text().split() == []
