"""The whole command line: the root with every command registered on it."""

from __future__ import annotations

from hnmine.cli.commands import decide, downsample, generate, index, ingest, look, machine, mine, run  # noqa: F401
from hnmine.cli.root import app

__all__ = ["app"]
