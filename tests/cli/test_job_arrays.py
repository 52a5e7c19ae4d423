"""The shard of a task, as each scheduler tells it."""

from __future__ import annotations

import pytest

from hnmine.cli.job_arrays import shard_of_task
from hnmine.errors import UsageError

SLURM = {"SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_MAX": "12", "SLURM_ARRAY_TASK_STEP": "4"}
SGE = {"SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "5", "SGE_TASK_STEPSIZE": "2"}


@pytest.mark.parametrize(
    ("variables", "shard"),
    [
        ({}, None),
        ({**SLURM, "SLURM_ARRAY_TASK_ID": "4"}, (0, 3)),
        ({**SLURM, "SLURM_ARRAY_TASK_ID": "12"}, (2, 3)),
        ({**SGE, "SGE_TASK_ID": "3"}, (1, 3)),
        ({"SGE_TASK_ID": "undefined", "SGE_TASK_FIRST": "undefined"}, None),
        ({"LSB_JOBINDEX": "1", "LSB_JOBINDEX_END": "8"}, (0, 8)),
        ({"LSB_JOBINDEX": "8", "LSB_JOBINDEX_END": "8"}, (7, 8)),
        ({"LSB_JOBINDEX": "0"}, None),
        ({"JOB_COMPLETION_INDEX": "0", "HNMINE_SHARD_COUNT": "6"}, (0, 6)),
        ({"JOB_COMPLETION_INDEX": "3", "HNMINE_SHARD_COUNT": "1"}, None),
        ({**SLURM, "SLURM_ARRAY_TASK_ID": "8", "HNMINE_SHARD_COUNT": "1"}, None),
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "0"}, None),
    ],
)
def test_the_shard_of_a_task(variables: dict[str, str], shard: tuple[int, int] | None) -> None:
    found = shard_of_task(variables)
    assert (found[0] if found else None) == shard


def test_where_it_comes_from() -> None:
    found = shard_of_task({**SLURM, "SLURM_ARRAY_TASK_ID": "8"})
    assert found == ((1, 3), "Slurm's SLURM_ARRAY_TASK_ID=8")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({**SLURM, "SLURM_ARRAY_TASK_ID": "7"}, "SLURM_ARRAY_TASK_ID=7: no task of an array of 3 from 4 in steps of 4"),
        ({**SLURM, "SLURM_ARRAY_TASK_ID": "16"}, "no task of an array of 3"),
        ({"JOB_COMPLETION_INDEX": "6", "HNMINE_SHARD_COUNT": "6"}, "no task of an array of 6"),
        ({"JOB_COMPLETION_INDEX": "2"}, "a task of how many"),
    ],
)
def test_a_task_that_is_none(variables: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        shard_of_task(variables)
