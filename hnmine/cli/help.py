"""How `--help` looks: options in named groups, commands in the order of the work, no variable beside each option."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from hnmine.cli.guard import tell
from hnmine.cli.usage import PARSER_ERROR, explain, is_help

ORDER = (
    *("run", "plan", "ingest", "import", "generate", "index", "search", "mine", "score", "filter", "export", "merge"),
    *("inspect", "sweep", "audit", "report", "downsample"),
    *("presets", "doctor"),
)
"""The commands as the work goes; others follow in the order of the code."""

VARIABLES = "An environment variable sets each option too: {}_ and its name, in capitals."
GROUP_OF_OWN = "Options"


class GroupedCommand(TyperCommand):
    """A command whose help lists its options under the headings of their groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then each group of options, in order of first appearance; --help last."""
        arguments: list[tuple[str, str]] = []
        groups: dict[str, list[tuple[str, str]]] = {}
        last: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            if hasattr(parameter, "show_envvar"):
                parameter.show_envvar = False  # told once, below
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                arguments.append(record)
            elif parameter.name == "help":
                last.append(record)
            else:
                group = getattr(parameter, "rich_help_panel", None) or GROUP_OF_OWN
                groups.setdefault(group, []).append(record)
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        own = list(groups)[-1] if groups else GROUP_OF_OWN
        groups.setdefault(own, []).extend(last)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Where the environment variables are told, once."""
        super().format_epilog(ctx, formatter)
        if ctx.auto_envvar_prefix:
            formatter.write_paragraph()
            formatter.write_text(VARIABLES.format(ctx.auto_envvar_prefix))


class OrderedGroup(TyperGroup):
    """A group whose help lists the commands in the order of the work, and whose wrong turns are answered."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; one that cannot be read is answered in hnmine's own words, exit 2."""
        arguments = list(sys.argv[1:] if args is None else args)
        if arguments[:1] == ["help"]:  # as of git, cargo, docker
            arguments = [*arguments[1:], "--help"]
        if not standalone_mode:
            return super().main(arguments, prog_name, complete_var, False, windows_expand_args, **extra)
        try:
            code = super().main(arguments, prog_name, complete_var, False, windows_expand_args, **extra)
        except PARSER_ERROR as error:
            if is_help(error):
                error.show()  # type: ignore[attr-defined]
            else:
                tell(explain(error, self, arguments))
            sys.exit(error.exit_code)  # type: ignore[attr-defined]
        sys.exit(code if isinstance(code, int) else 0)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Options without their variables, then the commands."""
        for parameter in self.get_params(ctx):
            if hasattr(parameter, "show_envvar"):
                parameter.show_envvar = False
        super().format_options(ctx, formatter)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands, those of `ORDER` first."""
        names = list(super().list_commands(ctx))
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


class Commands(typer.Typer):
    """A Typer whose commands and options are listed as above."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            cls=OrderedGroup,
            no_args_is_help=True,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
            **settings,
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Register a command."""
        return super().command(name, cls=GroupedCommand, **settings)
