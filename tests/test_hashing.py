"""Hashes are part of the format: these numbers must never change."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from hnmine.hashing import canonical_json, digest_json, keyed_hash, keyed_hashes, keyed_hashes_of_rows, text_key


def test_pinned_values() -> None:
    assert digest_json({"b": 1, "a": [1.5, "é"]}) == digest_json({"a": [1.5, "é"], "b": 1})
    assert canonical_json({"b": 1, "a": None}) == '{"a":null,"b":1}'
    assert keyed_hash(0, "q1", "d1") == 8985592729419576467
    assert keyed_hash(-3, "export", "q", "d") == 1448105277520789262
    assert len({keyed_hash(s, q, d) for s in (0, 1, -1) for q in ("a", "ab") for d in ("b", "")}) == 12


def test_parts_of_a_keyed_hash_do_not_run_together() -> None:
    assert keyed_hash(0, "ab", "c") != keyed_hash(0, "a", "bc")


@given(st.integers(-(2**80), 2**80), st.lists(st.text(), max_size=2), st.lists(st.text(), max_size=4))
def test_many_keyed_hashes_are_those_of_each(seed: int, parts: list[str], last: list[str]) -> None:
    assert keyed_hashes(seed, *parts, last=last) == [keyed_hash(seed, *parts, one) for one in last]
    rows = [last[:count] for count in range(len(last) + 1)]
    assert keyed_hashes_of_rows(seed, *parts, rows=rows) == [keyed_hash(seed, *parts, *row) for row in rows]


def test_keyed_hashes_are_uniform() -> None:
    draws = [keyed_hash(3, str(i)) / 2**64 for i in range(4_000)]
    assert abs(sum(draws) / len(draws) - 0.5) < 0.02
    assert abs(sum(d < 0.1 for d in draws) / len(draws) - 0.1) < 0.02


def test_equal_up_to_case_white_space_punctuation_and_compatibility() -> None:
    assert text_key("Hello, world!") == text_key(" hello\u00a0 world \n")
    assert text_key("ﬁne-tuned “text”") == text_key("FINE TUNED TEXT")
    assert text_key("Straße") == text_key("STRASSE")
    assert text_key("zero\u200bwidth\u00ad") == text_key("zerowidth")
    assert text_key("§ 5 – Absatz") == text_key("5 absatz")


def test_different_words_and_symbols_differ() -> None:
    assert len({text_key(t) for t in ("C", "C++", "c$", "nul", "null", "?", "!", "")}) == 8
    assert text_key("C#") == text_key("c"), "Unicode counts the number sign as punctuation"


@given(st.text())
def test_is_the_plain_definition(text: str) -> None:
    def keep(char: str) -> bool:
        category = unicodedata.category(char)
        return not (category[0] in "PZ" or category in ("Cc", "Cf") or char.isspace())

    folded = unicodedata.normalize("NFKC", text).casefold()
    bare = "".join(filter(keep, folded))
    if unicodedata.normalize("NFKC", bare) == bare:  # what is removed may have kept a letter and its accent apart
        assert text_key(text) == text_key(bare if bare else folded.strip())
    if bare:
        assert (text_key(text) == text_key(bare + "x")) is False


def test_text_key_is_pinned() -> None:
    assert text_key("hard negatives") == 10424008466815876129


def test_any_whole_number_is_a_seed() -> None:
    seeds = [0, -1, 2**63, -(2**63) - 1, 2**200, 2**5000]
    assert len({keyed_hash(seed, "q") for seed in seeds}) == len(seeds)
    assert keyed_hash(7, "q1", "d1") == 2371226458885578051
