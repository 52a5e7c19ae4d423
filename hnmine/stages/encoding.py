"""What the stages that encode texts with a model share: starting over with a plan that fits the machine."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Self

from hnmine.engines.models import device_count
from hnmine.engines.text_model import TextModel
from hnmine.files.artefact import Json
from hnmine.stages.stage import Stage


class EncodingStage(Stage):
    """A stage whose model runs under `options`; subclasses set both.

    Batches of another size, or another dtype, move floats in their last bits: the plan names the values in force and
    that they are not those asked for, and blocks made under the first plan are made again.
    """

    options: Any
    _encoder: Any
    pins_threads = True

    def devices(self) -> int:
        """The GPUs that the model can have."""
        return device_count(self.options.device) if isinstance(self._encoder, TextModel) else 1

    def replanned(self, changes: Json) -> Self | None:
        """This stage with other values of some options; None for an encoder that the caller made."""
        if not isinstance(self._encoder, TextModel):
            return None
        other = copy.copy(self)
        other.options = replace(self.options, **changes)
        other._encoder = self._encoder.with_options(other.options)
        other.changes = {**self.changes, **changes}
        return other
