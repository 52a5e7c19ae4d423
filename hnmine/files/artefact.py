"""An artefact describes itself: `plan.json` first, parts, `manifest.json` last, `run.json` beside them.

The plan says everything that decides the bytes of the parts. A block of work leaves its parts and then a *receipt*
(hashes, row counts, counters); the receipts of finished blocks survive a kill, so that the same command goes on where
it was. Closing the artefact folds the receipts into the manifest and removes them. `Draft` writes, `Artefact` reads.

In an object store everything is found by its name, and nothing by listing; there are no locks: processes with the same
plan do blocks side by side, and one that comes late to the close finds it done.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from hnmine.errors import AnotherPlan, ArtefactError, UsageError
from hnmine.files import store
from hnmine.files.atomic import PENDING, create_text, remove_pending, remove_tree, storage_errors, write_text
from hnmine.files.remote import RemotePath, digest_afresh, is_remote, is_there, joined, promise, promised, relative
from hnmine.files.verified import Verified, marks_of
from hnmine.hashing import canonical_json, digest_bytes, digest_file
from hnmine.schema import FORMAT_VERSION, READABLE_VERSIONS, Kind

PLAN = "plan.json"
MANIFEST = "manifest.json"
RUN = "run.json"
RECEIPTS = "receipts"

Json = dict[str, Any]
S = TypeVar("S")
T = TypeVar("T")

_NUMBERED = re.compile(r"(\D*)(\d*)")


def pretty_json(value: object) -> str:
    """Equal values give equal text, indented for people."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def differences(old: object, new: object, where: str = "") -> list[str]:
    """The leaves in which two JSON values differ, as `path: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for key in sorted({*old, *new}):
            found += differences(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{where}.{key}" if where else key)
        return found
    texts = ["absent" if value is _ABSENT else canonical_json(value) for value in (old, new)]
    was, now = (_DIGEST.sub(r"\1...", text) for text in texts)
    return [] if texts[0] == texts[1] else [f"{where}: {was} -> {now}"]


_ABSENT = object()
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


def sum_counts(counts: Iterable[Mapping[str, Any]]) -> Json:
    """Add up nested counters: numbers are added, mappings are merged, absent is 0. Keys come out sorted."""
    total: Json = {}
    nested: dict[str, list[Mapping[str, Any]]] = {}
    for one in counts:
        for key, value in one.items():
            if isinstance(value, dict):
                nested.setdefault(key, []).append(value)
            else:
                total[key] = total.get(key, 0) + value
    total |= {key: sum_counts(values) for key, values in nested.items()}
    return dict(sorted(total.items()))


def full_plan(kind: Kind, plan: Mapping[str, Any]) -> Json:
    """A plan as it is written."""
    return {"kind": str(kind), "format": FORMAT_VERSION, **plan}


def read_plan(path: Path) -> Json | None:
    """The plan of the artefact at `path`, finished or not; None if there is none that can be read."""
    try:
        return _read_if_there(path / PLAN)
    except ArtefactError:
        return None


def by_number(name: str) -> list[tuple[str, int]]:
    """Sorts names of parts by their numbers: these are padded to five digits, and there may be more parts than that."""
    return [(text, int(digits or 0)) for text, digits in _NUMBERED.findall(name)]


class Draft:
    """An artefact being written, by one process or by several that share the directory and the plan."""

    def __init__(self, path: Path, plan: Json) -> None:
        self.path = path
        self.plan = plan
        self._receipts: dict[str, Json] = {}
        """By block, those that `receipts` read for the close."""
        self._described: dict[str, tuple[str, list[int]]] = {}
        """By file, the hash that this process found, and the marks of the file that it hashed. While these are the same
        the close need not hash it again: nobody else writes to it.
        """

    @classmethod
    def begin(cls, path: Path, kind: Kind, plan: Mapping[str, Any], *, overwrite: bool = False) -> Draft:
        """Start or resume the artefact at `path`.

        An existing artefact of an equal plan is resumed (or, if it is finished, left as it is: see `is_closed`). One of
        another plan is refused with the list of differences, unless `overwrite`, which removes it, and a damaged one
        too. A directory that holds anything but an artefact is never touched. Of several processes that start at the
        same moment the first one's plan stands, and those with another are refused even with `overwrite`.
        """
        text = pretty_json(full_plan(kind, plan))
        existing = path / PLAN
        found = _bytes_if_there(existing)
        if found is None:
            _refuse_another_use(path)
        elif found != text.encode() and not overwrite:
            raise _of_another_plan(path, text)
        elif found != text.encode() or (overwrite and _is_damaged(path)):
            remove_artefact(path)
            found = None
        if found is None:
            with storage_errors(path):
                path.mkdir(parents=True, exist_ok=True)
            if not create_text(existing, text) and existing.read_bytes() != text.encode():
                raise _of_another_plan(path, text)
        return cls(path, json.loads(text))

    @classmethod
    def reopen(cls, path: Path) -> Draft:
        """The unfinished (or finished) artefact at `path`, for closing."""
        plan = _read_if_there(path / PLAN)
        if plan is None:
            what = "holds no hnmine artefact" if path.exists() else "does not exist"
            raise ArtefactError(f"{path} {what} (no {PLAN})", expected="one artefact, such as DIR/candidates of a run")
        return cls(path, plan)

    @contextmanager
    def held(self, *, shared: bool) -> Iterator[None]:
        """Hold the artefact against a second process with the same command, which waits; shards hold it together.

        The lock is on the directory itself and ends with the process. A file system without locks goes without, and so
        does an object store.
        """
        import fcntl

        if self.is_shared:
            yield
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @property
    def is_shared(self) -> bool:
        """Whether other processes may work on it at the same time without a lock: in an object store."""
        return is_remote(self.path)

    @property
    def is_closed(self) -> bool:
        """Whether the manifest is written."""
        return is_there(self.path / MANIFEST)

    def is_closed_by_another(self) -> bool:
        """Whether it is finished although this process did not close it, which only stores without locks let happen."""
        return self.is_shared and self.is_closed

    def is_done_by_another(self, block: str) -> bool:
        """Whether a block need not be done any more although it had to when this process began; in a store only."""
        return self.is_shared and (self.is_finished(block) or self.is_closed)

    def receipt_path(self, block: str) -> Path:
        """Where the receipt of a block lies."""
        return self.path / RECEIPTS / f"{block}.json"

    def is_finished(self, block: str) -> bool:
        """Whether a block's receipt is there and its files have the recorded sizes."""
        return self._receipt_if_finished(block) is not None

    def finished(self, blocks: Iterable[str]) -> set[str]:
        """Which of the named blocks are finished."""
        blocks = list(blocks)
        found = zip(blocks, self._receipts_if_finished(blocks), strict=True)
        return {block for block, receipt in found if receipt is not None}

    def _receipts_if_finished(self, blocks: Iterable[str]) -> list[Json | None]:
        return _each(self.path, self._receipt_if_finished, blocks)

    def _receipt_if_finished(self, block: str) -> Json | None:
        receipt = _read_if_there(self.receipt_path(block))
        if receipt is None:
            return None
        for name, entry in receipt["files"].items():
            if _size(self.path / name) != entry["bytes"]:
                return None
            promise(self.path / name, entry["sha256"], entry["bytes"])
        return receipt

    def commit(
        self,
        block: str,
        files: Mapping[str, int],
        counts: Mapping[str, Any] | None = None,
        *,
        made_from: str | None = None,
    ) -> None:
        """Declare a block finished: `files` maps each part it wrote (relative name) to its row count.

        `made_from` is a digest of all that decides the block's bytes beside the parameters; the manifest keeps it.
        """
        entries = {name: self.describe(name, rows) for name, rows in sorted(files.items())}
        receipt = {"files": entries, "counts": dict(counts or {}), "made_from": made_from}
        write_text(self.receipt_path(block), canonical_json(receipt))  # nobody reads it, and counts can be many

    def describe(self, name: str, rows: int) -> Json:
        """Hash, size and row count of one file of the artefact."""
        path = self.path / name
        known = promised(path)
        if known is None:
            marks = marks_of(path)
            known = digest_file(path), path.stat().st_size
            self._described[name] = known[0], marks
        return {"sha256": known[0], "bytes": known[1], "rows": rows}

    def _holds(self, name: str, sha256: str) -> bool:
        """Whether a file has this hash: this process found it and the file has not changed, or it is hashed now."""
        path = self.path / name
        if name in self._described and self._described[name] == (sha256, marks_of(path)):
            return True
        return _digest(path) == sha256

    def receipts(self, blocks: Sequence[str]) -> list[Json]:
        """The receipts of the named blocks, in order. Missing ones are an error that names them."""
        found = self._receipts_if_finished(blocks)
        missing = [block for block, receipt in zip(blocks, found, strict=True) if receipt is None]
        if missing:
            shown = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
            raise ArtefactError(
                f"{self.path} is unfinished: {len(missing)} of {len(blocks)} blocks are missing: {shown}",
                remedy="run the stage again, or its missing shards, then `hnmine merge`",
            )
        self._receipts |= {block: receipt for block, receipt in zip(blocks, found, strict=True) if receipt is not None}
        return [receipt for receipt in found if receipt is not None]

    def close(self, *, files: Mapping[str, Any], counts: Mapping[str, Any]) -> Artefact:
        """Write the manifest: from now on the artefact is finished and read-only.

        `files` are entries as made by `describe`; files of blocks that are not among them were intermediate, and go.
        """
        text = (self.path / PLAN).read_bytes()
        if _as_json(self.path / PLAN, text) != json.loads(pretty_json(self.plan)):
            raise _of_another_plan(self.path, pretty_json(self.plan))  # a store without conditional writes let it be
        for name, entry in files.items():
            if not self._holds(name, entry["sha256"]):
                raise ArtefactError(
                    f"{self.path / name} changed since it was written",
                    remedy="the disk or another process damaged it: remove the artefact and run the stage again",
                )
        blocks = self._blocks_to_keep()
        manifest = {
            "kind": self.plan["kind"],
            "format": self.plan["format"],
            "plan": digest_bytes(text),
            "files": dict(sorted(files.items())),
            "counts": counts,
            **({"blocks": blocks} if blocks else {}),
        }
        write_text(self.path / MANIFEST, pretty_json(manifest))
        self.tidy()
        return Artefact.open(self.path, verify=False)

    def _blocks_to_keep(self) -> Json:
        """Of the blocks that say what they were made from: that, their counters, and the rows of their files."""
        blocks = [block for block in self.plan.get("blocks", ()) if block in self._receipts]
        receipts = {name: self._receipts[name] for name in blocks}
        return {
            name: {
                "made_from": receipt["made_from"],
                "counts": receipt["counts"],
                "files": {file: entry["rows"] for file, entry in receipt["files"].items()},
            }
            for name, receipt in receipts.items()
            if receipt.get("made_from") is not None
        }

    def tidy(self) -> None:
        """Remove what only an unfinished artefact needs: receipts, intermediate files, leftovers of killed writers.

        Of a finished artefact only; a kill in the middle is mended by the next call.
        """
        kept = _read_json(self.path / MANIFEST)["files"]
        others = [path for path in (self.path / RECEIPTS).glob("*.json") if path.stem not in self._receipts]
        receipts = [*self._receipts.values(), *_each(self.path, _read_if_there, sorted(others))]
        drop = sorted({name for receipt in receipts if receipt for name in receipt["files"] if name not in kept})
        _each(self.path, lambda name: (self.path / name).unlink(missing_ok=True), drop)
        for parent in {(self.path / name).parent for name in drop} - {self.path}:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        remove_tree(self.path / RECEIPTS)
        remove_pending(self.path)

    def write_run(self, record: Mapping[str, Any], inputs: Mapping[str, Path]) -> None:
        """Write `run.json`: times and host, and the paths of the inputs relative to the artefact."""
        places = {name: relative(path.resolve(), self.path.resolve()) for name, path in inputs.items()}
        write_text(self.path / RUN, pretty_json({**record, "inputs": places}))


