"""A column of words of which few are different, kept as a small number a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.core.evidence import Bools, Ints


class Tokens:
    """One word a row: `words[codes[row]]`.

    Reads and is set like an array of strings: `tokens[rows] = "dropped"`, `tokens == "dropped"`, `tokens[0]`.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, size: int, word: str) -> None:
        self.words = [word]
        self.codes = np.zeros(size, np.int16)

    def _code(self, word: str) -> int:
        if word not in self.words:
            self.words.append(word)
        return self.words.index(word)

    def __setitem__(self, rows: Bools | Ints, word: str) -> None:
        self.codes[rows] = self._code(word)

    def __getitem__(self, row: int) -> str:
        return self.words[int(self.codes[row])]

    def __eq__(self, word: object) -> Bools:  # type: ignore[override]
        if word not in self.words:
            return np.zeros(len(self.codes), np.bool_)
        return np.asarray(self.codes == self.words.index(str(word)), np.bool_)

    def __ne__(self, word: object) -> Bools:  # type: ignore[override]
        return ~(self == word)

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.words, dtype)[self.codes]

    def tolist(self) -> list[str]:
        """The word of each row."""
        return [self.words[code] for code in self.codes.tolist()]

    def counts(self, among: Bools | None = None) -> dict[str, int]:
        """How many rows (of `among`) have each word that occurs."""
        codes = self.codes if among is None else self.codes[among]
        found = np.bincount(codes, minlength=len(self.words)).tolist()
        return {word: count for word, count in zip(self.words, found, strict=True) if count}
