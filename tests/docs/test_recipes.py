"""The recipes of docs/recipes run as they stand, under what a scheduler or a runner gives them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from markdown_blocks import ROOT
from pages import run_page, write_scripts

import hnmine
from tests.e2e.harness import contents, invoke, until

RECIPES = ROOT / "docs" / "recipes"
PAGE = "docs/recipes/README.md"
BLOCK = {"HNMINE_TEST_BLOCK_SIZE": "16"}


@pytest.fixture
def pairs(place: Path, shell: dict[str, str]) -> Path:
    """The current directory, with the recipes and the pairs of their page in it."""
    for recipe in RECIPES.iterdir():
        shutil.copy(recipe, place)
    write_scripts(PAGE, place, place.parent / "tools")
    subprocess.run([sys.executable, "pairs.py"], cwd=place, check=True)
    return place


def tool(name: str, shell: dict[str, str], script: str) -> None:
    path = Path(shell["PATH"].split(os.pathsep)[0]) / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def yaml_of(path: Path) -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_make(pairs: Path, shell: dict[str, str]) -> None:
    run_page(PAGE, pairs, shell)
    assert pq.read_schema("train.parquet").names == ["anchor", "positive", "negative_1", "negative_2"]
    assert hnmine.Artefact.open(Path("work/decisions")).counts["reasons"]["picked"] == 2 * 48
    os.utime("pairs.jsonl")
    again = subprocess.run(["make", "-n", "INDEXES=bm25"], env=shell, capture_output=True, text=True, check=True)
    stages = [line.split()[1] for line in again.stdout.splitlines() if line.startswith("hnmine")]
    assert stages == ["ingest", "index", "mine", "filter", "export"]


@pytest.mark.slow
def test_slurm(pairs: Path, shell: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Three jobs; a task of the array is stopped before its time, and comes back."""
    tool("scontrol", shell, 'echo "$@" >> requeued')
    own = shell | BLOCK | {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def task(number: int, **more: str) -> subprocess.Popen[str]:
        array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": str(number)}
        array |= {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "1"}
        return subprocess.Popen(["bash", "slurm.sbatch", "mine"], env=own | array | more)

    subprocess.run(["bash", "slurm.sbatch", "prepare"], env=own, check=True)
    stopped = task(0, HNMINE_TEST_BLOCK_PAUSE="0.5")
    until(lambda: any((pairs / "work/candidates/receipts").glob("[!.]*")) or stopped.poll() is not None)
    time.sleep(0.1)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait() == 75
    assert (pairs / "requeued").read_text() == "requeue 7_0\n"
    assert [one.wait() for one in (task(0), task(1))] == [0, 0]
    subprocess.run(["bash", "slurm.sbatch", "finish"], env=own, check=True)

    for name, value in BLOCK.items():
        monkeypatch.setenv(name, value)
    options = hnmine.RunOptions(dense=None, filter=hnmine.FilterOptions(num_negatives=5))
    hnmine.run("pairs.jsonl", "alone", options=options)
    for step in ("indexes/bm25", "candidates", "decisions"):
        assert contents(pairs / "work" / step) == contents(pairs / "alone" / step)
    assert Path("work/triplets.parquet").read_bytes() == Path("alone/triplets.parquet").read_bytes()
    assert subprocess.run(["bash", "slurm.sbatch", "mien"], env=own, capture_output=True).returncode == 2


def jobs_of_a_plan(place: Path) -> list[Any]:
    yaml = pytest.importorskip("yaml")
    launcher = ["--launcher", "k8s", "--tasks", "4", "--gpus", "1", "--image", "registry.local/hnmine:1"]
    done = invoke(
        "plan", "pairs.jsonl", "-o", "planned", "--reranker", "a/model", *launcher, "--volume", "mining:/data"
    )
    assert done.code == 0, done.stderr
    return [
        yaml.safe_load(text) for text in re.findall(r"<<'YAML'\n(.*?)^YAML$", done.stdout, re.DOTALL | re.MULTILINE)
    ]


def test_kubernetes_schema(pairs: Path) -> None:
    """By the schema of the API itself, in which a field that it does not know is an error."""
    schema = pytest.importorskip("kubernetes_validate")
    job = yaml_of(RECIPES / "kubernetes-job.yaml")
    planned = jobs_of_a_plan(pairs)
    assert len(planned) == 10
    for version in ("1.29", schema.latest_version()):
        for one in (job, *planned):
            schema.validate(one, version, strict=True)
    job["spec"]["backofLimitPerIndex"] = 3
    with pytest.raises(schema.ValidationError, match="backofLimitPerIndex"):
        schema.validate(job, "1.29", strict=True)


def test_kubernetes_command(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pods' command, under the variables that they have, one pod after the other."""
    job = yaml_of(RECIPES / "kubernetes-job.yaml")["spec"]
    (container,) = job["template"]["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert int(variables["HNMINE_SHARD_COUNT"]) == job["completions"]
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "8")
    hnmine.ingest("pairs.jsonl", "work/collection")
    hnmine.index_bm25("work", "work/indexes/bm25")
    monkeypatch.setenv("HNMINE_SHARD_COUNT", variables["HNMINE_SHARD_COUNT"])
    assert container["command"][0] == "hnmine"
    for pod in range(job["completions"]):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(pod))
        assert invoke(*container["command"][1:]).code == 0
    monkeypatch.delenv("JOB_COMPLETION_INDEX")
    assert invoke("merge", "work/candidates").code == 0
    assert hnmine.Artefact.open(Path("work/candidates")).counts["queries"] == 48


def test_github_workflow_schema() -> None:
    pytest.importorskip("check_jsonschema")
    path = RECIPES / "github-actions.yml"
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_github_workflow(pairs: Path, shell: dict[str, str]) -> None:
    """Every `run:` of the job by bash, in order, as a runner does it; what is uploaded is there."""
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    workflow = yaml_of(RECIPES / "github-actions.yml")
    assert workflow[True]["push"]["paths"] == ["pairs.jsonl"]  # `on` is true in YAML 1.1
    tool("pip", shell, 'echo "$@" > installed')
    (job,) = workflow["jobs"].values()
    for step in job["steps"]:
        if "run" in step:
            bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            subprocess.run(bash, env=shell | {"GITHUB_STEP_SUMMARY": str(pairs / "summary.md")}, check=True)
    assert (pairs / "installed").read_text() == "install hnmine[report]\n"
    assert "no problem found" in (pairs / "summary.md").read_text()
    uploaded = job["steps"][-1]["with"]["path"].split()
    assert all((pairs / name).stat().st_size > 0 for name in uploaded)


def printed(cell: Any) -> tuple[str, list[dict[str, str]]]:
    """What a code cell prints and what it shows: a kernel sends one printed text in as many pieces as it likes."""
    streams = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    return streams, [dict(output.data) for output in cell.outputs if output.output_type == "execute_result"]


@pytest.mark.slow
def test_notebook(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executed by Jupyter's own kernel; it prints what the file says it prints."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shown = nbformat.read(RECIPES / "notebook.ipynb", as_version=4)
    made = nbformat.read(RECIPES / "notebook.ipynb", as_version=4)
    nbformat.validate(shown)
    nbclient.NotebookClient(made, timeout=300, resources={"metadata": {"path": str(pairs)}}).execute()
    cells = [(one, other) for one, other in zip(shown.cells, made.cells, strict=True) if one.cell_type == "code"]
    assert [printed(one) for one, _ in cells] == [printed(other) for _, other in cells]
    assert pq.read_metadata("triplets.parquet").num_rows == 144
