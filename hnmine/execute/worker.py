"""`python -m hnmine.execute.worker FD`: one worker process of `hnmine.execute.processes`.

It reads a task, then block after block, from the connection it was started with, and answers each. Signals are its
parent's business; when the parent is gone, so is it.
"""

from __future__ import annotations

import contextlib
import ctypes
import pickle
import signal
import sys
import traceback
from multiprocessing.connection import Connection

from hnmine.execute.local import PREEMPTION_SIGNALS, pause_for_tests

_PR_SET_PDEATHSIG = 1


def serve(connection: Connection) -> None:
    """Answer every block with (result, None), or with (None, error); end when the other side closes."""
    task = None
    while True:
        try:
            block = connection.recv() if task is not None else None
        except EOFError:
            return
        try:
            if block is None:
                task = connection.recv()
                continue
            answer = (task(block), None)
            pause_for_tests()
        except EOFError:
            return
        except Exception as error:
            answer = (None, _portable(error))
        try:
            connection.send(answer)
        except BrokenPipeError:
            return


def _portable(error: Exception) -> Exception:
    """The error itself, with the worker's traceback as a note, if it can be sent; else one that says the same."""
    told = "".join(traceback.format_exception(error))
    error.add_note(f"In a worker process:\n{told}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"in a worker process:\n{told}")
    return error


def _live_no_longer_than_the_parent() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    for number in (signal.SIGINT, *PREEMPTION_SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    _live_no_longer_than_the_parent()
    serve(Connection(int(sys.argv[1])))
