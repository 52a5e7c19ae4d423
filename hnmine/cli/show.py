"""Summaries as a person reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hnmine.cli.terminal import Terminal, duration

if TYPE_CHECKING:
    from hnmine.stages.stage import Outcome, Preview


def outcome(name: str, result: Outcome, terminal: Terminal) -> None:
    """A few lines on what a stage did."""
    peak = f"peak memory {result.peak_memory / 2**20:,.0f} MiB, mapped files included"
    if result.artefact is None:
        terminal.say(f"{name}: {result.blocks_done_now} blocks done; the rest is other shards' ({result.path})")
        terminal.say("  when all shards are done: hnmine merge " + str(result.path))
        return
    if not result.blocks_done_now:
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


def lines(kind: str, counts: Mapping[str, Any]) -> list[str]:
    """The manifest's counts, most important first."""
    if kind == "decisions":
        return _decisions(counts)
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
    for name, spread in counts["judge_scores"].items():
        if spread:
            found.append(
                f"{name:<9} mean {spread['mean']:>8.3f}   min {spread['p0']:.3f}   quartiles {spread['p25']:.3f} "
                f"{spread['p50']:.3f} {spread['p75']:.3f}   max {spread['p100']:.3f}"
            )
    if counts["advice"]:
        found.append(counts["advice"])
    return found


_NOT_DROPS = {"known-positive", "picked", "not-needed", "random-reserve"}


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
    terminal.say(f"{name}: {blocks}{', ' if sizes else ''}{sizes} ({path})")
