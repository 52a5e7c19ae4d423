"""An encoder behind HTTP: any server with OpenAI's `/v1/embeddings` (text-embeddings-inference, vLLM, Infinity, ...).

{"model", "input": [text, ...], "encoding_format": "float"}  ->  {"data": [{"index", "embedding"}, ...]}
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np

from hnmine.engines import http_json
from hnmine.engines.encoder import Encoded, Encoder
from hnmine.engines.vectors import Vectors, normalise_rows
from hnmine.errors import HnmineError, InputError, StorageError, UsageError
from hnmine.options import DenseOptions
from hnmine.schema import Side

KEY = "OPENAI_API_KEY"
"""The environment variable with the bearer token, if the server wants one. It is never written anywhere."""
MOST_TEXTS = 32
"""Texts a request: what text-embeddings-inference takes by default; a server that wants fewer gets halves."""
REQUESTS = 16
"""Requests at a time: a server makes its own batches of what waits."""

_CHARACTERS_A_TOKEN = 4
_BATCH_TOKENS = 4_096
_TOO_LARGE = frozenset({400, 413, 422})
_LOCAL = ("revision", "dtype", "backend", "device", "max_length", "trust_remote_code")


class RemoteEncoder(Encoder):
    """The encoder that a server runs at the URL `options.model`, such as http://localhost:8080/v1.

    What is known of it is the model's name, as asked for or as the server says, and the dimension: its weights cannot
    be fingerprinted, and whether equal requests get equal numbers is the server's affair. It cuts long texts itself, or
    refuses them. Raises `StorageError` if it does not answer, `UsageError` if it refuses.
    """

    def __init__(self, options: DenseOptions, *, attempts: int = http_json.ATTEMPTS) -> None:
        defaults = {item.name: item.default for item in fields(DenseOptions)}
        local = [name for name in _LOCAL if getattr(options, name) != defaults[name]]
        if local:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in local)
            raise UsageError(f"{flags}: the server of a remote model decides that", remedy="leave it out")
        self._base = options.model.rstrip("/").removesuffix("/embeddings")
        self._options = options
        self._attempts = attempts
        self._prompts = {Side.QUERY: options.query_prompt or "", Side.DOCUMENT: options.document_prompt or ""}
        key = os.environ.get(KEY)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    @cached_property
    def model(self) -> str:
        """The name of the model that the server runs."""
        if self._options.remote_model:
            return self._options.remote_model
        asked = f"--model {self._options.model}"
        return http_json.only_model(self._base, self._headers, asked=asked, remedy="--remote-model NAME")

    @cached_property
    def _whole_dimension(self) -> int:
        return int(self._request(["a"]).shape[1])

    @cached_property
    def dimension(self) -> int:
        """Number of dimensions of a vector, after `truncate_dim`."""
        wanted = self._options.truncate_dim
        if wanted is not None and not 1 <= wanted <= self._whole_dimension:
            raise UsageError(
                f"--truncate-dim {wanted}", expected=f"1 to {self._whole_dimension}, the model's dimensions"
            )
        return wanted or self._whole_dimension

    @property
    def max_length(self) -> int | None:
        """None: the server does not say."""
        return None

    def describe(self) -> dict[str, Any]:
        """The model's name and dimension, and what is put before texts; not where it runs."""
        prompts = {side.value: text for side, text in self._prompts.items()}
        return {"remote": {"model": self.model}, "prompts": prompts, "dimension": self.dimension, "normalise": True}

    def encode(self, texts: Sequence[str], side: Side) -> Encoded:
        """See `Encoder.encode`; each distinct text is sent once. What the server cuts is not known."""
        place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        distinct = list(place)
        found = np.empty((len(place), self.dimension), np.float32)
        prompt = self._prompts[side]
        batches = self._batches(distinct)
        with ThreadPoolExecutor(REQUESTS) as pool:
            waiting = [pool.submit(self._halving, [prompt + distinct[row] for row in rows]) for rows in batches]
            try:
                for rows, answer in zip(batches, waiting, strict=True):
                    found[rows] = answer.result()[:, : self.dimension]
            except HnmineError:
                pool.shutdown(cancel_futures=True)
                raise
        source = np.array([place[text] for text in texts], np.int64)
        vectors = normalise_rows(found)[source]
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise InputError(
                f"the model {self.model!r} gives a vector that is not finite for {side.value} {bad[0]} of the block"
                f" ({len(bad):,} of {len(texts):,}): {texts[bad[0]][:80]!r}",
                expected="finite vectors",
                remedy="see the server's own dtype",
            )
        return Encoded(vectors=vectors, truncated=0)

    def _batches(self, texts: list[str]) -> list[list[int]]:
        """Rows of the texts of each request: of similar length, a budget of characters, at most 32."""
        most = (self._options.batch_tokens or _BATCH_TOKENS) * _CHARACTERS_A_TOKEN
        batches: list[list[int]] = []
        size = 0
        for row in sorted(range(len(texts)), key=lambda row: -len(texts[row])):
            if not batches or len(batches[-1]) == MOST_TEXTS or size + len(texts[row]) > most:
                batches.append([])
                size = 0
            batches[-1].append(row)
            size += len(texts[row])
        return batches

    def _halving(self, texts: list[str]) -> Vectors:
        """The vectors of the texts, in two requests if one is too large for the server."""
        try:
            found = self._request(texts)
        except http_json.Refused as error:
            if error.status not in _TOO_LARGE:
                raise
            if len(texts) == 1:
                text = f"{texts[0][:80]!r} of {len(texts[0]):,} characters"
                remedy = "let the server truncate (text-embeddings-inference: --auto-truncate), or shorten the text"
                raise UsageError(f"{error.what}\nfor the text {text}", remedy=remedy) from None
        else:
            if found.shape[1] != self._whole_dimension:
                raise StorageError(
                    f"{self._base} gives vectors of {found.shape[1]} dimensions, {self._whole_dimension} before",
                    remedy="see whether another model was started there; then --overwrite",
                )
            return found
        middle = len(texts) // 2
        return np.concatenate([self._halving(texts[:middle]), self._halving(texts[middle:])])

    def _request(self, texts: list[str]) -> Vectors:
        body = {"model": self.model, "input": texts, "encoding_format": "float"}
        try:
            return http_json.post(
                f"{self._base}/embeddings",
                body,
                lambda answer: vectors_of(answer, len(texts)),
                headers=self._headers,
                attempts=self._attempts,
            )
        except http_json.Refused as error:
            if error.status in (401, 403):
                raise UsageError(error.what, remedy=f"set {KEY} to a valid key") from None
            raise


def vectors_of(answer: Any, count: int) -> Vectors:
    """The vectors of `count` texts, in their order, from an answer; null is NaN.

    Raises `ValueError` unless each text has exactly one vector and all have one dimension.
    """
    entries = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no list of vectors in it")
    found: dict[int, Any] = {}
    for entry in entries:
        index = entry.get("index") if isinstance(entry, dict) else None
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count or index in found:
            raise ValueError(f"an entry with index {index!r} for {count} texts")
        found[index] = entry.get("embedding")
    if len(found) != count:
        raise ValueError(f"{len(found)} vectors for {count} texts")
    sizes = {len(vector) if isinstance(vector, list) else 0 for vector in found.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"vectors of {', '.join(map(str, sorted(sizes)))} dimensions")
    try:
        return np.array([found[index] for index in range(count)], np.float32)
    except TypeError:
        raise ValueError("a vector of something else than numbers") from None
