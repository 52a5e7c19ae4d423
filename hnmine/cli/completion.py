"""What the shell offers where an option or argument stands; loads nothing heavy, since a person waits with a key down.

Where nothing of ours fits, nothing is offered, and the shell completes file names as it always does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from hnmine import presets
from hnmine.schema import Kind

Completer = Callable[[str], list[str]]

PLAN = "plan.json"
DEPTH = 4
"""How many directories down artefacts are looked for: RUN/indexes/NAME, and one above."""
MOST_DIRECTORIES = 2_000
KINDS_OF_SCORES = ("bm25", "dense", "sparse", "late", "run", "reranker")
_INDEXES = (Kind.BM25_INDEX, Kind.DENSE_INDEX, Kind.SPARSE_INDEX, Kind.LATE_INDEX)
_PARTS = ("collection", "candidates", "scored", "decisions", "export")
"""What a run directory has; one of them is enough."""


def artefacts(*kinds: Kind, runs: bool = True) -> Completer:
    """Directories that are artefacts of one of the kinds (any without), or with `runs` hold such: run directories."""

    def complete(incomplete: str) -> list[str]:
        wanted = set(map(str, kinds))
        found = []
        for path in _directories(incomplete):
            kind = _kind(path)
            inside = {_kind(f"{path}/{part}") for part in _PARTS} - {None} if runs and kind is None else set()
            if (kind is not None and (not wanted or kind in wanted)) or (inside and (not wanted or inside & wanted)):
                found.append(path)
        return sorted(found, key=lambda path: (path.count("/"), path))

    return complete


def _directories(incomplete: str) -> Iterator[str]:
    """Directories whose path begins with what was typed, those above first; none below an artefact, none with spaces.

    A path that the shell would have to quote is left to the shell.
    """
    folder, start = os.path.split(incomplete)
    level, seen = [(folder, start)], 0
    for _ in range(DEPTH):
        below = []
        for parent, prefix in level:
            try:
                names = sorted(entry.name for entry in os.scandir(os.path.expanduser(parent) or ".") if entry.is_dir())
            except OSError:
                continue
            for name in names:
                path = os.path.join(parent, name)
                hidden = name.startswith(".") and not prefix.startswith(".")
                if not name.startswith(prefix) or hidden or any(sign.isspace() for sign in path):
                    continue
                seen += 1
                if seen > MOST_DIRECTORIES:
                    return
                yield path
                if not os.path.exists(os.path.expanduser(f"{path}/{PLAN}")):
                    below.append((path, ""))
        level = below


def _kind(path: str) -> str | None:
    """The kind of the artefact at a path; None if there is none."""
    try:
        return str(json.loads(Path(path, PLAN).expanduser().read_text(encoding="utf-8"))["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def data(incomplete: str) -> list[str]:
    """The built-in collection; everything else that DATA may be are files."""
    return ["stdlib"] if incomplete and "stdlib".startswith(incomplete) else []


def words(*known: str) -> Completer:
    """Those of the known words that begin as typed."""
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


def preset_names(incomplete: str) -> list[tuple[str, str]]:
    """Presets with what they are."""
    return [(name, presets.summary(name)) for name in presets.names() if name.startswith(incomplete)]


def scores(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the scores of the candidates on the line, and the kinds of scores."""
    given = [ctx.params.get("candidates"), *ctx.args]  # an option without its value ends the parsing of arguments
    known = [name for path in given if path is not None for name in _scores_of(str(path))]
    names = known or ["bm25", "minilm"]
    return [name for name in dict.fromkeys([*names, *KINDS_OF_SCORES]) if name.startswith(incomplete)]


def _scores_of(path: str) -> Iterator[str]:
    for place in (path, *(f"{path}/{part}" for part in ("scored", "candidates"))):
        if _kind(place) is not None:
            plan: dict[str, Any] = json.loads(Path(place, PLAN).expanduser().read_text(encoding="utf-8"))
            yield from (score["name"] for score in plan.get("scores", ()))
            return


OF_OPTIONS: dict[str, Callable[..., Sequence[str | tuple[str, str]]]] = {
    "append": artefacts(),
    "deepen_from": artefacts(Kind.DECISIONS),
    "executor": words("local", "ray"),
    "guide": scores,
    "judge_by": scores,
    "keep_documents": artefacts(Kind.DENSE_INDEX),
    "launcher": words("slurm", "k8s"),
    "previous": artefacts(Kind.DECISIONS),
    "rank_by": scores,
}
"""Completers of options that are made from an options record, by the field's name."""

collections = artefacts(Kind.COLLECTION)
candidates = artefacts(Kind.CANDIDATES)
decisions = artefacts(Kind.DECISIONS)
indexes = artefacts(*_INDEXES, runs=False)
hits = artefacts(Kind.HITS, runs=False)
any_artefact = artefacts()
steps = words("ingest", "bm25", "dense", "mine", "score", "filter", "export")