class Artefact:
    """A finished artefact, opened for reading; what it was made from and what it holds was checked."""

    def __init__(self, path: Path, plan: Json, manifest: Json, fingerprint: str) -> None:
        self.path = path
        self.plan = plan
        self.manifest = manifest
        self.fingerprint = fingerprint
        """SHA-256 of the manifest, which holds the hashes of the plan and of every part."""
        self._promise()

    def __setstate__(self, state: Json) -> None:
        self.__dict__.update(state)
        self._promise()

    def _promise(self) -> None:
        for name, entry in self.manifest["files"].items():
            promise(self.path / name, entry["sha256"], entry["bytes"])

    @classmethod
    def open(cls, path: Path, *kinds: Kind, verify: bool = True, anew: bool = False) -> Artefact:
        """Open the artefact at `path`; refuse another kind or version, an unfinished or a corrupt one.

        `verify` compares every file's hash with the manifest; without it only sizes are compared. Files that were
        hashed before and have not changed since are believed (`hnmine.files.verified`), unless `anew`. Those of an
        object store are hashed when they arrive, and the store is asked for their sizes only; with `anew` all arrive.
        """
        plan_text = _bytes_if_there(path / PLAN)
        if plan_text is None:
            wanted = " or ".join(kinds) or "artefact"
            raise ArtefactError(f"{path} holds no hnmine {wanted} (no {PLAN})", expected=_written_by(kinds))
        plan = _as_json(path / PLAN, plan_text)
        if plan.get("format") not in READABLE_VERSIONS:
            raise ArtefactError(
                f"{path} has format version {plan.get('format')}",
                expected=f"version {' or '.join(map(str, sorted(READABLE_VERSIONS)))}",
                remedy="make it again with this version of hnmine",
            )
        if kinds and plan.get("kind") not in kinds:
            raise ArtefactError(f"{path} is a {plan.get('kind')} artefact", expected=_written_by(kinds))
        manifest_text = _bytes_if_there(path / MANIFEST)
        if manifest_text is None:
            raise ArtefactError(
                f"{path} is unfinished (no {MANIFEST})",
                remedy="run the command that makes it again; if it ran as shards, `hnmine merge` it",
            )
        manifest, fingerprint = _as_json(path / MANIFEST, manifest_text), digest_bytes(manifest_text)
        if manifest.get("plan") != digest_bytes(plan_text):
            raise ArtefactError(f"{path / PLAN} was changed after the artefact was finished", remedy="make it again")
        if missing := [key for key in ("files", "counts") if not isinstance(manifest.get(key), dict)]:
            raise ArtefactError(f"{path / MANIFEST} is corrupt: no {' and no '.join(missing)}", remedy="make it again")
        if anew or (str(path), fingerprint) not in _FOUND:
            _check_files(path, manifest["files"], verify=verify, anew=anew)
        if is_remote(path):
            _FOUND.add((str(path), fingerprint))
        return cls(path, plan, manifest, fingerprint)

    @property
    def kind(self) -> Kind:
        """What this artefact is."""
        return Kind(self.plan["kind"])

    @property
    def counts(self) -> Json:
        """The counters of the manifest."""
        return dict(self.manifest["counts"])

    def files(self, prefix: str = "part-", suffix: str = ".parquet") -> list[Path]:
        """The artefact's files whose relative name starts with `prefix`, in order."""
        names = (n for n in self.manifest["files"] if n.startswith(prefix) and n.endswith(suffix))
        return [self.path / name for name in sorted(names, key=by_number)]

    def rows(self, path: Path) -> int:
        """How many rows a file of this artefact has."""
        return int(self.manifest["files"][path.relative_to(self.path).as_posix()]["rows"])

    def run_record(self) -> Json:
        """Times, host and input paths of the run that made it; empty if `run.json` is gone."""
        return _read_if_there(self.path / RUN) or {}

    def holds(self, place: Path) -> bool:
        """Whether a place is this artefact, or in it."""
        return place.resolve().is_relative_to(self.path.resolve())

    def input(self, name: str, *kinds: Kind, given: Path | None = None) -> Artefact:
        """Open what this artefact was made from, at `given` or at the path `run.json` recorded.

        The fingerprint in the plan decides whether it is the right one.
        """
        wanted = self.plan["inputs"].get(name)
        if wanted is None:
            raise ArtefactError(f"{self.path} was made without a {name}")
        recorded = self.run_record().get("inputs", {}).get(name)
        path = given or (joined(self.path.resolve(), recorded) if recorded else None)
        if path is None or not is_there(path / PLAN):
            raise ArtefactError(
                f"cannot find the {name} that {self.path} was made from" + (f" (looked at {path})" if path else ""),
                remedy=f"name it with --{name.split(':')[0]} DIR",
            )
        found = Artefact.open(path, *kinds)
        if found.fingerprint != wanted:
            raise ArtefactError(
                f"{path} is not the {name} that {self.path} was made from (its fingerprint differs)",
                remedy=f"make {self.path} again, or name the right one with --{name.split(':')[0]} DIR",
            )
        return found


