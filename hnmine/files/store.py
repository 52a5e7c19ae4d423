"""Object stores behind a URL: whole objects read, written and created, with retries; every fsspec file system is one.

An object appears when its upload is closed, whole or not at all, so that nothing needs a rename. What fails for a
moment (503, a reset connection, a timeout, a body that was cut short) is tried again with growing pauses; what does not
go away becomes `StorageError`. Credentials and endpoints are the user's own, from where the file system takes them.
"""

from __future__ import annotations

import errno
import os
import posixpath
import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from hnmine.errors import MissingDependencyError, StorageError, UsageError

S = TypeVar("S")
T = TypeVar("T")

ATTEMPTS = 8
"""How often a request is made before its failure counts; the pauses between add up to about a minute."""
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 20.0
_ALL = 2**40
"""An end that lies behind every object's: asked for a range, file systems do not ask for the size first."""
_TOGETHER = 16
"""Requests in flight at once where many small ones are needed."""

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/{1,2}(?P<rest>.*)", re.DOTALL)
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
_OF_THE_USER = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "ParamValidationError", "InvalidRegionError"}
)
"""Errors, by name, that do not go away by waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a store says of a URL: a folder is one because objects lie below it."""

    is_folder: bool
    size: int
    version: str
    """Another one whenever the object changes."""


def split_url(text: str) -> tuple[str, str] | None:
    """(scheme, rest) of a URL, or of what `pathlib` makes of one (`s3:/bucket/key`); None for a local path."""
    found = _URL.fullmatch(text)
    return (found["scheme"], found["rest"]) if found else None


def info(url: str) -> Info | None:
    """What the store says of a URL, now; None if there is nothing."""
    files, key = _open(url)

    def ask() -> Info | None:
        files.invalidate_cache()
        try:
            found = files.info(key)
        except FileNotFoundError:
            return None
        version = repr(sorted((name, str(value)) for name, value in found.items()))
        return Info(is_folder=found["type"] == "directory", size=int(found.get("size") or 0), version=version)

    return _retried(url, ask)


def read(url: str, most: int = _ALL) -> bytes:
    """The (first) bytes of an object that is not empty, in one request; `FileNotFoundError` if there is none."""
    files, key = _open(url)
    found: bytes = _retried(url, lambda: files.cat_file(key, start=0, end=most))
    return found


def download(url: str, target: Path) -> None:
    """Write the bytes of an object to the local file `target`; `FileNotFoundError` if there is none."""
    files, key = _open(url)

    def get() -> None:
        files.get_file(key, os.fspath(target))
        files.invalidate_cache()
        wanted, found = files.info(key).get("size"), target.stat().st_size
        if wanted is not None and wanted != found:
            raise OSError(f"{found:,} of {wanted:,} bytes arrived")

    _retried(url, get)


def upload(source: Path, url: str) -> None:
    """Make the bytes of a local file the object `url`, in place of what it was."""
    files, key = _open(url)
    _retried(url, lambda: files.put_file(os.fspath(source), key), writes=True)


def write(url: str, data: bytes) -> None:
    """Make `data` the object `url`, in place of what it was."""
    files, key = _open(url)
    _retried(url, lambda: files.pipe_file(key, data), writes=True)


def create(url: str, data: bytes) -> bool:
    """Make `data` the object `url` if there is none; False if there is one, perhaps this very one, by an earlier try.

    Exactly one of several writers succeeds where the store has conditional writes (S3, GCS and Azure have). On any
    other the last one stands, of those that ask within the same moment.
    """
    files, key = _open(url)

    def put() -> bool:
        try:
            files.pipe_file(key, data, mode="create")
        except FileExistsError:
            return False
        except Exception as error:
            if _is_refused(error):
                return False
            if not _is_unheard_of(error):
                raise
            if info(url) is not None:
                return False
            files.pipe_file(key, data)
        return True

    return _retried(url, put, writes=True)


def copy(source: str, url: str) -> None:
    """Make the object `url` the same as the object `source`, which lies in the same store; the store copies."""
    files, key = _open(url)
    _, old = _open(source)
    _retried(url, lambda: files.cp_file(old, key), writes=True)


def remove(url: str) -> None:
    """Remove an object, if it is there."""
    files, key = _open(url)

    def delete() -> None:
        try:
            files.rm_file(key)
        except FileNotFoundError:
            return

    _retried(url, delete, writes=True)


