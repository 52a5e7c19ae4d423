"""Everything around the work: `merge`, `presets`, `doctor`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from hnmine.cli import completion, summary
from hnmine.cli.arguments import COMMON
from hnmine.cli.carry_out import cache, execution
from hnmine.cli.conditions import check_conditions, fail_if
from hnmine.cli.flags import Given, with_flags
from hnmine.cli.terminal import columns, is_terminal, print_json
from hnmine.errors import ArtefactError, MissingDependencyError


@with_flags(COMMON)
def merge(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="ARTEFACT",
            help="An artefact whose blocks were done as shards.",
            autocompletion=completion.any_artefact,
        ),
    ],
    given: Given,
) -> None:
    """Close an artefact that several shards worked on.

    \b
      hnmine merge scifact/candidates
    """
    from hnmine import api

    _, terminal = execution(given)
    artefact = api.merge(path)
    terminal.log("merged", f"{summary.headline(str(artefact.kind), artefact.counts)} ({path})")
    for line in (
        *summary.advice(str(artefact.kind), artefact.counts),
        *summary.lines(str(artefact.kind), artefact.counts),
    ):
        terminal.say(f"  {line}")
    if given.json:
        print_json({"kind": str(artefact.kind), "path": str(path), "counts": artefact.counts})
    fail_if(check_conditions(tuple(given.fail_if)), artefact.counts)


@with_flags(COMMON)
def prompts_(
    given: Given,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Print this prompt's file.")] = None,
) -> None:
    """List prompts for language models; with NAME print its file.

    The file is there to be copied and changed, for --prompt.

    \b
      hnmine prompts
      hnmine prompts relevance > mine.toml
    """
    from hnmine import prompts

    execution(given)
    if name is not None:
        print(prompts.text(name), end="")
        return
    found = {known: prompts.summary(known) for known in prompts.names()}
    if given.json:
        print_json(found)
        return
    width = max(len(known) for known in found)
    for known, line in found.items():
        print(f"{known:<{width}}  {line}")


@with_flags(COMMON)
def presets_(
    given: Given,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Print this preset's file.", autocompletion=completion.preset_names),
    ] = None,
) -> None:
    """List published recipes; with NAME print its file.

    The file is there to be read, or copied as a --config.

    \b
      hnmine presets
      hnmine presets simans
    """
    from hnmine import presets
    from hnmine.stages.text_layout import wrap

    execution(given)
    if name is not None:
        if given.json:
            print_json(presets.read(name))
        else:
            print(presets.text(name), end="")
        return
    found = {known: presets.summary(known) for known in presets.names()}
    if given.json:
        print_json(found)
        return
    label = max(len(known) for known in found) + 2
    width = columns() if is_terminal(sys.stdout) else sys.maxsize  # a line each for who reads a pipe
    for known, line in found.items():
        for part in wrap(f"{known:<{label}}{line}", width, hanging=label):
            print(part)


@with_flags(COMMON)
def doctor(
    given: Given,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[ARTEFACT]...",
            help="Hash every file of these, run directories too.",
            autocompletion=completion.any_artefact,
        ),
    ] = None,
) -> None:
    """What works on this machine, what does not, and what to install. With artefacts: whether their bytes are sound.

    Other commands hash a file that has not changed since only once; this one hashes all of them. Exit code 0: what is
    installed works; 5: something of it does not; 4: an artefact is damaged.

    \b
      hnmine doctor
      hnmine doctor scifact/collection runs/first
    """
    from hnmine.stages.doctor import examine, examine_files, render

    execution(given)
    findings = examine_files(paths) if paths else examine(cache(given))
    if given.json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    elif paths:
        for finding in findings:
            print(f"{'ok ' if finding.ok else '-- '} {finding.name}: {finding.text}")
    else:
        for line in render(findings, columns()):
            print(line)
    damaged = [finding.name for finding in findings if not finding.ok]
    if paths and damaged:
        raise ArtefactError(f"not sound: {', '.join(damaged)}", remedy="make them again with --overwrite")
    broken = [finding.name for finding in findings if finding.is_broken]
    if broken:
        raise MissingDependencyError(f"broken: {', '.join(broken)}", remedy="what is said beside it")
