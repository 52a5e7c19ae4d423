"""The Python API: every stage as a function on the options records the command line uses.

Each reads finished artefacts, writes one new artefact to `output`, and returns its `Outcome` (`.counts` are the numbers
of the summary, `.artefact` the result). Called again with the same arguments it goes on where it was, or finds
everything done; with others it raises `ArtefactError`, unless `how` says `Execution(overwrite=True)`. A run directory
may stand for the artefact in it that is meant. After documents or queries were added, `Execution(append=EARLIER)` takes
over the blocks of an earlier output that were made from the same. `UsageError` tells of every wrong option at once.

DATA is what `hnmine --help` says: a collection, a BEIR directory, a file of pairs, `stdlib`, ...; what is not a
collection yet is ingested once into `cache_dir`. `prepare_*` open the inputs and make the stage (for a preview). What a
stage needs is imported when the function that makes it is called: deciding does not wait for the encoders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hnmine import presets
from hnmine.errors import UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact, Draft
from hnmine.files.cache import default_cache
from hnmine.files.remote import as_path
from hnmine.options import (
    AuditOptions,
    Bm25Options,
    DenseOptions,
    DownsampleOptions,
    ExportOptions,
    FilterOptions,
    Format,
    GenerateOptions,
    ImportOptions,
    InputOptions,
    JudgeOptions,
    LateOptions,
    MineOptions,
    Options,
    PushOptions,
    ReportOptions,
    ScoreOptions,
    SearchOptions,
    SparseOptions,
    SweepOptions,
    TruthOptions,
    from_mapping,
)
from hnmine.schema import Kind
from hnmine.stages.places import (
    collection_of,
    indexes_of,
    open_artefact,
    open_collection,
    training_places,
)
from hnmine.stages.stage import Outcome, Stage

if TYPE_CHECKING:
    from hnmine.files.hub import Pushed
    from hnmine.stages.audit import Audit
    from hnmine.stages.chain import RunOptions
    from hnmine.stages.downsample import Downsample
    from hnmine.stages.export import Export
    from hnmine.stages.filter import Filter
    from hnmine.stages.generating import Generation
    from hnmine.stages.index_bm25 import IndexBm25
    from hnmine.stages.index_dense import IndexDense
    from hnmine.stages.index_late import IndexLate
    from hnmine.stages.index_sparse import IndexSparse
    from hnmine.stages.indexes import NamedIndex
    from hnmine.stages.judge import Judge
    from hnmine.stages.mine import Mine
    from hnmine.stages.report import Report
    from hnmine.stages.score import Score
    from hnmine.stages.search import Search
    from hnmine.stages.sweep import Sweep

Place = str | Path
T = TypeVar("T")


def ingest(data: Place, output: Place, *, options: InputOptions | None = None, how: Execution | None = None) -> Outcome:
    """Validate DATA and write it as a collection: documents, queries, judgments.

    Raises `InputError` with every problem of the input, and then leaves nothing behind.
    """
    from hnmine.stages.ingest import Ingest

    return Ingest(str(data), options or InputOptions()).run(as_path(output), how or Execution())


def import_training(
    file: Place,
    output: Place,
    *,
    options: ImportOptions,
    how: Execution | None = None,
    report: Callable[[str, Outcome], None] | None = None,
) -> list[tuple[str, Outcome]]:
    """Make a run directory of a training file of any tool: collection, candidates, decisions; (step, outcome) of each.

    `options.format` says what the file is. Then audit, score, filter and export it as what was mined. `report` hears of
    each step as it ends. Raises `InputError` with every row that is none, and then leaves nothing behind.
    """
    from hnmine.stages.importing import Import

    found = Import(as_path(file), as_path(output), options)
    return found.run(how or Execution(), report or (lambda name, outcome: None))


def prepare_generate(
    data: Place,
    output: Place,
    *,
    options: GenerateOptions,
    input: InputOptions,
    cache: Path,
    answers: Path,
    how: Execution,
) -> Generation:
    """The steps that write texts for DATA and make a collection with them; answers of models are kept in `answers`."""
    from hnmine.stages.generating import Generation

    return Generation(open_collection(str(data), input, cache, how), as_path(output), options, answers)


def generate(
    data: Place,
    output: Place,
    *,
    options: GenerateOptions | None = None,
    input: InputOptions | None = None,
    cache_dir: Place | None = None,
    how: Execution | None = None,
    report: Callable[[str, Outcome], None] | None = None,
) -> list[tuple[str, Outcome]]:
    """Write negatives, or queries, that DATA does not hold; (step, outcome) of each step.

    `output` gets the texts (`generated`) and a collection that has them too (`collection`), and is DATA from then on:
    negatives are candidates of their own queries, with the source `curated`. `report` hears of each step as it ends.
    """
    how = how or Execution()
    found = prepare_generate(
        data,
        output,
        options=options or GenerateOptions(),
        input=input or InputOptions(),
        cache=_cache(cache_dir),
        answers=_cache(cache_dir),
        how=how,
    )
    return found.run(how, report or (lambda name, outcome: None))


def prepare_index_bm25(
    data: Place, *, options: Bm25Options, input: InputOptions, cache: Path, how: Execution
) -> IndexBm25:
    """The stage that builds a BM25 index over DATA."""
    from hnmine.stages.index_bm25 import IndexBm25

    return IndexBm25(open_collection(str(data), input, cache, how), options)


def index_bm25(
    data: Place,
    output: Place,
    *,
    options: Bm25Options | None = None,
    input: InputOptions | None = None,
    cache_dir: Place | None = None,
    how: Execution | None = None,
) -> Outcome:
    """Build a BM25 index over the documents of DATA. Its name in columns is the directory's, unless options name it."""
    how = how or Execution()
    stage = prepare_index_bm25(
        data, options=options or Bm25Options(), input=input or InputOptions(), cache=_cache(cache_dir), how=how
    )
    return stage.run(as_path(output), how)


