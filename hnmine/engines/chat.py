"""A language model behind HTTP: any server with OpenAI's `/v1/chat/completions` (vLLM, llama.cpp, Ollama, routers).

{"model", "messages", "response_format", ...}  ->  {"choices": [{"message": {"content"}}], "usage": {...}}

Some say by `/v1/completions` too how likely a text is (`hnmine.engines.completions`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from hnmine.engines import completions, http_json
from hnmine.engines.remote_encoder import KEY
from hnmine.errors import UsageError

BASE = "OPENAI_BASE_URL"
"""The environment variable with the address of a server for models that are named without one."""
DEFAULT_BASE = "https://api.openai.com/v1"
TIMEOUT = 600.0
"""Seconds to wait for an answer: models that think take their time."""
PATH = "/chat/completions"
_NAMED = re.compile(r"^([A-Za-z0-9._+-]+)=")
_FORMAT = "response_format"
_NO_ECHO = re.compile(r"\becho\b")
"""In the words of a server that knows no `echo`, whatever the status of its answer (500 of llama.cpp)."""
_UNKNOWN_FORM = frozenset({400, 404, 422, 501})
"""What servers say to a form of answer that they do not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said, and the tokens that it took; None where the server does not say."""

    content: str
    input_tokens: int | None
    output_tokens: int | None


class Chat:
    """The model that a server runs, from `[NAME=]URL#MODEL`, or `[NAME=]MODEL` at the server of OPENAI_BASE_URL.

    What is known of it is its name. `name` is NAME, by default the last part of the model's name, each character that
    no column can have a `-`. Raises `UsageError` if the server refuses, or does not say which model it runs.
    """

    def __init__(self, spec: str) -> None:
        self._spec = spec
        named = _NAMED.match(spec)
        self._name = named[1] if named else None
        place = spec[named.end() :] if named else spec
        if http_json.is_remote(place):
            base, _, self._asked_model = place.partition("#")
        else:
            base, self._asked_model = os.environ.get(BASE) or DEFAULT_BASE, place
            if not place:
                raise UsageError(f"--judge {spec!r}: no model", expected="URL#MODEL, or MODEL")
        self._base = base.rstrip("/").removesuffix(PATH)
        self._form = 0
        self._echoes = False

    @property
    def _headers(self) -> dict[str, str]:
        key = os.environ.get(KEY)  # asked for each time: it never is in what is pickled
        return {"Authorization": f"Bearer {key}"} if key else {}

    @cached_property
    def model(self) -> str:
        """The model's name, as asked for, or the only one that the server lists."""
        if self._asked_model:
            return self._asked_model
        return http_json.only_model(self._base, self._headers, asked=self._spec, remedy="URL#MODEL")

    @property
    def name(self) -> str:
        """What its columns are called after."""
        return self._name or re.sub(r"[^\w.+-]", "-", self.model.rstrip("/").rsplit("/", 1)[-1])

    @property
    def where(self) -> str:
        """The server's address, for people: without what may be a secret."""
        parts = urlsplit(self._base)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def ask(self, body: Mapping[str, Any], heard: Callable[[http_json.Event], None] | None = None) -> Answer:
        """The model's answer to a request.

        A server that refuses the form of the answer is asked for JSON of any form, then for a text. `heard` is told of
        each attempt (`http_json.post`). Raises `StorageError` if the server does not answer, `UsageError` if it
        refuses.
        """
        refused: http_json.Refused | None = None
        for number, form in enumerate(_forms(body)):
            if number < self._form:
                continue
            try:
                answer = self._post(PATH, form, answer_of, heard)
            except http_json.Refused as error:
                refused = refused or error
                if error.status not in _UNKNOWN_FORM:
                    raise
            else:
                self._form = max(self._form, number)
                return answer
        assert refused is not None
        raise refused

    def likelihood(
        self, body: Mapping[str, Any], query: str, behind: str, heard: Callable[[http_json.Event], None] | None = None
    ) -> Answer:
        """The log-probabilities of a query at the end of the prompt of `body` (`completions.likelihood_in`).

        As `ask`; a server that never told log-probabilities of a prompt, and does not now, is refused at once.
        """

        def read(page: Any) -> Answer:
            try:
                return _counted(completions.likelihood_in(page, query, behind=behind), page)
            except completions.NotEchoed as error:
                if self._echoes:
                    raise
                raise self._no_likelihoods(str(error)) from None

        final = None if self._echoes else _NO_ECHO  # later on, an error may quote a query about an echo
        try:
            answer = self._post(completions.PATH, dict(body), read, heard, final=final)
        except http_json.Refused as error:
            if self._echoes or error.status in (401, 403):
                raise
            raise self._no_likelihoods(str(error)) from None
        self._echoes = True
        return answer

    def _no_likelihoods(self, reason: str) -> UsageError:
        return UsageError(
            f"{self.where}{completions.PATH} tells no log-probabilities of a prompt of {self.model} ({reason})",
            expected="a server that knows `echo` with `logprobs`: vLLM, SGLang, llama-cpp-python with logits_all",
            remedy="run the model on one of these, or leave --judge-likelihood out: grades need no more than chat",
        )

    def _post(
        self,
        path: str,
        body: dict[str, Any],
        read: Callable[[Any], Answer],
        heard: Callable[[http_json.Event], None] | None,
        *,
        final: re.Pattern[str] | None = None,
    ) -> Answer:
        return http_json.post(
            self._base + path,
            body,
            read,
            headers=self._headers,
            timeout=TIMEOUT,
            attempts=10,
            heard=heard,
            key=KEY,
            final=final,
        )


def _forms(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The request, and those with a looser form of the answer."""
    bare = {name: value for name, value in body.items() if name != _FORMAT}
    if _FORMAT not in body:
        return [bare]
    return [dict(body), {**bare, _FORMAT: {"type": "json_object"}}, bare]


def answer_of(page: Any) -> Answer:
    """The answer in what a server says; raises `ValueError` if there is none.

    A text that is null (a refusal, or a limit that was spent on thinking) is empty.
    """
    try:
        message = page["choices"][0]["message"]
        content = message["content"] if message.get("content") is not None else ""
    except (LookupError, TypeError, AttributeError):
        raise ValueError(f"no choices[0].message.content: {str(page)[:100]}") from None
    if not isinstance(content, str):
        raise ValueError(f"the content is no text: {str(content)[:100]}")
    return _counted(content, page)


def _counted(content: str, page: Mapping[str, Any]) -> Answer:
    """The answer, with the tokens that the server counted."""
    usage: Any = page.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Answer(
        content=content,
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
