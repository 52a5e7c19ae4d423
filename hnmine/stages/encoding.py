"""What the stages that encode texts with a model share: starting over with a plan that fits the machine."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Literal, Self

from hnmine.engines.models import device_count, import_torch, resolve_device
from hnmine.engines.text_model import TextModel
from hnmine.execute.local import Block, Needs
from hnmine.files.artefact import Json
from hnmine.files.collection import Collection
from hnmine.stages.stage import Stage


class EncodingStage(Stage):
    """A stage whose model runs under `options`; subclasses set both.

    Batches of another size, or another dtype, move floats in their last bits: the plan names the values in force and
    that they are not those asked for, and blocks made under the first plan are made again.
    """

    options: Any
    _encoder: Any

    def needs(self) -> Needs:
        """What the model runs on."""
        return model_needs(self.options.device) if isinstance(self._encoder, TextModel) else Needs()

    def replanned(self, changes: Json) -> Self | None:
        """This stage with other values of some options; None for an encoder that the caller made."""
        if not isinstance(self._encoder, TextModel):
            return None
        other = copy.copy(self)
        other.options = replace(self.options, **changes)
        other._encoder = self._encoder.with_options(other.options)
        other.changes = {**self.changes, **changes}
        return other


def model_needs(device: str | None) -> Needs:
    """What a process needs that runs a model: a GPU if this one has one, else as many threads as the plan says."""
    if resolve_device(device).partition(":")[0] == "cuda":
        return Needs(gpus=1, devices=device_count(device))
    return Needs(threads=int(import_torch().get_num_threads()))


def place(block: Block, size: int) -> tuple[Literal["documents", "queries"], int]:
    """(which texts a block has, the row of the first); blocks are called `documents-00000`, `queries-00000`, ..."""
    table, number = block.name.rsplit("-", 1)
    return ("documents" if table == "documents" else "queries"), int(number) * size


def texts_digest(collection: Collection, block: Block, size: int) -> str:
    """What a block of vectors is made from: its texts, for the batches are theirs alone."""
    table, start = place(block, size)
    return collection.texts_digest(table, start, start + block.size)
