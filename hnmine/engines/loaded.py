"""Models that the caller has loaded already, run exactly as they are: their own arithmetic, prompts and activation."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.engines.encoder import Encoded, Encoder
from hnmine.engines.inference import import_sentence_transformers
from hnmine.engines.models import import_torch, machine_facts, model_fingerprint
from hnmine.engines.reranker import Reranker
from hnmine.engines.retriever import Scores
from hnmine.engines.vectors import normalise_rows
from hnmine.errors import InputError, UsageError
from hnmine.hashing import digest_json
from hnmine.options import Backend, Dtype
from hnmine.schema import Scale, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What goes before a text: a prompt of the model by name, or the text itself, which wins; else the model's own."""

    name: str | None = None
    text: str | None = None


class LoadedEncoder(Encoder):
    """A `SentenceTransformer` object. Its vectors are normalised.

    `keep` asks for a real fingerprint, which costs one save of the model to a temporary directory; without it the
    encoder is like no other, so that nothing made with it is ever taken for something else.
    """

    def __init__(
        self, model: Any, prompts: dict[Side, Prompt], *, batch_size: int, keep: bool, show_progress: bool
    ) -> None:
        if not isinstance(model, import_sentence_transformers().SentenceTransformer):
            raise UsageError(
                f"model is a {type(model).__name__}", expected="a SentenceTransformer, or the name or path of one"
            )
        self._model = model
        self._prompts = prompts
        self._batch_size = batch_size
        self._keep = keep
        self._show_progress = show_progress

    @cached_property
    def dimension(self) -> int:
        """Number of dimensions of a vector."""
        return int(self._forward(["a"], Side.DOCUMENT, show_progress=False).shape[1])

    @property
    def max_length(self) -> int | None:
        """Longest input in tokens, prompt included; None if there is no limit."""
        limit = self._model.max_seq_length
        return None if limit is None else int(limit)

    @cached_property
    def _description(self) -> dict[str, Any]:
        return {
            "fingerprint": object_fingerprint(self._model) if self._keep else secrets.token_hex(16),
            "prompts": {side.value: [prompt.name, prompt.text] for side, prompt in self._prompts.items()},
            "max_length": self.max_length,
            "truncate_dim": self._model.truncate_dim,
            "batch_size": self._batch_size,
            "machine": machine_facts(str(self._model.device), Dtype.FP32),
        }

    def describe(self) -> dict[str, Any]:
        """Everything that decides a vector, as JSON values for the plan."""
        return self._description

    def encode(self, texts: Sequence[str], side: Side) -> Encoded:
        """See `Encoder.encode`; how many texts were truncated is not counted."""
        vectors = normalise_rows(self._forward(list(texts), side, show_progress=self._show_progress))
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise InputError(
                f"the model gives a vector that is not finite for {len(bad):,} of {len(texts):,} texts, the first:"
                f" {texts[bad[0]][:80]!r}",
                expected="finite vectors",
                remedy="load the model in fp32, if it overflows in the reduced arithmetic; else the model is broken",
            )
        return Encoded(vectors=vectors, truncated=0)

    def _forward(self, texts: list[str], side: Side, *, show_progress: bool) -> Any:
        encode = self._model.encode_query if side is Side.QUERY else self._model.encode_document
        prompt = self._prompts[side]
        found = encode(
            texts,
            prompt_name=prompt.name,
            prompt=prompt.text,
            batch_size=self._batch_size,
            convert_to_tensor=True,
            show_progress_bar=show_progress,
        )
        return found.float().cpu().numpy()


class LoadedReranker(Reranker):
    """A `CrossEncoder` object; its score is what its `predict` returns, with the model's own activation."""

    def __init__(self, model: Any, *, batch_size: int, keep: bool, show_progress: bool) -> None:
        if not isinstance(model, import_sentence_transformers().CrossEncoder):
            raise UsageError(
                f"cross_encoder is a {type(model).__name__}", expected="a CrossEncoder, or the name or path of one"
            )
        if model.num_labels != 1:
            raise UsageError(f"cross_encoder has {model.num_labels} labels, not a score", expected="one label")
        self._model = model
        self._batch_size = batch_size
        self._keep = keep
        self._show_progress = show_progress

    @property
    def scale(self) -> Scale:
        """`probability` if the model applies a sigmoid, else `logit`."""
        sigmoid = import_torch().nn.Sigmoid
        return Scale.PROBABILITY if isinstance(self._model.activation_fn, sigmoid) else Scale.LOGIT

    @cached_property
    def _description(self) -> dict[str, Any]:
        return {
            "fingerprint": object_fingerprint(self._model) if self._keep else secrets.token_hex(16),
            "activation": repr(self._model.activation_fn),
            "scale": self.scale.value,
            "batch_size": self._batch_size,
            "machine": machine_facts(str(self._model.device), Dtype.FP32),
        }

    def describe(self) -> dict[str, Any]:
        """Everything that decides a score, as JSON values for the plan."""
        return self._description

    def score(self, pairs: Sequence[tuple[str, str]]) -> Scores:
        """See `Reranker.score`."""
        found = self._model.predict(
            list(pairs), batch_size=self._batch_size, show_progress_bar=self._show_progress, convert_to_tensor=True
        )
        scores: Scores = found.float().cpu().numpy().reshape(len(pairs)).astype(np.float32)
        return scores


def object_fingerprint(model: Any) -> str:
    """SHA-256 (hex) of everything in a loaded model that can change a score.

    Its weights as they are in memory (a base model under adapters too) and everything that saving it would write.
    """
    torch = import_torch()
    weights = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        data = tensor.detach().cpu().contiguous()
        weights.update(f"{name} {data.dtype} {tuple(data.shape)}\n".encode())
        weights.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    with tempfile.TemporaryDirectory(prefix="hnmine-") as folder:
        model.save(folder, create_model_card=False)
        saved = [model_fingerprint(Path(folder), backend=backend) for backend in Backend]
    return digest_json([weights.hexdigest(), *saved, repr(model)])
