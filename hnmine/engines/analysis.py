"""Texts become tokens: one analyser per language, and bigrams for scripts that write no spaces.

Documents and queries must go through the same analyser; `Analyser.describe` records everything that changes a token.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from hnmine.errors import MissingDependencyError, UsageError
from hnmine.hashing import digest_bytes, digest_json
from hnmine.spelling import nearest

NONE = "none"
CJK = "cjk"
# fmt: off
SNOWBALL = (
    "arabic", "armenian", "basque", "catalan", "czech", "danish", "dutch", "dutch_porter", "english", "esperanto",
    "estonian", "finnish", "french", "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian",
    "lithuanian", "nepali", "norwegian", "persian", "polish", "porter", "portuguese", "romanian", "russian", "serbian",
    "sesotho", "spanish", "swedish", "tamil", "turkish", "yiddish",
)
LANGUAGES: tuple[str, ...] = (NONE, CJK, *SNOWBALL)
"""Every analyser: `none` (words as they are), `cjk` (scripts without spaces), and the Snowball languages."""

_CODES = {
    "ar": "arabic", "hy": "armenian", "eu": "basque", "ca": "catalan", "cs": "czech", "da": "danish", "nl": "dutch",
    "en": "english", "eo": "esperanto", "et": "estonian", "fi": "finnish", "fr": "french", "de": "german",
    "el": "greek", "hi": "hindi", "hu": "hungarian", "id": "indonesian", "ga": "irish", "it": "italian",
    "lt": "lithuanian", "ne": "nepali", "no": "norwegian", "nb": "norwegian", "nn": "norwegian", "fa": "persian",
    "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "st": "sesotho",
    "es": "spanish", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish", "zh": CJK, "ja": CJK,
    "th": CJK, "lo": CJK, "km": CJK, "my": CJK, "chinese": CJK, "japanese": CJK, "thai": CJK, "khmer": CJK,
    "burmese": CJK,
}
# Which list of `bm25s.stopwords` a language drops; a language that is not here drops nothing.
_STOP_LISTS = {
    "danish": "DANISH", "dutch": "DUTCH", "dutch_porter": "DUTCH", "english": "EN", "porter": "EN", "french": "FRENCH",
    "german": "GERMAN", "italian": "ITALIAN", "norwegian": "NORWEGIAN", "portuguese": "PORTUGUESE",
    "russian": "RUSSIAN", "spanish": "SPANISH", "swedish": "SWEDISH", "turkish": "TURKISH",
}
# fmt: on

_RULES = 1
"""Version of the rules in this module that no other field of `Analyser.describe` would show."""

# Letters and marks of Han, Kana, Thai, Lao, Myanmar and Khmer, for a character class; digits stay words. Written out,
# because Python knows no scripts; a test holds it against the Unicode names.
_SPACELESS = (
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003fffd"
    "\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\U0001aff0-\U0001afff\U0001b000-\U0001b16f"
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0ece\u0edc-\u0edf"
    "\u1000-\u103f\u1050-\u108f\u109a-\u109d\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa76\uaa7a-\uaa7f"
    "\u1780-\u17d3\u17d7\u17dc\u17dd"
)
# Invisible inside a word: soft hyphen, zero width joiner, word joiner, variation selectors, byte order mark. NFKC
# keeps them, and they would cut a word in two.
_INVISIBLE = re.compile("[\u00ad\u200d\u2060\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]+")
# Fast paths: they find the words that the full pattern finds, in texts where it has nothing more to tell.
_SIMPLE_WORD = re.compile(r"[^\W_]+")
_NOT_SIMPLE = re.compile("[\u0300-\u1fff\u2c00-\U0010ffff]")  # marks and scripts without spaces lie here
_ASCII_WORD = re.compile("[a-z0-9]+")
_CACHED_STEMS = 1 << 20

SAMPLE_TEXTS = 1000
SAMPLE_CHARACTERS = 4000


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    # (word or run without spaces, run without spaces, character with its marks). `\w` lacks combining marks, without
    # which words of the Indic scripts fall apart.
    marks: list[list[int]] = []
    for code in (*range(0x300, 0x20000), *range(0xE0000, 0xE1000)):  # the planes between are Han or empty
        # Marks that enclose symbols (the keycap of an emoji) would make a new word of the digit inside.
        if unicodedata.category(chr(code))[0] == "M" and not 0x20D0 <= code <= 0x20FF:
            if marks and marks[-1][1] == code - 1:
                marks[-1][1] = code
            else:
                marks.append([code, code])
    mark = "".join(f"{chr(first)}-{chr(last)}" for first, last in marks)
    letter = rf"[^\W_{_SPACELESS}]"
    word = re.compile(rf"{letter}+(?:[{mark}]+{letter}*)*|[{_SPACELESS}]+")
    return word, re.compile(f"[{_SPACELESS}]+"), re.compile(f".[{mark}]*")


def normalise_language(name: str) -> str:
    """The analyser's name for a language name or code ("de", "zh-CN", "German"); raises `UsageError` for any other."""
    plain = name.strip().lower()
    found = plain if plain in LANGUAGES else _CODES.get(plain) or _CODES.get(re.split("[-_]", plain)[0])
    if found is None:
        guess = nearest(plain, [*LANGUAGES, *_CODES])
        raise UsageError(
            f"unknown language {name!r}" + (f"; did you mean {guess!r}?" if guess else ""),
            expected=", ".join(LANGUAGES),
            remedy="--language none for a language without a stemmer, or --language auto",
        )
    return found


