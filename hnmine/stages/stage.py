"""What every stage is: a plan, blocks, work on a block, a close. The driver gives resume, shards and refusal for free.

A stage reads finished artefacts and writes one new artefact; it never edits its input. Its plan is made before
anything is written and names everything that decides the bytes of the result.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import resource
import secrets
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

from hnmine.errors import ArtefactError, PlanDoesNotFit, UsageError
from hnmine.execute.local import Block, Execution, Needs, run_blocks
from hnmine.files.artefact import MANIFEST, Artefact, Draft, Json, full_plan, read_plan, sum_counts
from hnmine.files.remote import is_there
from hnmine.schema import Kind
from hnmine.stages.append import Earlier


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What running a stage came to. `artefact` is None while other shards' blocks are missing."""

    kind: Kind
    path: Path
    artefact: Artefact | None
    blocks_total: int
    blocks_done_now: int
    blocks_taken_over: int = 0
    seconds: float
    peak_memory: int
    notes: Json = field(default_factory=dict)

    @property
    def counts(self) -> Json:
        """The manifest's counters; empty while the artefact is unfinished."""
        return self.artefact.counts if self.artefact else {}

    def summary(self) -> Json:
        """The outcome as JSON values, for `--json` and reports."""
        return {
            "kind": str(self.kind),
            "path": str(self.path),
            "finished": self.artefact is not None,
            "blocks": {
                "total": self.blocks_total,
                "done_now": self.blocks_done_now,
                "taken_over": self.blocks_taken_over,
            },
            "seconds": round(self.seconds, 3),
            "peak_memory_bytes": self.peak_memory,
            **({"counts": self.counts} if self.artefact else {}),
            **({"notes": self.notes} if self.notes else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a stage would do, for `--dry-run`; nothing is written."""

    kind: Kind
    path: Path
    blocks_total: int
    blocks_finished: int
    blocks_taken_over: int | None = None
    """Of the others, those that `--append` would take over; None if nobody asked, or if none ever is."""
    sizes: Json
    plan: Json

    @property
    def left(self) -> float:
        """The share of the blocks that are to be made."""
        if (self.path / MANIFEST).exists():
            return 0.0
        there = self.blocks_finished + (self.blocks_taken_over or 0)
        return (self.blocks_total - there) / self.blocks_total if self.blocks_total else 1.0

    def summary(self) -> Json:
        """The preview as JSON values."""
        return {
            "kind": str(self.kind),
            "path": str(self.path),
            "blocks": {
                "total": self.blocks_total,
                "finished": self.blocks_finished,
                **({"taken_over": self.blocks_taken_over} if self.blocks_taken_over is not None else {}),
            },
            "sizes": self.sizes,
            "plan": self.plan,
        }


class Stage(ABC):
    """One stage over opened inputs. Subclasses say what; `run` does it."""

    kind: ClassVar[Kind]
    label: ClassVar[str]
    unit: ClassVar[str]

    changes: Mapping[str, Any] = MappingProxyType({})
    """What had to be planned otherwise than the options say, because that did not fit this machine."""
    heard: Json = MappingProxyType({})  # type: ignore[assignment]
    """Notes of the processes that did the blocks."""
    followed: Mapping[str, Any] = MappingProxyType({})
    """Note of what was taken over from an earlier artefact."""

    @abstractmethod
    def inputs(self) -> Mapping[str, Artefact]:
        """The artefacts this stage reads, by name."""

    @abstractmethod
    def parameters(self) -> Json:
        """Everything but the inputs' fingerprints that decides the bytes of the result."""

    @abstractmethod
    def blocks(self) -> Sequence[Block]:
        """The units of work, numbered from 0."""

    @abstractmethod
    def work(self, block: Block, draft: Draft) -> None:
        """Write the parts of one block and commit its receipt."""

    def needs(self) -> Needs:
        """What a worker process must have."""
        return Needs()

    @property
    def anew(self) -> str | None:
        """Why no block is ever taken over from an earlier artefact; None if blocks say what they were made from."""
        return "it is made whole"

    def made_from(self, block: Block) -> str | None:
        """Digest of all that decides a block's bytes beside the parameters; None if it is never taken over."""
        return None

    @classmethod
    def shared(cls, parameters: Json) -> Json:
        """What of its parameters an earlier artefact must have in common; the rest is in what blocks are made from."""
        return parameters

    def take_over(self, block: Block, earlier: Earlier, draft: Draft) -> None:
        """Have the files that `work` on the block would make, from an earlier artefact that has the block."""
        earlier.link(block.name, draft)

    def follow(self, earlier: Earlier) -> None:  # noqa: B027 (most stages have no use for it)
        """Hear of the earlier artefact, before any work: more of it than whole blocks may be of use."""

    def sizes(self) -> Json:
        """Rows, pairs or bytes to expect, for `--dry-run`."""
        return {}

    def notes(self) -> Json:
        """What a person should be told that is not in the manifest (where the model came from, say)."""
        return {}

    def plan(self) -> Json:
        """The plan as it is compared and written."""
        fingerprints = {name: artefact.fingerprint for name, artefact in sorted(self.inputs().items())}
        changed = {"replanned": dict(self.changes)} if self.changes else {}
        blocks = [block.name for block in self.blocks()]
        return {"inputs": fingerprints, "blocks": blocks, **changed, **self.parameters()}

    def replanned(self, changes: Json) -> Self | None:
        """This stage with other values of some options, which its `changes` record; None if it cannot do that."""
        return None

    @classmethod
    def close(cls, draft: Draft) -> Artefact:
        """Fold the receipts into the manifest; works from the directory alone."""
        receipts = draft.receipts(draft.plan["blocks"])
        files = {name: entry for receipt in receipts for name, entry in receipt["files"].items()}
        counts = cls.summarise(draft, sum_counts(receipt["counts"] for receipt in receipts))
        return draft.close(files=files, counts=counts)

    @classmethod
    def summarise(cls, draft: Draft, counts: Json) -> Json:
        """Turn the added-up counters of all blocks into the manifest's counts."""
        return counts

    def preview(self, path: Path, append: Path | None = None) -> Preview:
        """What `run` would do at `path`, with `append` as in `Execution`."""
        stage = self._as_begun(path)
        if stage is not self:
            return stage.preview(path, append)
        blocks = list(self.blocks())
        draft = Draft(path, {})
        finished = {block.name for block in blocks} if draft.is_closed else draft.finished(b.name for b in blocks)
        pending = [block for block in blocks if block.name not in finished]
        earlier = self._earlier(path, Execution(append=append))
        taken = None
        if earlier is not None:
            earlier.check(self.shared(earlier.parameters), self.shared(self.parameters()))
            taken = sum(earlier.has(block.name, self.made_from(block)) for block in pending)
        return Preview(
            kind=self.kind,
            path=path,
            blocks_total=len(blocks),
            blocks_finished=len(blocks) - len(pending),
            blocks_taken_over=taken,
            sizes=self.sizes(),
            plan=self.plan(),
        )

    def run(self, path: Path, how: Execution) -> Outcome:
        """Carry the stage out at `path`: resume what is there, do this worker's blocks, close if all are done.

        If the plan does not fit this machine (memory, arithmetic), starts over with one that does, unless
        `how.strict_plan` or other shards share it; the plan tells. Raises `UsageError` if `path` is an input's or in
        one, whatever `how.overwrite` says, `ArtefactError` if it holds an artefact of another plan (and `how.overwrite`
        is not set) or `how.append` one of other parameters, `PlanDoesNotFit`, and `Preempted` after a signal, with the
        finished blocks saved.
        """
        began = time.monotonic()
        refuse_inputs(path, self.inputs())
        stage = self._as_begun(path)
        earlier = stage._earlier(path, how)
        if earlier is not None and earlier.replanned and not stage.changes:
            stage = stage.replanned(earlier.replanned) or stage
        while True:
            if earlier is not None:
                earlier.check(stage.shared(earlier.parameters), stage.shared(stage.parameters()))
            try:
                draft = Draft.begin(path, stage.kind, stage.plan(), overwrite=how.overwrite)
                with draft.held(shared=how.shard[1] > 1):
                    return stage._carry_out(draft, how, began, earlier)
            except PlanDoesNotFit as error:
                fitting = None if how.strict_plan or how.shard[1] > 1 else stage.replanned(error.changes)
                if fitting is None:
                    raise
                said = f"{self.label}: {error.what}; starting over with {_in_words(error.changes)}"
            how.progress.say(said)
            stage, how = fitting, dataclasses.replace(how, overwrite=True)

    def _as_begun(self, path: Path) -> Self:
        """This stage with the changes that an earlier run at `path` had to make, if it made any and nothing else."""
        found = read_plan(path)
        changes = (found or {}).get("replanned")
        if not found or not changes or changes == dict(self.changes):
            return self
        other = self.replanned(changes)
        return other if other is not None and found == full_plan(other.kind, other.plan()) else self

    def _earlier(self, path: Path, how: Execution) -> Earlier | None:
        """What blocks are taken over from; None if nobody asked, if nothing can be, or if the artefact is finished."""
        if how.append is None:
            return None
        if self.anew is not None:
            self.followed = {"taken over": f"nothing: {self.anew}"}
            return None
        if is_there(path / MANIFEST) and read_plan(path) == full_plan(self.kind, self.plan()):
            return None
        return Earlier.open(how.append, self.kind, path)

    def _take_over(self, earlier: Earlier, draft: Draft, how: Execution) -> list[Block]:
        """Take over what an earlier artefact has of this worker's blocks; returns these."""
        self.follow(earlier)
        taken = []
        for block in how.own(self.blocks()):
            how.stop.check()
            if draft.is_finished(block.name):
                continue
            made_from = self.made_from(block)
            if earlier.has(block.name, made_from):
                self.take_over(block, earlier, draft)
                files, counts = earlier.files(block.name), earlier.counts(block.name)
                draft.commit(block.name, files, counts, made_from=made_from)
                taken.append(block)
        return taken

    def _carry_out(self, draft: Draft, how: Execution, began: float, earlier: Earlier | None) -> Outcome:
        started, path = now(), draft.path
        blocks = _own_order(self.blocks(), draft)
        inputs = {name: artefact.path for name, artefact in self.inputs().items()}
        artefact: Artefact | None = None
        done_now, peak = 0, peak_memory()
        taken: list[Block] = []
        if draft.is_closed:
            artefact = Artefact.open(path, self.kind)
            draft.tidy()
        else:
            draft.write_run({"started": started, **machine()}, inputs)
            if earlier is not None:
                taken = self._take_over(earlier, draft, how)
                said = f"{len(taken)} of {len(how.own(blocks))} blocks, {sum(b.size for b in taken):,} {self.unit}"
                self.followed = {"taken over": f"{said}, from {earlier.artefact.path}"}
            finished, task = draft.finished(block.name for block in how.own(blocks)), _Task(self, draft)
            try:
                reports = run_blocks(self.label, self.unit, blocks, finished.__contains__, task, how, self.needs())
                done_now = sum(report.is_done_now for report in reports)
                peak = _peak_together(reports)
                self.heard = _heard_from(reports)
                if how.shard[1] == 1:
                    artefact = self.close(draft)
            except (ArtefactError, FileNotFoundError):
                if not draft.is_closed_by_another():
                    raise
                artefact = Artefact.open(path, self.kind)
                draft.tidy()
            record = {
                "started": started,
                "finished": now(),
                "seconds": round(time.monotonic() - began, 3),
                "blocks_done": done_now,
                "blocks_taken_over": len(taken),
                "peak_memory_bytes": peak,
                "notes": self._all_notes(),
                **machine(),
            }
            draft.write_run(record, inputs)
        return Outcome(
            kind=self.kind,
            path=path,
            artefact=artefact,
            blocks_total=len(blocks),
            blocks_done_now=done_now,
            blocks_taken_over=len(taken),
            seconds=time.monotonic() - began,
            peak_memory=peak,
            notes=self._all_notes(),
        )

    def _all_notes(self) -> Json:
        return {
            **self.notes(),
            **self.heard,
            **self.followed,
            **({"planned otherwise": _in_words(self.changes)} if self.changes else {}),
        }


@dataclass(frozen=True, slots=True)
class _Report:
    """What is known once a block is done: by which process, at what peak of memory, and what a person should know."""

    process: int
    peak: int
    notes: Json
    is_done_now: bool = True


@dataclass(frozen=True, slots=True)
class _Task:
    """The work of a stage on one block, as it is sent to other processes."""

    stage: Stage
    draft: Draft

    def __call__(self, block: Block) -> _Report:
        if self.draft.is_done_by_another(block.name):
            return _Report(os.getpid(), peak_memory(), {}, is_done_now=False)
        self.stage.work(block, self.draft)
        return _Report(os.getpid(), peak_memory(), self.stage.notes())


def _own_order(blocks: Sequence[Block], draft: Draft) -> list[Block]:
    """The blocks in order; where others may be at work, from a place of our own, so that two do not go in step."""
    start = secrets.randbelow(len(blocks)) if draft.is_shared and blocks else 0
    return [*blocks[start:], *blocks[:start]]


def _heard_from(reports: Sequence[_Report]) -> Json:
    """The notes of all processes; counts, which grow from block to block, are added up over these."""
    of_process: dict[int, Json] = {}
    for report in reports:
        of_process.setdefault(report.process, {}).update(report.notes)
    found: Json = {}
    for notes in of_process.values():
        for name, note in notes.items():
            found[name] = found.get(name, 0) + note if isinstance(note, int) else note
    return found


def _peak_together(reports: Sequence[_Report]) -> int:
    """The peaks of this process and of all that worked for it, added up: no less than what they held together."""
    peaks: dict[int, int] = {}
    for report in reports:
        peaks[report.process] = max(report.peak, peaks.get(report.process, 0))
    return sum({**peaks, os.getpid(): peak_memory()}.values())


def _in_words(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in changes.items())


def block_size(default: int) -> int:
    """Rows a block has: a stage's own `default`, or fewer where a test says so.

    HNMINE_TEST_BLOCK_SIZE lets a test have many blocks of a small collection (HNMINE_TEST_BLOCK_PAUSE, in
    `hnmine.execute.local`, gives it the time to kill between two of them). The plan records the size in force, so
    blocks of two sizes never mix.
    """
    return min(default, int(os.environ.get("HNMINE_TEST_BLOCK_SIZE", default)))


def cut(total: int, size: int, name: str = "block") -> list[Block]:
    """Cut `total` rows into blocks of `size`; an empty input still has one (empty) block."""
    starts = range(0, max(total, 1), size)
    return [Block(name=f"{name}-{i:05d}", index=i, size=min(size, total - s)) for i, s in enumerate(starts)]


def require_made_from(collection: Artefact, *others: Artefact) -> None:
    """Raise `ArtefactError` naming the first of `others` that was not made from this collection."""
    for other in others:
        if other.plan["inputs"].get("collection") != collection.fingerprint:
            raise ArtefactError(
                f"{other.path} was made from another collection than {collection.path} (the fingerprint differs)",
                expected="artefacts of one collection",
                remedy=f"make {other.path} again from this collection, or name the right one",
            )


def peak_memory() -> int:
    """The most memory that was resident for this process at once, in bytes; what it mapped from files counts too.

    On Linux from /proc/self/status, since `getrusage` gives a process the peak of the one that forked it, if that is
    higher. What is mapped from files the system takes back when memory is short.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine() -> Json:
    """Host and versions, for `run.json`."""
    from hnmine import __version__

    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "hnmine": __version__,
        "cores": os.cpu_count() or 1,
    }


def now() -> str:
    """The time as ISO 8601 with zone, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def refuse_inputs(place: Path, inputs: Mapping[str, Artefact]) -> None:
    """Raise `UsageError` if something is to be written over what it is made from, or into it."""
    for name, artefact in inputs.items():
        if artefact.holds(place):
            raise UsageError(
                f"{place} is, or is in, the {name.partition(':')[0]} that it would be made from, {artefact.path}",
                expected="another place",
                remedy="choose another -o",
            )
