"""Files whose bytes were compared with a manifest, remembered: large artefacts are hashed once, not at every use.

What is remembered is a file's size, its times of change (of contents and of the inode), and its inode number; if any is
another now, the file is hashed again. A file that changed within two seconds of being hashed is not remembered: it may
change again without its times showing it (git's "racy" entries). So a copy, an edit and a restored backup are hashed;
what a failing disk does to bytes behind the file system's back shows only when hashed anew: `hnmine doctor ARTEFACT`.

The memory lies in the cache directory, one small file an artefact, and losing it costs time only.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from hnmine.errors import HnmineError
from hnmine.files.atomic import write_text
from hnmine.files.cache import default_cache
from hnmine.hashing import canonical_json, digest_bytes, digest_file

RACY_NS = 2_000_000_000
LEAST_BYTES = 4_000_000
"""Smaller artefacts are hashed in milliseconds, and nothing is remembered of them."""
MOST_ARTEFACTS = 256


class Verified:
    """What is known of the files of the artefact at `path`; with `anew`, nothing is believed, only learned."""

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self._place = default_cache() / "verified" / f"{digest_bytes(os.fsencode(path.resolve()))[:32]}.json"
        self._known: dict[str, list[object]] = {} if anew else _read(self._place)
        self._learned: dict[str, list[object]] = {}
        self._hashed = 0

    def holds(self, file: Path, name: str, sha256: str) -> bool:
        """Whether the file has this SHA-256: it was found to have it and has not changed, or it is hashed now."""
        marks = marks_of(file)
        mark = [sha256, *marks]
        if self._known.get(name) == mark:
            self._learned[name] = mark
            return True
        began = time.time_ns()
        if digest_file(file) != sha256:
            return False
        size, *times, _ = marks
        self._hashed += size
        if began - max(times) > RACY_NS:
            self._learned[name] = mark
        return True

    def remember(self) -> None:
        """Keep what was learned, if it is worth it and there is a place to keep it."""
        if self._hashed < LEAST_BYTES or not self._learned:
            return
        with suppress(OSError, HnmineError):
            write_text(self._place, canonical_json(self._learned))
            others = sorted(self._place.parent.glob("*.json"), key=lambda other: other.stat().st_mtime_ns)
            for old in others[:-MOST_ARTEFACTS]:
                old.unlink(missing_ok=True)


def marks_of(file: Path) -> list[int]:
    """What changes with a file's contents: size, times of change of contents and of the inode, and the inode number."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _read(place: Path) -> dict[str, list[object]]:
    with suppress(OSError, ValueError):
        found = json.loads(place.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
