"""A causal language model of two layers with random weights, and its byte-level tokenizer: what a server would run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

from tests.conftest import WORDS


class TinyLM:
    """Tokenizes by bytes and a few merges, so that characters beyond ASCII have several tokens."""

    def __init__(self) -> None:
        from tokenizers import ByteLevelBPETokenizer

        self.tokenizer: Any = ByteLevelBPETokenizer()
        self.tokenizer.train_from_iterator([WORDS, "Document: which number a search query answers"], vocab_size=320)

    @cached_property
    def model(self) -> Any:
        """The model, in PyTorch."""
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel

        torch.manual_seed(0)
        size = self.tokenizer.get_vocab_size()
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=2, bos_token_id=None, eos_token_id=None)
        ).eval()
        with torch.no_grad():  # sharper than the initialisation, so that documents matter
            for weights in model.parameters():
                weights.mul_(8.0)
        return model

    def ids(self, text: str) -> list[int]:
        """The tokens of a text."""
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids

    def tokens(self, prompt: str) -> list[tuple[str, float | None]]:
        """Each token of a prompt, decoded by itself, and the likeliest next one, with its log-probability."""
        import torch

        ids = self.ids(prompt)
        with torch.no_grad():
            told = torch.log_softmax(self.model(torch.tensor([ids])).logits[0].double(), -1)
        ids.append(int(told[-1].argmax()))
        values = [None, *(float(told[i, token]) for i, token in enumerate(ids[1:]))]
        return [(self.tokenizer.decode([token]), value) for token, value in zip(ids, values, strict=True)]

    def cross_entropy(self, before: str, query: str) -> float:
        """The mean cross-entropy of the query's tokens behind a text, as a trainer computes it."""
        import torch

        first, second = self.ids(before), self.ids(query)
        assert self.ids(before + query) == first + second
        labels = torch.tensor([[-100] * len(first) + second])
        with torch.no_grad():
            return float(self.model(torch.tensor([first + second]), labels=labels).loss)


@cache
def tiny_lm() -> TinyLM:
    """The one model of a test session."""
    return TinyLM()


def decoded(lm: TinyLM, ids: Sequence[int]) -> list[str]:
    """Tokens decoded one by one, as servers show them."""
    return [lm.tokenizer.decode([token]) for token in ids]
