"""The inverse cloze task: a sentence is a query, what is around it the document (Lee et al. 2019, arXiv 1906.00300)."""

from __future__ import annotations

from collections.abc import Callable

from hnmine.core.sentences import sentences

KEPT_IN_TEN = 1
"""Of ten sentences so many stay in the document too, so that a model learns to match words as well."""
_LEAST_WORDS, _LEAST_CHARACTERS = 5, 12
"""What a query has at least; scripts without spaces have one word a run, so that characters count."""


def cloze(text: str, number: int, draw: Callable[[str], int]) -> tuple[list[str], str]:
    """(at most `number` sentences as queries in the order of the text, what is left of the text).

    At least half of the sentences are left; a text of one sentence gives no query. `draw` gives a keyed number for a
    name.
    """
    spans = sentences(text)
    able = [place for place, (start, end) in enumerate(spans) if _asks(text[start:end])]
    chosen = sorted(sorted(able, key=lambda place: draw(f"sentence {place}"))[: min(number, len(spans) // 2)])
    rest, done = [], 0
    for place in chosen:
        start, end = spans[place]
        if draw(f"kept {place}") % 10 >= KEPT_IN_TEN:
            rest.append(text[done:start])
            done = end + len(text[end:]) - len(text[end:].lstrip())
    return [text[slice(*spans[place])] for place in chosen], "".join([*rest, text[done:]]).strip()


def _asks(sentence: str) -> bool:
    words = len(sentence.split())
    return words >= _LEAST_WORDS or (words <= 2 and sum(map(str.isalpha, sentence)) >= _LEAST_CHARACTERS)
