"""A reranker behind HTTP: text-embeddings-inference, vLLM, Infinity, Jina, Cohere, OpenVINO Model Server.

Two dialects, told apart by asking:

    texts       {"query", "texts", "raw_scores", "truncate"}  ->  [{"index", "score"}]                       logits
    documents   {"model", "query", "documents"}               ->  {"results": [{"index", "relevance_score"}]}

A server of the second kind does not say what its numbers are. They are probabilities with every one that we know of;
one that answers the first question with something outside [0, 1] gives logits.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from hnmine.engines import http_json
from hnmine.engines.reranker import Reranker
from hnmine.engines.retriever import Scores
from hnmine.errors import HnmineError, UsageError
from hnmine.options import ScoreOptions
from hnmine.schema import Scale

TEXTS, DOCUMENTS = "texts", "documents"
MOST_TEXTS = 32
"""Texts a request: what text-embeddings-inference takes by default; a server that wants fewer gets halves."""
REQUESTS = 16
"""Requests at a time: a server makes its own batches of what waits."""
TOKEN = "HNMINE_RERANKER_TOKEN"
"""The environment variable with the bearer token, if the server wants one. It is never written anywhere."""


class RemoteReranker(Reranker):
    """The reranker that a server runs at the URL `options.reranker`.

    What is known of it is the model's name, as asked for or as the server says; whether equal requests get equal
    numbers is the server's affair. Raises `StorageError` if it does not answer, `UsageError` if it refuses.
    """

    def __init__(self, options: ScoreOptions, *, attempts: int = http_json.ATTEMPTS) -> None:
        if options.max_length is not None:
            raise UsageError("--max-length: a remote reranker cuts its inputs itself", remedy="leave it out")
        self._url = options.reranker
        self._asked_model = options.remote_model
        self._attempts = attempts
        token = os.environ.get(TOKEN)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    @cached_property
    def _served(self) -> dict[str, str]:
        """Name and, if the server says, revision of the model it runs."""
        if self._asked_model:
            return {"model": self._asked_model}
        parts = urlsplit(self._url)
        base = parts.path.rstrip("/").removesuffix("/rerank")
        for prefix in dict.fromkeys([base, base.removesuffix("/v1").removesuffix("/v2")]):
            for page in ("/info", "/models", "/v1/models"):
                place = urlunsplit((parts.scheme, parts.netloc, prefix + page, "", ""))
                if found := _model_of(http_json.get(place, headers=self._headers)):
                    return found
        raise UsageError(
            f"--reranker {self._url}: the server does not say which model it runs",
            remedy="--remote-model NAME: it is sent with each request, and kept in the plan",
        )

    @cached_property
    def _spoken(self) -> tuple[str, Scale]:
        """(dialect, scale), by asking about one text."""
        refusals = []
        for dialect in (TEXTS, DOCUMENTS):
            try:
                scores = self._request(dialect, "one", ["one"])
            except http_json.Refused as error:
                if error.status in (401, 403):
                    raise
                refusals.append(error.what)
            else:
                is_probability = dialect == DOCUMENTS and 0 <= scores[0] <= 1
                return dialect, Scale.PROBABILITY if is_probability else Scale.LOGIT
        raise UsageError(
            f"--reranker {self._url}: the server takes neither kind of request\n" + "\n".join(refusals),
            expected="the address of a /rerank endpoint",
        )

    @property
    def scale(self) -> Scale:
        """`logit`, or `probability` as the server's answers are."""
        return self._spoken[1]

    def describe(self) -> dict[str, Any]:
        """The model's name and how it is asked; not where it runs."""
        return {"remote": self._served, "dialect": self._spoken[0], "scale": self.scale.value}

    def score(self, pairs: Sequence[tuple[str, str]]) -> Scores:
        """See `Reranker.score`. Each distinct pair is asked once, a request holds texts of one query."""
        place = {pair: row for row, pair in enumerate(dict.fromkeys(pairs))}
        by_query: dict[str, list[str]] = {}
        for query, document in place:
            by_query.setdefault(query, []).append(document)
        requests = [
            (query, texts[start : start + MOST_TEXTS])
            for query, texts in by_query.items()
            for start in range(0, len(texts), MOST_TEXTS)
        ]
        distinct = np.empty(len(place), np.float32)
        dialect = self._spoken[0]
        with ThreadPoolExecutor(REQUESTS) as pool:
            try:
                for (query, texts), found in zip(
                    requests, pool.map(lambda one: self._halving(dialect, *one), requests), strict=True
                ):
                    distinct[[place[query, text] for text in texts]] = found
            except HnmineError:
                pool.shutdown(cancel_futures=True)
                raise
        result: Scores = distinct[np.array([place[pair] for pair in pairs], np.int64)]
        return result

    def _halving(self, dialect: str, query: str, texts: list[str]) -> list[float]:
        """The scores of the texts, in two requests if one is too large for the server."""
        try:
            return self._request(dialect, query, texts)
        except http_json.Refused as error:
            if error.status != 413 or len(texts) == 1:
                raise
        middle = len(texts) // 2
        return self._halving(dialect, query, texts[:middle]) + self._halving(dialect, query, texts[middle:])

    def _request(self, dialect: str, query: str, texts: list[str]) -> list[float]:
        if dialect == TEXTS:
            body: dict[str, Any] = {"query": query, "texts": texts, "raw_scores": True, "truncate": True}
        else:
            body = {"model": self._served["model"], "query": query, "documents": texts}
        return http_json.post(
            self._url,
            body,
            lambda answer: scores_of(answer, len(texts)),
            headers=self._headers,
            attempts=self._attempts,
        )


def scores_of(answer: Any, count: int) -> list[float]:
    """The scores of `count` texts, in their order, from an answer of either dialect; null is NaN.

    Raises `ValueError` unless each text has exactly one score.
    """
    entries = answer.get("results") if isinstance(answer, dict) else answer
    if not isinstance(entries, list):
        raise ValueError("no list of scores in it")
    found: dict[int, float] = {}
    for entry in entries:
        index = entry.get("index") if isinstance(entry, dict) else None
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count or index in found:
            raise ValueError(f"{entry!r} is not the score of one of {count} texts")
        value = entry.get("score", entry.get("relevance_score", ""))
        if not isinstance(value, (int, float, type(None))) or isinstance(value, bool):
            raise ValueError(f"{entry!r} has no number")
        found[index] = float("nan") if value is None else float(value)
    if len(found) != count:
        raise ValueError(f"{len(found)} scores for {count} texts")
    return [found[index] for index in range(count)]


def _model_of(page: Any) -> dict[str, str] | None:
    """The model that a server's page about itself names: `/info` of one kind, `/models` of the other."""
    if not isinstance(page, dict):
        return None
    if isinstance(page.get("model_id"), str):
        revision = page.get("model_sha")
        return {"model": page["model_id"], **({"revision": revision} if isinstance(revision, str) else {})}
    listed = page.get("data")
    if isinstance(listed, list) and listed and isinstance(listed[0], dict) and isinstance(listed[0].get("id"), str):
        return {"model": listed[0]["id"]}
    return None