def _check_files(path: Path, files: Mapping[str, Json], *, verify: bool, anew: bool) -> None:
    """Raise `ArtefactError` for the first of an artefact's files that is not as the manifest says."""
    verified = Verified(path, anew=anew) if verify and not is_remote(path) else None
    sizes = _each(path, lambda name: _size(path / name), files)
    for (name, entry), size in zip(files.items(), sizes, strict=True):
        file = path / name
        if size is None:
            raise ArtefactError(f"{file} is missing", remedy="make the artefact again with --overwrite")
        is_sound = size == entry["bytes"]
        if is_sound and verified is not None:
            is_sound = verified.holds(file, name, entry["sha256"])
        elif is_sound and anew and isinstance(file, RemotePath):
            is_sound = digest_afresh(file) == entry["sha256"]
        if not is_sound:
            raise ArtefactError(f"{file} is corrupt: it does not match the manifest", remedy="make it again")
    if verified is not None:
        verified.remember()


_FOUND: set[tuple[str, str]] = set()
"""(URL, fingerprint) of artefacts whose files this process found in the store; bytes are compared as they arrive."""


_WRITTEN_BY = {
    Kind.COLLECTION: "ingest",
    Kind.BM25_INDEX: "index",
    Kind.DENSE_INDEX: "index",
    Kind.SPARSE_INDEX: "index",
    Kind.LATE_INDEX: "index",
    Kind.HITS: "search",
    Kind.CANDIDATES: "mine",
    Kind.DECISIONS: "filter",
    Kind.EXPORT: "export",
    Kind.DOWNSAMPLED: "downsample",
    Kind.GENERATED: "generate",
}


