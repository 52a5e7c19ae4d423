"""For the API pages: a field made by `hnmine.options.option(default, help)` reads as its default and its help.

A griffe extension for `mkdocs.yml`. All of the reference is read from the source: building the site imports neither
hnmine nor torch. An options record gets a table of its fields, those of its bases too; an enumeration names its values.
What counts as public is what `hnmine/__init__.py` says.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from griffe import Attribute, Class, Docstring, Extension, Module

FIELDS = "Args"


class OptionFields(Extension):
    """See the module."""

    def on_attribute_instance(self, *, node: ast.AST | Any, attr: Attribute, **_: Any) -> None:
        """The default for a value, the help for a docstring."""
        call = getattr(node, "value", None)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "option":
            attr.docstring = Docstring(ast.literal_eval(call.args[1]), parent=attr)
            attr.value = attr.value.arguments[0]  # type: ignore[union-attr]

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """What classes say of themselves, once all bases are known; and what is public."""
        for module, names in ast.literal_eval(str(pkg["_HOMES"].value)).items():
            pkg[module.removeprefix("hnmine.")].exports = [*names]
            pkg[
                module.removeprefix("hnmine.")
            ].docstring = None  # for readers of the module; the page has words of its own
        pkg["training"].docstring = None
        for kind in classes(pkg):
            fields = {name: field for base in (*reversed(kind.mro()), kind) for name, field in fields_of(base)}
            values = [f"`{ast.literal_eval(str(a.value))}`" for a in kind.attributes.values() if is_enumeration(kind)]
            text = kind.docstring.value if kind.docstring else ""
            if fields:
                lines = [f"    {name}: {field.docstring.value}" for name, field in fields.items() if field.docstring]
                text = "\n".join([text, "", f"{FIELDS}:", *lines])
            elif values:
                text = f"{text} Values: {', '.join(values)}."
            kind.docstring = Docstring(text, parent=kind, parser="google")


def classes(module: Module) -> Iterator[Class]:
    """The options records and enumerations of the package."""
    for family in module["options"].modules.values():
        yield from (member for member in family.members.values() if not member.is_alias and member.is_class)
    yield module["stages.chain.RunOptions"]


def fields_of(kind: Class) -> Iterator[tuple[str, Attribute]]:
    """The fields that have a help text."""
    yield from ((name, field) for name, field in kind.attributes.items() if field.docstring)


def is_enumeration(kind: Class) -> bool:
    """Whether its attributes are values."""
    return any(str(base) == "StrEnum" for base in kind.bases)
