"""The command line: the only place that parses argv, prints or exits."""

from __future__ import annotations


def main() -> None:
    """Run the command that argv asks for, and exit with its code."""
    from hnmine.cli.app import app

    app(prog_name="hnmine")