def _written_by(kinds: Sequence[Kind]) -> str:
    """What of the kinds was expected, and which commands write it."""
    if not kinds:
        return "a directory that hnmine wrote"
    commands = " or ".join(f"`hnmine {name}`" for name in dict.fromkeys(_WRITTEN_BY[kind] for kind in kinds))
    return f"{' or '.join(kinds)}, as {commands} writes it"


def _refuse_another_use(path: Path) -> None:
    """Raise `UsageError` if `path` is a file, or a directory with anything but an artefact that others begin now."""
    if path.exists() and not path.is_dir():
        raise UsageError(
            f"{path} is a file",
            expected="a directory to write the artefact to",
            remedy=f"-o {path.with_suffix('') if path.suffix else f'{path}.d'}",
        )
    # Another worker may be writing the plan at this moment: its pending file is nobody else's to remove.
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    names = {name for name in names if not name.startswith(PENDING)}
    if names and PLAN not in names and not is_there(path / PLAN):
        raise UsageError(
            f"{path} is not empty and holds no hnmine artefact",
            expected="a new or empty directory, or an artefact to resume",
            remedy="choose another -o",
        )


def _of_another_plan(path: Path, text: str) -> AnotherPlan:
    found = differences(_read_json(path / PLAN), json.loads(text))
    shown = "\n".join(f"  {line}" for line in found[:10])
    return AnotherPlan(
        f"{path} was made with another plan:\n{shown}",
        expected="the same parameters, inputs, models and machine class as before",
        remedy="restore them, choose another -o, or start anew with --overwrite",
    )


