"""`run`: the whole chain in one directory, built from the same stages, each resumable on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hnmine.core.condition import Condition
from hnmine.engines.http_json import is_remote
from hnmine.engines.models import check_model
from hnmine.engines.remote_encoder import RemoteEncoder
from hnmine.errors import AnotherPlan, HnmineError, InputError, UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import MANIFEST, Artefact
from hnmine.files.collection import Collection
from hnmine.files.remote import as_path, is_there
from hnmine.options import (
    Bm25Options,
    DenseOptions,
    ExportOptions,
    FilterOptions,
    InputOptions,
    MineOptions,
    Options,
    ScoreOptions,
)
from hnmine.schema import FUSED, IMPORTED, Kind
from hnmine.spelling import did_you_mean
from hnmine.stages.export import Export
from hnmine.stages.export_checks import check_layout
from hnmine.stages.filter import Filter
from hnmine.stages.filter_options import check as check_rules
from hnmine.stages.formats import FORMATS
from hnmine.stages.index_bm25 import IndexBm25
from hnmine.stages.index_dense import IndexDense
from hnmine.stages.indexes import ORIGINS, NamedIndex, check_name, named_index
from hnmine.stages.ingest import Ingest
from hnmine.stages.kept_documents import check_kept
from hnmine.stages.mine import Mine
from hnmine.stages.places import (
    CANDIDATES,
    COLLECTION,
    DECISIONS,
    EXPORT,
    INDEXES,
    SCORED,
    artefacts_of,
    find_collection,
    is_artefact,
    open_artefact,
    refuse_foreign,
    training_places,
)
from hnmine.stages.prompts import check_instruction
from hnmine.stages.rule_inputs import check_collection, check_source
from hnmine.stages.runs import open_run
from hnmine.stages.score import Score, score_name
from hnmine.stages.splits import TRAIN, VALIDATION, split_file
from hnmine.stages.stage import Outcome, Preview, Stage

INGEST = "ingest"
"""The step that is never done in shards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(Options):
    """The options of every stage of a chain; a stage that is None is left out."""

    input: InputOptions = field(default_factory=InputOptions)
    bm25: Bm25Options | None = field(default_factory=Bm25Options)
    dense: DenseOptions | None = field(default_factory=DenseOptions)
    mine: MineOptions = field(default_factory=MineOptions)
    score: ScoreOptions | None = None
    filter: FilterOptions = field(default_factory=FilterOptions)
    export: ExportOptions = field(default_factory=ExportOptions)
    indexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage of the chain: where its artefact goes, and how to make the stage once its inputs are there."""

    name: str
    path: Path
    make: Callable[[], Ingest | Stage]

    @property
    def key(self) -> str:
        """What `--only` calls it: the last word of its name, which is that of its table in a configuration file."""
        return self.name.rsplit(" ", 1)[-1]


def previews(steps: Iterable[Step]) -> list[tuple[str, Path, Preview | None]]:
    """What each step would do; None where a step's inputs do not exist yet."""
    found: list[tuple[str, Path, Preview | None]] = []
    ready = True
    for step in steps:
        found.append((step.name, step.path, step.make().preview(step.path) if ready else None))
        ready = ready and is_there(step.path / MANIFEST)
    return found


