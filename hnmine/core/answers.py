"""Whether a text contains an answer: equal words in a row, after normalisation.

As DPR marks passages (Karpukhin et al. 2020, arXiv 2004.04906), but that punctuation does not count, as in `text_key`:
NFKC, case folding, then words and symbols; a character of a script written without spaces is a word of its own.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_PIECE = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+|[^\w\s]")


def normalised(text: str) -> str:
    """The words and symbols of a text, each between single spaces, one space at both ends; " " if there are none."""
    pieces = _PIECE.findall(unicodedata.normalize("NFKC", text).casefold())
    # What is no word is one character: symbols and marks stay, punctuation and control characters go.
    kept = [p for p in pieces if p[0].isalnum() or unicodedata.category(p[0])[0] in "SM"]
    return f" {' '.join(kept)} " if kept else " "


def parse_answers(value: object) -> list[str]:
    """The answers that a metadata value holds: a list, a list written as JSON, or one text; [] for null."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return [str(value)]
    if value is None:
        return []
    return [str(item) for item in value if item is not None] if isinstance(value, (list, tuple)) else [str(value)]


def patterns(answers: Sequence[str]) -> list[str]:
    """The answers, normalised, without those that have no word."""
    return [pattern for pattern in map(normalised, answers) if pattern != " "]


def contains(text: str, wanted: Sequence[str]) -> bool:
    """Whether a normalised text contains one of the normalised answers, from word to word."""
    return any(pattern in text for pattern in wanted)