def prepare_index_dense(
    data: Place, *, options: DenseOptions, input: InputOptions, cache: Path, how: Execution
) -> IndexDense:
    """The stage that builds a dense index over DATA."""
    from hnmine.stages.index_dense import IndexDense

    return IndexDense(open_collection(str(data), input, cache, how), options)


def index_dense(
    data: Place,
    output: Place,
    *,
    options: DenseOptions | None = None,
    input: InputOptions | None = None,
    cache_dir: Place | None = None,
    how: Execution | None = None,
) -> Outcome:
    """Encode the documents and queries of DATA with a sentence-transformers model, or take ready-made vectors.

    Raises `MissingDependencyError` if the model is in no place that is looked at, and names the places.
    """
    how = how or Execution()
    stage = prepare_index_dense(
        data, options=options or DenseOptions(), input=input or InputOptions(), cache=_cache(cache_dir), how=how
    )
    return stage.run(as_path(output), how)


def prepare_index_sparse(
    data: Place, *, options: SparseOptions, input: InputOptions, cache: Path, how: Execution
) -> IndexSparse:
    """The stage that builds a learned sparse index over DATA."""
    from hnmine.stages.index_sparse import IndexSparse

    return IndexSparse(open_collection(str(data), input, cache, how), options)


def index_sparse(
    data: Place,
    output: Place,
    *,
    options: SparseOptions | None = None,
    input: InputOptions | None = None,
    cache_dir: Place | None = None,
    how: Execution | None = None,
) -> Outcome:
    """Encode the documents and queries of DATA with a learned sparse model (SPLADE), and keep the postings.

    Raises `MissingDependencyError` if the model is in no place that is looked at, and names the places.
    """
    how = how or Execution()
    stage = prepare_index_sparse(
        data, options=options or SparseOptions(), input=input or InputOptions(), cache=_cache(cache_dir), how=how
    )
    return stage.run(as_path(output), how)


def prepare_index_late(
    data: Place, *, options: LateOptions, input: InputOptions, cache: Path, how: Execution
) -> IndexLate:
    """The stage that builds a late-interaction index over DATA."""
    from hnmine.stages.index_late import IndexLate

    return IndexLate(open_collection(str(data), input, cache, how), options)


