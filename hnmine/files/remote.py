"""Paths of object stores: what the rest of hnmine does with a `Path`, done to `s3://bucket/key`.

`RemotePath` is a `Path` whose questions go to the store. Handed to whatever opens files, it is a local copy of the
object (`__fspath__`), so that maps, Parquet and gzip readers need not know. It is written only by `files.atomic`. What
must be small and new, plans, receipts and manifests, is read past the copies (`read_bytes`, `read_text`).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat as modes
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PosixPath, PurePath, PurePosixPath
from typing import IO, Any, NoReturn

from hnmine.errors import ArtefactError
from hnmine.files import store
from hnmine.files.cache import copies
from hnmine.hashing import digest_bytes, digest_file

_FRESH_TRIES = 3
"""How often an object is fetched whose bytes are not those that a manifest or receipt promises."""

_promised: dict[str, tuple[str, int]] = {}
"""URL to (SHA-256, bytes), of objects that a manifest or a receipt names, or that this process wrote."""


def as_path(given: str | PurePath) -> Path:
    """The path that a user's words mean: a `RemotePath` for a URL, also for one that went through `Path`."""
    text = str(given)
    parts = store.split_url(text)
    if parts is None:
        return given if isinstance(given, Path) else Path(given)
    if parts[0] == "file":
        return Path("/" + parts[1].lstrip("/"))
    return given if isinstance(given, RemotePath) else RemotePath(f"{parts[0]}:/{parts[1].strip('/')}")


def split_named(spec: str) -> tuple[str, Path]:
    """(NAME, path) of `NAME=path`; the name is empty if there is none. A path may have `=` in it after a slash."""
    name, equals, rest = spec.partition("=")
    return (name, as_path(rest)) if equals and "/" not in name else ("", as_path(spec))


def is_remote(path: PurePath) -> bool:
    """Whether the path is one of a store."""
    return isinstance(path, RemotePath)


def is_there(path: Path) -> bool:
    """Whether there is a file at `path`; in a store, one that is not empty: plans, receipts and manifests never are."""
    if not isinstance(path, RemotePath):
        return path.is_file()
    try:
        return len(store.read(path.url, 1)) > 0
    except FileNotFoundError:
        return False


def relative(path: Path, base: Path) -> str:
    """`path` as seen from the directory `base`; whole, where one is not reached from the other."""
    if isinstance(path, RemotePath) and isinstance(base, RemotePath) and store.is_same_store(path.url, base.url):
        return posixpath.relpath(path.url.partition("://")[2], base.url.partition("://")[2])
    if isinstance(path, RemotePath) or isinstance(base, RemotePath):
        return str(path.resolve())
    return os.path.relpath(path, base)


def joined(base: Path, other: str) -> Path:
    """The path that `relative` made `other` of; no links are followed."""
    if store.split_url(other) is not None:
        return as_path(other)
    if isinstance(base, RemotePath):
        return Path(other) if other.startswith("/") else (base / other).resolve()
    return Path(os.path.normpath(base / other))


def fetch(paths: Sequence[Path]) -> None:
    """Have local copies of the objects among `paths`, several fetched at once."""
    store.together(os.fspath, [path for path in paths if isinstance(path, RemotePath)])


def promise(path: Path, sha256: str, size: int) -> None:
    """Remember what the object at a path has to be: whoever opens it gets this, or an error."""
    if isinstance(path, RemotePath):
        _promised[path.url] = sha256, size


def promised(path: Path) -> tuple[str, int] | None:
    """(SHA-256, bytes) of the object at a path, if a receipt or a manifest says, or this process wrote it."""
    return _promised.get(path.url) if isinstance(path, RemotePath) else None


