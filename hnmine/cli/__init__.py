"""The command line: the only place that parses argv, prints or exits."""

from __future__ import annotations

INTERRUPTED = 130


def main() -> None:
    """Run the command that argv asks for, and exit with its code."""
    quiet_until_command()
    open_closed_streams()

    import io
    import os
    import sys

    from hnmine.cli.app import app

    # Arrow's own allocator gives large buffers back between two uses and gets them anew, zeroed: more time and memory.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # data is UTF-8 whatever the locale
    try:
        "".join(sys.argv[1:]).encode()
    except UnicodeEncodeError:
        from hnmine.cli.guard import refuse_other_encodings

        refuse_other_encodings(sys.argv[1:])
    app(prog_name="hnmine")


def open_closed_streams() -> None:
    """Have a standard stream that was closed (`>&-`) read nothing, or throw away what is written.

    Else the next file to be opened gets its number, and whatever a library prints goes into that file.
    """
    import os
    import sys

    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def quiet_until_command() -> None:
    """Have Ctrl-C end the process at once and without a traceback until `hear_interrupts`: nothing is begun yet."""
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, or somebody else's
        signal.signal(signal.SIGINT, _leave)


def hear_interrupts() -> None:
    """Have Ctrl-C raise `KeyboardInterrupt` again, which commands answer."""
    import signal

    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(*_: object) -> None:
    import os

    os._exit(INTERRUPTED)
