"""A file that was hashed and has not changed since is not hashed again; any other is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hnmine.errors import ArtefactError
from hnmine.files import verified
from hnmine.files.artefact import Artefact, Draft
from hnmine.schema import Kind

OLD = 1_600_000_000


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of the files that are hashed from now on; small artefacts are remembered too, and no file is racy."""
    monkeypatch.setenv("HNMINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(verified, "LEAST_BYTES", 1)
    monkeypatch.setattr(verified, "RACY_NS", -(10**18))
    names: list[str] = []
    real = verified.digest_file

    def counted(path: Path) -> str:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(verified, "digest_file", counted)
    return names


@pytest.fixture
def artefact(tmp_path: Path, hashed: list[str]) -> Path:
    draft = Draft.begin(tmp_path / "a", Kind.CANDIDATES, {"blocks": []})
    files = {}
    for name in ("part-00000.parquet", "part-00001.parquet"):
        (draft.path / name).write_text(name)
        files[name] = draft.describe(name, 1)
    draft.close(files=files, counts={})
    hashed.clear()
    return draft.path


def test_a_second_open_hashes_nothing(artefact: Path, hashed: list[str]) -> None:
    Artefact.open(artefact)
    assert hashed == ["part-00000.parquet", "part-00001.parquet"]
    Artefact.open(artefact)
    assert len(hashed) == 2
    Artefact.open(artefact, anew=True)
    assert len(hashed) == 4


def test_an_altered_file_is_hashed_and_refused_even_with_its_old_size_and_time(
    artefact: Path, hashed: list[str]
) -> None:
    Artefact.open(artefact)
    part = artefact / "part-00001.parquet"
    before = part.stat()
    part.write_text("tarp-00001.parquet")
    os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ArtefactError, match=r"part-00001.parquet is corrupt"):
        Artefact.open(artefact)
    assert hashed[2:] == ["part-00001.parquet"]


def test_a_copy_and_a_touched_file_are_hashed_again_and_are_fine(artefact: Path, hashed: list[str]) -> None:
    Artefact.open(artefact)
    part = artefact / "part-00000.parquet"
    os.utime(part, (OLD, OLD))
    Artefact.open(artefact)
    assert hashed[2:] == ["part-00000.parquet"]
    copy = artefact / "copy"
    copy.write_bytes(part.read_bytes())
    copy.replace(part)
    os.utime(part, (OLD, OLD))
    Artefact.open(artefact)
    assert hashed[3:] == ["part-00000.parquet"]


def test_a_file_that_has_just_changed_is_not_remembered(
    artefact: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verified, "RACY_NS", 10**18)
    Artefact.open(artefact)
    Artefact.open(artefact)
    assert len(hashed) == 4


def test_what_is_remembered_may_be_lost_damaged_or_impossible_to_keep(
    artefact: Path, hashed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Artefact.open(artefact)
    (memory,) = (tmp_path / "cache" / "verified").glob("*.json")
    for text in ("", "[1]", '{"part-00000.parquet": 7}'):
        memory.write_text(text)
        Artefact.open(artefact)
    memory.unlink()
    monkeypatch.setenv("HNMINE_CACHE", str(artefact / "plan.json"))  # a file, where a directory should be
    Artefact.open(artefact)
    assert len(hashed) == 10


def test_small_artefacts_leave_no_trace(
    artefact: Path, hashed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verified, "LEAST_BYTES", 1_000)
    Artefact.open(artefact)
    assert not (tmp_path / "cache").exists()


def test_only_the_latest_artefacts_are_remembered(
    artefact: Path, hashed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verified, "MOST_ARTEFACTS", 2)
    Artefact.open(artefact)
    for number in range(3):
        artefact = artefact.rename(tmp_path / f"b{number}")
        Artefact.open(artefact)
    assert len(list((tmp_path / "cache" / "verified").glob("*.json"))) == 2
