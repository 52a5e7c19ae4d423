"""What compiled kernels share: they are compiled once for all processes, and run in threads of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


def thread_count() -> int:
    """How many threads compiled kernels take: OMP_NUM_THREADS, else one for each core the process may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[slice], None], parts: Sequence[slice]) -> None:
    """Do `work` for every part, in `thread_count` threads.

    Threads, not numba's parallel loops: those compile for longer, and OpenMP neither survives a fork nor nests.
    """
    threads = thread_count()
    if len(parts) < 2 or threads < 2:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, parts):
            pass


def compiled(function: Callable[..., T]) -> Callable[..., T]:
    """The function compiled by numba, without the interpreter's lock, and kept for later processes where possible."""
    import numba

    kernel: Callable[..., T] = numba.njit(nogil=True)(function)
    keep_compiled(kernel)
    return kernel


def keep_compiled(kernel: Any) -> None:
    """Have numba keep a kernel's compilation for later processes, where it can.

    numba writes beside the module, or to the user's cache; where it can do neither it raises RuntimeError, and compiles
    in every process. With NUMBA_DISABLE_JIT the kernel is a plain function.
    """
    with suppress(RuntimeError, AttributeError):
        kernel.enable_caching()
