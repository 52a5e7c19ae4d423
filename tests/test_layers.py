"""Imports point down only (docs/design.md, "Layers"). Lazy imports inside functions count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "hnmine"
LEAVES = ("errors", "schema", "spelling", "options", "hashing", "presets", "prompts")
ORDER = ("leaves", "files", "core", "engines", "execute", "stages", "api", "cli")
"""From the bottom to the top; a module imports its own layer and those before it, less what FORBIDDEN says."""

FORBIDDEN = {
    "core": {"files"},
    "execute": {"files", "core", "engines"},
}
"""Core is pure: arrays in, arrays out. Where blocks run knows nothing about mining."""

CORE_MAY_IMPORT = {"numpy", "__future__", "abc", "collections", "dataclasses", "enum", "functools", "itertools"}
CORE_MAY_IMPORT |= {"array", "ast", "json", "math", "operator", "re", "typing", "unicodedata"}


def layer(module: str) -> str | None:
    """The layer of a module such as `hnmine.files.atomic`; None for the package itself, which only names things."""
    parts = module.split(".")[1:]
    if not parts or parts[0] == "__main__":
        return None
    if parts[0] in LEAVES:
        return "leaves"
    return "api" if parts[0] in ("dropin", "refresh", "training") else parts[0]


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, anywhere, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            yield node.lineno, node.module
            if node.module == "hnmine":
                yield from ((node.lineno, f"hnmine.{name.name}") for name in node.names if name.name != "__version__")


def upward(module: str, target: str) -> bool:
    """Whether an import from `module` of `target` breaks the order."""
    here, there = layer(module), layer(target)
    if here is None or there is None:
        return False
    return ORDER.index(there) > ORDER.index(here) or there in FORBIDDEN.get(here, ())


def test_every_module_has_a_layer() -> None:
    unknown = [name for name, _ in modules() if layer(name) not in (None, *ORDER)]
    assert unknown == []
    assert sum(1 for _ in modules()) > 50


def test_imports_point_down_only() -> None:
    broken = [
        f"{path.relative_to(PACKAGE.parent)}:{line}: {name} imports {target}"
        for name, path in modules()
        for line, target in imported(path)
        if target.split(".")[0] == "hnmine" and upward(name, target)
    ]
    assert broken == []


def test_the_core_is_pure() -> None:
    broken = [
        f"{path.relative_to(PACKAGE.parent)}:{line}: {target}"
        for name, path in modules()
        if layer(name) == "core"
        for line, target in imported(path)
        if target.split(".")[0] not in {*CORE_MAY_IMPORT, "hnmine"}
    ]
    assert broken == []


def test_only_the_command_line_prints_or_exits() -> None:
    broken = []
    for name, path in modules():
        if (
            layer(name) in ("cli", None) or name == "hnmine.dropin"
        ):  # its verbose=True is sentence-transformers' contract
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("print", "exit", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write"):
                broken.append(f"{path.relative_to(PACKAGE.parent)}:{node.lineno}: {called}")
    assert broken == []


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("hnmine.files.atomic", "hnmine.stages.mine"),
        ("hnmine.core.decide", "hnmine.files.tables"),
        ("hnmine.core.decide", "hnmine.engines.bm25"),
        ("hnmine.execute.local", "hnmine.core.pool"),
        ("hnmine.engines.dense", "hnmine.stages.mine"),
        ("hnmine.stages.mine", "hnmine.cli.app"),
        ("hnmine.errors", "hnmine.files.atomic"),
    ],
)
def test_the_test_sees_a_broken_order(module: str, target: str) -> None:
    assert upward(module, target)
    assert not upward(module, "hnmine.errors")
