"""Texts as the inputs a model reads: tokenised once, in a thread ahead of the batch that is being computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from hnmine.engines.models import import_torch

T = TypeVar("T")
R = TypeVar("R")

_TENSORS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_OWN_MODULES = frozenset({"Transformer", "MLMTransformer"})
_CHARACTERS_A_TOKEN = 8
"""A text of more characters than this times the limit is read from its beginning only, if that is exact."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Texts as tokens: text i has `ids[offsets[i]:offsets[i + 1]]`, special tokens included, after truncation."""

    ids: npt.NDArray[np.int64]
    types: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    cut: npt.NDArray[np.bool_]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text."""
        return np.diff(self.offsets)


class TokenReader:
    """Reads texts with a fast tokenizer as sentence-transformers would, without doing it twice.

    `constants` go into every batch as they are. Use `token_reader`, which checks that this is what the model does.
    """

    def __init__(self, tokenizer: Any, *, prompt: str, limit: int | None, constants: dict[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._limit = limit
        self._constants = constants
        self._heads = limit is not None and _splits_at_spaces(tokenizer)

    def read(self, texts: Sequence[str]) -> Tokens:
        """The tokens of texts. Long ones are tokenised from their beginning if that gives the same."""
        whole = [self._prompt + text for text in texts]
        heads = [self._head(text) for text in whole]
        found = self._encode(heads)
        if self._limit is not None:
            short = [
                row for row, head in enumerate(heads) if len(head) < len(whole[row]) and not found[row].overflowing
            ]
            for row, encoding in zip(short, self._encode([whole[row] for row in short]), strict=True):
                found[row] = encoding
        sizes = [len(encoding) for encoding in found]
        return Tokens(
            ids=np.fromiter((token for encoding in found for token in encoding.ids), np.int64, sum(sizes)),
            types=np.fromiter((token for encoding in found for token in encoding.type_ids), np.int64, sum(sizes)),
            offsets=np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]),
            cut=np.array([bool(encoding.overflowing) for encoding in found], np.bool_),
        )

    def _head(self, text: str) -> str:
        if not self._heads or self._limit is None or len(text) <= _CHARACTERS_A_TOKEN * self._limit:
            return text
        end = text.find(" ", _CHARACTERS_A_TOKEN * self._limit)
        return text if end < 0 else text[:end]

    def _encode(self, texts: list[str]) -> list[Any]:
        if not texts:
            return []
        how = {"truncation": self._limit is not None, "max_length": self._limit}
        encoded = self._tokenizer(texts, add_special_tokens=True, padding=False, verbose=False, **how)
        return list(encoded.encodings)

    def inputs(self, tokens: Tokens, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
        """What the model reads for some of the texts, padded to the longest of them."""
        torch = import_torch()
        sizes = tokens.lengths[rows]
        width = int(sizes.max())
        places = np.arange(width)
        is_left = self._tokenizer.padding_side == "left"
        mask = places >= (width - sizes)[:, None] if is_left else places < sizes[:, None]
        source = np.concatenate([np.arange(tokens.offsets[row], tokens.offsets[row + 1]) for row in rows])
        padding = {"input_ids": self._tokenizer.pad_token_id, "token_type_ids": self._tokenizer.pad_token_type_id}
        made = {"attention_mask": mask.astype(np.int64)}
        for name, values in {"input_ids": tokens.ids, "token_type_ids": tokens.types}.items():
            made[name] = np.full(mask.shape, padding[name], np.int64)
            made[name][mask] = values[source]
        names = self._tokenizer.model_input_names
        return {**{n: torch.from_numpy(v) for n, v in made.items() if n in names}, **self._constants}


def token_reader(
    module: Any, preprocess: Callable[[list[str]], dict[str, Any]], *, prompt: str, limit: int | None
) -> TokenReader | None:
    """A reader for a model whose first module is `module`; None if the model prepares its texts in a way of its own.

    `preprocess` is the model's own preparation, prompt included. A few texts of every kind (empty, long, padded) are
    prepared in both ways: what differs in anything is not read here.
    """
    kind = type(module)
    tokenizer = getattr(module, "tokenizer", None)
    is_ours = kind.__module__.startswith("sentence_transformers.") and kind.__name__ in _OWN_MODULES
    if not is_ours or not getattr(tokenizer, "is_fast", False) or getattr(tokenizer, "pad_token_id", None) is None:
        return None
    torch = import_torch()
    long = "a " * ((limit or 64) + 8)
    samples = [["a"], ["a", "", "  The Girl\tis\neating: füüd \u4f60\u597d ", long, long * _CHARACTERS_A_TOKEN]]
    expected = [preprocess(texts) for texts in samples]
    constants = {name: value for name, value in expected[0].items() if not isinstance(value, torch.Tensor)}
    if not all(value is None or isinstance(value, str | int | float) for value in constants.values()):
        return None
    reader = TokenReader(tokenizer, prompt=prompt, limit=limit, constants=constants)
    for texts, wanted in zip(samples, expected, strict=True):
        found = reader.inputs(reader.read(texts), np.arange(len(texts)))
        if found.keys() != wanted.keys():
            return None
        for name, value in wanted.items():
            same = torch.equal(found[name], value) if isinstance(value, torch.Tensor) else found[name] == value
            if not same:
                return None
    return reader


def _splits_at_spaces(tokenizer: Any) -> bool:
    """Whether what comes before a space becomes the same tokens whatever comes after it.

    So it is in BERT's way of tokenising: characters are normalised one by one, words end at white space, each word
    becomes word pieces by itself. Truncation has to be on the right, and no added token may have a space within.
    """
    backend = tokenizer.backend_tokenizer
    kinds = [type(part).__name__ for part in (backend.normalizer, backend.pre_tokenizer, backend.model)]
    added = backend.get_added_tokens_decoder().values()
    return (
        kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]
        and tokenizer.truncation_side == "right"
        and not any(" " in token.content for token in added)
    )


def ahead(function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[T, R]]:
    """(item, function of it) for each item, in order; the next one is computed in a thread while this one is used."""
    with ThreadPoolExecutor(1) as thread:
        waiting: deque[tuple[T, Future[R]]] = deque()
        for item in items:
            waiting.append((item, thread.submit(function, item)))
            if len(waiting) == 2:
                yield _result(*waiting.popleft())
        for pair in waiting:
            yield _result(*pair)


def _result(item: T, computed: Future[R]) -> tuple[T, R]:
    return item, computed.result()
