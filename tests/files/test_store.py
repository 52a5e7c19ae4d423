"""Object stores through fsspec: paths that answer, writes that are whole, requests that are tried again."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.errors import ArtefactError, MissingDependencyError, StorageError, UsageError
from hnmine.files import store
from hnmine.files.artefact import Artefact, Draft
from hnmine.files.atomic import create_text, remove_tree, replacing, share, write_text
from hnmine.files.remote import (
    RemotePath,
    as_path,
    is_there,
    joined,
    promise,
    relative,
    split_named,
)
from hnmine.files.tables import write_array, write_table
from hnmine.hashing import digest_bytes, digest_file
from hnmine.schema import Kind

fsspec = pytest.importorskip("fsspec")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402  (fsspec is optional)


class Failing(MemoryFileSystem):  # type: ignore[misc]
    """Memory that fails as it is told, and counts."""

    protocol = "failing"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    errors: ClassVar[list[Exception]] = []
    """What the next requests raise, in order."""
    calls = 0

    def _fail(self) -> None:
        type(self).calls += 1
        if self.errors:
            raise self.errors.pop(0)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        self._fail()
        found: bytes = super().cat_file(path, start, end, **kwargs)
        return found

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        self._fail()
        super().pipe_file(path, value, mode=mode, **kwargs)

    def get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        self._fail()
        super().get_file(rpath, lpath, **kwargs)


fsspec.register_implementation("failing", Failing, clobber=True)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HNMINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "FIRST_PAUSE", 0.0)
    store._file_system.cache_clear()
    yield tmp_path
    for kind in (MemoryFileSystem, Failing):
        kind.store.clear()
    Failing.errors = []


@pytest.fixture
def root() -> RemotePath:
    path = as_path(f"memory://bucket/{os.urandom(4).hex()}")
    assert isinstance(path, RemotePath)
    return path


def test_a_url_is_a_path_that_keeps_itself() -> None:
    path = as_path("s3://bucket/run/part-00000.parquet")
    assert str(path) == f"{path}" == "s3://bucket/run/part-00000.parquet"
    assert str(path.parent / "ids" / "x") == "s3://bucket/run/ids/x"
    assert str(path.parent / "../other/./x") == "s3://bucket/other/x"
    assert (path.name, path.stem, path.suffix) == ("part-00000.parquet", "part-00000", ".parquet")
    assert str(path.with_name("b.csv")) == "s3://bucket/run/b.csv"
    assert str(path.with_suffix(".hnmine")) == "s3://bucket/run/part-00000.hnmine"
    assert path.relative_to(as_path("s3://bucket/run")).as_posix() == "part-00000.parquet"
    assert path.is_relative_to(as_path("s3://bucket"))
    assert not path.is_relative_to(as_path("s3://other"))
    again = pickle.loads(pickle.dumps(path))
    assert isinstance(again, RemotePath)
    assert again == path
    assert hash(again) == hash(path)
    assert sorted([path.parent / "b", path.parent / "a"]) == [path.parent / "a", path.parent / "b"]


@pytest.mark.parametrize("given", ["s3://bucket/a/b", Path("s3://bucket/a/b"), "s3://bucket/a/b/"])
def test_a_url_survives_being_made_a_path(given: str | Path) -> None:
    assert str(as_path(given)) == "s3://bucket/a/b"


@pytest.mark.parametrize("given", ["run", "/tmp/x", "C:/x", "a b=c/d", "-", "stdlib"])
def test_local_paths_stay_what_they_are(given: str) -> None:
    assert type(as_path(given)) is type(Path(given))
    assert as_path(given) == Path(given)


def test_a_file_url_is_local() -> None:
    assert as_path("file:///tmp/x") == Path("/tmp/x")


@pytest.mark.parametrize(
    ("path", "base", "seen"),
    [
        ("s3://bucket/collection", "s3://bucket/run/candidates", "../../collection"),
        ("s3://other/collection", "s3://bucket/run", "s3://other/collection"),
        ("s3://bucket/collection", "/data/run", "s3://bucket/collection"),
        ("/data/collection", "s3://bucket/run", "/data/collection"),
        ("/data/collection", "/data/run", "../collection"),
    ],
)
def test_one_place_seen_from_another_is_found_again(path: str, base: str, seen: str) -> None:
    assert relative(as_path(path), as_path(base)) == seen
    assert joined(as_path(base), seen) == as_path(path)


@pytest.mark.parametrize(
    ("spec", "name", "path"),
    [
        ("words=s3://bucket/day=1/bm25", "words", "s3://bucket/day=1/bm25"),
        ("s3://bucket/day=1/bm25", "", "s3://bucket/day=1/bm25"),
        ("words=indexes/bm25", "words", "indexes/bm25"),
        ("indexes/day=1", "", "indexes/day=1"),
        ("bm25", "", "bm25"),
    ],
)
def test_a_name_before_a_path(spec: str, name: str, path: str) -> None:
    assert split_named(spec) == (name, as_path(path))


def test_questions_go_to_the_store(root: RemotePath) -> None:
    for name in ("b.txt", "a.txt", "inner/c.txt"):
        write_text(root / name, name)
    assert [entry.name for entry in root.iterdir()] == ["a.txt", "b.txt", "inner"]
    assert [entry.name for entry in root.glob("*.txt")] == ["a.txt", "b.txt"]
    assert [str(entry) for entry in root.glob("inner/*")] == [str(root / "inner/c.txt")]
    assert (root / "a.txt").read_text() == "a.txt"
    assert (root / "a.txt").stat().st_size == 5
    assert [(p.exists(), p.is_file(), p.is_dir()) for p in (root / "a.txt", root / "inner", root / "none")] == [
        (True, True, False),
        (True, False, True),
        (False, False, False),
    ]
    assert is_there(root / "a.txt")
    assert not is_there(root / "none")
    assert list((root / "none").iterdir()) == []
    with pytest.raises(FileNotFoundError, match="none"):
        (root / "none").read_bytes()
    with pytest.raises(IsADirectoryError):
        os.fspath(root / "inner")
    remove_tree(root)
    assert not root.exists()


def test_whatever_opens_files_gets_a_copy(root: RemotePath) -> None:
    array, table = np.arange(12.0).reshape(4, 3), pa.table({"x": [1, 2, 3]})
    write_array(root / "a.npy", array)
    write_table(root / "t.parquet", table)
    assert np.array_equal(np.load(root / "a.npy", mmap_mode="r"), array)
    assert pq.read_table(root / "t.parquet").equals(table)
    with open(root / "t.parquet", "rb") as stream:
        assert stream.read() == (root / "t.parquet").read_bytes()


def test_a_failed_write_leaves_nothing(root: RemotePath, place: Path) -> None:
    def half(path: Path) -> None:
        with replacing(path) as pending:
            pending.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half(root / "x")
    assert not (root / "x").exists()
    assert [path.name for path in (place / "cache" / "objects").iterdir() if not path.name.startswith(".lock-")] == []


def test_an_object_that_changed_is_another_copy(root: RemotePath) -> None:
    for text in ("first", "second"):
        write_text(root / "x", text)
        with open(root / "x", encoding="utf-8") as stream:
            assert stream.read() == text


def test_the_first_creator_stands(root: RemotePath) -> None:
    assert create_text(root / "plan.json", "one")
    assert not create_text(root / "plan.json", "two")
    assert (root / "plan.json").read_text() == "one"


def test_a_store_without_conditional_writes(root: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    def pipe_file(self: Any, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        if mode != "overwrite":
            raise NotImplementedError
        written(self, path, value)

    written = MemoryFileSystem.pipe_file
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)
    assert create_text(root / "plan.json", "one")
    assert not create_text(root / "plan.json", "two")
    assert (root / "plan.json").read_text() == "one"


@pytest.mark.parametrize("source_is_remote", [True, False])
@pytest.mark.parametrize("target_is_remote", [True, False])
def test_a_shared_file(source_is_remote: bool, target_is_remote: bool, root: RemotePath, tmp_path: Path) -> None:
    source = (root if source_is_remote else tmp_path) / "old.txt"
    target = (root if target_is_remote else tmp_path) / "new" / "new.txt"
    with replacing(source) as pending:
        pending.write_bytes(b"content")
    share(source, target)
    assert target.read_bytes() == b"content"
    assert digest_file(target) == digest_bytes(b"content")


transient = [
    OSError("503 Slow Down"),
    ConnectionResetError(),
    TimeoutError(),
    RuntimeError("Response payload is not completed"),
]


@pytest.mark.parametrize("error", transient, ids=lambda error: type(error).__name__)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    Failing.errors, Failing.calls = [error] * 3, 0
    store.write("failing://bucket/x", b"content")
    assert Failing.calls == 4
    Failing.errors = [error] * (store.ATTEMPTS - 1)
    assert store.read("failing://bucket/x") == b"content"


def test_what_does_not_pass_is_told_in_the_end() -> None:
    Failing.errors, Failing.calls = [OSError("503 Slow Down")] * 99, 0
    with pytest.raises(StorageError, match=r"cannot read failing://bucket/x after 8 tries: 503 Slow Down"):
        store.read("failing://bucket/x")
    assert Failing.calls == store.ATTEMPTS


@pytest.mark.parametrize(
    ("error", "told"), [(PermissionError("Access Denied"), "permission denied"), (ValueError("bad name"), "bad name")]
)
def test_what_cannot_pass_is_told_at_once(error: Exception, told: str) -> None:
    Failing.errors, Failing.calls = [error], 0
    with pytest.raises(StorageError, match=told):
        store.write("failing://bucket/x", b"content")
    assert Failing.calls == 1


def test_a_body_that_was_cut_short_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("failing://bucket/x", b"0123456789")
    whole, sizes = Failing.get_file, [3, 9, 10]

    def get_file(self: Any, rpath: str, lpath: str, **kwargs: Any) -> None:
        whole(self, rpath, lpath, **kwargs)
        os.truncate(lpath, sizes.pop(0))

    monkeypatch.setattr(Failing, "get_file", get_file)
    store.download("failing://bucket/x", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"0123456789"
    assert not sizes


def test_bytes_that_a_manifest_does_not_promise_are_refused(root: RemotePath) -> None:
    with replacing(root / "part") as pending:
        pending.write_bytes(b"right")
    store.write((root / "part").url, b"wrong")
    promise(root / "part", digest_bytes(b"other"), 5)
    with pytest.raises(ArtefactError, match=r"part is corrupt: it does not match the manifest"):
        os.fspath(root / "part")


def test_an_artefact_in_a_store_travels_with_its_promises(
    root: RemotePath, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = Draft.begin(root / "a", Kind.CANDIDATES, {"blocks": ["block-0"]})
    draft.commit("block-0", {"part-0": write_table(root / "a" / "part-0", pa.table({"x": [1]}))})
    artefact = draft.close(files=draft.receipts(["block-0"])[0]["files"], counts={})
    assert sorted(entry.name for entry in (root / "a").iterdir()) == ["manifest.json", "part-0", "plan.json"]
    sent = pickle.dumps(artefact)
    store.write((root / "a" / "part-0").url, b"wrong")
    monkeypatch.setenv("HNMINE_CACHE", str(place / "another machine"))
    with pytest.raises(ArtefactError, match="part-0 is corrupt"):
        pq.read_table(pickle.loads(sent).path / "part-0")
    with pytest.raises(ArtefactError, match="part-0 is corrupt"):
        Artefact.open(root / "a", anew=True)


def test_a_plan_that_another_writer_replaced_is_noticed_at_the_close(root: RemotePath) -> None:
    """A store that ignores conditions lets two writers believe that theirs is the plan."""
    draft = Draft.begin(root, Kind.CANDIDATES, {"blocks": []})
    write_text(root / "plan.json", (root / "plan.json").read_text().replace('"blocks": []', '"blocks": ["x"]'))
    with pytest.raises(ArtefactError, match="was made with another plan"):
        draft.close(files={}, counts={})


def test_a_file_system_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="nowhere://bucket"):
        store.read("nowhere://bucket/x")


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingDependencyError) as told:
        store.read("s3://bucket/x")
    assert told.value.remedy == "pip install 'hnmine[s3]'"


def test_writing_past_the_layer_is_a_bug(root: RemotePath) -> None:
    attempts: list[Callable[[], Any]] = [
        lambda: root.write_text("x"),
        lambda: root.open("w"),
        lambda: root.touch(),
        lambda: root.rename("x"),
    ]
    for attempt in attempts:
        with pytest.raises(NotImplementedError):
            attempt()
