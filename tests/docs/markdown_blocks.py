"""Fenced blocks of a Markdown page, and commands of a console block with the output shown below them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"(?m)^(<!-- not run[^\n]*-->\n)?```(\w+)\n(.*?)^```$", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A line after `$ `, with those that `\\` joins to it, and what the page says it prints."""

    line: str
    shown: list[str]


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a language, those marked `<!-- not run ... -->` left out."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for skipped, kind, body in _FENCE.findall(text) if kind == language and not skipped]


def commands(block: str) -> list[Command]:
    found: list[Command] = []
    for line in block.splitlines():
        if found and found[-1].line.endswith("\\") and not found[-1].shown:
            found[-1] = Command(line=f"{found[-1].line[:-1].rstrip()} {line.strip()}", shown=[])
        elif line.startswith("$ "):
            found.append(Command(line=line[2:], shown=[]))
        elif line.strip():
            found[-1].shown.append(line)
    return found


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading (its text after `### `), header and rule left out."""
    text = (ROOT / page).read_text(encoding="utf-8")
    section = text.split(f"\n### {heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def shape(line: str) -> str:
    """What is left of an output line when numbers, names in brackets and everything after the first value go."""
    indent = re.match(r" *", line)[0]  # type: ignore[index]
    return indent + re.split(r"[\d\[(]", line.strip())[0].split(":")[0].strip()
