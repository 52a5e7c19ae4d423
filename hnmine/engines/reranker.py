"""Scores of (query, document) pairs by a cross-encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hnmine.core.estimate import layer_operations
from hnmine.engines.batching import token_batches
from hnmine.engines.inference import (
    arithmetic_facts,
    autocast,
    fitting_memory,
    import_sentence_transformers,
    layer_weights,
    limit_length,
    load_model,
    model_family,
    resolve_arithmetic,
    resolve_batch_tokens,
    token_lengths,
)
from hnmine.engines.models import ResolvedModel, import_torch, model_fingerprint
from hnmine.engines.retriever import Scores
from hnmine.errors import UsageError
from hnmine.options import Backend, ScoreOptions
from hnmine.schema import Scale


class Reranker(ABC):
    """A model that reads a query and a document together."""

    @property
    @abstractmethod
    def scale(self) -> Scale:
        """What a score means."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Everything that decides a score, as JSON values for the plan; no names, no paths."""

    @abstractmethod
    def score(self, pairs: Sequence[tuple[str, str]]) -> Scores:
        """The score of each (query, document), float32 in input order, a function of these pairs and the plan alone.

        NaN where the model gives NaN.
        """


class CrossEncoderReranker(Reranker):
    """Any cross-encoder that sentence-transformers loads: one or two labels, or a language model asked yes or no.

    The score is the raw logit, whatever activation the model applies when it is asked directly: a sigmoid crowds
    good pairs together at 1, and margins need the distance. Two labels give the log odds of the second,
    logit[1] - logit[0]. A model whose own last module is a sigmoid has no logit to give; its scale is `probability`.
    Loaded at the first use. Raises what `load_model` raises, and `UsageError` for a model that is not a reranker.
    """

    def __init__(self, model: ResolvedModel, options: ScoreOptions) -> None:
        self._resolved = model
        self._options = options

    def with_options(self, options: ScoreOptions) -> Self:
        """This reranker under other options; it is not loaded again if only the size of batches is another one."""
        other = type(self)(self._resolved, options)
        if replace(options, batch_tokens=self._options.batch_tokens) == self._options:
            other.__dict__.update({**self.__dict__, "_options": options})
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._resolved, self._options)  # another process loads the model itself

    @cached_property
    def _arithmetic(self) -> tuple[str, Any]:
        return resolve_arithmetic(self._options)

    @cached_property
    def _model(self) -> Any:
        refused = f"--reranker {self._resolved.name}: "
        if model_family(self._resolved.path) in ("encoder", "sparse-encoder", "late", "masked-lm"):
            raise UsageError(
                refused + "this is not a cross-encoder; it would score with random numbers",
                expected="a model with a trained classification head, or a language model reranker",
                remedy="pass an embedding model to `hnmine index dense --model`",
            )
        kind = import_sentence_transformers().CrossEncoder
        model = load_model(kind, self._resolved, self._options, *self._arithmetic)
        if model.num_labels > 2:
            raise UsageError(refused + f"it has {model.num_labels} labels, not a score", expected="one or two labels")
        if self._options.backend is Backend.TORCH:
            _keep_head_exact(model)
        return model

    @cached_property
    def max_length(self) -> int | None:
        """Longest pair in tokens; None if there is no limit."""
        return limit_length(self._model, self._options.max_length)

    @cached_property
    def scale(self) -> Scale:
        """`logit`, or `probability` if the model's last module is or applies a sigmoid."""
        last = list(self._model.children())[-1]
        sigmoid = import_torch().nn.Sigmoid
        applied = any(isinstance(part, sigmoid) for part in (last, *last.children()))
        return Scale.PROBABILITY if applied else Scale.LOGIT

    def describe(self) -> dict[str, Any]:
        """Everything that decides a score, as JSON values for the plan; no names, no paths."""
        return {
            "fingerprint": model_fingerprint(Path(self._resolved.path), backend=self._options.backend),
            "max_length": self.max_length,
            "labels": int(self._model.num_labels),
            "scale": self.scale.value,
            "batch_tokens": resolve_batch_tokens(self._options),
            "machine": arithmetic_facts(self._options),
        }

    def score(self, pairs: Sequence[tuple[str, str]]) -> Scores:
        """See `Reranker.score`; batches are sorted by length across all pairs, whatever their query.

        Equal pairs get equal bits: each distinct pair is scored once.
        """
        place = {pair: row for row, pair in enumerate(dict.fromkeys(pairs))}
        distinct = list(place)
        scores = np.empty(len(distinct), np.float32)
        _ = self.max_length  # sets the limit before the first forward pass
        identity = import_torch().nn.Identity()
        lengths = self._lengths(distinct)
        with autocast(*self._arithmetic):
            for batch in token_batches(lengths, resolve_batch_tokens(self._options)):
                with fitting_memory(len(batch), int(lengths[batch[0]])):
                    logits = self._model.predict(
                        [distinct[row] for row in batch],
                        activation_fn=identity,
                        batch_size=len(batch),
                        show_progress_bar=False,
                    )
                logits = np.asarray(logits, np.float32).reshape(len(batch), -1)
                scores[batch] = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
        result: Scores = scores[np.array([place[pair] for pair in pairs], np.int64)]
        return result

    @property
    def device(self) -> str:
        """Where it runs: `cpu`, `cuda:0`."""
        return str(self._arithmetic[0])

    def operations(self, pairs: Sequence[tuple[str, str]]) -> float:
        """About how many operations the model does for these pairs."""
        return layer_operations(layer_weights(self._model), float(self._lengths(pairs).sum()))

    def _lengths(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.int64]:
        # A query comes with a hundred documents and a document with several queries: each text is counted once.
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        counts, _ = token_lengths(self._model.tokenizer, texts, special=False)
        place = {text: row for row, text in enumerate(texts)}
        whole = [counts[place[query]] + counts[place[document]] + self._overhead for query, document in pairs]
        limit = self.max_length
        return np.minimum(np.array(whole, np.int64), limit if limit is not None else np.iinfo(np.int64).max)

    @cached_property
    def _overhead(self) -> int:
        """Tokens that the model puts around a pair: separators, a prompt, a chat template."""
        preprocess = getattr(self._model, "preprocess", None)
        tokenizer = self._model.tokenizer
        if preprocess is None:  # sentence-transformers before 6
            return int(tokenizer.num_special_tokens_to_add(pair=True))
        prompt = self._model.prompts.get(self._model.default_prompt_name)
        inside, _ = token_lengths(tokenizer, ["a", "a"], special=False)
        return max(0, int(preprocess([("a", "a")], prompt=prompt)["input_ids"].shape[-1]) - int(inside.sum()))


def _keep_head_exact(model: Any) -> None:
    """Run the last linear layer, the one that gives the logits, in fp32 whatever the rest runs in.

    A bf16 logit between 8 and 16 moves in steps of 0.06: good documents would tie, and a margin would be a multiple
    of that. The vocabulary head of a language model is too large for this and stays as it is.
    """
    torch = import_torch()
    heads = [part for part in model.modules() if type(part) is torch.nn.Linear and part.out_features <= 2]
    if not heads:
        return
    head = heads[-1]

    def forward(hidden: Any) -> Any:
        with torch.autocast(hidden.device.type, enabled=False):
            bias = None if head.bias is None else head.bias.float()
            return torch.nn.functional.linear(hidden.float(), head.weight.float(), bias)

    head.forward = forward
