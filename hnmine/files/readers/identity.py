"""Ids made from texts, and the memory of which ids were seen: 16-byte hashes, never the texts."""

from __future__ import annotations

import hashlib

from hnmine.errors import ProblemLog
from hnmine.files.readers.streams import InputFile


def digest16(text: str) -> bytes:
    """The first 16 bytes of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).digest()[:16]


def hashed_id(prefix: str, text: str) -> str:
    """The id of a text that has none: `prefix` and the first 16 hex digits of its SHA-256."""
    return prefix + digest16(text).hex()[:16]


class Seen:
    """The ids seen so far; if `checked`, each with the hash and place of its text, so that a second text is noticed.

    Ids made from their texts need no check, and less memory.
    """

    def __init__(self, *, checked: bool) -> None:
        self.clash = False
        """Whether the last id was seen before with another text."""
        self._checked = checked
        self._seen: dict[bytes, bytes] = {}

    def first(self, identity: str, text: str, line: int, file: InputFile, problems: ProblemLog) -> bool:
        """Whether the id is new; a checked id with a second text is a problem, told with both places."""
        key = digest16(identity)
        now = digest16(text) + line.to_bytes(8, "little") if self._checked else b""
        known = self._seen.get(key)
        if known is None:
            self._seen[key] = now
            self.clash = False
            return True
        self.clash = known[:16] != now[:16]
        if self.clash:
            earlier = int.from_bytes(known[16:], "little")
            problems.add(
                "one id, two texts", f"{file.shown}:{line}", f"{identity}: another text at {file.shown}:{earlier}"
            )
        return False
