"""A language model writes: negatives for a query, queries for a document. A request each, its answer kept for good."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hnmine import prompts
from hnmine.core.judging import array_in
from hnmine.engines.answers import FOLDER, Answers
from hnmine.engines.asking import Asker, Request
from hnmine.engines.chat import Answer, Chat
from hnmine.engines.spending import Budget, Pace, Prices, tokens_about
from hnmine.errors import UsageError
from hnmine.files.artefact import Json
from hnmine.files.collection import Collection
from hnmine.hashing import digest_json
from hnmine.options import GenerateOptions
from hnmine.stages.writing import Asked, NegativeWriter, Passage, QueryWriter, Questions, Written

BLOCK = 256
NEGATIVES, QUERIES = "negatives", "queries"
"""The prompts that come with hnmine, and what the array in an answer is called."""
_ANSWER_TOKENS = {NEGATIVES: 150, QUERIES: 20}
"""About so many of each text, for an estimate."""


class Model:
    """The model that a writer asks, with its prompt, its prices and what it answered before, kept below `cache`."""

    def __init__(self, options: GenerateOptions, cache: Path, kind: str, *places: str, optional: Sequence[str]) -> None:
        if options.model is None:
            raise UsageError(
                "--by llm: which model?", expected="--model URL#MODEL, or --model MODEL at OPENAI_BASE_URL"
            )
        self.kind = kind
        self.prices = prices_of(options)
        self.prompt = prompts.read(options.prompt or kind, "number", *places, optional=optional)
        self.chat = Chat(options.model)
        self._options = options
        self._folder = cache / FOLDER
        self._asker: Asker | None = None
        self.counted: Json = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_asker": None}  # another process has threads and locks of its own

    def facts(self) -> Json:
        """The model by its name, the prompt by its bytes; no address, no key. Who is asked depends on prices, too."""
        budget = {"budget": self._options.budget, "prices": [self.prices.input, self.prices.output]}
        return {
            "model": self.chat.model,
            "prompt": self.prompt.digest,
            **(budget if self._options.budget is not None else {}),
        }

    def request(self, number: int, values: Mapping[str, str]) -> Request:
        """What is asked: `number` texts, `values` filled in."""
        messages = self.prompt.messages(number=str(number), **values)
        body = {"model": self.chat.model, "messages": messages, "response_format": _form(self.kind)}
        return Request(body={**body, **self.prompt.request})

    def answers(self, requests: Sequence[Request], share: float) -> list[list[str] | None]:
        """The texts in each answer; None where the `share` of the budget did not pay for one."""
        budget = None if self._options.budget is None else self._options.budget * share
        found = self._asking().answers(requests, Budget(budget))
        self.counted = self._tally(requests, found)
        return [None if answer is None else texts_of(answer.content, self.kind) for answer in found]

    def _asking(self) -> Asker:
        if self._asker is None:
            name = f"pace-{digest_json([self.chat.where, self.chat.model])[:16]}.json"
            asked = self._options
            pace = Pace(self._folder / name, requests=asked.requests_per_minute, tokens=asked.tokens_per_minute)
            self._asker = Asker(self.chat, Answers(self._folder), self.prices, pace)
        return self._asker

    def _tally(self, requests: Sequence[Request], answers: Sequence[Answer | None]) -> Json:
        """What the answers took."""
        pairs = [(one.body, answer) for one, answer in zip(requests, answers, strict=True) if answer is not None]
        return {
            "requests": len(pairs),
            "input_tokens": sum(answer.input_tokens or 0 for _, answer in pairs),
            "output_tokens": sum(answer.output_tokens or 0 for _, answer in pairs),
            "cost": sum(self.prices.cost(body, answer) for body, answer in pairs),
            "without_texts": sum(not texts_of(answer.content, self.kind) for _, answer in pairs),
        }

    def costs(self, requests: Sequence[Request], scale: float, number: int) -> Json:
        """What `scale` times these requests would take."""
        tokens = sum(tokens_about(request.body) for request in requests) * scale
        found: Json = {"requests": round(len(requests) * scale), "input_tokens_about": round(tokens)}
        if self.prices != Prices():
            answers = len(requests) * scale * number * _ANSWER_TOKENS[self.kind]
            most = sum(self.prices.most(request.body) for request in requests) * scale
            found |= {"cost_about": _money(self.prices.of(tokens, answers)), "cost_at_most": _money(most)}
        return found

    def notes(self) -> Json:
        """Who writes, and where; what was asked now, and what was known already."""
        counts = self._asker.counts if self._asker is not None else {}
        asked = {f"answers {what}": count for what, count in sorted(counts.items())}
        return {"writer": f"{self.chat.model} at {self.chat.where}, by the prompt {self.prompt.name}", **asked}


class LlmNegatives(NegativeWriter):
    """Negatives from the query and its first positive, or, as the prompt has it, from the query alone.

    "Don't Retrieve, Generate" (Sinha 2025, arXiv 2504.21015) compares the two with mined ones; by its last version
    mined ones are better.
    """

    block = BLOCK

    def __init__(self, collection: Collection, options: GenerateOptions, cache: Path, number: int) -> None:
        self._model = Model(options, cache, NEGATIVES, "query", optional=["positive"])
        self._separator: str = collection.artefact.plan["title_separator"]
        self._number = number

    def facts(self) -> Json:
        """The model and the prompt."""
        return self._model.facts()

    def write(self, asked: Sequence[Asked], share: float) -> Iterator[Iterator[Written] | None]:
        """The texts of each answer, in its order."""
        found = self._model.answers([self._request(one) for one in asked], share)
        for one, texts in zip(asked, found, strict=True):
            source = one.positives[0].doc_id if "{positive}" in self._model.prompt.user else None
            yield None if texts is None else (Written(title="", text=t, how="", source=source) for t in texts)

    def _request(self, one: Asked) -> Request:
        prompt, first = self._model.prompt, one.positives[0]
        values = {"query": prompt.cut(one.query), "positive": prompt.cut(first.whole(self._separator))}
        return self._model.request(self._number, values)

    def costs(self, asked: Sequence[Asked], scale: float) -> Json:
        """See `Model.costs`."""
        return self._model.costs([self._request(one) for one in asked], scale, self._number)

    def counts(self) -> Json:
        """Requests, tokens and money of the last block."""
        return self._model.counted

    def notes(self) -> Json:
        """See `Model.notes`."""
        return self._model.notes()


class LlmQueries(QueryWriter):
    """Queries that a document answers: InPars (Bonifacio et al. 2022, arXiv 2202.05144), Promptagator (2209.11755)."""

    block = BLOCK

    def __init__(self, collection: Collection, options: GenerateOptions, cache: Path, number: int) -> None:
        self._model = Model(options, cache, QUERIES, "document", optional=[])
        self._separator: str = collection.artefact.plan["title_separator"]
        self._number = number

    def facts(self) -> Json:
        """The model and the prompt."""
        return self._model.facts()

    def write(self, passages: Sequence[Passage], share: float) -> Iterator[Questions | None]:
        """The texts of each answer, in its order."""
        for texts in self._model.answers([self._request(one) for one in passages], share):
            yield None if texts is None else Questions(queries=texts)

    def _request(self, one: Passage) -> Request:
        whole = self._model.prompt.cut(one.whole(self._separator))
        return self._model.request(self._number, {"document": whole})

    def costs(self, passages: Sequence[Passage], scale: float) -> Json:
        """See `Model.costs`."""
        return self._model.costs([self._request(one) for one in passages], scale, self._number)

    def counts(self) -> Json:
        """Requests, tokens and money of the last block."""
        return self._model.counted

    def notes(self) -> Json:
        """See `Model.notes`."""
        return self._model.notes()


def texts_of(content: str, kind: str) -> list[str]:
    """The texts in an answer, stripped; those that are none, or empty, are passed over."""
    found = [text.strip() for text in array_in(content, kind) if isinstance(text, str)]
    return [text for text in found if text]


def _form(kind: str) -> dict[str, Any]:
    """The JSON schema of an answer, as `response_format` wants it in OpenAI's strict mode."""
    form = {
        "type": "object",
        "properties": {kind: {"type": "array", "items": {"type": "string"}}},
        "required": [kind],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": kind, "strict": True, "schema": form}}


def prices_of(options: GenerateOptions) -> Prices:
    """The prices that were given; raises `UsageError` for what is none, and for a budget without them."""
    problems = []
    for flag, price in (("--price-input", options.price_input), ("--price-output", options.price_output)):
        if price is not None and not 0 <= price < math.inf:
            problems.append(f"{flag} {price}: not a price")
    if options.budget is not None:
        if not options.budget >= 0:
            problems.append(f"--budget {options.budget}: not an amount")
        if options.price_input is None or options.price_output is None:
            problems.append("--budget: what requests cost is not known; give --price-input and --price-output")
    for flag, limit in (
        ("--requests-per-minute", options.requests_per_minute),
        ("--tokens-per-minute", options.tokens_per_minute),
    ):
        if limit is not None and limit < 1:
            problems.append(f"{flag} {limit}: at least 1")
    if problems:
        raise UsageError("\n".join(problems))
    return Prices(input=options.price_input or 0.0, output=options.price_output or 0.0)


def _money(amount: float) -> float:
    return float(f"{amount:.3g}")