def index_late(
    data: Place,
    output: Place,
    *,
    options: LateOptions | None = None,
    input: InputOptions | None = None,
    cache_dir: Place | None = None,
    how: Execution | None = None,
) -> Outcome:
    """Encode the documents and queries of DATA with a late-interaction model (ColBERT): a vector for every token.

    Raises `MissingDependencyError` if the model is in no place that is looked at, and names the places.
    """
    how = how or Execution()
    stage = prepare_index_late(
        data, options=options or LateOptions(), input=input or InputOptions(), cache=_cache(cache_dir), how=how
    )
    return stage.run(as_path(output), how)


def prepare_search(
    data: Place, indexes: Sequence[str], *, options: SearchOptions, input: InputOptions, cache: Path, how: Execution
) -> Search:
    """The stage that searches slice by slice; without `indexes`, those of the run directory DATA."""
    from hnmine.stages.search import Search

    collection = open_collection(str(data), input, cache, how)
    return Search(collection, _named_indexes(data, indexes), options)


def search(
    data: Place,
    output: Place,
    *,
    indexes: Sequence[Place] = (),
    options: SearchOptions | None = None,
    input: InputOptions | None = None,
    cache_dir: Place | None = None,
    how: Execution | None = None,
) -> Outcome:
    """Search the corpus slice by slice, for a `mine` that takes the `hits` and makes the same bytes.

    For corpora that no machine should read as a whole. `indexes` as for `mine`; they must be searched exactly.
    """
    how = how or Execution()
    stage = prepare_search(
        data,
        [str(index) for index in indexes],
        options=options or SearchOptions(),
        input=input or InputOptions(),
        cache=_cache(cache_dir),
        how=how,
    )
    return stage.run(as_path(output), how)


def prepare_mine(
    data: Place,
    indexes: Sequence[str],
    *,
    options: MineOptions,
    hits: Place | None,
    input: InputOptions,
    cache: Path,
    how: Execution,
) -> Mine:
    """The stage that mines candidates; without `indexes`, those of the run directory DATA."""
    from hnmine.stages.mine import Mine

    collection = open_collection(str(data), input, cache, how)
    found = open_artefact(as_path(hits), Kind.HITS) if hits is not None else None
    return Mine(collection, _named_indexes(data, indexes), options, found, cache=cache)


def _named_indexes(data: Place, indexes: Sequence[str]) -> list[NamedIndex]:
    from hnmine.stages.indexes import named_index

    return [named_index(spec) for spec in list(indexes) or [str(path) for path in indexes_of(as_path(data))]]


def mine(
    data: Place,
    output: Place,
    *,
    indexes: Sequence[Place] = (),
    options: MineOptions | None = None,
    hits: Place | None = None,
    input: InputOptions | None = None,
    cache_dir: Place | None = None,
    how: Execution | None = None,
) -> Outcome:
    """Mine candidates for every query that has a positive, with all the evidence about them.

    `indexes` are directories, or `NAME=DIR` to name their columns; without any, those of the run directory DATA. `hits`
    of `search` spare the search and change no byte.
    """
    how = how or Execution()
    stage = prepare_mine(
        data,
        [str(index) for index in indexes],
        options=options or MineOptions(),
        hits=hits,
        input=input or InputOptions(),
        cache=_cache(cache_dir),
        how=how,
    )
    return stage.run(as_path(output), how)


def prepare_score(
    data: Place,
    candidates: Place,
    *,
    options: ScoreOptions,
    rules: FilterOptions | None,
    input: InputOptions,
    cache: Path,
    how: Execution,
) -> Score:
    """The stage that reranks candidates."""
    from hnmine.stages.score import Score

    collection = open_collection(str(data), input, cache, how)
    return Score(collection, open_artefact(as_path(candidates), Kind.CANDIDATES), options, rules=rules)


