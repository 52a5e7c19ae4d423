"""Which shard a task of a job array is: `--shard`, else what the scheduler's variables say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hnmine.errors import UsageError

COUNT = "HNMINE_SHARD_COUNT"
"""How many tasks an array has, where the scheduler does not say so (Kubernetes); 1: it is no array of shards."""


@dataclass(frozen=True, slots=True)
class _Array:
    """The variables of one scheduler: the task's number, the first, the last, the step (None: the usual)."""

    index: str
    first: str | None = None
    last: str | None = None
    step: str | None = None


_SCHEDULERS = {
    "Slurm": _Array("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP"),
    "SGE": _Array("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
    "LSF": _Array("LSB_JOBINDEX", None, "LSB_JOBINDEX_END", "LSB_JOBINDEX_STEP"),
    "Kubernetes": _Array("JOB_COMPLETION_INDEX"),
}
_FROM_ONE = frozenset({"LSF"})
_NO_TASK = ("", "undefined")  # SGE says the latter outside of arrays; LSF says 0, where its first task is 1


def parse_shard(text: str) -> tuple[int, int]:
    """`2/5` as (2, 5)."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()) or not int(index) < int(count):
        raise UsageError(f"--shard {text}: not a shard", expected="i/n with i from 0 to n-1, such as 0/5")
    return int(index), int(count)


def shard_of_task(environment: Mapping[str, str]) -> tuple[tuple[int, int], str] | None:
    """(shard, where it comes from) of the task that this process is; None outside of job arrays.

    Raises `UsageError` if the task's number is none of its array's, or if nothing says how many tasks there are.
    """
    for scheduler, names in _SCHEDULERS.items():
        own = environment.get(names.index, "")
        if own in _NO_TASK or (scheduler in _FROM_ONE and own == "0"):
            continue
        count = environment.get(COUNT)
        first = _number(environment, names.first, 1 if scheduler in _FROM_ONE else 0)
        step = _number(environment, names.step, 1)
        if count is None and (names.last is None or names.last not in environment):
            raise UsageError(
                f"{names.index}={own}: a task of how many?",
                expected=f"{COUNT}, or --shard i/n",
                remedy=f"{COUNT}=1 if this is no array of shards",
            )
        tasks = int(count) if count is not None else (_number(environment, names.last, 0) - first) // step + 1
        if tasks == 1:
            return None
        place, rest = divmod(int(own) - first, step) if own.isdecimal() else (-1, 0)
        if rest or not 0 <= place < tasks:
            raise UsageError(
                f"{names.index}={own}: no task of an array of {tasks} from {first} in steps of {step}",
                remedy="say --shard i/n",
            )
        return (place, tasks), f"{scheduler}'s {names.index}={own}"
    return None


def _number(environment: Mapping[str, str], name: str | None, otherwise: int) -> int:
    value = environment.get(name, "") if name is not None else ""
    return int(value) if value.isdecimal() else otherwise
