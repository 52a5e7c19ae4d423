from __future__ import annotations

import ast
from pathlib import Path

import pytest

from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.files.readers import open_source
from hnmine.files.readers.stdlib import StdlibSource, functions
from hnmine.options import InputOptions

MODULE = '''"""Module."""
import functools

if True:
    def twice(a):
        """Gives the first
        of two.  Ünïcode words.

        Not this paragraph.
        """
        return a
else:
    def twice(a):
        return 2 * a

class A:
    @functools.cache
    @staticmethod
    def method(x):  # kept
        "Too short"
        def inner():
            """Not a document at all."""
        return """
  raw
"""
    class B:
        async def wait(self): "Waits for the end."; return 1

    def stub(self):
        """Says what subclasses must do."""

def same(a):
    """Waits  for
    the end."""
    ä = "ö"; return ä  # cut
'''


def one(tmp_path: Path, text: str = MODULE) -> StdlibSource:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/__init__.py").write_text(text)
    return StdlibSource(tmp_path)


def test_functions_of_a_module(tmp_path: Path) -> None:
    source = one(tmp_path)
    documents = {d.doc_id: d.text for d in source.documents(ProblemLog())}
    assert documents == {
        "pkg:twice": "def twice(a):\n    return a",
        "pkg:twice#2": "def twice(a):\n    return 2 * a",
        "pkg:A.method": "@functools.cache\n@staticmethod\ndef method(x):  # kept\n    def inner():\n"
        '        """Not a document at all."""\n    return """\n  raw\n"""',
        "pkg:A.B.wait": "async def wait(self): return 1",
        "pkg:A.stub": "def stub(self):",
        "pkg:same": 'def same(a):\n    ä = "ö"; return ä',
    }
    assert list(documents)[:2] == ["pkg:twice", "pkg:twice#2"]
    assert [(q.query_id, q.text, q.metadata) for q in source.queries(ProblemLog())] == [
        ("q:pkg:twice", "Gives the first of two. Ünïcode words.", {"path": "pkg/__init__.py", "line": 5}),
        ("q:pkg:A.B.wait", "Waits for the end.", {"path": "pkg/__init__.py", "line": 27}),
        ("q:pkg:A.stub", "Says what subclasses must do.", {"path": "pkg/__init__.py", "line": 29}),
    ]
    assert [(j.query_id, j.doc_id, j.grade) for j in source.qrels(ProblemLog())] == [
        ("q:pkg:twice", "pkg:twice", 1),
        ("q:pkg:A.B.wait", "pkg:A.B.wait", 1),
        ("q:pkg:A.stub", "pkg:A.stub", 1),
        ("q:pkg:A.B.wait", "pkg:same", 1),
    ]


def test_a_docstring_that_is_no_text_makes_no_query(tmp_path: Path) -> None:
    source = one(tmp_path, 'def f():\n    "three whole words \\ud800"\n    pass\n')
    assert [d.text for d in source.documents(ProblemLog())] == ["def f():\n    pass"]
    assert list(source.queries(ProblemLog())) == []
    assert source.describe()["kind"] == "stdlib"


def test_what_is_left_out_and_the_order(tmp_path: Path) -> None:
    source = "def f(): return 1\n"
    kept = ("b.py", "a/z.py", "a/__init__.py", "testing.py")
    for name in (*kept, "test/t.py", "a/tests/t.py", "site-packages/x.py", "idlelib/idle_test/x.py", "n.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\ndef g(): return '\xe4'\n")
    (tmp_path / "bad.py").write_bytes(b"def g(): return '\xe4'\n")
    found = [(d.doc_id, d.text) for d in StdlibSource(tmp_path).documents(ProblemLog())]
    assert [doc_id for doc_id, _ in found] == ["a:f", "a.z:f", "b:f", "latin:g", "testing:f"]
    assert dict(found)["latin:g"] == "def g(): return 'ä'"


def test_the_fingerprint_follows_the_sources(tmp_path: Path) -> None:
    source = one(tmp_path)
    before = source.fingerprint()
    assert before == source.fingerprint()
    (tmp_path / "pkg/__init__.py").write_text(MODULE + "\n")
    after = source.fingerprint()
    assert before["python"] == after["python"]
    assert before["sources"] != after["sources"]


@pytest.fixture(scope="module")
def stdlib() -> StdlibSource:
    source = open_source("stdlib", InputOptions())
    assert isinstance(source, StdlibSource)
    return source


def test_the_running_python(stdlib: StdlibSource) -> None:
    documents = {d.doc_id: d for d in stdlib.documents(ProblemLog())}
    queries = {q.query_id: q.text for q in stdlib.queries(ProblemLog())}
    judgments = list(stdlib.qrels(ProblemLog()))
    assert 10_000 < len(documents) < 30_000
    assert 4_000 < len(queries) < 12_000
    assert len(queries) == len(set(queries.values()))
    assert {j.query_id for j in judgments} == set(queries)
    assert {j.doc_id for j in judgments} <= set(documents)
    assert len({(j.query_id, j.doc_id) for j in judgments}) == len(judgments) > len(queries)
    decode = documents["json.decoder:JSONDecoder.decode"]
    assert decode.text.startswith("def decode(self, s, _w=WHITESPACE.match):\n    obj, end = self.raw_decode(")
    assert queries["q:json.decoder:JSONDecoder.decode"].startswith("Return the Python representation of")
    assert decode.metadata["path"] == "json/decoder.py"
    assert not any(":test_" in doc_id and doc_id.startswith("test.") for doc_id in documents)


def test_cutting_the_docstring_leaves_the_same_program(stdlib: StdlibSource) -> None:
    compared = 0
    for name in ("argparse.py", "textwrap.py", "typing.py", "asyncio/base_events.py"):
        path = stdlib._directory / name
        nodes = {}
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                nodes[node.lineno] = node
        for function in functions(path, name):
            node = nodes[function.line]
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
            if node.body:
                assert ast.dump(ast.parse(function.text).body[0]) == ast.dump(node), function.doc_id
                compared += 1
    assert compared > 300


def test_options_that_do_not_apply(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--split does not apply"):
        open_source("stdlib", InputOptions(split="train"))
    with pytest.raises(InputError, match="not in a directory"):
        StdlibSource(tmp_path / "python311.zip")