def score(
    data: Place,
    candidates: Place,
    output: Place,
    *,
    options: ScoreOptions | None = None,
    rules: FilterOptions | None = None,
    input: InputOptions | None = None,
    cache_dir: Place | None = None,
    how: Execution | None = None,
) -> Outcome:
    """Score every candidate with a cross-encoder: the candidates again, with one more column of evidence.

    With `options.until` only as many of each query as `rules` need until so many pass them; `filter` by the same rules
    then chooses what it would choose if all were scored.
    """
    how = how or Execution()
    stage = prepare_score(
        data,
        candidates,
        options=options or ScoreOptions(),
        rules=rules,
        input=input or InputOptions(),
        cache=_cache(cache_dir),
        how=how,
    )
    return stage.run(as_path(output), how)


def prepare_judge(
    data: Place,
    candidates: Place,
    *,
    options: JudgeOptions,
    input: InputOptions,
    cache: Path,
    answers: Path,
    how: Execution,
) -> Judge:
    """The stage that has language models grade candidates; `answers` is the cache that keeps what they say."""
    from hnmine.stages.judge import Judge

    collection = open_collection(str(data), input, cache, how)
    return Judge(collection, open_artefact(as_path(candidates), Kind.CANDIDATES), options, answers)


def judge(
    data: Place,
    candidates: Place,
    output: Place,
    *,
    options: JudgeOptions,
    input: InputOptions | None = None,
    cache_dir: Place | None = None,
    how: Execution | None = None,
) -> Outcome:
    """Have language models grade the candidates in doubt (`score --judge`): a column of evidence for each judge.

    With `judge_likelihood` two scores more (Gecko). Answers are kept in the cache as soon as they are there, and never
    asked for twice.
    """
    how, cache = how or Execution(), _cache(cache_dir)
    stage = prepare_judge(
        data, candidates, options=options, input=input or InputOptions(), cache=cache, answers=cache, how=how
    )
    return stage.run(as_path(output), how)


def prepare_filter(candidates: Place, *, options: FilterOptions, collection: Place | None) -> Filter:
    """The stage that decides about candidates."""
    from hnmine.stages.filter import Filter

    artefact = open_artefact(as_path(candidates), Kind.CANDIDATES)
    return Filter(collection_of(artefact, as_path(collection) if collection else None), artefact, options)


def filter(
    candidates: Place,
    output: Place,
    *,
    options: FilterOptions | None = None,
    collection: Place | None = None,
    how: Execution | None = None,
) -> Outcome:
    """Give every candidate a verdict and a reason. Reads evidence alone, so trying other thresholds costs seconds.

    `collection` is only needed if it was moved since the candidates were mined.
    """
    stage = prepare_filter(candidates, options=options or FilterOptions(), collection=collection)
    return stage.run(as_path(output), how or Execution())


def prepare_sweep(
    candidates: Place, *, options: Options, truth: TruthOptions | None = None, collection: Place | None = None
) -> Sweep:
    """The sweep over a table of candidates; `options` are a `SweepOptions`."""
    from hnmine.stages.sweep import Sweep

    artefact = open_artefact(as_path(candidates), Kind.CANDIDATES)
    found = collection_of(artefact, as_path(collection) if collection else None)
    return Sweep(found, artefact, options, truth)


def sweep(
    candidates: Place,
    *,
    options: Options | None = None,
    truth: TruthOptions | None = None,
    collection: Place | None = None,
) -> dict[str, Any]:
    """What a grid of thresholds would give: coverage, hardness and, with judgments, false negatives of every point.

    `options` are a `SweepOptions`: lists of thresholds, none for a default grid. Nothing is written.
    """
    stage = prepare_sweep(candidates, options=options or SweepOptions(), truth=truth, collection=collection)
    return stage.run()


def prepare_audit(place: Place, *, options: AuditOptions, collection: Place | None = None) -> Audit:
    """The audit of a training file, decisions, an export or a run directory."""
    from hnmine.stages.audit import Audit, open_rows

    rows, found, wanted = open_rows(as_path(place), as_path(collection) if collection else None, options.format)
    return Audit(rows, options, found, wanted)


