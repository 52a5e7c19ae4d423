"""Small changes after which a text says something else: other word order, the opposite, other numbers.

Word order: Yuksekgonul et al. 2023 (arXiv 2210.01936, ARO and NegCLIP), without a tagger, so that any language that
writes spaces will do. A change is made in every sentence, since nobody knows which of them answers the query. Whoever
calls must refuse a result that is no change (`hashing.text_key`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import count

from hnmine.core.negation import NEGATIONS
from hnmine.core.sentences import sentences

Draw = Callable[[str], int]
"""A keyed 64-bit number for a name: equal names give equal numbers."""
Change = Callable[[str, Draw, str], str]

_SHORT = 3
"""Words of at most so many letters are mostly grammar, and are not swapped while there are two others."""
_WORD = re.compile(r"[^\W_]+(?:['’.,-][^\W_]+)*")
_LETTER = (
    "A-Za-z\u00c0-\u024f\u0370-\u052f"  # Latin, Greek, Cyrillic: where no spaces are written, numbers follow letters
)
_NUMBER = re.compile(rf"(?<![{_LETTER}])(?<![{_LETTER}]-)(?<![\d.,])\d+(?:[.,]\d+)*")
_YEARS = range(1000, 2100)
_YEARS_APART = 25


def swap(text: str, draw: Draw, language: str) -> str:
    """In each sentence two words change places; not the first one, whose capital would tell, if there are others."""
    return _each(text, lambda sentence, number: _rearranged(sentence, _swapped(sentence, draw, number)))


def shuffle(text: str, draw: Draw, language: str) -> str:
    """In each sentence every three words that follow each other are put in another order."""
    return _each(text, lambda sentence, number: _rearranged(sentence, _shuffled(_words(sentence), draw, number)))


def negate(text: str, draw: Draw, language: str) -> str:
    """Each sentence says the opposite, as far as its language's list of auxiliaries goes (`core.negation`)."""
    found = NEGATIONS.get(language)
    return text if found is None else _each(text, lambda sentence, number: found.opposite(sentence))


def renumber(text: str, draw: Draw, language: str) -> str:
    """Each number becomes another one of as many digits, a year one that is near; equal numbers stay equal.

    Numbers behind a letter (`H2O`, `covid-19`) are names, and stay.
    """
    return _NUMBER.sub(lambda found: _other_number(found[0], draw), text)


CHANGES: dict[str, Change] = {"swap": swap, "shuffle": shuffle, "negation": negate, "number": renumber}


def _each(text: str, change: Callable[[str, int], str]) -> str:
    pieces, done = [], 0
    for number, (start, end) in enumerate(sentences(text)):
        pieces += [text[done:start], change(text[start:end], number)]
        done = end
    return "".join([*pieces, text[done:]])


def _words(sentence: str) -> list[re.Match[str]]:
    """The words, without the marks around them; none in scripts without spaces, where order is not that of words."""
    return list(_WORD.finditer(sentence)) if len(sentence.split()) > 1 else []


def _rearranged(sentence: str, order: Sequence[int]) -> str:
    """The sentence with word `order[i]` in place i."""
    words = _words(sentence)
    pieces, done = [], 0
    for place, word in enumerate(words):
        pieces += [sentence[done : word.start()], words[order[place]][0]]
        done = word.end()
    return "".join([*pieces, sentence[done:]])


def _swapped(sentence: str, draw: Draw, number: int) -> list[int]:
    words = [word[0] for word in _words(sentence)]
    order = list(range(len(words)))
    wide = [place for place in order if len(words[place]) > _SHORT]
    for among in ([place for place in wide if place], wide, order):
        first = among[draw(f"{number} first") % len(among)] if among else 0
        others = [place for place in among if words[place].casefold() != words[first].casefold()]
        if others:
            second = others[draw(f"{number} second") % len(others)]
            order[first], order[second] = second, first
            break
    return order


def _shuffled(words: Sequence[re.Match[str]], draw: Draw, number: int) -> list[int]:
    order: list[int] = []
    for low in range(0, len(words), 3):
        three = list(range(low, min(low + 3, len(words))))
        other = sorted(three, key=lambda place: draw(f"{number} {place}"))
        order += other if other != three else [*three[1:], three[0]]
    return order


def _other_number(shown: str, draw: Draw) -> str:
    digits = [unicodedata.decimal(char) for char in shown if char.isdecimal()]
    if len(digits) == len(shown) == 4 and (year := int("".join(map(str, digits)))) in _YEARS:
        apart = 1 + draw(shown) % _YEARS_APART
        is_later = draw(f"{shown} later") % 2 or year - apart < _YEARS.start  # three digits are another kind of number
        digits = [int(digit) for digit in str(year + (apart if is_later else -apart))]
    else:
        is_led_by_zero = digits[0] == 0
        for attempt in count():
            drawn = [draw(f"{shown} {place} {attempt}") % 10 for place in range(len(digits))]
            if drawn != digits and (drawn[0] == 0) == (is_led_by_zero and len(digits) > 1):
                digits = drawn
                break
    new = iter(digits)
    return "".join(
        chr(ord(char) - unicodedata.decimal(char) + next(new)) if char.isdecimal() else char for char in shown
    )
