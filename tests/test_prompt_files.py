"""Prompt files: what is filled in, what is cut, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hnmine import prompts
from hnmine.errors import UsageError
from hnmine.hashing import digest_file

GOOD = """
system = "Judge {query}."
user = "{candidates}"
[request]
max_completion_tokens = 9
"""


def written(tmp_path: Path, text: str) -> str:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    return str(tmp_path / "mine.toml")


def test_every_prompt_that_comes_along_says_what_it_is_for() -> None:
    assert "relevance" in prompts.names()
    for name in prompts.names():
        assert len(prompts.summary(name)) > 20


def test_texts_are_filled_in_once_and_braces_in_them_stay(tmp_path: Path) -> None:
    place = written(tmp_path, GOOD)
    found = prompts.read(place, "query", "candidates", optional=("positives",))
    assert found.digest == digest_file(Path(place))
    shown = found.passages(["{query}", "two"])
    assert found.messages(query="{candidates}", candidates=shown) == [
        {"role": "system", "content": "Judge {candidates}."},
        {"role": "user", "content": "[1] {query}\n\n[2] two"},
    ]
    assert prompts.most_output(found.request) == 9


@pytest.mark.parametrize(("text", "shown"), [("a" * 8, "a" * 8), ("a" * 9, "a" * 8 + " ..."), ("中" * 4, "中中 ...")])
def test_long_texts_are_cut_at_a_character(tmp_path: Path, text: str, shown: str) -> None:
    found = prompts.read(written(tmp_path, "passage_tokens = 2\n" + GOOD), "query", "candidates")
    assert found.cut(text) == shown


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("{candidates}", ""), r"\{candidates\} is nowhere in it"),
        (("{query}", "{question} {query}"), r"\{question\} means nothing here"),
        (("max_completion_tokens", "tokens"), r"\[request\] does not limit the answer"),
        (("max_completion_tokens = 9", "max_tokens = 0"), r"\[request\] does not limit the answer"),
        (("system", "sytem"), r"no text 'system'\n.*unknown key 'sytem'; did you mean 'system'"),
        (('"Judge {query}."', "3"), "no text 'system'"),
        (('user = "', 'passage = "{text}"\nuser = "'), "passage must have"),
        (('user = "', 'passage_tokens = "many"\nuser = "'), "passage_tokens is not a whole number"),
        (("[request]", "[request]\nstream = true"), r"\[request\] stream: hnmine says that itself"),
        (("[request]", "[request"), "TOML"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        prompts.read(written(tmp_path, GOOD.replace(*change)), "query", "candidates")