def audit(place: Place, *, options: AuditOptions | None = None, collection: Place | None = None) -> dict[str, Any]:
    """What is wrong with a training file of any tool, or with decisions. Nothing is written.

    `false_negative_rate`, `judged_share`, `mean_gap` and `coverage` are None where they cannot be computed. `crowding`
    has the documents that far too many queries find, and near-copies in bulk (docs/how-to/hubs.md).
    """
    return prepare_audit(place, options=options or AuditOptions(), collection=collection).run()


def prepare_report(place: Place, *, options: ReportOptions, collection: Place | None = None) -> Report:
    """The report on a run directory, decisions or a small corpus, before it is written."""
    from hnmine.stages.report import open_report

    return open_report(as_path(place), options, as_path(collection) if collection else None)


def report(
    place: Place, output: Place | None = None, *, options: ReportOptions | None = None, collection: Place | None = None
) -> Path:
    """Write one self-contained HTML page about a run directory, decisions or a small corpus; return where it is.

    Without `output` it is `report.html` in the run directory, or beside the artefact. Raises
    `MissingDependencyError` without jinja2 and matplotlib (`pip install 'hnmine[report]'`).
    """
    page = prepare_report(place, options=options or ReportOptions(), collection=collection)
    path = as_path(output) if output is not None else page.default_path
    page.write(path)
    return path


def export_places(output: Path, form: Format = Format.TRIPLET) -> tuple[Path, Path | None]:
    """(artefact directory, training file or None): `X.parquet` keeps its artefact in `X.hnmine/export`."""
    directory, file = training_places(output, form)
    return (directory / "export" if file else directory), file


def prepare_export(
    decisions: Place, output: Path, *, options: ExportOptions, collection: Place | None, index: Place | None = None
) -> tuple[Export, Path]:
    """The stage that writes a training file, and the directory of its artefact."""
    from hnmine.stages.export import Export

    artefact = open_artefact(as_path(decisions), Kind.DECISIONS)
    path, file = export_places(output, options.format)
    found = collection_of(artefact, as_path(collection) if collection else None)
    return Export(found, artefact, options, path=path, file=file, index=str(index) if index else None), path


def export(
    decisions: Place,
    output: Place,
    *,
    options: ExportOptions | None = None,
    collection: Place | None = None,
    index: Place | None = None,
    how: Execution | None = None,
) -> Outcome:
    """Write a training file (`X.parquet`) or a directory of shards that the trainer reads as it is.

    Ids, ranks, scores and sources of the same rows are in `X.ids.parquet`, or in the directory's `ids/`. `index` is
    where the index is whose vectors `options.mixed` mixes, if it is not where the candidates found it. Raises
    `InputError` if no query has a positive and enough negatives.
    """
    stage, path = prepare_export(
        decisions, as_path(output), options=options or ExportOptions(), collection=collection, index=index
    )
    return stage.run(path, how or Execution())


def push(
    export: Place,
    repository: str,
    *,
    private: bool = False,
    license: str | None = None,
    how: Execution | None = None,
) -> Pushed:
    """Push a finished export, or that of a run directory, with a dataset card to ORG/NAME of the Hugging Face Hub.

    The repository is made if it is missing; what is there already is not uploaded again. Raises `UsageError` where the
    Hub refuses, `StorageError` where it does not answer, `MissingDependencyError` without huggingface_hub.
    """
    from hnmine.stages.push import Push

    how = how or Execution()
    options = PushOptions(push=repository, private=private, license=license)
    return Push(options, say=how.progress.say).run(open_artefact(as_path(export), Kind.EXPORT), how)


def run(
    data: Place,
    output: Place,
    *,
    options: RunOptions | None = None,
    how: Execution | None = None,
    report: Callable[[str, Outcome], None] | None = None,
) -> list[tuple[str, Outcome]]:
    """The whole chain, from DATA to a training file; (step, outcome) of each stage.

    `output` is a directory, which gets `triplets.parquet` and every artefact, or `X.parquet`, whose artefacts go to
    `X.hnmine/`. `report` hears of each step as it ends.
    """
    from hnmine.stages.chain import Chain, RunOptions

    chain = Chain(str(data), as_path(output), options or RunOptions())
    return chain.run(how or Execution(), report or (lambda name, outcome: None))