def names_below(url: str) -> list[str]:
    """The names of the objects and folders right below a URL, sorted; none if it is no folder."""
    files, key = _open(url)

    def ask() -> list[str]:
        files.invalidate_cache()
        try:
            found = files.ls(key, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        own = key.rstrip("/")
        names = (name.rstrip("/") for name in found)
        return sorted(posixpath.basename(name) for name in names if name.strip("/") != own.strip("/"))

    return _retried(url, ask)


def all_below(url: str) -> list[str]:
    """The objects below a URL, at any depth, by their names from there, sorted."""
    files, key = _open(url)

    def ask() -> list[str]:
        files.invalidate_cache()
        try:
            found = files.find(key)
        except FileNotFoundError:
            return []
        return sorted(posixpath.relpath(name, key) for name in found if name.strip("/") != key.strip("/"))

    return _retried(url, ask)


def together(function: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """`function` of each item, in order, many requests at once."""
    from concurrent.futures import ThreadPoolExecutor

    listed: Sequence[S] = list(items)
    if len(listed) < 2:
        return [function(item) for item in listed]
    with ThreadPoolExecutor(min(_TOGETHER, len(listed))) as pool:
        return list(pool.map(function, listed))


def is_same_store(one: str, other: str) -> bool:
    """Whether two URLs are of one bucket."""
    return _bucket(one) == _bucket(other)


def _bucket(url: str) -> tuple[str, str]:
    scheme, rest = split_url(url) or ("", url)
    return scheme, rest.lstrip("/").partition("/")[0]


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL, and what it calls the object."""
    scheme, bucket = _bucket(url)
    files = _file_system(scheme, bucket)
    return files, files._strip_protocol(url)


@lru_cache(maxsize=64)
def _file_system(scheme: str, bucket: str) -> Any:
    try:
        import fsspec.core
    except ImportError:
        raise _missing(scheme, "the package fsspec") from None
    try:
        files, _ = fsspec.core.url_to_fs(f"{scheme}://{bucket}")
    except ImportError as error:
        raise _missing(scheme, str(error)) from None
    except ValueError as error:
        raise UsageError(f"{scheme}://{bucket}: {error}", expected="a URL of a file system that fsspec knows") from None
    return files


def _missing(scheme: str, what: str) -> MissingDependencyError:
    extra = _EXTRAS.get(scheme)
    named = f"'hnmine[{extra}]'" if extra else "huggingface_hub" if scheme == "hf" else "fsspec and its file system"
    return MissingDependencyError(
        f"{scheme}:// cannot be opened: {what}", expected="a file system for it", remedy=f"pip install {named}"
    )


def _retried(url: str, request: Callable[[], T], *, writes: bool = False) -> T:
    """What `request` returns, asked again while its failure may pass; `StorageError` if it does not."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return request()
        except FileNotFoundError as error:
            if writes:
                raise StorageError(f"cannot write {url}: {_said(error)}", remedy="make the bucket first") from error
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url) from error
        except PermissionError as error:
            raise StorageError(
                f"{url}: permission denied ({_said(error)})",
                remedy="the credentials are those that the file system finds by itself: variables, profiles, roles",
            ) from error
        except (StorageError, MissingDependencyError, UsageError, NotImplementedError):
            raise
        except Exception as error:
            if attempt == ATTEMPTS or not _may_pass(error):
                tries = f" after {attempt} tries" if attempt > 1 else ""
                raise StorageError(
                    f"cannot {'write' if writes else 'read'} {url}{tries}: {_said(error)}",
                    remedy="run the same command again when the store answers: finished blocks are kept",
                ) from error
        time.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))
    raise AssertionError("the last attempt returns or raises")


def _may_pass(error: Exception) -> bool:
    is_a_bug = isinstance(error, TypeError | AttributeError | LookupError | ValueError)
    is_final = isinstance(error, IsADirectoryError | NotADirectoryError)
    is_local = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE}
    return not (is_a_bug or is_final or is_local or type(error).__name__ in _OF_THE_USER)


def _is_refused(error: Exception) -> bool:
    """Whether a conditional write found an object: S3 says 412, or 409 while another writer's is under way."""
    return any(word in str(error) for word in ("PreconditionFailed", "ConditionalRequestConflict", "conditionNotMet"))


def _is_unheard_of(error: Exception) -> bool:
    """Whether the store has no conditional writes."""
    return isinstance(error, TypeError | ValueError | NotImplementedError) or "NotImplemented" in str(error)


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
