"""Publishing an export: its files and a card in one commit to a dataset repository of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hnmine.errors import UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact, Json
from hnmine.files.hub import CARD, DatasetRepository, Pushed
from hnmine.options import PushOptions
from hnmine.stages.card import BEGIN, card
from hnmine.stages.hub_layout import HubLayout, is_shard


@dataclass(frozen=True, slots=True, kw_only=True)
class PushPreview:
    """What would be pushed: bytes of each file by its name there, and the card as a new repository gets it."""

    repository: str
    files: dict[str, int]
    card: str

    def to_json(self) -> Json:
        """As JSON values, for a summary."""
        return {"repository": self.repository, "files": self.files, "card": self.card}


class Push:
    """A push of an export that need not be there yet. What can be told before is told when this is made.

    Raises `UsageError` for options that contradict each other and for what names no repository,
    `MissingDependencyError` without huggingface_hub.
    """

    def __init__(
        self, options: PushOptions, *, say: Callable[[str], None] = lambda _: None, quiet: bool = False
    ) -> None:
        if options.push is None:
            raise UsageError("--private and --license go with --push", expected="--push ORG/NAME")
        self._options = options
        self.repository = DatasetRepository(options.push, say=say, quiet=quiet)

    def preview(self, export: Artefact) -> PushPreview:
        """What `run` would push; nothing is asked of the Hub."""
        layout = HubLayout.of(export)
        text = self._card(export, layout)(None)
        files = {name: file.bytes for name, file in layout.files.items()}
        return PushPreview(repository=self.repository.name, files={**files, CARD: len(text.encode())}, card=text)

    def run(self, export: Artefact, how: Execution) -> Pushed:
        """Push a finished export. What is in the repository already is not uploaded again.

        Raises `UsageError` where the Hub refuses, and where files that no push made would be replaced without
        `how.overwrite`; `StorageError` where it does not answer, `Preempted` after a signal: the same command then goes
        on.
        """
        layout = HubLayout.of(export)
        rows, form = layout.configs[0].rows, export.plan["options"]["format"]
        return self.repository.push(
            layout.files,
            self._card(export, layout),
            message=f"{rows:,} rows of {form}, mined by hnmine",
            private=self._options.private,
            is_stale=is_shard,
            may_replace=lambda old: how.overwrite or (old is not None and BEGIN in old),
            check_stop=how.stop.check,
        )

    def _card(self, export: Artefact, layout: HubLayout) -> Callable[[str | None], str]:
        return card(export, layout, self.repository.name, licence=self._options.license).render


def open_push(options: PushOptions, *, say: Callable[[str], None] = lambda _: None, quiet: bool = False) -> Push | None:
    """The push that is asked for; None if none is."""
    return Push(options, say=say, quiet=quiet) if options != PushOptions() else None
