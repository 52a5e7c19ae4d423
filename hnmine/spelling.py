"""What a mistyped word was meant to be."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: list[str]) -> str | None:
    """The known word closest to a mistyped one, whatever their capitals, or None."""
    import difflib

    spelled: dict[str, str] = {}
    for name in known:
        spelled.setdefault(name.casefold(), name)
    found = difflib.get_close_matches(word.casefold(), spelled, n=1, cutoff=0.6)
    return spelled[found[0]] if found else None


def nearest_file(name: str, others: Iterable[str]) -> str | None:
    """The file that a mistyped name meant. What is before the first dot must be close: endings say too little."""
    close = sorted(other for other in others if nearest(name.partition(".")[0], [other.partition(".")[0]]))
    return nearest(name, close) or next(iter(close), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'name'?` of the known word closest to a mistyped one; nothing if none is close."""
    guess = nearest(word, list(known))
    return f"; did you mean {guess!r}?" if guess else ""
