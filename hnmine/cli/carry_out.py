"""What every command does with its stage: run or preview it, show that, check conditions, push."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hnmine import options as opt
from hnmine.cli import show
from hnmine.cli.conditions import check_conditions, check_decided, fail_if
from hnmine.cli.flags import Given
from hnmine.cli.terminal import Terminal, print_json
from hnmine.errors import UsageError
from hnmine.schema import Kind

if TYPE_CHECKING:
    from hnmine.execute.local import Execution
    from hnmine.files.artefact import Artefact
    from hnmine.stages.ingest import Ingest
    from hnmine.stages.push import Push
    from hnmine.stages.stage import Preview, Stage


def execution(given: Given) -> tuple[Execution, Terminal]:
    """How to carry a stage out, from the flags of a call; conditions of --fail-if are checked here, before any work."""
    from hnmine.execute.local import Execution, parse_executor
    from hnmine.files.remote import as_path

    check_conditions(tuple(given.fail_if))
    terminal = Terminal(quiet=given.quiet, verbose=given.verbose, origin=lambda: _origin(given))
    shard = _shard(given, terminal)
    if given.overwrite and shard[1] > 1:
        raise UsageError(
            "--overwrite and --shard contradict each other: each worker would remove the others' blocks",
            remedy="remove the artefact once, then start the shards without --overwrite",
        )
    strict, executor = bool(given.values.get("strict_plan")), str(given.values.get("executor", "local"))
    parse_executor(executor)
    return (
        Execution(
            shard=shard,
            executor=executor,
            overwrite=given.overwrite,
            append=as_path(given.append) if given.values.get("append") else None,
            strict_plan=strict,
            progress=terminal,
        ),
        terminal,
    )


def _origin(given: Given) -> str:
    """What a log should say of a process: version, machine and command."""
    import shlex
    import socket

    from hnmine import __version__
    from hnmine.cli.launch import command_of

    command = command_of(given.context, (), called=given.context.command_path.split())
    where = f"{socket.gethostname()} ({os.cpu_count()} cores, process {os.getpid()}, UTC{time.strftime('%z')})"
    return f"hnmine {__version__} on {where}: {shlex.join(command)}"


def _shard(given: Given, terminal: Terminal) -> tuple[int, int]:
    """The shard of this call: as asked, else that of the job array's task, which is said; the whole otherwise."""
    if "shard" not in given.values:
        return 0, 1
    from hnmine.cli.job_arrays import parse_shard, shard_of_task

    if given.shard is not None:
        return parse_shard(given.shard)
    found = shard_of_task(os.environ)
    if found is None:
        return 0, 1
    shard, source = found
    terminal.say(f"--shard {shard[0]}/{shard[1]} from {source}")
    return shard


def stoppable(given: Given) -> tuple[Execution, Terminal]:
    """As `execution`; from now to the end of the command, SIGTERM and SIGUSR1 stop it between two blocks."""
    how, terminal = execution(given)
    given.context.with_resource(how.stop.listening())
    return how, terminal


def cache(given: Given) -> Path:
    """The cache directory of a call; a throw-away one for --dry-run, which writes nothing."""
    if given.dry_run:
        import atexit
        import tempfile

        folder = tempfile.TemporaryDirectory(prefix="hnmine-")
        atexit.register(folder.cleanup)
        return Path(folder.name)
    return lasting_cache(given)


def lasting_cache(given: Given) -> Path:
    """The cache directory of a call, for --dry-run too: to look at what is there."""
    from hnmine.files.cache import default_cache

    return Path(given.cache_dir) if given.cache_dir else default_cache()


def carry_out(
    name: str,
    stage: Stage | Ingest,
    path: Path,
    given: Given,
    how: Execution,
    terminal: Terminal,
    push: Push | None = None,
) -> None:
    """Preview or run one stage, show it, check the conditions, and push what holds."""
    if given.dry_run:
        _preview_stage(name, stage, path, given, how, terminal, push)
        return
    if stage.kind == Kind.DECISIONS:
        check_decided(tuple(given.fail_if))
    outcome = stage.run(path, how)
    show.outcome(name, outcome, terminal)
    summary = outcome.summary()
    try:
        if outcome.artefact is not None:
            fail_if(check_conditions(tuple(given.fail_if)), outcome.counts)
            if push is not None:
                summary["push"] = pushed(push, outcome.artefact, how, terminal)
    finally:
        if given.json:
            print_json(summary)


def push_of(given: Given, terminal: Terminal, *, whole: bool) -> Push | None:
    """What --push asks for, checked before any work as far as can be; None without it. `whole`: not as a shard."""
    from hnmine.stages.push import open_push

    push = open_push(given.record(opt.PushOptions), say=terminal.say, quiet=given.quiet)
    if push is None:
        return None
    if not whole:
        raise UsageError(
            "--push: a shard, or a single step of a run, is not a whole export",
            remedy="push when all are done: the same command with --push, without --shard or --only",
        )
    if not given.dry_run:
        push.repository.check()
    return push


def pushed(push: Push, export: Artefact, how: Execution, terminal: Terminal) -> dict[str, Any]:
    """Push a finished export, and show that."""
    terminal.say(f"push: to {push.repository.url}")
    done = push.run(export, how)
    show.push(done, terminal)
    return done.to_json()


def _preview_stage(
    name: str,
    stage: Stage | Ingest,
    path: Path,
    given: Given,
    how: Execution,
    terminal: Terminal,
    push: Push | None = None,
) -> None:
    """Show what one stage would do, what is left of it will take, and what would be pushed."""
    import tempfile

    from hnmine.stages import forecast
    from hnmine.stages.ingest import Ingest

    preview = stage.preview(path) if isinstance(stage, Ingest) else stage.preview(path, how.append)
    show.preview(name, preview, path, terminal)
    estimate = None
    has_estimate = "price_per_hour" in given.values
    if preview.left and has_estimate:
        with tempfile.TemporaryDirectory(prefix="hnmine-") as folder:
            estimate = forecast.of_stage(stage, Path(folder))
        estimate = estimate.times(preview.left) if estimate is not None else None
    if has_estimate:
        show.estimate(estimate, given.price_per_hour, terminal, is_done=not preview.left)
    told: dict[str, Any] = {}
    if estimate is not None:
        told["estimate"] = estimate.to_json(given.price_per_hour)
    if push is not None:
        told["push"] = preview_push(push, preview, given, terminal)
    if given.json:
        print_json({**preview.summary(), **told})


def preview_push(push: Push, export: Preview | None, given: Given, terminal: Terminal) -> dict[str, Any]:
    """Show what would be pushed: the files, and on standard output the card, unless that is for JSON."""
    from hnmine.files.artefact import Artefact, full_plan, read_plan

    if export is None or export.left or read_plan(export.path) != full_plan(export.kind, export.plan):
        terminal.say(f"push: to {push.repository.url}, when the export is finished")
        return {"repository": push.repository.name}
    found = push.preview(Artefact.open(export.path, export.kind))
    show.push_preview(found, push.repository.url, terminal)
    if not given.json:
        print(found.card, end="")
    return found.to_json()
