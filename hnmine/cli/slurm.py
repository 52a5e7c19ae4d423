"""The jobs of a run as a bash script that submits itself to Slurm."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hnmine.cli.launch import filled

if TYPE_CHECKING:
    from hnmine.cli.launch import Job, LaunchFlags

HEAD = r"""#!/usr/bin/env bash
# A run of hnmine as Slurm jobs, written by `hnmine plan --launcher slurm`. Submit them:  bash THIS_FILE
# Partition, account and time limit are sbatch's own variables: SBATCH_PARTITION=gpu SBATCH_TIMELIMIT=4:00:00 bash ...
# After a failure submit it again: what is finished is not done again.
set -uo pipefail

export OMP_NUM_THREADS=@CPUS@   # a part of the plan: the same in all tasks

if [ "${1:-}" = work ]; then      # inside a job
  shift
  stopped='' worker=''
  stop() { stopped=yes; [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null; }
  trap stop TERM USR1             # Slurm warns this script; hnmine then saves what is finished
  "$@" &
  worker=$!
  [ -z "$stopped" ] || stop
  wait "$worker"; code=$?
  while [ "$code" -gt 128 ] && kill -0 "$worker" 2>/dev/null; do wait "$worker"; code=$?; done
  if [ "$code" -gt 128 ]; then wait "$worker"; code=$?; fi
  if [ "$code" -eq 75 ] || { [ "$code" -ne 0 ] && [ -n "$stopped" ]; }; then   # before its time: back into the queue
    scontrol requeue "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
  fi
  exit "$code"
fi

submit() {                        # NAME AFTER OPTIONS... -- COMMAND...: prints the job's number
  local name=$1 after=$2 options=() id
  shift 2
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  [ -z "$after" ] || options+=("--dependency=afterok:$after" --kill-on-invalid-dep=yes)
  id=$(sbatch --parsable --job-name="hnmine-$name" --requeue --signal=B:TERM@120 \
    --cpus-per-task=@CPUS@ --mem=@MEMORY@G ${options[@]+"${options[@]}"} "$0" work "$@") || exit
  echo "hnmine-$name: job ${id%%;*}" >&2
  echo "${id%%;*}"
}
set -e

run=(@RUN@)

"""


def script(jobs: Sequence[Job], command: Sequence[str], flags: LaunchFlags) -> str:
    """One file: the jobs, and what is done inside of each."""
    lines = [filled(HEAD, {"RUN": shlex.join(command), "CPUS": flags.cpus, "MEMORY": flags.memory})]
    for job in jobs:
        after = ":".join(f"${_variable(name)}" for name in job.after)
        options = [f"--array=0-{job.tasks - 1}"] if job.tasks > 1 else []
        options += [f"--gpus={job.gpus}"] if job.gpus else []
        is_step = job.command[: len(command)] == tuple(command)
        words = ['"${run[@]}"', shlex.join(job.command[len(command) :])] if is_step else [shlex.join(job.command)]
        parts = ["submit", job.name, f'"{after}"', *options, "--", *words]
        lines.append(f"{_variable(job.name)}=$({' '.join(parts).rstrip()})\n")
    return "".join(lines)


def _variable(name: str) -> str:
    return name.replace("-", "_")
