"""What a server says of a prompt's own tokens: `/v1/completions` with `echo` and `logprobs`.

{"model", "prompt", "echo": true, "logprobs": 1, "max_tokens": 1, ...}
->  {"choices": [{"logprobs": {"tokens", "token_logprobs", ...}}], "usage": {...}}

vLLM, SGLang, llama-cpp-python (`logits_all`) and OpenAI's davinci-002 answer so. Models at OpenAI's chat endpoint are
refused here, llama.cpp's own server refuses `echo` or has the generated token alone, TGI has no log-probabilities. One
token is generated, since vLLM and others do not know less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hnmine.core.query_likelihood import content_of, query_tokens

PATH = "/completions"
_LEAST = 3
"""Tokens of any prompt, and the one that is generated."""


class NotEchoed(ValueError):
    """An answer without log-probabilities of the prompt's own tokens."""


def completion_body(model: str, prompt: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The request for the log-probabilities of a prompt's tokens."""
    return {"model": model, "prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": 1, **request}


def likelihood_in(page: Any, query: str, *, behind: str) -> str:
    """The tokens of the query, which ends the prompt, with their log-probabilities (`content_of`).

    None of them if the tokens' texts do not tell which they are (`query_tokens`), or if one has no finite
    log-probability. Raises `NotEchoed` if the prompt's tokens have none.
    """
    try:
        found = page["choices"][0]["logprobs"]
        tokens, values = list(found["tokens"]), list(found["token_logprobs"])
    except (LookupError, TypeError):
        raise NotEchoed(f"no choices[0].logprobs: {str(page)[:100]}") from None
    if len(tokens) != len(values) or not all(isinstance(token, str) for token in tokens):
        raise NotEchoed("tokens and token_logprobs do not go together")
    if len(tokens) < _LEAST or not all(_is_number(value) for value in values[1:]):  # the first has nothing before it
        raise NotEchoed("tokens of the prompt have no log-probability")
    place = query_tokens(tokens, query, behind=behind)
    if place is None or not all(math.isfinite(value) for value in values[place]):
        return content_of([], [])
    return content_of(tokens[place], values[place])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
