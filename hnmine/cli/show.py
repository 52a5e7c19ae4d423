"""Summaries as a person reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hnmine.cli import summary
from hnmine.cli.terminal import Terminal, duration
from hnmine.core.estimate import GPU_OPERATIONS, Estimate

if TYPE_CHECKING:
    from hnmine.files.hub import Pushed
    from hnmine.stages.push import PushPreview
    from hnmine.stages.stage import Outcome, Preview


def outcome(name: str, result: Outcome, terminal: Terminal) -> None:
    """A few lines on what a stage did."""
    if result.artefact is None:
        done = result.blocks_done_now + result.blocks_taken_over
        terminal.log(name, f"{done} blocks done; the rest is other shards' ({result.path})")
        terminal.say("  when all shards are done: hnmine merge " + str(result.path))
        return
    kind, counts = str(result.kind), result.counts
    is_new = result.blocks_done_now or result.blocks_taken_over
    when = duration(result.seconds) if is_new else "finished before, nothing to do"
    terminal.log(name, f"{summary.headline(kind, counts)} ({when}, {result.path})")
    for line in summary.advice(kind, counts):
        terminal.warn(f"  {line}")
    terminal.detail(f"  peak memory: {size(result.peak_memory)}, mapped files included")
    for key, value in result.artefact.plan.items():
        if key != "blocks":
            terminal.detail(f"  plan, {key}: {json.dumps(value, ensure_ascii=False, sort_keys=True)}")
    for note, value in result.notes.items():
        terminal.say(f"  {note}: {value}")
    for line in summary.lines(kind, counts):
        terminal.say(f"  {line}")


def as_they_are(result: Outcome, terminal: Terminal) -> None:
    """A line on decisions that leave a training file as it is, and why some rows are left out."""
    verdicts, because = result.counts["verdicts"], summary.dropped(result.counts)
    kept = ", ".join(f"{verdicts.get(name, 0):,} {name}s" for name in ("positive", "negative"))
    left_out = f"; dropped: {because}" if because else ""
    terminal.log("decisions", f"as the file has them, {kept}{left_out} ({result.path})")


def preview(name: str, found: Preview | None, path: object, terminal: Terminal) -> None:
    """What a stage would do."""
    if found is None:
        terminal.say(f"{name}: its inputs do not exist yet ({path})")
        return
    sizes = ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in found.sizes.items())
    blocks = f"{found.blocks_finished} of {found.blocks_total} blocks done" if found.blocks_total else "streamed"
    if found.blocks_taken_over is not None:
        blocks += f", {found.blocks_taken_over} can be taken over"
    terminal.say(f"{name}: {blocks}{', ' if sizes else ''}{sizes} ({path})")


def push(done: Pushed, terminal: Terminal) -> None:
    """What a push did."""
    if not done.uploaded and not done.removed:
        terminal.say(f"  all {len(done.unchanged)} files were there already (commit {done.commit[:12]})")
        return
    parts = [f"{len(done.uploaded)} files uploaded"]
    parts += [f"{len(done.unchanged)} were there already"] if done.unchanged else []
    parts += [f"{len(done.removed)} of an earlier push removed"] if done.removed else []
    terminal.say(f"  {', '.join(parts)} (commit {done.commit[:12]})")


def push_preview(found: PushPreview, url: str, terminal: Terminal) -> None:
    """What a push would upload."""
    terminal.say(f"push: {len(found.files)} files, {size(sum(found.files.values()))}, to {url}")
    for name, count in found.files.items():
        terminal.say(f"  {name}: {size(count)}")


def estimate(found: Estimate | None, per_hour: float | None, terminal: Terminal, *, is_done: bool = False) -> None:
    """What a step will take."""
    if is_done:
        return
    if found is None:
        terminal.say("  not estimated: nothing on this machine tells how long it takes")
        return
    parts = [f"about {duration(found.seconds)}", f"{found.rows:,} {found.unit}", size(found.bytes)]
    parts += [f"{found.operations:.2g} operations"] if found.operations else []
    if found.gpu_hours is not None:
        kind = "GPU-hours" if found.on_gpu else f"hours of a GPU that does {GPU_OPERATIONS:.0e} operations a second"
        parts.append(f"{found.gpu_hours:.3g} {kind}")
    if per_hour is not None:
        parts.append(f"price {found.price(per_hour):,.2f}")
    terminal.say("  " + ", ".join(parts))


def total(found: Sequence[Estimate | None], per_hour: float | None, terminal: Terminal) -> None:
    """What all steps will take together."""
    known = [one for one in found if one is not None]
    parts = [f"about {duration(sum(one.seconds for one in known))} with one process of this machine"]
    parts.append(size(sum(one.bytes for one in known)))
    hours = sum(one.gpu_hours or 0.0 for one in known)
    parts += [f"{hours:.3g} GPU-hours"] if hours else []
    parts += [f"price {sum(one.price(per_hour) for one in known):,.2f}"] if per_hour is not None else []
    without = len(found) - len(known)
    terminal.say(f"total: {', '.join(parts)}" + (f", and {without} steps that are not estimated" if without else ""))


def size(count: float) -> str:
    """`512 B`, `1.5 MB`, `2.3 TB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
