"""Where hnmine keeps what it can make or fetch again, and local copies of objects, least recently used first to go.

A copy's name is a digest of its URL and its content, so that a changed object is another copy, and what is there under
its name is right: it was checked before it got the name. Any number of processes share the directory. One holds the
copies that it uses with a shared lock, which the kernel gives back when the process dies, and only what nobody holds
is removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from hnmine.errors import UsageError

SIZE = "HNMINE_STORE_CACHE"
"""The variable that says how much local copies may take: `20GB`, `500MB`."""
MOST_BYTES = 64 * 2**30
"""By default; and no more than half of what the disk has to give."""
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MOST_HELD = 256
_PENDING, _LOCK = ".pending-", ".lock-"
_ABANDONED_SECONDS = 86_400


def default_cache() -> Path:
    """`HNMINE_CACHE`, else `XDG_CACHE_HOME/hnmine`, else `~/.cache/hnmine`."""
    if explicit := os.environ.get("HNMINE_CACHE"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hnmine"


def parse_size(text: str) -> int:
    """Bytes of `500MB`, `1.5 G`, `20GB`; `UsageError` for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", text, re.IGNORECASE)
    if found is None:
        raise UsageError(f"{SIZE}={text}: not a size", expected="a number of bytes, or like 500MB or 20GB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


class Copies:
    """Local copies of objects below `root`, together at most `most` bytes, but for what is in use."""

    def __init__(self, root: Path, most: int) -> None:
        self.root = root
        self.most = most
        self._held: OrderedDict[str, tuple[int, int]] = OrderedDict()  # name: descriptor, bytes
        self._guard = threading.Lock()

    def get(self, name: str, fetch: Callable[[Path], None]) -> Path:
        """The copy of that name, made by `fetch` if it is not there; once, whoever asks meanwhile.

        It stays where it is while it is among the last files that this process asked for; if it is mapped or open it
        can be read to the end anyway.
        """
        place = self.root / name
        while not self._hold(name):
            with self._locked(name[:2]):
                if not place.exists():
                    with self.pending() as pending:
                        fetch(pending)
                        self.adopt(name, pending)
        return place

    @contextmanager
    def pending(self) -> Iterator[Path]:
        """A new file to write to; it is removed unless it was adopted."""
        self.root.mkdir(parents=True, exist_ok=True)
        pending = self.root / f"{_PENDING}{secrets.token_hex(8)}"
        pending.touch()
        try:
            yield pending
        finally:
            pending.unlink(missing_ok=True)

    def adopt(self, name: str, pending: Path) -> None:
        """Make a pending file the copy of that name; what was not used for longest makes room."""
        with self._locked("room"):
            self._make_room(but=pending)
            pending.rename(self.root / name)

    def _hold(self, name: str) -> bool:
        """Hold the copy of that name, and mark it as used now; False if there is none."""
        place = self.root / name
        with self._guard:
            if name not in self._held:
                try:
                    descriptor = os.open(place, os.O_RDONLY)
                except FileNotFoundError:
                    return False
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                self._held[name] = descriptor, os.fstat(descriptor).st_size
            self._held.move_to_end(name)
            is_there = os.fstat(self._held[name][0]).st_nlink > 0  # else it went before it was held
            if is_there:
                with suppress(OSError):
                    os.utime(place)
            else:
                self._release(name)
            while len(self._held) > 1 and (len(self._held) > _MOST_HELD or self._held_bytes() > self.most // 2):
                self._release(next(iter(self._held)))
        return is_there

    def _held_bytes(self) -> int:
        return sum(size for _, size in self._held.values())

    def _release(self, name: str) -> None:
        descriptor, _ = self._held.pop(name)
        os.close(descriptor)

    def _make_room(self, *, but: Path) -> None:
        entries = list(_entries(self.root))
        total = sum(size for _, size, _ in entries)
        abandoned = time.time_ns() - _ABANDONED_SECONDS * 10**9
        for used, size, path in sorted(entries):
            if path.name.startswith(_LOCK):
                continue
            if path.name.startswith(_PENDING):
                if used < abandoned and path != but:
                    path.unlink(missing_ok=True)
            elif total > self.most and _unlink_unless_held(path):
                total -= size

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        # The files stay: one that is removed while somebody waits for it locks nothing.
        descriptor = os.open(self.root / f"{_LOCK}{name}", os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _entries(root: Path) -> Iterator[tuple[int, int, Path]]:
    """(time of last use in ns, bytes, path) of every file there; others may remove some meanwhile."""
    for entry in os.scandir(root):
        with suppress(FileNotFoundError):
            status = entry.stat()
            yield status.st_mtime_ns, status.st_size, Path(entry.path)


def _unlink_unless_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)  # to write: network file systems give no exclusive lock else
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def copies() -> Copies:
    """The local copies of this user: in `objects` of the cache directory, as large as HNMINE_STORE_CACHE says."""
    return _copies(default_cache() / "objects", os.environ.get(SIZE))


@lru_cache(maxsize=8)
def _copies(root: Path, size: str | None) -> Copies:
    if size:
        return Copies(root, parse_size(size))
    root.mkdir(parents=True, exist_ok=True)
    has = sum(size for _, size, _ in _entries(root))
    return Copies(root, min(MOST_BYTES, (shutil.disk_usage(root).free + has) // 2))