def language_code(analyser: str) -> str | None:
    """The ISO 639-1 code of the language that an analyser is for; None for `none` and `cjk`, which are for several."""
    if analyser == CJK:
        return None
    named = {"porter": "english", "dutch_porter": "dutch"}.get(analyser, analyser)
    return next((code for code, name in _CODES.items() if name == named), None)


class _Stems(dict[str, str]):
    """Word to token, "" for a stop word; computed on first use and kept, up to a bound."""

    def __init__(self, stemmer: Any, stop_words: frozenset[str]) -> None:
        self._stemmer = stemmer
        self._stop_words = stop_words

    def __missing__(self, word: str) -> str:
        if word in self._stop_words:
            token = ""
        elif self._stemmer is None:
            token = word
        else:
            token = self._stemmer.stemWord(word) or word
        if len(self) >= _CACHED_STEMS:
            self.clear()
        self[word] = token
        return token


class Analyser:
    """Turns a text into tokens, the same on every machine with the same `describe()`.

    The text is normalised (NFKC, lower case); words are runs of letters, digits and marks, so `_` separates; stop words
    are dropped and the rest is stemmed (Snowball). Under every language a run in a script without spaces (Han, Kana,
    Thai, Lao, Khmer, Myanmar) gives its overlapping character bigrams, or the character if it stands alone. `cjk` drops
    no stop words and stems the words between such runs as English. Not for use by several threads at once.
    """

    def __init__(self, language: str) -> None:
        self.language = normalise_language(language)
        self.stemmer = {NONE: None, CJK: "english"}.get(self.language, self.language)
        self.stop_words = _stop_words(self.language)
        self._stems = _Stems(_snowball(self.stemmer), self.stop_words)

    def __reduce__(self) -> tuple[Any, ...]:
        return Analyser, (self.language,)  # a stemmer cannot be pickled

    def tokens(self, text: str) -> list[str]:
        """The tokens of `text` in reading order, repetitions included; never an empty token."""
        if not text.isascii():
            text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
        text = self._lower(text)
        if text.isascii():
            return list(filter(None, map(self._stems.__getitem__, _ASCII_WORD.findall(text))))
        if not _NOT_SIMPLE.search(text):
            return list(filter(None, map(self._stems.__getitem__, _SIMPLE_WORD.findall(text))))
        word, spaceless, character = _patterns()
        tokens: list[str] = []
        for run in word.findall(text):
            if not spaceless.match(run):
                if token := self._stems[run]:
                    tokens.append(token)
                continue
            characters = character.findall(run)
            if len(characters) == 1:
                tokens.append(run)
            else:
                tokens.extend(map(str.__add__, characters, islice(characters, 1, None)))
        return tokens

    def _lower(self, text: str) -> str:
        if self.language == "turkish":
            text = text.replace("I", "ı").replace("İ", "i")
        # "İ".lower() is i with a combining dot, which nobody types.
        return text.lower().replace("i\u0307", "i")

    def describe(self) -> dict[str, Any]:
        """All that changes tokens, as JSON values, for the plan of an index."""
        from importlib.metadata import version

        return {
            "language": self.language,
            "stemmer": self.stemmer,
            "pystemmer": version("PyStemmer") if self.stemmer else None,
            "stop_words": len(self.stop_words),
            "stop_words_sha256": digest_json(sorted(self.stop_words)),
            "word_pattern_sha256": digest_bytes(_patterns()[0].pattern.encode()),
            "unicode": unicodedata.unidata_version,
            "rules": _RULES,
        }


