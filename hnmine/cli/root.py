"""The root of the command line, on which every command is registered."""

from __future__ import annotations

from typing import Annotated

import typer

from hnmine.cli.help import Commands

app = Commands(
    name="hnmine",
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "HNMINE", "max_content_width": 100},
)
index = Commands(help="Build an index over a corpus.")
app.add_typer(index, name="index")


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
    """Mine hard negatives that are hard and true.

    \b
    Try it now:       hnmine run stdlib -o demo/triplets.parquet --limit 500
    Your own pairs:   hnmine run pairs.parquet -o triplets.parquet -n 5
    What works here:  hnmine doctor
    """