def prepare_downsample(
    data: Place,
    candidates: Sequence[Place],
    *,
    options: DownsampleOptions,
    input: InputOptions,
    cache: Path,
    how: Execution,
) -> Downsample:
    """The stage that writes a small collection to evaluate with."""
    from hnmine.stages.downsample import Downsample

    found = [open_artefact(as_path(place), Kind.CANDIDATES) for place in candidates]
    return Downsample(open_collection(str(data), input, cache, how), found, options, cache=cache)


def downsample(
    data: Place,
    output: Place,
    *,
    candidates: Sequence[Place] = (),
    options: DownsampleOptions | None = None,
    input: InputOptions | None = None,
    cache_dir: Place | None = None,
    how: Execution | None = None,
) -> Outcome:
    """Write a small collection in BEIR's layout: what is judged, and the first k of several retrievers (MMTEB).

    `.counts` has nDCG@10 of every system in the whole and in the small corpus, and in that of the other systems' pool,
    and how well these agree (Kendall's tau).
    """
    how = how or Execution()
    stage = prepare_downsample(
        data,
        candidates,
        options=options or DownsampleOptions(),
        input=input or InputOptions(),
        cache=_cache(cache_dir),
        how=how,
    )
    return stage.run(as_path(output), how)


def preset(name: str) -> RunOptions:
    """The options of a published recipe, such as `bge`, for `run`; `hnmine presets` lists them.

    `dataclasses.replace` changes single values: `replace(options, filter=replace(options.filter, num_negatives=5))`.
    """
    from hnmine.stages.chain import RunOptions

    tables = presets.read(name)

    def record(kind: type[T], table: str) -> T:
        return from_mapping(kind, tables.get(table, {}), where=f"preset {name} [{table}]")

    return RunOptions(
        input=record(InputOptions, "input"),
        bm25=None if tables.get("bm25") is False else record(Bm25Options, "bm25"),
        dense=None if tables.get("dense") is False else record(DenseOptions, "dense"),
        mine=record(MineOptions, "mine"),
        score=record(ScoreOptions, "score") if "score" in tables else None,
        filter=record(FilterOptions, "filter"),
        export=record(ExportOptions, "export"),
    )


def merge(path: Place) -> Artefact:
    """Close an artefact whose blocks were done by several shards; an error lists the blocks that are missing."""
    from hnmine.stages.downsample import Downsample
    from hnmine.stages.export import Export
    from hnmine.stages.filter import Filter
    from hnmine.stages.generate import GenerateNegatives
    from hnmine.stages.index_bm25 import IndexBm25
    from hnmine.stages.index_dense import IndexDense
    from hnmine.stages.index_late import IndexLate
    from hnmine.stages.index_sparse import IndexSparse
    from hnmine.stages.judge import Judge
    from hnmine.stages.mine import Mine
    from hnmine.stages.score import Score
    from hnmine.stages.search import Search

    draft = Draft.reopen(as_path(path))
    if draft.is_closed:
        artefact = Artefact.open(as_path(path))
        draft.tidy()
        return artefact
    closers: dict[Kind, type[Stage]] = {
        Kind.BM25_INDEX: IndexBm25,
        Kind.DENSE_INDEX: IndexDense,
        Kind.SPARSE_INDEX: IndexSparse,
        Kind.LATE_INDEX: IndexLate,
        Kind.HITS: Search,
        Kind.GENERATED: GenerateNegatives,
        Kind.CANDIDATES: Score if "reranker" in draft.plan else Judge if "prompt" in draft.plan else Mine,
        Kind.DECISIONS: Filter,
        Kind.EXPORT: Export,
        Kind.DOWNSAMPLED: Downsample,
    }
    kind = Kind(draft.plan["kind"])
    if kind not in closers:
        raise UsageError(f"{path} is a {kind}: it is not made in shards", remedy="run the command that makes it again")
    return closers[kind].close(draft)


def _cache(given: Place | None) -> Path:
    return Path(given) if given is not None else default_cache()
