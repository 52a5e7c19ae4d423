from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}


@pytest.fixture(params=list(PACKERS), ids=[name or "plain" for name in PACKERS])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file under tmp_path in each compression, the suffix added to its name."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / (name + request.param)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PACKERS[request.param](content.encode() if isinstance(content, str) else content))
        return path

    return write


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a plain file under tmp_path."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
