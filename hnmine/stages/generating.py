"""`generate`, whole: what is written, and the collection that has it; DATA for every other command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from hnmine.errors import UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.files.readers.generated import WithNegatives, WithQueries
from hnmine.options import By, GenerateOptions, InputOptions, Write
from hnmine.schema import Kind
from hnmine.stages.chain import INGEST, Step, previews
from hnmine.stages.generate import GenerateNegatives, GenerateQueries, number_of, require_any
from hnmine.stages.ingest import Ingest
from hnmine.stages.llm_writers import LlmNegatives, LlmQueries
from hnmine.stages.places import COLLECTION, GENERATED
from hnmine.stages.stage import Outcome, Preview
from hnmine.stages.writing import Cloze, Perturber

_OF_MODELS = (
    *("model", "prompt", "price_input", "price_output", "budget"),
    *("requests_per_minute", "tokens_per_minute"),
)


class Generation:
    """The steps that make a directory with the texts (`generated`) and the collection that has them."""

    def __init__(self, collection: Collection, directory: Path, options: GenerateOptions, answers: Path) -> None:
        """`answers` is where those of a model are kept. Raises `UsageError` for options that do not go together."""
        is_asking = options.write is Write.QUERIES
        by = options.by or (By.ICT if is_asking else By.PERTURB)
        if by is By.PERTURB and is_asking:
            raise UsageError("--by perturb changes documents: it writes no queries", expected="--by ict or llm")
        if by is By.ICT and not is_asking:
            raise UsageError(
                "--by ict writes queries, and not negatives", expected="--by perturb or llm", remedy="--write queries"
            )
        if by is not By.PERTURB and (options.change or options.language != "auto"):
            raise UsageError(f"--change and --language are for --by perturb, not for {by}")
        alone = [name for name in _OF_MODELS if getattr(options, name) is not None]
        if by is not By.LLM and alone:
            raise UsageError(f"--{alone[0].replace('_', '-')} goes with --by llm, not with {by}")
        if options.texts is not None and options.texts < 1:
            raise UsageError(f"--texts {options.texts}: at least 1")
        self.directory = directory
        self.stage = _stage(collection, replace(options, by=by), answers)

    def steps(self) -> Iterator[Step]:
        """Write, then ingest; the second needs the artefact of the first."""
        generated = self.directory / GENERATED
        yield Step(name="generate", path=generated, make=lambda: self.stage)
        yield Step(name=INGEST, path=self.directory / COLLECTION, make=lambda: self._ingest(generated))

    def _ingest(self, path: Path) -> Ingest:
        generated = Artefact.open(path, Kind.GENERATED)
        require_any(generated)
        source = WithQueries if self.stage.options.write is Write.QUERIES else WithNegatives
        collection = self.stage.collection
        separator = collection.artefact.plan["title_separator"]
        return Ingest(source(collection, generated), InputOptions(title_separator=separator))

    def run(self, how: Execution, report: Callable[[str, Outcome], None]) -> list[tuple[str, Outcome]]:
        """Carry out the steps; `report` hears of each as it ends. As a shard, the first step alone.

        Raises `InputError` if nothing could be written.
        """
        outcomes = []
        for step in self.steps():
            outcome = step.make().run(step.path, how)
            report(step.name, outcome)
            outcomes.append((step.name, outcome))
            if outcome.artefact is None or how.shard[1] > 1:
                break
        return outcomes

    def preview(self) -> list[tuple[str, Path, Preview | None]]:
        """What each step would do; None where a step's inputs do not exist yet."""
        return previews(self.steps())


def _stage(collection: Collection, options: GenerateOptions, answers: Path) -> GenerateNegatives | GenerateQueries:
    number = number_of(options)
    if options.write is Write.QUERIES:
        asking = LlmQueries(collection, options, answers, number) if options.by is By.LLM else None
        return GenerateQueries(collection, options, asking or Cloze(options.seed, number))
    writing = LlmNegatives(collection, options, answers, number) if options.by is By.LLM else None
    return GenerateNegatives(collection, options, writing or Perturber(collection, options))
