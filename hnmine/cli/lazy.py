"""Commands of which a name and a sentence are known until one is called: only then its module is imported.

So `hnmine --help`, the completion of a command's name and a mistyped one build no command, and a command builds itself
alone. It is the lazy loading that click's documentation describes, with typer's own means.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

from hnmine.cli.help import GroupedCommand, OrderedGroup

_FLAGS = ("help", "install_completion", "show_completion")
"""Flags of a group whose default is typer's None; newer versions load pydantic to ask what a bool is to make of it."""
_LOOK: dict[str, Any] = {"pretty_exceptions_enable": False, "rich_markup_mode": None}


class LazyCommand(TyperCommand):
    """A command by name and first sentence; whoever calls it, or asks for its help, gets the one that it stands for."""

    @cached_property
    def loaded(self) -> Any:
        """The command itself."""
        assert self.callback is not None
        return self.callback()

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """That of the command itself."""
        return self.loaded.make_context(info_name, args, parent, **extra)


class Commands(typer.Typer):
    """A group of lazy commands; `settings` are its context's, which those below inherit."""

    def __init__(self, name: str, **settings: Any) -> None:
        settings["default_map"] = dict.fromkeys(_FLAGS, False)
        super().__init__(name=name, cls=OrderedGroup, no_args_is_help=True, context_settings=settings, **_LOOK)

    def add(self, name: str, home: str, sentence: str) -> None:
        """Add a command that is the function `home`, `module:function` below `hnmine.cli.commands`."""
        self.command(name, cls=LazyCommand, help=sentence)(_loader(name, home))


def _loader(name: str, home: str) -> Callable[[], Any]:
    def load() -> Any:
        module, _, function = home.partition(":")
        alone = typer.Typer(add_completion=False, **_LOOK)
        alone.command(name, cls=GroupedCommand)(getattr(import_module(f"hnmine.cli.commands.{module}"), function))
        return typer.main.get_command(alone)

    return load
