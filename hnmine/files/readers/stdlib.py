"""The running Python's own standard library as a code-search collection, with no download and no shipped data.

A document is a function's source without its docstring, a query is the docstring's first paragraph.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers.fields import BadRecord, checked_text
from hnmine.files.readers.records import Document, Judgment, Query
from hnmine.files.readers.source import Source
from hnmine.hashing import digest_file, digest_json

MIN_QUERY_WORDS = 3

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "_bundled"}
_LOCAL = {"sitecustomize.py", "usercustomize.py"}  # an installation's own, not the library's
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function: its source without the docstring, and the query its docstring makes ("" for none)."""

    doc_id: str
    text: str
    query: str
    path: str
    line: int


class StdlibSource(Source):
    """Every function and method of the pure-Python standard library; files by path, functions in source order."""

    kind = "stdlib"

    def __init__(self, directory: Path | None = None) -> None:
        """`directory` stands in for the standard library's; raises `InputError` when there is none to read."""
        self._directory = directory or Path(sysconfig.get_path("stdlib"))
        self._functions: list[Function] | None = None
        if not self._directory.is_dir():
            raise InputError(
                f"the standard library of this Python is not in a directory ({self._directory})",
                expected="source files to read",
                remedy="use another DATA, or a Python that is installed as files",
            )

    @property
    def has_queries(self) -> bool:
        """Always."""
        return True

    def describe(self) -> dict[str, object]:
        """Kind and version of Python."""
        return {"kind": self.kind, "python": _version(), "files": []}

    def fingerprint(self) -> dict[str, str]:
        """The version of Python, and SHA-256 over the paths and bytes of the files read."""
        files = {relative: digest_file(path) for relative, path in self._files()}
        return {"python": _version(), "sources": digest_json(files)}

    def documents(self, problems: ProblemLog) -> Iterator[Document]:
        """Each function; never adds a problem: a file that does not parse is left out."""
        for function in self._read():
            yield Document(
                doc_id=function.doc_id,
                title="",
                text=function.text,
                metadata={"path": function.path, "line": function.line},
                file=function.path,
                line=function.line,
            )

    def queries(self, problems: ProblemLog) -> Iterator[Query]:
        """Each docstring's first paragraph, once, under the first function that has it."""
        seen: set[str] = set()
        for function in self._read():
            if function.query and function.query not in seen:
                seen.add(function.query)
                yield Query(
                    query_id=f"q:{function.doc_id}",
                    text=function.query,
                    metadata={"path": function.path, "line": function.line},
                    file=function.path,
                    line=function.line,
                )

    def qrels(self, problems: ProblemLog) -> Iterator[Judgment]:
        """Each function with a docstring is a positive of its query, grade 1."""
        owner: dict[str, str] = {}
        for function in self._read():
            if function.query:
                query_id = owner.setdefault(function.query, f"q:{function.doc_id}")
                yield Judgment(
                    query_id=query_id, doc_id=function.doc_id, grade=1, file=function.path, line=function.line
                )

    def _files(self) -> Iterator[tuple[str, Path]]:
        found = []
        for folder, folders, names in os.walk(self._directory):
            folders[:] = [name for name in folders if name not in _LEFT_OUT]
            for name in names:
                if name.endswith(".py") and name not in _LOCAL and not name.startswith("_sysconfigdata"):
                    path = Path(folder, name)
                    found.append((path.relative_to(self._directory).as_posix(), path))
        return iter(sorted(found))

    def _read(self) -> list[Function]:
        if self._functions is None:
            self._functions = _all_functions(tuple(self._files()), self.fingerprint()["sources"])
        return self._functions


@lru_cache(maxsize=1)
def _all_functions(files: tuple[tuple[str, Path], ...], sources: str) -> list[Function]:
    """The functions of all files, whose contents `sources` is a digest of; at most the last are kept.

    Parsing takes seconds and the result some 20 MB, so all passes of a process share one reading.
    """
    return [function for relative, path in files for function in functions(path, relative)]


def functions(path: Path, relative: str) -> Iterator[Function]:
    """The functions and methods of one source file in order; none when it does not parse.

    Functions inside functions belong to their outer function. A name that occurs again gets `#2`, `#3`, ...
    """
    try:
        with tokenize.open(path) as stream:
            source = stream.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, OSError):
        return
    lines = [line.encode() for line in source.split("\n")]
    module = relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    counts: dict[str, int] = {}
    for qualname, node in _definitions(tree, ""):
        counts[qualname] = counts.get(qualname, 0) + 1
        again = f"#{counts[qualname]}" if counts[qualname] > 1 else ""
        yield Function(
            doc_id=f"{module}:{qualname}{again}",
            text=source_without_docstring(node, lines),
            query=docstring_query(node),
            path=relative,
            line=node.lineno,
        )


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, _Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Function):
            yield prefix + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield from _definitions(child, f"{prefix}{child.name}.")
        elif isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            yield from _definitions(child, prefix)


def _docstring(node: _Function) -> ast.Constant | None:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value
    return None


def source_without_docstring(node: _Function, lines: list[bytes]) -> str:
    """The function's source, decorators kept, docstring cut out, dedented; `lines` are the file's, UTF-8."""
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    end = node.end_lineno or node.lineno
    own = lines[start - 1 : end]
    own[-1] = own[-1][: node.end_col_offset]
    doc = _docstring(node)
    if doc is not None and doc.end_lineno is not None:
        first, last = doc.lineno - start, doc.end_lineno - start
        before = own[first][: doc.col_offset]
        after = own[last][doc.end_col_offset :].lstrip(b"; \t")
        rest = before + after
        own[first : last + 1] = [rest.rstrip()] if rest.strip() else []
    indent = own[0][: len(own[0]) - len(own[0].lstrip())]
    return b"\n".join(line.removeprefix(indent) for line in own).decode().rstrip()


def docstring_query(node: _Function) -> str:
    """The docstring's first paragraph on one line; "" when there is none or it has fewer than three words."""
    doc = _docstring(node)
    paragraph = re.split(r"\n\s*\n", inspect.cleandoc(str(doc.value)).strip())[0] if doc is not None else ""
    words = paragraph.split()
    if len(words) < MIN_QUERY_WORDS:
        return ""
    try:
        return checked_text(" ".join(words), owner=node.name)
    except BadRecord:
        return ""


def _version() -> str:
    return ".".join(map(str, sys.version_info[:3]))
