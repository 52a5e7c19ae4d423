"""How `--help` looks: options in named groups, commands in the order of the work, no variable beside each option."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from hnmine.cli.commands import COMMANDS

ORDER = tuple(dict.fromkeys(words.split()[0] for words in COMMANDS))
"""The commands as the work goes."""

PARSER_ERROR: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""What typer raises for a command line that it cannot read; newer versions bring their own click."""

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
            if type(error).__name__ == "NoArgsIsHelpError":  # a bare command shows its help
                error.show()  # type: ignore[attr-defined]
            else:
                from hnmine.cli.guard import tell
                from hnmine.cli.usage import explain

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
        """The names of the commands as the work goes; typer has groups last."""
        names = list(super().list_commands(ctx))
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
