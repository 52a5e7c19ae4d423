"""Standard output is data, everything else is talk; storage that fails leaves nothing half-written."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Chain, Cli, Done, contents, environment, write_beir

Call = Callable[..., Done]


def hnmine(*arguments: object) -> str:
    """A command for a shell."""
    import shlex

    return shlex.join([sys.executable, "-m", "hnmine", *map(str, arguments)])


def shell(script: str, cache: Path, **more: str) -> Done:
    """Run a bash script."""
    done = subprocess.run(
        ["bash", "-c", script], env=environment(cache, **more), capture_output=True, text=True, timeout=60, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run whose export is far over 64 KB."""
    folder = tmp_path_factory.mktemp("wide")
    documents = {f"d{i}": f"horse {i} " + "one two three four " * 40 for i in range(60)}
    queries = {f"q{i}": f"horse {i}" for i in range(60)}
    write_beir(folder / "data", documents, queries, [(f"q{i}", f"d{i}", 1) for i in range(60)])
    done = Cli(cache)("run", folder / "data", "-o", folder / "run", "--no-dense")
    assert done.code == 0, done.stderr
    return folder / "run"


def test_head_ends_an_export_quietly(wide: Path, cli: Cli, cache: Path) -> None:
    whole = cli("export", wide, "-o", "-")
    assert whole.code == 0
    assert len(whole.stdout) > 4 * 65_536
    done = shell(f"{hnmine('export', wide, '-o', '-')} | head -1; echo ${{PIPESTATUS[0]}}", cache)
    line, status = done.stdout.splitlines()
    assert status == "141"
    assert done.stderr == ""
    assert json.loads(line) == json.loads(whole.stdout.splitlines()[0])


