"""Finish or leave nothing: files appear under their name only when they are complete.

A file is written to a unique hidden sibling, flushed to disk, and renamed. Permissions follow the umask. Storage
failures (disk full, read-only, no permission) become `StorageError`; whatever was half-written is removed.
An object of a store appears when its upload is closed, and needs no rename.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hnmine.errors import StorageError
from hnmine.files import store
from hnmine.files.remote import RemotePath, duplicate, publishing
from hnmine.files.remote import remove_tree as remove_objects

PENDING = ".pending-"
"""Prefix of files that are being written; one that stays behind after kill -9 is rubbish."""

_STORAGE_CODES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EIO: "input/output error",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a part of the path is a file, not a directory",
    errno.EEXIST: "a part of the path is a file, not a directory",
    errno.EISDIR: "there is a directory of that name",
    errno.EFBIG: "the file is larger than the file system or the process's limit allows",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's storage failures into `StorageError` naming `path`."""
    try:
        yield
    except OSError as error:
        reason = _STORAGE_CODES.get(error.errno or 0)
        # Arrow and NumPy (`123 requested and 45 written`) lose the number on the way.
        if reason is None and ("space left" in str(error) or "requested and" in str(error)):
            reason = _STORAGE_CODES[errno.ENOSPC]
        if reason is None:
            raise
        raise StorageError(
            f"cannot write {error.filename or path}: {reason}",
            remedy="free space or choose another place with -o, then run the same command again: "
            "finished blocks are kept",
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path` in one step, on failure it is removed.

    For an object of a store the temporary file is a local one.
    """
    with storage_errors(path):
        if isinstance(path, RemotePath):
            with publishing(path) as pending:
                yield pending
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        pending = path.with_name(f"{PENDING}{secrets.token_hex(6)}-{path.name}")
        os.close(os.open(pending, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield pending
            with open(pending, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(pending, path)
        except BaseException:
            pending.unlink(missing_ok=True)
            raise


def share(source: Path, path: Path) -> None:
    """Make `path` the same file as `source`, by a hard link, or a copy where there can be none; all or nothing."""
    with storage_errors(path):
        if isinstance(path, RemotePath):
            duplicate(source, path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        pending = path.with_name(f"{PENDING}{secrets.token_hex(6)}-{path.name}")
        try:
            try:
                if isinstance(source, RemotePath):  # its local copy is the cache's, and goes when there is no room
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
                os.link(source, pending)
            except OSError as error:
                if error.errno not in {*_NO_LINKS, errno.EXDEV}:
                    raise
                shutil.copyfile(source, pending)
            os.replace(pending, path)
        finally:
            pending.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, all or nothing."""
    if isinstance(path, RemotePath):
        store.write(path.url, text.encode())
        return
    with replacing(path) as pending:
        pending.write_text(text, encoding="utf-8", newline="")


def create_text(path: Path, text: str) -> bool:
    """Write `text` (UTF-8) to `path` if there is no such file, all or nothing; False if another writer was first.

    Of any number of processes that try at the same time exactly one succeeds, on network file systems too, and on
    stores with conditional writes.
    """
    if isinstance(path, RemotePath):
        return store.create(path.url, text.encode())
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        pending = path.with_name(f"{PENDING}{secrets.token_hex(6)}-{path.name}")
        try:
            _write_new(pending, text)
            with suppress(FileExistsError):
                try:
                    os.link(pending, path)  # unlike a rename it never replaces
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    _write_new(path, text)
                return True
            return False
        finally:
            pending.unlink(missing_ok=True)


_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
"""What a file system without hard links says."""


def _write_new(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    with open(descriptor, "w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for whoever holds it now; the kernel gives it back when a process dies."""
    import fcntl

    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove the directory `path` and all that is in it, if it is there."""
    if isinstance(path, RemotePath):
        remove_objects(path)
    else:
        shutil.rmtree(path, ignore_errors=True)


def remove_pending(directory: Path) -> None:
    """Remove what killed writers left below `directory`; they leave nothing in a store."""
    if isinstance(directory, RemotePath):
        return
    for leftover in directory.rglob(f"{PENDING}*"):
        leftover.unlink(missing_ok=True)
