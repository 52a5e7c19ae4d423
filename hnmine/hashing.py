"""Stable hashes: equal input gives equal output on every machine, Python version and run.

Three uses: content fingerprints (SHA-256, hex), the `text_key` of a text (64 bit), and keyed draws (64 bit), which
make random choices depend on identity (`seed`, `query_id`, `doc_id`) and never on the order of work.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path


def canonical_json(value: object) -> str:
    """Equal values give equal text: sorted keys, no white space, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_json(value: object) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_texts(texts: Iterable[str]) -> str:
    """SHA-256 (hex) of texts in order, each after its length."""
    state = hashlib.sha256()
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        state.update(len(raw).to_bytes(8, "little") + raw)
    return state.hexdigest()


def digest_bytes(data: bytes) -> str:
    """SHA-256 (hex) of `data`."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in chunks; the same number `sha256sum` prints."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def keyed_hash(seed: int, *parts: str) -> int:
    """A uniform 64-bit draw that depends on (seed, parts) alone.

    Parts are length-prefixed, so ("ab", "c") and ("a", "bc") differ.
    """
    return int.from_bytes(_keyed(seed, parts).digest(), "little")


def keyed_hashes(seed: int, *parts: str, last: Iterable[str]) -> list[int]:
    """`keyed_hash(seed, *parts, one)` for each of `last`, at a third of the cost."""
    return keyed_hashes_of_rows(seed, *parts, rows=((one,) for one in last))


def keyed_hashes_of_rows(seed: int, *parts: str, rows: Iterable[Iterable[str]]) -> list[int]:
    """`keyed_hash(seed, *parts, *row)` for each of `rows`, at a third of the cost."""
    start = _keyed(seed, parts)
    found = []
    for row in rows:
        state = start.copy()
        for one in row:
            raw = one.encode("utf-8", "surrogatepass")
            state.update(len(raw).to_bytes(8, "little") + raw)
        found.append(int.from_bytes(state.digest(), "little"))
    return found


def _keyed(seed: int, parts: Iterable[str]) -> hashlib.blake2b:
    # Any whole number is a seed; those of 64 bits keep 64 bits.
    length = max(8, seed.bit_length() // 8 + 1)
    key = seed.to_bytes(length, "little", signed=True)
    state = hashlib.blake2b(digest_size=8, key=key if length <= 64 else hashlib.blake2b(key).digest())
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        state.update(len(raw).to_bytes(8, "little"))
        state.update(raw)
    return state


def _is_blank(char: str) -> bool:
    """White space, punctuation, control and format characters: what does not count when texts are compared."""
    category = unicodedata.category(char)
    return category[0] in "PZ" or category in ("Cc", "Cf") or char.isspace()


_ASCII_BLANKS = bytes(code for code in range(128) if _is_blank(chr(code)))
_NOT_A_WORD = re.compile(r"\W+")


@lru_cache(maxsize=65_536)
def _without_blanks(run: str) -> str:
    return "".join(char for char in run if not _is_blank(char))


def bare_text(text: str) -> bytes:
    """What counts when texts are compared, in UTF-8: after NFKC, case folding, removal of white space and punctuation.

    Control and format characters count as white space. Symbols (`+`, `$`) stay, so "C" and "C++" differ. A text of
    nothing but punctuation keeps its punctuation, so "?" and "!" differ.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    # ASCII goes by bytes, which is fast; what is left to look at is rare.
    bare = folded.encode("utf-8", "surrogatepass").translate(None, _ASCII_BLANKS)
    if not bare.isascii():
        rest = _NOT_A_WORD.sub(lambda match: _without_blanks(match[0]), bare.decode("utf-8", "surrogatepass"))
        bare = rest.encode("utf-8", "surrogatepass")
    return bare or folded.strip().encode("utf-8", "surrogatepass")


def text_key(text: str) -> int:
    """Two texts share a key iff their `bare_text` is the same. Returns an unsigned 64-bit integer."""
    return int.from_bytes(hashlib.blake2b(bare_text(text), digest_size=8).digest(), "little")


def text_keys(texts: Iterable[str]) -> list[int]:
    """`text_key` of each text, in order."""
    return [text_key(text) for text in texts]
