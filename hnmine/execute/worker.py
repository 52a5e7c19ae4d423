"""`python -m hnmine.execute.worker FD`: one worker process of `hnmine.execute.processes`.

It reads a task, then block after block, from the connection it was started with, and answers each. Signals are its
parent's business; when the parent is gone, so is it.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
from multiprocessing.connection import Connection

from hnmine.execute.dealing import answered
from hnmine.execute.local import PREEMPTION_SIGNALS, pause_for_tests

_PR_SET_PDEATHSIG = 1


def serve(connection: Connection) -> None:
    """Answer every block with (result, None), or with (None, error); end when the other side closes."""
    task, failure = None, None
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            task = connection.recv()
        except (ImportError, AttributeError, TypeError) as error:
            failure = error
        while True:
            block = connection.recv()
            answer = answered(task, block) if task is not None else (None, failure)
            pause_for_tests()
            connection.send(answer)


def _live_no_longer_than_the_parent() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    for number in (signal.SIGINT, *PREEMPTION_SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    _live_no_longer_than_the_parent()
    serve(Connection(int(sys.argv[1])))