class Chain:
    """The stages of one run, in order, for an output directory or a single training file."""

    def __init__(self, data: str, output: Path, options: RunOptions, *, cache: Path | None = None) -> None:
        self.data = data
        self.options = options
        self._cache = cache
        form = FORMATS[options.export.format]
        self.directory, file = training_places(output, options.export.format)
        usual = form.encoding.suffixes[0]
        self.file: Path | None = file or output / ("triplets.parquet" if usual == ".parquet" else f"train{usual}")
        if file is None and (options.export.rows_per_file is not None or form.beside):
            self.file = None

    def dense_name(self) -> str:
        """The dense index's directory, so its name in columns: the model's own name, shortened."""
        dense = self.options.dense or DenseOptions()
        if dense.vectors:
            return "vectors"
        model = (dense.remote_model or "remote") if is_remote(dense.model) else dense.model
        base = model.rstrip("/").rsplit("/", 1)[-1]
        return "minilm" if base.lower() == "all-minilm-l6-v2" else base

    def steps(self) -> Iterator[Step]:
        """The steps in order; a step's `make` needs the artefacts of the steps before it."""
        options, directory = self.options, self.directory
        existing = find_collection(self.data)
        collection = existing if existing is not None else directory / COLLECTION
        if existing is None:
            yield Step(name=INGEST, path=collection, make=lambda: Ingest(self.data, options.input))
        indexes: list[Path] = []
        if options.bm25 is not None:
            bm25 = options.bm25
            indexes.append(directory / INDEXES / "bm25")
            yield Step(name="index bm25", path=indexes[-1], make=lambda: IndexBm25(Collection.open(collection), bm25))
        if options.dense is not None:
            dense = options.dense
            indexes.append(directory / INDEXES / self.dense_name())
            yield Step(
                name="index dense", path=indexes[-1], make=lambda: IndexDense(Collection.open(collection), dense)
            )

        def opened() -> list[NamedIndex]:
            return [named_index(str(path)) for path in indexes] + [named_index(spec) for spec in options.indexes]

        candidates = directory / CANDIDATES
        yield Step(
            name="mine",
            path=candidates,
            make=lambda: Mine(Collection.open(collection), opened(), self.mining(), cache=self._cache),
        )
        if options.score is not None:
            score, mined = options.score, candidates
            candidates = directory / SCORED
            yield Step(
                name="score",
                path=candidates,
                make=lambda: Score(
                    Collection.open(collection), Artefact.open(mined, Kind.CANDIDATES), score, rules=options.filter
                ),
            )
        judged = candidates
        yield Step(
            name="filter",
            path=directory / DECISIONS,
            make=lambda: Filter(Collection.open(collection), Artefact.open(judged, Kind.CANDIDATES), options.filter),
        )
        yield Step(
            name="export",
            path=directory / EXPORT,
            make=lambda: Export(
                Collection.open(collection),
                Artefact.open(directory / DECISIONS, Kind.DECISIONS),
                options.export,
                path=directory / EXPORT,
                file=self.file,
            ),
        )

    def mining(self) -> MineOptions:
        """The options of `mine`; a condition of the rules narrows the search already.

        All that a condition on what the search found would leave is found so too, and where the condition is selective
        much more. Ranks then count the documents that satisfy it.
        """
        options = self.options
        return replace(options.mine, where=options.mine.where or options.filter.where)

    def check(self, how: Execution) -> None:
        """Raise every error that can be told before the first stage: contradicting options, missing sources, packages
        and models, and columns if DATA is a collection.
        """
        options, errors = self.options, list[HnmineError]()
        checks: list[Callable[[], object]] = [
            lambda: check_rules(options.filter),
            lambda: check_layout(options.export),
            self._check_sources,
            self._check_names,
            *(partial(open_run, spec) for spec in options.mine.run),
            lambda: self._check_target(how),
            self._check_until,
            self._check_scores,
            self._check_limits,
            lambda: self._check_earlier(how),
            self._check_previous,
            lambda: check_kept(options.dense or DenseOptions()),
        ]
        if options.mine.where is not None:
            where = options.mine.where
            checks.append(lambda: Condition(where))
        if (existing := find_collection(self.data)) is not None:
            collection = Collection.open(existing)
            checks.append(lambda: check_collection(collection, options.filter, options.mine))
            checks.append(lambda: check_instruction(collection, options.export.instruction))
        if options.dense is not None and not options.dense.vectors:
            dense = options.dense
            if is_remote(dense.model):
                checks.append(lambda: RemoteEncoder(dense).dimension)
            else:
                checks.append(lambda: check_model(dense.model, dense.revision, dense.backend, "sentence-transformers"))
        if options.score is not None and not is_remote(options.score.reranker):
            score = options.score
            checks.append(lambda: check_model(score.reranker, score.revision, score.backend, "cross-encoder"))
        for one in checks:
            try:
                one()
            except HnmineError as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise type(errors[0])("\n".join(dict.fromkeys(error.render() for error in errors)))

    def _check_sources(self) -> None:
        options = self.options
        sources = (options.bm25, options.dense, options.indexes, options.mine.run, options.mine.random)
        if not any(sources):
            raise UsageError(
                "nothing to mine from: no BM25 index, no dense index and no other source",
                expected="an index, --index DIR, --run FILE or --random N",
            )

    def _check_names(self) -> None:
        if self.options.dense is not None:
            check_name(self.dense_name())
        if self.options.score is not None:
            name = check_name(score_name(self.options.score))
            if self.options.dense is not None and name == self.dense_name():
                raise UsageError(
                    f"the dense index and the reranker would both be called {name!r}",
                    remedy="name = ... in the [score] table of a --config file",
                )

    def _check_scores(self) -> None:
        """Raise `UsageError` if rules ask for scores that no step of this run will make."""
        options = self.options
        runs = [open_run(spec)[0] for spec in options.mine.run]
        if None in runs:
            return  # what the rows of a run are called shows when they are read
        names = [*(named_index(spec).name for spec in options.indexes), *filter(None, runs)]
        names += ["bm25"] if options.bm25 is not None else []
        names += [self.dense_name()] if options.dense is not None else []
        names += [score_name(options.score)] if options.score is not None else []
        kinds = [*ORIGINS.values(), "run", "reranker", IMPORTED, FUSED]
        asked = {
            "--judge-by": options.filter.judge_by,
            "--rank-by": options.filter.rank_by,
            "--guide": options.filter.guide,
        }
        problems = [
            f"{flag} {name}: this run makes no such score" + did_you_mean(name, [*names, *kinds])
            for flag, name in asked.items()
            if name is not None and name not in (*names, *kinds)
        ]
        if problems:
            raise UsageError("\n".join(problems), expected=f"one of {', '.join(names)}, or a kind: {', '.join(kinds)}")

    def _check_limits(self) -> None:
        for limit in dict.fromkeys((self.options.mine.limit, self.options.filter.limit, self.options.export.limit)):
            if limit is not None and limit < 1:
                raise UsageError(f"--limit {limit}: at least 1")

    def _check_until(self) -> None:
        score, rules = self.options.score, self.options.filter
        wanted = rules.num_negatives * rules.epochs
        if score is not None and score.until is not None and score.until < wanted:
            raise UsageError(
                f"until = {score.until} in [score]: scoring would end before there are {wanted} negatives a query",
                expected=f"at least {wanted} (--num-negatives, times --epochs)",
            )

    def _check_earlier(self, how: Execution) -> None:
        if how.append is None:
            return
        earlier = training_places(how.append, self.options.export.format)[0]
        if earlier.resolve() == self.directory.resolve():
            raise UsageError(
                f"--append {how.append} is the output itself: what is finished does not change",
                remedy="choose another -o; the earlier run can be removed afterwards",
            )
        artefacts_of(earlier)

    def _check_previous(self) -> None:
        """An earlier round that is not there is told before the first stage; whether it fits, once its turn comes."""
        if self.options.mine.previous is not None:
            open_artefact(as_path(self.options.mine.previous), Kind.DECISIONS)

    def _following(self, step: Step, stage: Ingest | Stage, how: Execution) -> Execution:
        """How to carry out a step: blocks are taken over from the same step of the earlier run."""
        if how.append is None or isinstance(stage, Ingest | Filter | Export):
            return replace(how, append=None)
        earlier = training_places(how.append, self.options.export.format)[0] / step.path.relative_to(self.directory)
        if is_artefact(earlier):
            return replace(how, append=earlier)
        how.progress.say(f"{step.name}: everything is made, for {how.append} has no {earlier.name}")
        return replace(how, append=None)

    def _check_target(self, how: Execution) -> None:
        if self.file is None:
            return
        if self.file.exists() and as_path(self.data).exists() and self.file.samefile(as_path(self.data)):
            raise UsageError(f"-o {self.file} is DATA itself", remedy="choose another -o")
        beside = [VALIDATION] if self.options.export.validation is not None else []
        for split in [TRAIN, *beside]:
            file = self.file.with_name(split_file(self.file.name, split))
            refuse_foreign(file, self.directory / EXPORT, overwrite=how.overwrite)

    def run(
        self, how: Execution, report: Callable[[str, Outcome], None], *, only: str | None = None
    ) -> list[tuple[str, Outcome]]:
        """Carry out every step, or `only` one; `report` hears of each as it ends. What can be checked is checked before
        the first, and the columns that conditions name at the latest when DATA was read.

        A single step may be done as one of several shards, and needs the artefacts of those before it.
        """
        self.check(how)
        outcomes = []
        for step in self._chosen(only):
            stage = step.make()
            if isinstance(stage, Ingest):
                if not stage.source.has_queries:
                    raise InputError(
                        f"{self.data}: a corpus alone, without queries and their positives",
                        expected="pairs, or a corpus with queries and qrels",
                        remedy="name them with --queries and --qrels, or have some written: "
                        f"hnmine generate {self.data} -o DIR --write queries",
                    )
                check_source(stage.source, self.options.filter, self.options.mine)
                check_instruction(stage.source, self.options.export.instruction)
            try:
                outcome = stage.run(step.path, self._following(step, stage, how))
            except AnotherPlan as error:
                raise error.with_remedy(self._other_ways(step)) from None
            if isinstance(stage, Ingest):
                collection = Collection.open(step.path)
                check_collection(collection, self.options.filter, self.options.mine)
                check_instruction(collection, self.options.export.instruction)
            report(step.name, outcome)
            outcomes.append((step.name, outcome))
        return outcomes

    def _other_ways(self, step: Step) -> str:
        """What to do about a step that was finished with another plan: most often the search is the same."""
        if step.key == INGEST:
            return "another -o, or --overwrite to make everything anew"
        kept = f"--overwrite here, which keeps what stands before {step.key}"
        if step.key in ("filter", "export"):
            return f"hnmine {step.key} {self.directory} -o OTHER, with the new options; or {kept}"
        return f"another -o, or {kept}"

    def _chosen(self, only: str | None) -> list[Step]:
        """All steps, or the one that is asked for; none if that is `ingest` and DATA is a collection already."""
        steps = list(self.steps())
        if only is None:
            return steps
        known = list(dict.fromkeys([INGEST, *(step.key for step in steps)]))
        if only not in known:
            raise UsageError(f"--only {only}: no step of this run", expected=f"one of {', '.join(known)}")
        return [step for step in steps if step.key == only]

    def preview(self, how: Execution) -> list[tuple[str, Path, Preview | None]]:
        """What each step would do; None where a step's inputs do not exist yet."""
        self._check_earlier(how)
        found: list[tuple[str, Path, Preview | None]] = []
        ready = True
        for step in self.steps():
            preview: Preview | None = None
            if ready:
                stage = step.make()
                preview = (
                    stage.preview(step.path)
                    if isinstance(stage, Ingest)
                    else stage.preview(step.path, self._following(step, stage, how).append)
                )
            found.append((step.name, step.path, preview))
            ready = ready and is_there(step.path / MANIFEST)
        return found