def _is_damaged(path: Path) -> bool:
    """Whether `path` is finished and yet cannot be opened."""
    if not is_there(path / MANIFEST):
        return False
    try:
        Artefact.open(path, anew=True)
    except ArtefactError:
        return True
    return False


def remove_artefact(path: Path) -> None:
    """Remove an artefact: the files that its plan, manifest and receipts name, and nothing else of the directory.

    Raises `UsageError` when something that is not hnmine's lies in the directory.
    """
    known = {PLAN, MANIFEST, RUN, RECEIPTS, *(name.partition("/")[0] for name in _named(path))}
    for entry in sorted(path.iterdir()):
        ours = entry.name in known or entry.name.startswith((".pending-", "part-")) or entry.name in _TABLES
        if not ours:
            raise UsageError(f"{entry} is not hnmine's; {path} is not removed", remedy="choose another -o")
    (path / MANIFEST).unlink(missing_ok=True)
    for entry in sorted(path.iterdir()):
        if entry.is_dir():
            remove_tree(entry)
        elif entry.name != PLAN:
            entry.unlink()
    (path / PLAN).unlink(missing_ok=True)


def _named(path: Path) -> Iterator[str]:
    """The files of an artefact, as far as its plan, manifest and receipts can be read."""
    yield from _told(path / PLAN, "names")
    for file in (path / MANIFEST, *(path / RECEIPTS).glob("*.json")):
        yield from _told(file, "files")


