"""What `sbatch` and `scontrol` do, as far as a script can tell: jobs run one after the other, when they are submitted.

Called under either name. FAKE_SLURM is the directory of its files. Each NAME/TASK=DIRECTORY in FAKE_PREEMPT has that
task sent SIGTERM, as Slurm does with --signal=B:TERM, as soon as there is a file in the directory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ["FAKE_SLURM"])


def sbatch(words: list[str]) -> None:
    options: dict[str, str] = {}
    while words[0].startswith("--"):
        name, _, value = words.pop(0).removeprefix("--").partition("=")
        options[name] = value
    number = len(list(STATE.glob("*.state"))) + 100
    (STATE / "log").open("a").write(f"{number} {options['job-name']} {options}\n")
    needed = options.get("dependency", "").removeprefix("afterok:")
    states = [(STATE / f"{job}.state").read_text() for job in needed.split(":") if job]
    first, _, last = options.get("array", "").partition("-")
    tasks = [str(task) for task in range(int(first), int(last) + 1)] if first else [None]
    done = all(state == "done" for state in states) and all(run(number, task, tasks, options, words) for task in tasks)
    (STATE / f"{number}.state").write_text("done" if done else "failed")
    sys.stdout.write(f"{number};cluster\n")


def run(number: int, task: str | None, tasks: list[str | None], options: dict[str, str], words: list[str]) -> bool:
    own = {"SLURM_JOB_ID": str(number)}
    if task is not None:
        own |= {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": task}
        own |= {"SLURM_ARRAY_TASK_MIN": str(tasks[0]), "SLURM_ARRAY_TASK_MAX": str(tasks[-1])}
    requeued = STATE / f"requeue-{number}" if task is None else STATE / f"requeue-{number}_{task}"
    planned = dict(one.split("=") for one in os.environ["FAKE_PREEMPT"].split())
    watched = planned.get(f"{options['job-name']}/{task}")
    while True:
        requeued.unlink(missing_ok=True)
        process = subprocess.Popen(["bash", *words], env=os.environ | own, stdout=2)
        if watched is not None:
            while not (has_children(process.pid) and list(Path(watched).glob("[!.]*"))) and process.poll() is None:
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            watched = None
        code = process.wait()
        (STATE / "log").open("a").write(f"{number} task {task}: exit {code}\n")
        if not requeued.exists():
            return code == 0


def has_children(process: int) -> bool:
    return subprocess.run(["pgrep", "-P", str(process)], stdout=subprocess.DEVNULL).returncode == 0


if __name__ == "__main__":
    if Path(sys.argv[0]).name == "sbatch":
        sbatch(sys.argv[1:])
    else:
        assert sys.argv[1] == "requeue"
        (STATE / f"requeue-{sys.argv[2]}").touch()