class RemotePath(PosixPath):
    """A URL of an object store as a path. There are no directories: one is there if an object lies below it."""

    @property
    def url(self) -> str:
        """The URL, without `.` and `..`."""
        scheme, _, rest = super().__str__().partition(":/")
        return f"{scheme}://{posixpath.normpath(rest) if rest else ''}"

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"RemotePath({self.url!r})"

    def __fspath__(self) -> str:
        """A local copy of the object, checked against what was promised of it when it arrived."""
        return os.fspath(_local_copy(self.url))

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Kind and size; no store has the rest."""
        found = store.info(self.url)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.url)
        kind = modes.S_IFDIR if found.is_folder else modes.S_IFREG
        return os.stat_result((kind | 0o600, 0, 0, 1, 0, 0, found.size, 0, 0, 0))

    def exists(self, **_: Any) -> bool:
        """Whether there is an object, or one below."""
        return store.info(self.url) is not None

    def is_file(self, **_: Any) -> bool:
        """Whether there is an object."""
        found = store.info(self.url)
        return found is not None and not found.is_folder

    def is_dir(self, **_: Any) -> bool:
        """Whether there is an object below."""
        found = store.info(self.url)
        return found is not None and found.is_folder

    def iterdir(self) -> Generator[RemotePath, None, None]:
        """What is right below, by name; nothing if there is no such folder."""
        yield from (self / name for name in store.names_below(self.url))

    def glob(self, pattern: str, **_options: Any) -> Generator[RemotePath, None, None]:
        """What matches a pattern whose last part alone may have wildcards, by name."""
        folder, _, last = pattern.rpartition("/")
        below = self / folder if folder else self
        if not any(sign in last for sign in "*?["):
            yield from [below / last] if (below / last).exists() else []
        else:
            yield from (entry for entry in below.iterdir() if fnmatchcase(entry.name, last))

    def read_bytes(self) -> bytes:
        """The object as it is now, past the local copies."""
        return store.read(self.url)

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        """The object as it is now, past the local copies."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        if not missing_ok:
            self.stat()
        _promised.pop(self.url, None)
        store.remove(self.url)

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Nothing: a store has no directories."""

    def rmdir(self) -> None:
        """Nothing: a store has no directories."""

    def resolve(self, strict: bool = False) -> RemotePath:
        """Without `.` and `..`."""
        return RemotePath(self.url)

    def absolute(self) -> RemotePath:
        """The path itself."""
        return self

    def is_absolute(self) -> bool:
        """Always."""
        return True

    def samefile(self, other: str | os.PathLike[str]) -> bool:
        """Whether both are one URL."""
        return isinstance(other, str | PurePath) and str(as_path(other)) == self.url

    def relative_to(self, *other: Any, **_: Any) -> PurePosixPath:  # type: ignore[override]
        """The path below `other`."""
        return PurePosixPath(self.url).relative_to(PurePosixPath(str(as_path(*other))))

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(f"{self}: objects are written by hnmine.files.atomic")

    write_bytes = write_text = open = touch = rename = replace = chmod = symlink_to = hardlink_to = rglob = _refuse


@contextmanager
def publishing(path: RemotePath) -> Iterator[Path]:
    """Yield a local file; on success its bytes are the object at `path`, and a local copy stays."""
    with copies().pending() as pending:
        yield pending
        digest, size = digest_file(pending), pending.stat().st_size
        store.upload(pending, path.url)
        promise(path, digest, size)
        copies().adopt(_name(path.url, digest), pending)


def duplicate(source: Path, path: RemotePath) -> None:
    """Make the object at `path` the same as the file or object `source`."""
    known = promised(source)
    if known is not None and isinstance(source, RemotePath) and store.is_same_store(source.url, path.url):
        store.copy(source.url, path.url)
        promise(path, *known)
        return
    with publishing(path) as pending, open(source, "rb") as old, open(pending, "wb") as new:
        _copy(old, new)


def remove_tree(path: RemotePath) -> None:
    """Remove every object below `path`."""
    store.together(lambda name: (path / name).unlink(missing_ok=True), store.all_below(path.url))


def digest_afresh(path: RemotePath) -> str:
    """SHA-256 (hex) of the object as it is in the store now, whatever copies there are."""
    with copies().pending() as pending:
        store.download(path.url, pending)
        return digest_file(pending)


def _copy(old: IO[bytes], new: IO[bytes]) -> None:
    while chunk := old.read(1 << 20):
        new.write(chunk)


def _local_copy(url: str) -> Path:
    if (known := _promised.get(url)) is not None:
        return copies().get(_name(url, known[0]), lambda pending: _fetch_promised(url, pending, *known))
    found = store.info(url)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)
    if found.is_folder:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), url)
    return copies().get(_name(url, found.version), lambda pending: store.download(url, pending))


def _fetch_promised(url: str, pending: Path, sha256: str, size: int) -> None:
    """Download an object that has to have these bytes."""
    for _ in range(_FRESH_TRIES):
        try:
            store.download(url, pending)
        except FileNotFoundError:
            raise ArtefactError(f"{url} is missing", remedy="make the artefact again with --overwrite") from None
        if pending.stat().st_size == size and digest_file(pending) == sha256:
            return
    raise ArtefactError(f"{url} is corrupt: it does not match the manifest", remedy="make it again")


def _name(url: str, version: str) -> str:
    return digest_bytes(f"{url}\0{version}".encode())
