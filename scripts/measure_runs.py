"""Run the whole chain on real collections and print a table: sizes, seconds per stage, memory, negatives, drops.

    python scripts/measure_runs.py OUT name=DATA[,flag,flag...] ...

For example (each collection is a BEIR directory, or a built-in name):

    python scripts/measure_runs.py out stdlib=stdlib gesetze_de=beir/gesetze_de,--no-dense

Each run is a fresh process; peak memory is that process's. Times are of this machine, as it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def measure(name: str, data: str, flags: list[str], out: Path) -> dict[str, Any]:
    """Run `hnmine run` on one collection, from nothing; returns its `--json` summary."""
    command = [sys.executable, "-m", "hnmine", "run", data, "-o", str(out / name), "--json", *flags]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row(name: str, found: dict[str, Any]) -> str:
    """One line of the table."""
    ingested, decided = found["ingest"]["counts"], found["filter"]["counts"]
    seconds = ", ".join(f"{step} {outcome['seconds']:.1f}" for step, outcome in found.items())
    peak = max(outcome["peak_memory_bytes"] for outcome in found.values()) / 2**20
    negatives = decided["verdicts"].get("negative", 0) / max(decided["queries"], 1)
    kept = ("known-positive", "picked", "not-needed", "random-reserve")
    drops = ", ".join(f"{reason} {count:,}" for reason, count in decided["reasons"].items() if reason not in kept)
    cells = [
        name,
        f"{ingested['documents']:,}",
        f"{decided['queries']:,}",
        seconds,
        f"{peak:,.0f}",
        f"{negatives:.2f}",
        drops or "none",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    out = Path(sys.argv[1])
    print(f"hnmine on {os.cpu_count()} cores")
    print("| collection | documents | queries | seconds per stage | peak MiB | negatives/query | dropped |")
    print("|---|---|---|---|---|---|---|")
    for spec in sys.argv[2:]:
        name, _, rest = spec.partition("=")
        data, *flags = rest.split(",")
        print(row(name, measure(name, data, flags, out)), flush=True)


if __name__ == "__main__":
    main()
