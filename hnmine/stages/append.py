"""`--append`: blocks that an earlier artefact has already are taken over from it, and only the others are made.

A block is known by what it was made from: a digest of its own rows and of all else that is not in the parameters, kept
in the manifest. Equal digests under equal parameters are equal bytes. So an artefact that took blocks over is to the
byte the one that is made without, its plan does not know of it, and an earlier artefact is nothing but a cache:
whatever was added, changed or removed since, a block is right, and only how many can be taken over depends on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hnmine.errors import ArtefactError, UsageError
from hnmine.files.artefact import Artefact, Draft, Json, differences
from hnmine.files.atomic import share
from hnmine.hashing import canonical_json
from hnmine.schema import Kind

NOT_PARAMETERS = frozenset({"kind", "format", "inputs", "blocks", "replanned"})
"""What is in a plan beside the parameters of its stage."""


class Earlier:
    """A finished artefact of the same kind and stage, seen as blocks that may be there already."""

    def __init__(self, artefact: Artefact) -> None:
        """Raises `ArtefactError` if its blocks do not say what they were made from."""
        self.artefact = artefact
        self._blocks: Mapping[str, Json] = artefact.manifest.get("blocks", {})
        if not self._blocks:
            raise ArtefactError(
                f"{artefact.path} does not say what its blocks were made from",
                expected="an artefact of a command that has --append, made by this version of hnmine",
                remedy="leave --append out this time",
            )

    @classmethod
    def open(cls, path: Path, kind: Kind, output: Path) -> Earlier:
        """The artefact at `path`; `UsageError` if that is `output`, `ArtefactError` if it cannot be appended to."""
        if path.exists() and output.exists() and path.samefile(output):
            raise UsageError(
                f"--append {path} is the output itself: an artefact that is finished does not change",
                remedy="choose another -o; the earlier one can be removed afterwards",
            )
        return cls(Artefact.open(path, kind))

    @property
    def parameters(self) -> Json:
        """The parameters of the stage that made it."""
        return {name: value for name, value in self.artefact.plan.items() if name not in NOT_PARAMETERS}

    @property
    def replanned(self) -> Json:
        """What had to be planned otherwise than its options said."""
        return dict(self.artefact.plan.get("replanned", {}))

    def check(self, then: Json, now: Json) -> None:
        """Raise `ArtefactError` with the differences of the parameters that both must have in common."""
        found = differences(then, json.loads(canonical_json(now)))
        if found:
            shown = "\n".join(f"  {line}" for line in found[:10])
            raise ArtefactError(
                f"--append {self.artefact.path} was made with other parameters:\n{shown}",
                expected="the same model, options and machine class: blocks of two plans never mix",
                remedy="restore them, or leave --append out: what is finished at the output is kept",
            )

    def has(self, block: str, made_from: str | None) -> bool:
        """Whether it has a block of this name that was made from the same."""
        return made_from is not None and self._blocks.get(block, {}).get("made_from") == made_from

    def files(self, block: str) -> dict[str, int]:
        """The files of a block with their rows."""
        return dict(self._blocks[block]["files"])

    def counts(self, block: str) -> Json:
        """The counters of a block."""
        return dict(self._blocks[block]["counts"])

    def link(self, block: str, draft: Draft) -> None:
        """Have the files of a block in `draft` too."""
        for name in self.files(block):
            share(self.artefact.path / name, draft.path / name)
