"""Text in the columns of a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hnmine.stages.text_layout import cut, excerpt, pad, plain, table, width, wrap


def test_wide_signs_take_two_columns_and_marks_none() -> None:
    assert [width(text) for text in ("abc", "漢字", "é", "e\u0301", "한글", "🐎", "ＡＢ")] == [3, 4, 1, 1, 4, 2, 4]
    assert pad("漢字", 6) == "漢字  "
    assert pad("7", 3, right=True) == "  7"


def test_what_is_cut_shows() -> None:
    assert cut("granite", 7) == "granite"
    assert cut("granite rock", 8) == "granite…"
    assert cut("漢字漢字", 8) == "漢字漢字"
    assert cut("漢字漢字", 6) == "漢字…"


def test_texts_wrap_at_spaces_and_chinese_anywhere() -> None:
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("  key   one two", 12, hanging=8) == ["  key   one", "        two"]
    assert wrap("漢字漢字漢字", 5) == ["漢字", "漢字", "漢字"]
    assert wrap("abcdefgh ij", 3) == ["abc", "def", "gh", "ij"]
    assert wrap("", 5) == [""]


@given(st.text(alphabet="ab 漢字e\u0301é", max_size=60), st.integers(2, 12))
def test_no_line_is_too_wide_and_no_sign_is_lost(text: str, columns: int) -> None:
    lines = wrap(text.strip(), columns)
    assert all(width(line) <= columns for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_an_excerpt_keeps_the_lines_of_code_and_wraps_prose() -> None:
    assert excerpt("    def f():\n        return 1\n", 40, 5) == ["def f():", "    return 1"]
    assert excerpt("def f():\n    a\n    b\n    c", 40, 3) == ["def f():", "    a", "    b …"]
    assert excerpt("one two three four five", 9, 2) == ["one two", "three …"]
    assert excerpt("one two three four", 7, 1) == ["one tw…"]
    assert excerpt("word " * 10**6, 9, 1) == ["word wor…"]
    assert excerpt("", 9, 2) == [""]


def test_nothing_from_the_data_moves_the_cursor() -> None:
    assert plain("a\x1b[31mb\rc\x07") == "a�[31mb�c�"
    assert excerpt("a\x1b[2Jb", 20, 1) == ["a�[2Jb"]


def test_numbers_stand_under_each_other_and_the_last_column_is_cut() -> None:
    shown = table(["name", "n", "text"], [["bm25", "7", "one two"], ["漢", "1,000", "a long text"]], 23)
    assert list(shown) == ["name      n  text", "bm25      7  one two", "漢    1,000  a long te…"]