def _told(file: Path, key: str) -> Iterable[str]:
    with suppress(ArtefactError):
        return list((_read_if_there(file) or {}).get(key, ()))
    return ()


_TABLES = frozenset(
    {
        "documents",
        "queries",
        "qrels",
        "negatives",
        "curated",
        "texts",
        "counts",
        "postings",
        "vectors",
        "lengths",
        "ann",
        "hits",
        "picked",
        "data",
        "ids",
        "mixed",
        "collisions",
        "corpus",
        "generated",
    }
    | {f"further{number}" for number in range(8)}
)
"""Directories that an artefact may hold."""


_ABSENCE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What reading a file raises that is not there."""


def _bytes_if_there(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except _ABSENCE:
        return None


def _size(path: Path) -> int | None:
    """Bytes of a file; None if there is none."""
    try:
        status = path.stat()
    except _ABSENCE:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _digest(path: Path) -> str:
    """SHA-256 of a file; of an object that of what was stored under its name, or was checked when it arrived."""
    known = promised(path)
    return known[0] if known is not None else digest_file(path)


def _each(path: Path, function: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """`function` of each item: many requests at once if the artefact at `path` lies in an object store."""
    return store.together(function, items) if is_remote(path) else [function(item) for item in items]


def _read_json(path: Path) -> Json:
    return _as_json(path, path.read_bytes())


def _read_if_there(path: Path) -> Json | None:
    text = _bytes_if_there(path)
    return None if text is None else _as_json(path, text)


def _as_json(path: Path, text: bytes) -> Json:
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path} is corrupt: {error}", remedy="make the artefact again with --overwrite") from None
    if not isinstance(value, dict):
        raise ArtefactError(f"{path} is corrupt: not a JSON object", remedy="make the artefact again with --overwrite")
    return value
