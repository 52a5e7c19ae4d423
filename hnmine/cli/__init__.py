"""The command line: the only place that parses argv, prints or exits."""

from __future__ import annotations


def main() -> None:
    """Run the command that argv asks for, and exit with its code."""
    import io
    import sys

    from hnmine.cli.app import app

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # data is UTF-8 whatever the locale
    app(prog_name="hnmine")
