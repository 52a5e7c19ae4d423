"""A run as jobs of a scheduler: the script is real bash, its jobs are real commands, the bytes are those of `run`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.harness import Done, contents, environment

Call = Callable[..., Done]
FAKE = Path(__file__).with_name("fake_slurm.py")


@pytest.fixture
def vectors(tmp_path: Path) -> list[object]:
    """Ready-made vectors of the 300 documents and 80 queries."""
    rng = np.random.default_rng(0)
    for name, rows in (("documents", 300), ("queries", 80)):
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((rows, 8)).astype(np.float32))
    return ["--vectors", tmp_path / "documents.npy", "--query-vectors", tmp_path / "queries.npy"]


def tool(folder: Path, name: str, script: Path | str, *, module: bool = False) -> None:
    """An executable of that name that runs Python."""
    folder.mkdir(exist_ok=True)
    what = f"-m {script}" if module else f"'{script}'"
    start = f"import sys; sys.argv[0] = '{name}'; exec(open({str(script)!r}).read())"
    body = f'exec "{sys.executable}" {what} "$@"' if module else f'exec "{sys.executable}" -c "{start}" "$@"'
    (folder / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def submitted(script: Path, folder: Path, cache: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Bash's run of a script of jobs, with `sbatch` and `scontrol` that keep their files in `folder`/slurm."""
    tools, state = folder / "tools", folder / "slurm"
    state.mkdir()
    tool(tools, "hnmine", "hnmine", module=True)
    for name in ("sbatch", "scontrol"):
        tool(tools, name, FAKE)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    env = environment(cache, **{"PATH": path, "FAKE_SLURM": str(state), "FAKE_PREEMPT": "", **more})
    command = ["bash", script]
    return subprocess.run(command, env=env, capture_output=True, text=True, cwd=folder, stdin=subprocess.DEVNULL)


@pytest.mark.slow
def test_slurm(beir: Path, vectors: list[object], call: Call, cache: Path, tmp_path: Path) -> None:
    """Every step as an array; one task is stopped after its first block, one before it begins, and both come back."""
    flags = [*vectors, "-k", 10, "-n", 3, "--random", 2, "--short", "random"]
    assert call("run", beir, "-o", tmp_path / "alone", *flags).code == 0
    data = tmp_path / "with space"
    shutil.copytree(beir, data)
    planned = call("plan", data, "-o", tmp_path / "jobs", *flags, "--launcher", "slurm", "--tasks", 2, "--cpus", 1)
    assert planned.code == 0, planned.stderr
    (tmp_path / "jobs.sh").write_text(planned.stdout, encoding="utf-8")
    state, jobs = tmp_path / "slurm", tmp_path / "jobs"
    stops = f"hnmine-mine/0={jobs / 'candidates' / 'receipts'} hnmine-bm25/1={jobs / 'collection'}"
    done = submitted(tmp_path / "jobs.sh", tmp_path, cache, FAKE_PREEMPT=stops, HNMINE_TEST_BLOCK_PAUSE="0.1")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    log = (state / "log").read_text().splitlines()
    codes = [int(line.split("exit ")[1]) for line in log if "exit " in line]
    assert codes.count(0) == 11, log
    assert len(codes) == 13, log
    assert 75 in codes, log
    assert {path.read_text() for path in state.glob("*.state")} == {"done"}
    assert contents(jobs) == contents(tmp_path / "alone")


def test_slurm_dependencies_and_resources(beir: Path, call: Call, tmp_path: Path) -> None:
    flags = ["--reranker", "some/model", "--launcher", "slurm", "--tasks", 8, "--gpus", 2, "--cpus", 6, "--memory", 24]
    script = call("plan", beir, "-o", tmp_path / "out", *flags).stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert script.splitlines()[-10:] == [
        'ingest=$(submit ingest "" -- "${run[@]}" --only ingest)',
        'bm25=$(submit bm25 "$ingest" --array=0-7 -- "${run[@]}" --only bm25)',
        'dense=$(submit dense "$ingest" --array=0-7 --gpus=2 -- "${run[@]}" --only dense)',
        f'bm25_merge=$(submit bm25-merge "$bm25" -- hnmine merge {tmp_path}/out/indexes/bm25)',
        f'dense_merge=$(submit dense-merge "$dense" -- hnmine merge {tmp_path}/out/indexes/minilm)',
        'mine=$(submit mine "$bm25_merge:$dense_merge" --array=0-7 --gpus=2 -- "${run[@]}" --only mine)',
        f'mine_merge=$(submit mine-merge "$mine" -- hnmine merge {tmp_path}/out/candidates)',
        'score=$(submit score "$mine_merge" --array=0-7 --gpus=2 -- "${run[@]}" --only score)',
        f'score_merge=$(submit score-merge "$score" -- hnmine merge {tmp_path}/out/scored)',
        'finish=$(submit finish "$score_merge" -- "${run[@]}")',
    ]
    assert f"run=(hnmine run {beir} --output {tmp_path}/out --reranker some/model)" in script
    assert "--cpus-per-task=6 --mem=24G" in script
    assert "export OMP_NUM_THREADS=6 " in script
    assert not (tmp_path / "out").exists()


