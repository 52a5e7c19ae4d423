"""Runs blocks on a Ray cluster: one actor a GPU or a few CPUs, which is sent the task once, then block after block.

Ray places and replaces the actors, and nothing more: blocks and their bytes are hnmine's. All nodes see the same
files under the same paths, or URLs; a block's answer is a few numbers, so that Ray's object store stays empty.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

from hnmine.errors import MissingDependencyError, StorageError, UsageError
from hnmine.execute.dealing import Answer, Worker, answered, deal, pickled
from hnmine.execute.local import PREEMPTION_SIGNALS, Block, Needs, StopFlag, T, pause_for_tests

_ANSWER_SECONDS = 10.0


class _Doer:
    """What an actor is: the task, unpickled, in the driver's working directory where there is one."""

    def __init__(self, task: bytes, directory: str) -> None:
        with suppress(OSError):
            os.chdir(directory)
        self._task: Callable[[Block], Any] = pickle.loads(task)

    def do(self, block: Block) -> Answer:
        """The answer to a block."""
        answer = answered(self._task, block)
        pause_for_tests()
        return answer

    def is_there(self) -> bool:
        """True."""
        return True


class _Actor(Worker):
    def __init__(self, ray: Any, kind: Any, task: Any) -> None:
        self._ray = ray
        self._actor = kind.remote(task, os.getcwd())
        self._start = self._actor.is_there.remote()
        self.answer_ref: Any = None

    def is_ready(self) -> bool:
        ready, _ = self._ray.wait([self._start], timeout=0)
        return bool(ready)  # one that failed to start is ready too, and its answer tells

    def give(self, block: Block) -> None:
        self.answer_ref = self._actor.do.remote(block)

    def answer(self) -> Answer | None:
        errors = self._ray.exceptions
        try:
            found: Answer = self._ray.get(self.answer_ref)
        except (errors.RayActorError, errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError) as error:
            self._loss = " ".join(str(error).split())
            return None
        return found

    def end(self) -> str:
        with suppress(Exception):
            self._ray.kill(self._actor, no_restart=True)
        return f"on Ray ({getattr(self, '_loss', 'killed')[:300]})"


def on_ray(
    task: Callable[[Block], T],
    blocks: Sequence[Block],
    address: str | None,
    stop: StopFlag,
    needs: Needs,
) -> Iterator[tuple[Block, T]]:
    """Do every block in an actor on the cluster at `address`, or the one that Ray finds or starts; see `deal`.

    As many actors as the cluster has room for when the work begins. Raises `MissingDependencyError` without Ray, and
    `StorageError` if nothing answers at `address`.
    """
    ray = _import_ray()
    sent, cpus = pickled(task), needs.threads or 1
    with _stdout_is_stderr(), _connected(ray, address):
        kind = ray.remote(
            num_cpus=cpus,
            num_gpus=needs.gpus,
            max_restarts=0,
            runtime_env={"env_vars": {**_own_variables(), "OMP_NUM_THREADS": str(cpus)}},
        )(_Doer)
        reference = ray.put(sent)

        def wait(busy: Sequence[Worker], seconds: float) -> Sequence[Worker]:
            of = {worker.answer_ref: worker for worker in busy if isinstance(worker, _Actor)}
            if not of:
                time.sleep(seconds)
                return []
            ready, _ = ray.wait(list(of), num_returns=1, timeout=seconds)
            return [of[found] for found in ready]

        yield from deal(lambda number: _Actor(ray, kind, reference), wait, blocks, _room(ray, cpus, needs.gpus), stop)


def _room(ray: Any, cpus: int, gpus: int) -> int:
    """How many workers the cluster's nodes hold at once; `UsageError` if none of them has room for one."""
    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            found = node["Resources"]
            by_gpus = found.get("GPU", 0) // gpus if gpus else float("inf")
            room += int(min(found.get("CPU", 0) // cpus, by_gpus))
    if not room:
        wanted = f"{cpus} CPUs" + (f" and {gpus} GPU" if gpus else "")
        raise UsageError(
            f"--executor ray: no node of the cluster has {wanted}",
            expected="a node with as many CPUs as the plan has threads here" + (", and a GPU as here" if gpus else ""),
            remedy="OMP_NUM_THREADS=1, or start larger nodes",
        )
    return room


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    _require_answer(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *PREEMPTION_SIGNALS)}
    ray.init(
        address=address,
        include_dashboard=None if address else False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=True,
    )
    with suppress(ValueError):  # not in the main thread, where Ray sets none either
        for number, handler in handlers.items():
            signal.signal(number, handler)  # Ray's own would end the process without a word
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str | None) -> None:
    """Fail at once where nothing answers; Ray itself tries for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal():  # auto, or a URL
        return
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise StorageError(
            f"no Ray cluster answers at {address}: {error}",
            remedy="`ray start --head` on one machine prints the address",
        ) from None


@contextmanager
def _stdout_is_stderr() -> Iterator[None]:
    """What is printed, by Ray's own processes too, goes to standard error: standard output is data."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _own_variables() -> dict[str, str]:
    """Settings that workers share; no key or token, for Ray may log what it is given. Nodes have their own."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("HNMINE_", "HF_")) and not name.endswith(("TOKEN", "KEY"))
    }


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            f"--executor ray: {error}", expected="the package ray", remedy="pip install 'hnmine[ray]'"
        ) from None
    return ray
