"""A run as jobs of a scheduler: each step of `hnmine run` as an array of tasks, then `hnmine merge`, in order.

Every job is the very command that the user would run, with `--only STEP`; so what the jobs make together is, to the
byte, what one process makes with as many threads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hnmine.cli.flags import EXPLICIT
from hnmine.errors import UsageError
from hnmine.options import option

if TYPE_CHECKING:
    from hnmine.stages.chain import Chain

FINISH = "finish"
"""The last job: the run as a whole, which finds its long steps done, decides and exports."""
_SHORT = ("filter", "export")
_SIDE_BY_SIDE = ("bm25", "dense")
_WITH_A_GPU = ("dense", "mine", "score")
LAUNCHERS = ("slurm", "k8s")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFlags:
    """What a scheduler is asked for."""

    launcher: str | None = option(
        None, "Print a script that runs the steps as job arrays: slurm, or k8s [default: say what a run would take]."
    )
    tasks: int = option(16, "Tasks of each step's array.")
    cpus: int = option(4, "CPUs of a task; the plan records them as threads.")
    memory: int = option(16, "GiB of memory of a task.")
    gpus: int = option(0, "GPUs of a task whose step runs a model or compares vectors.")
    image: str | None = option(None, "k8s: container image that has hnmine.")
    volume: str | None = option(None, "k8s: CLAIM:/PATH, the volume claim that DATA and -o are on; paths start there.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job: a command, in how many tasks, after which jobs."""

    name: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    tasks: int = 1
    gpus: int = 0


def command_of(context: Any, without: Sequence[str], *, called: Sequence[str] = ("hnmine", "run")) -> list[str]:
    """A command with the arguments of a call, from the command line or the environment, less some of them."""
    from hnmine.files.remote import as_path

    words = list(called)
    for parameter in context.command.params:
        name, value = parameter.name, context.params.get(parameter.name)
        if name in without or getattr(context.get_parameter_source(name), "name", "") not in EXPLICIT:
            continue
        if parameter.param_type_name == "argument":
            words.append(str(as_path(value) if isinstance(value, Path) else value))
        elif parameter.is_flag:
            words += [parameter.opts[0]] if value else []
        else:
            for one in value if parameter.multiple else [value]:
                # `Path` makes s3:/bucket of a URL
                words += [parameter.opts[0], str(as_path(one) if isinstance(one, Path) else one)]
    return words


def jobs_of(chain: Chain, command: Sequence[str], flags: LaunchFlags) -> list[Job]:
    """The jobs of a run in an order in which they can be done; `command` is the run itself.

    The indexes of one collection are built side by side.
    """
    jobs: list[Job] = []
    merges: list[Job] = []
    ready: tuple[str, ...] = ()
    made: tuple[str, ...] = ()

    def catch_up() -> None:
        """What comes now needs all that went before."""
        nonlocal ready, made
        jobs.extend(merges)
        ready, made = made or ready, ()
        merges.clear()

    for step in chain.steps():
        if step.key in _SHORT:
            continue
        if step.key not in _SIDE_BY_SIDE or "ingest" in made:
            catch_up()
        is_array = flags.tasks > 1 and step.key != "ingest"
        gpus = flags.gpus if step.key in _WITH_A_GPU else 0
        tasks = flags.tasks if is_array else 1
        jobs.append(Job(name=step.key, command=(*command, "--only", step.key), after=ready, tasks=tasks, gpus=gpus))
        made = (*made, f"{step.key}-merge" if is_array else step.key)
        if is_array:
            merges.append(Job(name=made[-1], command=("hnmine", "merge", str(step.path)), after=(step.key,)))
    catch_up()
    return [*jobs, Job(name=FINISH, command=tuple(command), after=ready)]


def script(chain: Chain, command: Sequence[str], flags: LaunchFlags) -> str:
    """The script that has a scheduler do the jobs; `UsageError` for an unknown one, or one that lacks something."""
    if flags.launcher not in LAUNCHERS:
        raise UsageError(f"--launcher {flags.launcher}: not known", expected=f"one of {', '.join(LAUNCHERS)}")
    for name in ("tasks", "cpus", "memory"):
        if getattr(flags, name) < 1:
            raise UsageError(f"--{name} {getattr(flags, name)}: at least 1")
    if chain.data == "-":
        raise UsageError("DATA is standard input, which jobs do not have", remedy="write it to a file first")
    jobs = jobs_of(chain, command, flags)
    if flags.launcher == "slurm":
        from hnmine.cli import slurm

        return slurm.script(jobs, command, flags)
    from hnmine.cli import kubernetes

    return kubernetes.script(jobs, command, flags)


def filled(template: str, values: Mapping[str, object]) -> str:
    """The template with a value in the place of each `@NAME@`."""
    return re.sub(r"@([A-Z]+)@", lambda found: str(values[found[1]]), template)
