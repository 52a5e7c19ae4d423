"""`import`: a training file of any tool becomes a run: its collection, its pairs as candidates, and as decisions.

What the file says is ingested as any other data: its positives are the judgments, its negatives those that came with
the data. `mine` without a search makes the candidates of them, in the file's order and with the file's scores, and
`filter` without a guess the decisions, so that what was imported can be exported as it is, and everything else be done
to it that is done to what was mined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from hnmine.errors import HnmineError, UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.files.readers.layout import named_files
from hnmine.files.readers.streams import InputFile
from hnmine.files.readers.training_source import TrainingSource
from hnmine.options import Existing, FilterOptions, ImportOptions, InputOptions, MineOptions
from hnmine.schema import Kind
from hnmine.stages.chain import INGEST, Step, previews
from hnmine.stages.filter import Filter
from hnmine.stages.formats import FORMATS
from hnmine.stages.ingest import Ingest
from hnmine.stages.mine import Mine
from hnmine.stages.places import CANDIDATES, COLLECTION, DECISIONS, find_collection
from hnmine.stages.stage import Outcome, Preview
from hnmine.stages.training_input import TrainingInput


class Import:
    """The steps that make a run directory of one training file."""

    def __init__(self, place: Path, directory: Path, options: ImportOptions) -> None:
        """Looks at the files alone. Raises `InputError` for those that are not there or not of the format."""
        if options.format is None:
            raise UsageError(f"{place}: of which format?", expected=f"--format {', '.join(FORMATS)}")
        self.directory = directory
        self.options = options
        self._input = TrainingInput(place, options.format)

    def source(self) -> TrainingSource:
        """The training file, and what it is looked up in."""
        return TrainingSource(
            self._input.examples,
            form=self._input.form,
            files=self._input.files,
            scale=self.options.score_scale,
            corpus=_parts(self.options.corpus, "documents"),
            queries=_parts(self.options.queries, "queries"),
        )

    def steps(self) -> Iterator[Step]:
        """Ingest, mine, filter; each needs the artefact of the one before it."""
        collection, candidates = self.directory / COLLECTION, self.directory / CANDIDATES
        given = InputOptions(title_separator=self.options.title_separator, on_error=self.options.on_error)
        yield Step(name=INGEST, path=collection, make=lambda: Ingest(self.source(), given))
        yield Step(
            name="mine",
            path=candidates,
            make=lambda: Mine(Collection.open(collection), [], MineOptions(top_k=0)),
        )
        yield Step(
            name="filter",
            path=self.directory / DECISIONS,
            make=lambda: _as_they_are(Collection.open(collection), Artefact.open(candidates, Kind.CANDIDATES)),
        )

    def run(self, how: Execution, report: Callable[[str, Outcome], None]) -> list[tuple[str, Outcome]]:
        """Carry out the steps; `report` hears of each as it ends.

        Raises `InputError` with every row that the format's trainer would refuse or misread, and every text or id that
        cannot be told; then nothing is left behind.
        """
        outcomes = []
        was_there = self.directory.exists()
        try:
            for step in self.steps():
                outcome = step.make().run(step.path, how)
                report(step.name, outcome)
                outcomes.append((step.name, outcome))
        except HnmineError:
            if not was_there:
                with suppress(OSError):  # it holds what was finished
                    self.directory.rmdir()
            raise
        return outcomes

    def preview(self) -> list[tuple[str, Path, Preview | None]]:
        """What each step would do; None where a step's inputs do not exist yet."""
        return previews(self.steps())


def _as_they_are(collection: Collection, candidates: Artefact) -> Filter:
    """The decision that every positive and every negative of the file stands; what has a positive's text does not."""
    negatives = collection.existing_negatives.query_rows
    widest = int(np.bincount(negatives).max(initial=1))
    kept = Existing.KEEP if len(negatives) else Existing.JUDGE
    return Filter(collection, candidates, FilterOptions(num_negatives=max(widest, 1), no_margin=True, existing=kept))


def _parts(given: str | None, table: str) -> tuple[InputFile, ...]:
    """The files that --corpus or --queries names; of a collection, or a run directory, its own."""
    if given is None:
        return ()
    collection = find_collection(given)
    return named_files(given if collection is None else str(collection / table))
