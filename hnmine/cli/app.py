"""The whole command line: the root, and every command below it."""

from __future__ import annotations

from typing import Annotated

import typer

from hnmine.cli.commands import COMMANDS
from hnmine.cli.lazy import Commands

app = Commands("hnmine", help_option_names=["-h", "--help"], auto_envvar_prefix="HNMINE", max_content_width=100)
index = Commands("index")
app.add_typer(index, help="Build an index over a corpus.")

for _words, (_home, _sentence) in COMMANDS.items():
    *_group, _name = _words.split()
    (index if _group else app).add(_name, _home, _sentence)


def _version(wanted: bool) -> None:
    if wanted:
        from hnmine import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Mine negatives that are hard and true, to train embedding models and rerankers.

    \b
    Try it now:       hnmine run stdlib -o demo/triplets.parquet --limit 500
    Your own pairs:   hnmine run pairs.parquet -o triplets.parquet -n 5
    What works here:  hnmine doctor
    """
