"""The one place that turns an error into a message and an exit code (DESIGN, "Errors")."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import typer

from hnmine.cli import INTERRUPTED, hear_interrupts
from hnmine.cli.arrow import load_arrow
from hnmine.cli.terminal import RED, coloured
from hnmine.errors import HnmineError, UsageError

READER_GONE = 141


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """Run a command; errors of hnmine become their message and exit code, a bug keeps its traceback and exits 1."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> None:
        try:
            hear_interrupts()
            load_arrow()
            function(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            reader_gone()
        except KeyboardInterrupt:
            print("interrupted; finished blocks are saved: run the same command again", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        except HnmineError as error:
            tell(error)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            stop_for_storage(error)

    return call


def tell(error: HnmineError) -> None:
    """What is wrong, what was expected and what to do, on standard error."""
    print(f"{coloured('hnmine:', RED, sys.stderr)} {error.render()}", file=sys.stderr)


def reader_gone() -> NoReturn:
    """Exit quietly: whoever read standard output has what they wanted (`| head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os._exit(READER_GONE)


def stop_for_storage(error: OSError) -> NoReturn:
    """Exit 7 for a failure of storage that no writer named more precisely; anything else is a bug."""
    from pathlib import Path

    from hnmine.errors import StorageError
    from hnmine.files.atomic import storage_errors

    try:
        if isinstance(error, FileNotFoundError) and not _has_directory():
            raise StorageError("the current directory is not there any more", remedy="cd to one that is") from error
        with storage_errors(Path(str(error.filename or "output"))):
            raise error
    except StorageError as named:
        tell(named)
        discard_output()
        raise typer.Exit(named.exit_code) from None


def _has_directory() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def refuse_other_encodings(arguments: Sequence[str]) -> None:
    """Exit 2 for an argument that is no text: a name in another encoding, which neither a plan nor Arrow can hold."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = ascii(os.fsencode(argument))[1:]
            remedy = "rename the file, or a link to it" + ("" if sys.flags.utf8_mode else "; or PYTHONUTF8=1, a locale")
            tell(UsageError(f"{shown} is not UTF-8", expected="names in UTF-8", remedy=remedy))
            sys.exit(UsageError.exit_code)


def discard_output() -> None:
    """Throw away what standard output still holds and cannot take: Python would try again at exit, and exit 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