def test_an_export_to_stdout_is_the_file(wide: Path, cli: Cli, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    assert cli("export", wide, "-o", tmp_path / "x.parquet").code == 0
    lines = [json.loads(line) for line in cli("export", wide, "-o", "-").stdout.splitlines()]
    assert lines == pq.read_table(tmp_path / "x.parquet").to_pylist()


def test_data_is_utf8_whatever_the_locale(cli: Cli, tmp_path: Path) -> None:
    documents = {"d1": "pferd höflich 🐎", "d2": "pferd größe", "d3": "pferd"}
    data = write_beir(tmp_path / "data", documents, {"q1": "höflich pferd"}, [("q1", "d1", 1)])
    assert cli("run", data, "-o", tmp_path / "run", "--no-dense").code == 0
    done = cli("export", tmp_path / "run", "-o", "-", PYTHONIOENCODING="ascii")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["positive"] == documents["d1"]


def test_json_is_one_document_and_nothing_else(chain: Chain, cli: Cli, tmp_path: Path) -> None:
    made = cli("run", chain.data, "-o", tmp_path / "run", "--no-dense", "--json")
    assert made.code == 0
    assert list(made.json) == ["ingest", "index bm25", "mine", "filter", "export"]
    assert "training file" in made.stderr
    quiet = cli("run", chain.data, "-o", tmp_path / "run", "--no-dense", "--json", "--quiet")
    assert quiet.json["filter"]["counts"] == made.json["filter"]["counts"]
    assert quiet.stderr == ""
    for command in (["inspect", tmp_path / "run"], ["inspect", tmp_path / "run", "--query", "q1"], ["doctor"]):
        done = cli(*command, "--json")
        assert done.code == 0
        assert done.json
    preview = cli("run", chain.data, "-o", tmp_path / "other", "--no-dense", "--json", "--dry-run")
    assert list(preview.json) == ["ingest", "index bm25", "mine", "filter", "export"]
    assert not (tmp_path / "other").exists()


def test_an_error_leaves_stdout_empty(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", tmp_path / "nowhere", "-o", tmp_path / "run", "--json")
    assert done.code == 3
    assert done.stdout == ""
    assert done.stderr.startswith("hnmine: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("what", ["export", "inspect", "doctor"])
def test_a_full_device_behind_stdout(what: str, wide: Path, cache: Path) -> None:
    command = {"export": ["export", wide, "-o", "-"], "inspect": ["inspect", wide], "doctor": ["doctor", "--json"]}[
        what
    ]
    done = shell(f"{hnmine(*command)} > /dev/full", cache)
    assert done.code == 7, done.stderr
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_streams_that_are_closed(wide: Path, cache: Path, tmp_path: Path) -> None:
    command = hnmine("export", wide, "-o", tmp_path / "out.parquet")
    done = shell(f"{command} <&- >&- 2>&-", cache)
    assert done == Done(0, "", "")
    check_whole(tmp_path)
    done = shell(f"{hnmine('run', '-', '--no-dense', '-o', tmp_path / 'run')} <&-", cache)
    assert done.code == 3, done.stderr
    assert "the corpus has no documents" in done.stderr


def check_whole(artefact: Path) -> None:
    """Every file that stayed is complete: none was left half-written."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert not list(artefact.rglob(".pending-*"))
    readers: dict[str, Callable[[Path], object]] = {
        ".parquet": pq.read_table,
        ".npy": np.load,
        ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
        ".arrow": lambda path: pa.ipc.open_file(path).read_all(),
    }
    for path in artefact.rglob("*"):
        if path.is_file():
            readers[path.suffix](path)


def test_a_file_size_limit_is_a_full_disk(chain: Chain, cache: Path, cli: Cli, tmp_path: Path) -> None:
    """`ulimit -f` stops a file in the middle of writing, as a full disk does."""
    for stage, kilobytes in (("bm25", 3), ("mine", 6), ("export-file", 8)):
        artefact = chain.artefact(stage, tmp_path)
        done = shell(f"ulimit -f {kilobytes}; exec {hnmine(*chain.command(stage, tmp_path))}", cache)
        assert done.code == 7, (stage, done.stderr)
        assert "Traceback" not in done.stderr
        assert not (artefact / "manifest.json").exists()
        assert not (tmp_path / "train.parquet").exists()
        check_whole(artefact)
        again = cli(*chain.command(stage, tmp_path))
        assert again.code == 0, again.stderr
        assert contents(artefact) == contents(chain.path(stage))


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system of its own at `folder`; skips the test where that is not allowed."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot mount: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("stage", ["ingest", "bm25", "dense", "mine", "export-file"])
def test_a_full_disk(stage: str, chain: Chain, call: Call, tmp_path: Path) -> None:
    """Half of what a stage needs: whatever it was writing is removed, and with space it goes on."""
    inner = chain.path(stage).parent if stage == "export-file" else chain.path(stage)
    size = sum(path.stat().st_size for path in inner.rglob("*") if path.is_file())
    with mounted(tmp_path / "disk", f"size={max(size // 2, 16_384) // 4096 * 4096}") as disk:
        artefact = chain.artefact(stage, disk)
        done = call(*chain.command(stage, disk))
        assert done.code == 7, done.stderr
        assert "the disk is full" in done.stderr
        assert not (artefact / "manifest.json").exists()
        assert not (disk / "train.parquet").exists()
        check_whole(artefact)
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        again = call(*chain.command(stage, disk))
        assert again.code == 0, again.stderr
        assert contents(artefact) == contents(chain.path(stage))


def test_a_read_only_target(chain: Chain, call: Call, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        with mounted(tmp_path / "disk", "ro") as disk:
            refused = [call(*chain.command(stage, disk)) for stage in ("ingest", "bm25", "filter", "export-file")]
            assert list(disk.iterdir()) == []
        reason = "read-only"
    else:
        (tmp_path / "disk").mkdir(mode=0o555)
        refused = [call(*chain.command(stage, tmp_path / "disk")) for stage in ("ingest", "bm25", "export-file")]
        reason = "permission denied"
    for done in refused:
        assert done.code == 7, done.stderr
        assert reason in done.stderr


def test_dry_run_writes_nothing_not_even_to_the_cache(beir: Path, tmp_path: Path, call: Call) -> None:
    done = call("index", "bm25", beir, "-o", tmp_path / "out", "--dry-run", "--cache-dir", tmp_path / "cache")
    assert done.code == 0
    assert "documents 300" in done.stderr
    assert list(tmp_path.iterdir()) == []