def _snowball(stemmer: str | None) -> Any:
    if stemmer is None:
        return None
    try:
        import Stemmer
    except ImportError as error:
        raise MissingDependencyError("PyStemmer is not installed", remedy="pip install PyStemmer") from error
    if stemmer not in Stemmer.algorithms():
        raise MissingDependencyError(
            f"the installed PyStemmer {Stemmer.version()} has no stemmer for {stemmer}",
            remedy="pip install --upgrade PyStemmer, or --language none",
        )
    return Stemmer.Stemmer(stemmer, 0)  # no cache of its own: `_Stems` is one


@cache
def _bm25s_stop_lists() -> ModuleType:
    # The module alone: the package loads SciPy, which takes longer than all else that opening an index does.
    package = find_spec("bm25s")
    if package is None or package.origin is None:
        raise MissingDependencyError("bm25s is not installed", remedy="pip install bm25s")
    loader = SourceFileLoader("bm25s.stopwords", str(Path(package.origin).with_name("stopwords.py")))
    module = ModuleType(loader.name)
    loader.exec_module(module)
    return module


@cache
def _stop_words(language: str, *, suffix: str = "") -> frozenset[str]:
    if language not in _STOP_LISTS:
        return frozenset()
    words = getattr(_bm25s_stop_lists(), f"STOPWORDS_{_STOP_LISTS[language]}{suffix}")
    # A list may hold entries that the word pattern cuts ("don't"); their pieces are not stop words.
    return frozenset(unicodedata.normalize("NFKC", word).lower() for word in words if word.isalpha())


def detect_language(texts: Iterable[str]) -> str:
    """The analyser for these texts: `cjk`, a Snowball language, or `none` if there is no clear answer.

    `cjk` if most letters are of scripts without spaces; else the Snowball language whose stop words win the vote. A
    stop word that several languages share splits its vote; the winner needs 8 % of all words and a tenth more than the
    next (Danish and Norwegian are that close; running text gives its own language 12 to 35 %, code in Python gives
    English 11 %, a language without a list gives any at most 6 %). Reads the first 4,000 characters of the first 1,000
    texts: hand in a sample if the order of the texts means something. Only languages with a stop list can be found:
    Danish, Dutch, English, French, German, Italian, Norwegian, Portuguese, Russian, Spanish, Swedish, Turkish.
    """
    voters: dict[str, list[str]] = {}
    for language in _STOP_LISTS:
        if language not in ("porter", "dutch_porter"):
            # English as an analyser drops 33 words; against lists of 100 to 300 it votes with its long list.
            for stop_word in _stop_words(language, suffix="_PLUS" if language == "english" else ""):
                voters.setdefault(stop_word, []).append(language)
    word, spaceless, _ = _patterns()
    letters = unspaced = seen = 0
    votes = dict.fromkeys(_STOP_LISTS, 0.0)
    for text in islice(texts, SAMPLE_TEXTS):
        plain = unicodedata.normalize("NFKC", text[:SAMPLE_CHARACTERS]).lower()
        for run in word.findall(plain):
            letters += sum(map(str.isalpha, run))
            if spaceless.match(run):
                unspaced += sum(map(str.isalpha, run))
                continue
            seen += 1
            for language in voters.get(run, ()):
                votes[language] += 1 / len(voters[run])
    if unspaced * 2 > letters:
        return CJK
    (best, winner), (second, _) = sorted(((votes[language], language) for language in votes), reverse=True)[:2]
    return winner if best >= 0.08 * seen and best >= 1.1 * second and best else NONE
