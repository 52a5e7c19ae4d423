"""Writes docs/cli.md from the commands themselves; `--check` only says whether it is up to date (exit 1 if not)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
WIDTH = 100
HEAD = """# Command line

Made by `scripts/make_cli_reference.py` from the commands; do not edit. `make docs-cli` writes it anew.

Results go to standard output, everything else to standard error. Exit codes: [exit-codes.md](exit-codes.md).
A flag wins over its environment variable, that over the `--config` file, that over the default.
"""


def reference() -> str:
    """The page as it should be."""
    from hnmine.cli.app import app

    lines = [HEAD]
    root = typer.main.get_command(app)
    for path, command in walk(root, ["hnmine"]):
        lines += [f"## {' '.join(path)}", "", "```text", help_of(command, path), "```", ""]
    return "\n".join(lines)


def walk(command: Any, path: list[str]) -> Iterator[tuple[list[str], Any]]:
    yield path, command
    for name in command.list_commands(None) if hasattr(command, "list_commands") else []:
        child = command.commands[name]
        yield from walk(getattr(child, "loaded", child), [*path, name])


def help_of(command: Any, path: list[str]) -> str:
    prefix = "_".join(["HNMINE", *path[1:]]).upper()
    context = command.make_context(
        " ".join(path),
        [],
        resilient_parsing=True,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        auto_envvar_prefix=prefix,
        help_option_names=["-h", "--help"],
    )
    text: str = command.get_help(context)
    return "\n".join(line.rstrip() for line in text.splitlines())


def main() -> None:
    page = reference()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
            sys.exit("docs/cli.md is stale: make docs-cli")
        return
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
