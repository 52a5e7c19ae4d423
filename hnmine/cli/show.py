"""Summaries as a person reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hnmine.cli.terminal import Terminal, duration
from hnmine.core.estimate import GPU_OPERATIONS, Estimate

if TYPE_CHECKING:
    from hnmine.files.hub import Pushed
    from hnmine.stages.push import PushPreview
    from hnmine.stages.stage import Outcome, Preview


def outcome(name: str, result: Outcome, terminal: Terminal) -> None:
    """A few lines on what a stage did."""
    peak = f"peak memory {result.peak_memory / 2**20:,.0f} MiB, mapped files included"
    if result.artefact is None:
        done = result.blocks_done_now + result.blocks_taken_over
        terminal.say(f"{name}: {done} blocks done; the rest is other shards' ({result.path})")
        terminal.say("  when all shards are done: hnmine merge " + str(result.path))
        return
    if not result.blocks_done_now and not result.blocks_taken_over:
        terminal.say(f"{name}: finished before, nothing to do ({result.path})")
    else:
        terminal.say(f"{name}: {duration(result.seconds)}, {peak} ({result.path})")
    for key, value in result.artefact.plan.items():
        if key != "blocks":
            terminal.detail(f"  plan, {key}: {json.dumps(value, ensure_ascii=False, sort_keys=True)}")
    for note, value in result.notes.items():
        terminal.say(f"  {note}: {value}")
    for line in lines(str(result.kind), result.counts):
        terminal.say(f"  {line}")


def as_they_are(result: Outcome, terminal: Terminal) -> None:
    """A line on decisions that leave a training file as it is, and why some rows are left out."""
    verdicts, reasons = result.counts["verdicts"], result.counts["reasons"]
    kept = ", ".join(f"{verdicts.get(name, 0):,} {name}s" for name in ("positive", "negative"))
    dropped = {reason: count for reason, count in reasons.items() if reason not in _NOT_DROPS}
    left_out = f"; dropped: {_inline(dropped)}" if dropped else ""
    terminal.say(f"decisions: as the file has them, {kept}{left_out} ({result.path})")


def lines(kind: str, counts: Mapping[str, Any]) -> list[str]:
    """The manifest's counts, most important first."""
    if kind == "decisions":
        return _decisions(counts)
    if kind == "downsampled":
        return _downsampled(counts)
    plain = [f"{key.replace('_', ' ')}: {value:,}" for key, value in counts.items() if isinstance(value, (int, float))]
    nested = [
        f"{key.replace('_', ' ')}: {_inline(value)}"
        for key, value in counts.items()
        if isinstance(value, dict) and value
    ]
    return [", ".join(plain), *nested]


def _decisions(counts: Mapping[str, Any]) -> list[str]:
    verdicts, queries = counts["verdicts"], counts["queries"]
    found = [
        f"yield {counts['yield']:.1%}: {verdicts.get('negative', 0):,} negatives for {queries:,} queries"
        f" ({counts['queries_short']:,} queries short)",
        f"dropped {verdicts.get('dropped', 0):,} of {counts['candidates']:,}: "
        + (_inline({r: c for r, c in counts["reasons"].items() if r not in _NOT_DROPS}) or "none"),
    ]
    if counts.get("spared"):
        found.append(f"spared, known not to be relevant, though against them: {_inline(counts['spared'])}")
    if called := counts.get("called_relevant"):
        new = counts["reasons"].get("relabelled", 0)
        found.append(f"called relevant: {_inline(called)}" + (f"; {new:,} of them are positives now" if new else ""))
    for name, spread in counts["judge_scores"].items():
        if spread:
            found.append(
                f"{name:<10} mean {spread['mean']:>8.3f}   min {spread['p0']:.3f}   quartiles {spread['p25']:.3f} "
                f"{spread['p50']:.3f} {spread['p75']:.3f}   max {spread['p100']:.3f}"
            )
    if "previous" in counts:
        found += _round(counts["previous"])
    if counts["advice"]:
        found.append(counts["advice"])
    return found


def _round(changed: Mapping[str, Any]) -> list[str]:
    """What changed since the round before."""
    gone, estimates = changed["gone"], changed["p_false_negative"]
    found = [
        f"since the round before: Jaccard {changed['jaccard']:.3f}, {changed['kept']:,} negatives kept, "
        f"{changed['new']:,} new, {sum(gone.values()):,} gone" + (f" ({_inline(gone)})" if gone else "")
    ]
    if estimates:
        words = {"now": "the negatives", "before": "those of the round before"}
        shown = ", ".join(f"{words[name]} {value:.2%}" for name, value in sorted(estimates.items(), reverse=True))
        found.append(f"estimated false negatives among {shown}")
    return found


def _downsampled(counts: Mapping[str, Any]) -> list[str]:
    """Sizes, then a line for each system, the best first."""
    systems, tau = counts["systems"], counts["kendall_tau"]
    width = max(len(name) for name in [*systems, "tau to whole"])
    found = [
        f"{counts['documents']:,} of {counts['documents_of']:,} documents, {counts['documents_judged']:,} judged; "
        f"{counts['queries']:,} queries, {counts['judgments']:,} judgments",
        f"{'nDCG@10':<{width}}  whole   small   left out of the pool",
    ]
    for name, own in sorted(systems.items(), key=lambda item: (-item[1]["whole"], item[0])):
        found.append(f"{name:<{width}}  {own['whole']:.4f}  {own['small']:.4f}  {own['left_out']:.4f}")
    if tau:
        small, left_out = (f"{tau[name]:.3f}" if name in tau else "-" for name in ("small", "left_out"))
        found.append(f"{'tau to whole':<{width}}          {small:<6}  {left_out}")
    return found


_NOT_DROPS = {"known-positive", "relabelled", "picked", "not-needed", "random-reserve"}


def _inline(values: Mapping[str, Any]) -> str:
    ordered = sorted(values.items(), key=lambda item: -item[1] if isinstance(item[1], (int, float)) else 0)
    return ", ".join(f"{key} {value:,}" for key, value in ordered)


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