def test_one_task_needs_no_merge_and_a_collection_no_ingest(
    beir: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("ingest", beir, "-o", tmp_path / "collection").code == 0
    monkeypatch.setenv("HNMINE_PLAN_TOP_K", "12")
    flags = ["--no-dense", "--launcher", "slurm", "--tasks", 1]
    script = call("plan", tmp_path / "collection", "-o", tmp_path / "out.parquet", *flags).stdout
    assert script.splitlines()[-3:] == [
        'bm25=$(submit bm25 "" -- "${run[@]}" --only bm25)',
        'mine=$(submit mine "$bm25" -- "${run[@]}" --only mine)',
        'finish=$(submit finish "$mine" -- "${run[@]}")',
    ]
    asked = f"run=(hnmine run {tmp_path}/collection --output {tmp_path}/out.parquet --no-dense --top-k 12)"
    assert asked in script.splitlines(), "what the environment says goes along"


def manifests(script: str, tmp_path: Path) -> list[tuple[set[str], dict[str, Any]]]:
    """The Jobs of a script in the order in which it applies them, each with those that were waited for before."""
    yaml = pytest.importorskip("yaml")
    tools, log = tmp_path / "tools", tmp_path / "applied"
    tools.mkdir(exist_ok=True)
    log.mkdir()
    fake = f"""#!/usr/bin/env bash
number=$(ls '{log}' | wc -l)
case "$1" in
  apply) cat > "{log}/$(printf %03d "$number")-apply" ;;
  wait) printf '%s' "$3" > "{log}/$(printf %03d "$number")-wait" ;;
  *) exit 9 ;;
esac
"""
    (tools / "kubectl").write_text(fake, encoding="utf-8")
    (tools / "kubectl").chmod(0o755)
    path = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", script], check=True, env=os.environ | path, capture_output=True)
    found, waited = [], set[str]()
    for file in sorted(log.iterdir()):
        if file.name.endswith("wait"):
            waited.add(file.read_text().removeprefix("job/"))
        else:
            found.append((set(waited), yaml.safe_load(file.read_text(encoding="utf-8"))))
    assert {job["metadata"]["name"] for _, job in found} == waited, "the script waits for the last ones too"
    return found


JOB_FIELDS: dict[str, Any] = {
    "apiVersion": str,
    "kind": str,
    "metadata": {"name": str, "labels": {"app": str, "run": str}},
    "spec": {
        "completionMode": str,
        "completions": int,
        "parallelism": int,
        "backoffLimitPerIndex": int,
        "podFailurePolicy": {"rules": list},
        "template": {
            "metadata": {"labels": {"app": str, "run": str}},
            "spec": {"restartPolicy": str, "terminationGracePeriodSeconds": int, "containers": list, "volumes": list},
        },
    },
}
CONTAINER_FIELDS: dict[str, Any] = {
    "name": str,
    "image": str,
    "workingDir": str,
    "command": list,
    "env": list,
    "resources": {"requests": {"cpu": str, "memory": str}, "limits": dict},
    "volumeMounts": list,
}


def has_fields(value: Any, fields: Any) -> None:
    """Exactly these fields, of these types: the part of batch/v1 Job that is used."""
    if isinstance(fields, dict):
        assert set(value) == set(fields)
        for name, kind in fields.items():
            has_fields(value[name], kind)
    else:
        assert type(value) is fields


def test_kubernetes(
    beir: Path, vectors: list[object], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Jobs are what batch/v1 says; their commands, in the order of the script, make the bytes of `run`."""
    flags = [*vectors, "-k", 10, "-n", 3]
    assert call("run", beir, "-o", tmp_path / "alone", *flags).code == 0
    launch = ["--launcher", "k8s", "--tasks", 2, "--image", "registry/hnmine:1", "--volume", "shared:/mnt", "--gpus", 1]
    planned = call("plan", beir, "-o", tmp_path / "jobs", *flags, *launch, "--cpus", 3, "--memory", 5)
    assert planned.code == 0, planned.stderr

    jobs = manifests(planned.stdout, tmp_path)

    order = ["ingest", "bm25", "dense", "bm25-merge", "dense-merge", "mine", "mine-merge", "finish"]
    names = [job["metadata"]["name"].split("-", 2)[2] for _, job in jobs]
    assert names == order
    needs = [
        set(),
        {"ingest"},
        {"ingest"},
        {"bm25"},
        {"dense"},
        {"bm25-merge", "dense-merge"},
        {"mine"},
        {"mine-merge"},
    ]
    for (waited, job), name, needed in zip(jobs, names, needs, strict=True):
        has_fields(job, JOB_FIELDS)
        spec, (container,) = job["spec"], job["spec"]["template"]["spec"]["containers"]
        has_fields(container, CONTAINER_FIELDS)
        assert needed <= {other.split("-", 2)[2] for other in waited}
        assert len(job["metadata"]["name"]) <= 63
        assert (job["apiVersion"], job["kind"], spec["completionMode"]) == ("batch/v1", "Job", "Indexed")
        tasks = 2 if name in ("bm25", "dense", "mine") else 1
        assert spec["completions"] == spec["parallelism"] == tasks
        assert spec["template"]["spec"]["restartPolicy"] == "Never", "as podFailurePolicy and backoffLimitPerIndex want"
        again, disrupted, hopeless = spec["podFailurePolicy"]["rules"]
        assert again == {
            "action": "Ignore",
            "onExitCodes": {"containerName": container["name"], "operator": "In", "values": [75]},
        }
        assert disrupted == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
        assert hopeless["action"] == "FailJob"
        assert hopeless["onExitCodes"]["values"] == [2, 3, 4, 5], "sorted, without repeats"
        limits = {"memory": "5Gi", **({"nvidia.com/gpu": 1} if name in ("dense", "mine") else {})}
        assert container["resources"] == {"requests": {"cpu": "3", "memory": "5Gi"}, "limits": limits}
        (volume,) = spec["template"]["spec"]["volumes"]
        assert volume == {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/mnt"}]
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        assert variables == {"HNMINE_SHARD_COUNT": str(tasks), "HNMINE_CACHE": "/mnt/.hnmine", "OMP_NUM_THREADS": "3"}
        monkeypatch.setenv("HNMINE_SHARD_COUNT", variables["HNMINE_SHARD_COUNT"])
        for index in reversed(range(tasks)):
            monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
            assert container["command"][0] == "hnmine"
            done = call(*container["command"][1:])
            assert done.code == 0, done.stderr
    assert contents(tmp_path / "jobs") == contents(tmp_path / "alone")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--launcher", "pbs"], "--launcher pbs: not known"),
        (["--launcher", "slurm", "--tasks", 0], "--tasks 0: at least 1"),
        (["--launcher", "slurm", "--overwrite"], "--overwrite in every task"),
        (["--launcher", "k8s", "--image", "a"], "--volume CLAIM:/PATH"),
        (["--launcher", "k8s", "--image", "a", "--volume", "a:b"], "--volume CLAIM:/PATH"),
        (["--launcher", "slurm", "--pick", "nothing"], "pick"),
    ],
)
def test_what_cannot_be_launched(flags: list[object], said: str, beir: Path, call: Call, tmp_path: Path) -> None:
    done = call("plan", beir, "-o", tmp_path / "out", *flags)
    assert done.code == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_a_single_step_of_a_run(beir: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ["run", beir, "-o", tmp_path / "run", "--no-dense", "-n", 3]
    early = call(*run, "--only", "mine")
    assert early.code == 4, "its inputs are not there"
    assert call(*run, "--only", "ingest").code == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["collection"]
    part = call(*run, "--only", "bm25", "--shard", "0/2", "--json")
    assert part.json["index bm25"]["finished"] is False
    missing = call("merge", tmp_path / "run" / "indexes" / "bm25")
    assert missing.code == 4
    assert "counts-00001" in missing.stderr
    assert call(*run, "--only", "bm25").code == 0, "the rest, and the close"
    assert call(*run, "--only", "nothing").code == 2
    for whole in ([], ["--only", "ingest"]):
        refused = call(*run, *whole, "--shard", "0/2")
        assert refused.code == 2
        assert "hnmine plan --launcher" in refused.stderr
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")  # of an array whose tasks are runs of their own
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "0")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MAX", "7")
    assert call(*run).code == 0
    assert (tmp_path / "run" / "triplets.parquet").exists()


def test_ingest_alone_of_a_collection_has_nothing_to_do(beir: Path, call: Call, tmp_path: Path) -> None:
    assert call("ingest", beir, "-o", tmp_path / "collection").code == 0
    done = call("run", tmp_path / "collection", "-o", tmp_path / "run", "--no-dense", "--only", "ingest")
    assert done.code == 0
    assert "is a collection already" in done.stderr
