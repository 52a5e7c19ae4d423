"""The commands: parse, options, call the stage, show."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hnmine import options as opt
from hnmine.cli import show
from hnmine.cli.flags import (
    AppendFlags,
    CommonFlags,
    EstimateFlags,
    ExecutorFlags,
    Given,
    ModelFlags,
    ShardFlags,
    with_flags,
)
from hnmine.cli.help import Commands
from hnmine.cli.launch import LaunchFlags
from hnmine.cli.terminal import Terminal, check_conditions, duration, fail_if, print_json
from hnmine.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from hnmine.execute.local import Execution
    from hnmine.files.artefact import Artefact
    from hnmine.stages.chain import Chain
    from hnmine.stages.ingest import Ingest
    from hnmine.stages.push import Push
    from hnmine.stages.stage import Outcome, Preview, Stage

app = Commands(name="hnmine", context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "HNMINE"})
index = Commands(help="Build an index over a corpus.")
app.add_typer(index, name="index")

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="BEIR or MS MARCO directory, pairs file, file with classes, knowledge graph, `stdlib`, collection, or - "
        "(stdin).",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the artefact goes.")]
Candidates = Annotated[Path, typer.Argument(metavar="CANDIDATES", help="Candidates, or a run directory.")]
Rules = Annotated[
    str | None, typer.Option("--rules", help="A TOML file whose [filter] table has the rules, or a preset's name.")
]

INPUT, COMMON, SHARD = (opt.InputOptions, "Input"), (CommonFlags, "Every command"), (ShardFlags, "Every command")
MODEL, EXECUTOR = (ModelFlags, "Every command"), (ExecutorFlags, "Every command")
PUSH = (opt.PushOptions, "Hugging Face Hub")
APPEND, ESTIMATE = (AppendFlags, "Every command"), (EstimateFlags, "Every command")


def _version(wanted: bool) -> None:
    if wanted:
        from hnmine import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Mine hard negatives that are hard and true.

    \b
    Try it now:       hnmine run stdlib -o demo/triplets.parquet --limit 500
    Your own pairs:   hnmine run pairs.parquet -o triplets.parquet -n 5
    What works here:  hnmine doctor
    """


def execution(given: Given) -> tuple[Execution, Terminal]:
    """How to carry a stage out, from the flags of a call; conditions of --fail-if are checked here, before any work."""
    from hnmine.execute.local import Execution, parse_executor
    from hnmine.files.remote import as_path

    check_conditions(tuple(given.fail_if))
    terminal = Terminal(quiet=given.quiet, verbose=given.verbose)
    shard = _shard(given, terminal)
    if given.overwrite and shard[1] > 1:
        raise UsageError(
            "--overwrite and --shard contradict each other: each worker would remove the others' blocks",
            remedy="remove the artefact once, then start the shards without --overwrite",
        )
    strict, executor = bool(given.values.get("strict_plan")), str(given.values.get("executor", "local"))
    parse_executor(executor)
    return (
        Execution(
            shard=shard,
            executor=executor,
            overwrite=given.overwrite,
            append=as_path(given.append) if given.values.get("append") else None,
            strict_plan=strict,
            progress=terminal,
        ),
        terminal,
    )


def _shard(given: Given, terminal: Terminal) -> tuple[int, int]:
    """The shard of this call: as asked, else that of the job array's task, which is said; the whole otherwise."""
    if "shard" not in given.values:
        return 0, 1
    from hnmine.cli.job_arrays import parse_shard, shard_of_task

    if given.shard is not None:
        return parse_shard(given.shard)
    found = shard_of_task(os.environ)
    if found is None:
        return 0, 1
    shard, source = found
    terminal.say(f"--shard {shard[0]}/{shard[1]} from {source}")
    return shard


def stoppable(given: Given) -> tuple[Execution, Terminal]:
    """As `execution`; from now to the end of the command, SIGTERM and SIGUSR1 stop it between two blocks."""
    how, terminal = execution(given)
    given.context.with_resource(how.stop.listening())
    return how, terminal


def cache(given: Given) -> Path:
    """The cache directory of a call; a throw-away one for --dry-run, which writes nothing."""
    from hnmine.files.cache import default_cache

    if given.dry_run:
        import atexit
        import tempfile

        folder = tempfile.TemporaryDirectory(prefix="hnmine-")
        atexit.register(folder.cleanup)
        return Path(folder.name)
    return Path(given.cache_dir) if given.cache_dir else default_cache()


def carry_out(
    name: str,
    stage: Stage | Ingest,
    path: Path,
    given: Given,
    how: Execution,
    terminal: Terminal,
    push: Push | None = None,
) -> None:
    """Preview or run one stage, show it, check the conditions, and push what holds."""
    if given.dry_run:
        _preview_stage(name, stage, path, given, how, terminal, push)
        return
    outcome = stage.run(path, how)
    show.outcome(name, outcome, terminal)
    summary = outcome.summary()
    try:
        if outcome.artefact is not None:
            fail_if(check_conditions(tuple(given.fail_if)), outcome.counts)
            if push is not None:
                summary["push"] = pushed(push, outcome.artefact, how, terminal)
    finally:
        if given.json:
            print_json(summary)


def push_of(given: Given, terminal: Terminal, *, whole: bool) -> Push | None:
    """What --push asks for, checked before any work as far as can be; None without it. `whole`: not as a shard."""
    from hnmine.stages.push import open_push

    push = open_push(given.record(opt.PushOptions), say=terminal.say, quiet=given.quiet)
    if push is None:
        return None
    if not whole:
        raise UsageError(
            "--push: a shard, or a single step of a run, is not a whole export",
            remedy="push when all are done: the same command with --push, without --shard or --only",
        )
    if not given.dry_run:
        push.repository.check()
    return push


def pushed(push: Push, export: Artefact, how: Execution, terminal: Terminal) -> dict[str, Any]:
    """Push a finished export, and show that."""
    terminal.say(f"push: to {push.repository.url}")
    done = push.run(export, how)
    show.push(done, terminal)
    return done.to_json()


def _preview_stage(
    name: str,
    stage: Stage | Ingest,
    path: Path,
    given: Given,
    how: Execution,
    terminal: Terminal,
    push: Push | None = None,
) -> None:
    """Show what one stage would do, what is left of it will take, and what would be pushed."""
    import tempfile

    from hnmine.stages import forecast
    from hnmine.stages.ingest import Ingest

    preview = stage.preview(path) if isinstance(stage, Ingest) else stage.preview(path, how.append)
    show.preview(name, preview, path, terminal)
    estimate = None
    takes_estimates = "price_per_hour" in given.values
    if preview.left and takes_estimates:
        with tempfile.TemporaryDirectory(prefix="hnmine-") as folder:
            estimate = forecast.of_stage(stage, Path(folder))
        estimate = estimate.times(preview.left) if estimate is not None else None
    if takes_estimates:
        show.estimate(estimate, given.price_per_hour, terminal, is_done=not preview.left)
    told: dict[str, Any] = {}
    if estimate is not None:
        told["estimate"] = estimate.to_json(given.price_per_hour)
    if push is not None:
        told["push"] = _preview_push(push, preview, given, terminal)
    if given.json:
        print_json({**preview.summary(), **told})


def _preview_push(push: Push, export: Preview | None, given: Given, terminal: Terminal) -> dict[str, Any]:
    """Show what would be pushed: the files, and on standard output the card, unless that is for JSON."""
    from hnmine.files.artefact import Artefact, full_plan, read_plan

    if export is None or export.left or read_plan(export.path) != full_plan(export.kind, export.plan):
        terminal.say(f"push: to {push.repository.url}, when the export is finished")
        return {"repository": push.repository.name}
    found = push.preview(Artefact.open(export.path, export.kind))
    show.push_preview(found, push.repository.url, terminal)
    if not given.json:
        print(found.card, end="")
    return found.to_json()


@app.command()
@with_flags(INPUT, COMMON, ESTIMATE)
def ingest(data: Data, output: Output, given: Given) -> None:
    """Validate DATA and normalise it into a collection.

    \b
      hnmine ingest beir/scifact -o scifact/collection
      hnmine ingest pairs.csv -o faq --anchor-column question --positive-column answer
      hnmine ingest intents.csv -o intents --class-column intent
    """
    from hnmine.stages.ingest import Ingest

    how, terminal = stoppable(given)
    carry_out("ingest", Ingest(data, given.record(opt.InputOptions)), output, given, how, terminal)


@app.command("import")
@with_flags((opt.ImportOptions, "Training file"), COMMON)
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Any tool's training file, or a directory of its files.")
    ],
    output: Output,
    given: Given,
) -> None:
    """Make a run of a training file of any tool, to audit, rescore, refilter or export it.

    \b
      hnmine import train.parquet --format triplet -o imported
      hnmine import minedHN.jsonl --format flagembedding -o imported --corpus corpus.jsonl
    """
    from hnmine.stages.importing import Import

    how, terminal = stoppable(given)
    training = Import(file, output, given.record(opt.ImportOptions))
    if given.dry_run:
        previews = training.preview()
        for name, path, found in previews:
            show.preview(name, found, path, terminal)
        if given.json:
            print_json({name: found.summary() if found else {"path": str(path)} for name, path, found in previews})
        return

    def report(name: str, outcome: Outcome) -> None:
        if name == "filter":  # what the rules of filter tell is of no use here: none was asked
            show.as_they_are(outcome, terminal)
        else:
            show.outcome(name, outcome, terminal)

    outcomes = training.run(how, report)
    if given.json:
        print_json({name: outcome.summary() for name, outcome in outcomes})
    counts = {name: outcome.counts for name, outcome in outcomes}
    fail_if(check_conditions(tuple(given.fail_if)), {**counts, **counts["filter"]})


@app.command()
@with_flags((opt.GenerateOptions, "What is written"), INPUT, COMMON, SHARD, EXECUTOR)
def generate(data: Data, output: Output, given: Given) -> None:
    """Write negatives, or queries, that no corpus holds.

    The output has a collection with them, and is DATA for every other command.

    \b
      hnmine generate beir/scifact -o written
      hnmine generate beir/scifact -o written --change number --change negation -n 2
      hnmine generate corpus.jsonl -o asked --write queries
    """
    from hnmine import api

    how, terminal = stoppable(given)
    generation = api.prepare_generate(
        data,
        output,
        options=given.record(opt.GenerateOptions),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    if given.dry_run:
        previews = generation.preview()
        for name, path, found in previews:
            show.preview(name, found, path, terminal)
        if given.json:
            print_json({name: found.summary() if found else {"path": str(path)} for name, path, found in previews})
        return
    outcomes = generation.run(how, lambda name, outcome: show.outcome(name, outcome, terminal))
    if given.json:
        print_json({name: outcome.summary() for name, outcome in outcomes})
    counts = {name: outcome.counts for name, outcome in outcomes}
    fail_if(check_conditions(tuple(given.fail_if)), {**counts, **counts["generate"]})


@index.command("bm25")
@with_flags((opt.Bm25Options, "BM25 index"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND)
def index_bm25(data: Data, output: Output, given: Given) -> None:
    """Build a BM25 index over the documents of DATA.

    \b
      hnmine index bm25 beir/scifact -o scifact/indexes/bm25
      hnmine index bm25 gesetze --language german -o gesetze/indexes/bm25
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_index_bm25(
        data,
        options=given.record(opt.Bm25Options),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("index bm25", stage, output, given, how, terminal)


@index.command("dense")
@with_flags((opt.DenseOptions, "Dense index"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND, MODEL)
def index_dense(data: Data, output: Output, given: Given) -> None:
    """Encode the documents and queries of DATA.

    \b
      hnmine index dense beir/scifact -o scifact/indexes/minilm
      hnmine index dense beir/scifact -o scifact/indexes/e5 --model intfloat/e5-small-v2 \\
          --query-prompt "query: " --document-prompt "passage: "
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_index_dense(
        data,
        options=given.record(opt.DenseOptions),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("index dense", stage, output, given, how, terminal)


@index.command("sparse")
@with_flags((opt.SparseOptions, "Sparse index"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND, MODEL)
def index_sparse(data: Data, output: Output, given: Given) -> None:
    """Encode the documents and queries of DATA with a learned sparse model (SPLADE).

    \b
      hnmine index sparse beir/scifact -o scifact/indexes/splade --model models/splade
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_index_sparse(
        data,
        options=given.record(opt.SparseOptions),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("index sparse", stage, output, given, how, terminal)


@index.command("late")
@with_flags((opt.LateOptions, "Late-interaction index"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND, MODEL)
def index_late(data: Data, output: Output, given: Given) -> None:
    """Encode the documents and queries of DATA with a late-interaction model (ColBERT): a vector a token.

    \b
      hnmine index late beir/scifact -o scifact/indexes/colbert --model models/colbert
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_index_late(
        data,
        options=given.record(opt.LateOptions),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("index late", stage, output, given, how, terminal)


Indexes = Annotated[
    list[str], typer.Option("--index", metavar="<str>", help="Index to search: DIR or NAME=DIR; repeatable.")
]


@app.command()
@with_flags((opt.SearchOptions, "Search"), INPUT, COMMON, SHARD, EXECUTOR)
def search(data: Data, output: Output, given: Given, index: Indexes = []) -> None:  # noqa: B006
    """Search slice by slice a corpus that no machine should read as a whole, for `mine --hits`.

    \b
      hnmine search scifact -o scifact/hits --index scifact/indexes/minilm --slices 8 --shard 3/8
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_search(
        data,
        index,
        options=given.record(opt.SearchOptions),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("search", stage, output, given, how, terminal)


@app.command()
@with_flags((opt.MineOptions, "Mining"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND)
def mine(
    data: Data,
    output: Output,
    given: Given,
    index: Indexes = [],  # noqa: B006
    hits: Annotated[
        Path | None, typer.Option("--hits", help="What `search` found: nothing is searched that it has.")
    ] = None,
) -> None:
    """Mine candidates with all the evidence about them.

    \b
      hnmine mine scifact -o scifact/candidates --index scifact/indexes/bm25
      hnmine mine beir/scifact -o scifact/candidates --run splade=splade.trec
      hnmine mine scifact -o scifact/candidates --index scifact/indexes/minilm --hits scifact/hits
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_mine(
        data,
        index,
        options=given.record(opt.MineOptions),
        hits=hits,
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("mine", stage, output, given, how, terminal)


@app.command()
@with_flags((opt.ScoreOptions, "Reranker"), INPUT, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND, MODEL)
def score(data: Data, candidates: Candidates, output: Output, given: Given, rules: Rules = None) -> None:
    """Score candidates with a cross-encoder: all of them, or only as many as it takes.

    \b
      hnmine score scifact scifact/candidates -o scifact/scored --reranker models/mine
      hnmine score scifact scifact/candidates -o scifact/scored --reranker models/mine --until 7 --rules rules.toml
    """
    from hnmine import api
    from hnmine.cli.config import rules_of

    if rules is not None and given.until is None:
        raise UsageError("--rules says until when to score: it goes with --until N")
    how, terminal = stoppable(given)
    stage = api.prepare_score(
        data,
        candidates,
        options=given.record(opt.ScoreOptions),
        rules=opt.from_mapping(opt.FilterOptions, rules_of(rules), where=f"{rules} [filter]") if rules else None,
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("score", stage, output, given, how, terminal)


CollectionDir = Annotated[
    Path | None, typer.Option("--collection", help="The collection [default: where run.json says].")
]


Preset = Annotated[str | None, typer.Option("--preset", help="A published recipe: `hnmine presets`; flags win.")]


@app.command("filter")
@with_flags((opt.FilterOptions, "Rules"), COMMON, SHARD, EXECUTOR, ESTIMATE)
def filter_(
    candidates: Candidates,
    output: Output,
    given: Given,
    collection: CollectionDir = None,
    preset: Preset = None,
    rules: Rules = None,
) -> None:
    """Give every candidate a verdict and a reason.

    \b
      hnmine filter scifact -o scifact/strict --relative-margin 0.1 -n 5
      hnmine filter scifact -o scifact/relaxed --short relax
      hnmine filter scifact -o scifact/drawn --preset simans -n 5
    """
    from hnmine import api
    from hnmine.cli.config import named_filter_options

    if preset is not None and rules is not None:
        raise UsageError("--preset and --rules both name rules", expected="one of them; --rules takes a preset too")
    how, terminal = stoppable(given)
    stage = api.prepare_filter(candidates, options=named_filter_options(given, preset, rules), collection=collection)
    carry_out("filter", stage, output, given, how, terminal)


@app.command()
@with_flags((opt.ExportOptions, "Layout"), PUSH, COMMON, SHARD, EXECUTOR, ESTIMATE)
def export(
    decisions: Annotated[Path, typer.Argument(metavar="DECISIONS", help="Decisions, or a run directory.")],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="FILE (.parquet, .jsonl, ... as the format has it), a directory, or - (a pipe)."
        ),
    ],
    given: Given,
    collection: CollectionDir = None,
    index: Annotated[
        str | None,
        typer.Option(
            "--index", metavar="<str>", help="Index whose vectors --mixed mixes [default: what was mined with]."
        ),
    ] = None,
) -> None:
    """Write a training file that holds exactly what the trainer reads.

    \b
      hnmine export scifact -o triplets.parquet
      hnmine export scifact --format n-tuple -o tuples.parquet
      hnmine export scifact --format flagembedding -o train.jsonl
      hnmine export scifact -o - | head -1
      hnmine export scifact -o tuples --format n-tuple --push me/scifact-negatives
    """
    from hnmine import api
    from hnmine.files.remote import as_path

    how, terminal = stoppable(given)
    options = given.record(opt.ExportOptions)
    if output == "-" and given.json:
        raise UsageError("--json and -o - contradict each other: both write to standard output")
    push = push_of(given, terminal, whole=how.shard[1] == 1)
    if output == "-" and push is not None:
        raise UsageError(
            "--push and -o - contradict each other: a stream is not kept", expected="a file or a directory"
        )
    stage, path = api.prepare_export(decisions, as_path(output), options=options, collection=collection, index=index)
    if output == "-" and not given.dry_run:
        for line in stage.stream():
            how.stop.check()
            sys.stdout.write(line)
        return
    carry_out("export", stage, path, given, how, terminal, push)


ChainData = Annotated[
    str | None, typer.Argument(metavar="DATA", help="As for ingest: a directory, a file, `stdlib`, ...")
]
ChainOutput = Annotated[Path | None, typer.Option("--output", "-o", help="A directory, or FILE.parquet.")]
Config = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; flags win.")]
FurtherIndex = Annotated[
    list[str], typer.Option("--index", metavar="<str>", help="A further, ready-made index: DIR or NAME=DIR.")
]
Reranker = Annotated[str | None, typer.Option("--reranker", help="Score with this cross-encoder too.")]
NoBm25 = Annotated[bool, typer.Option("--no-bm25", help="Build no BM25 index.")]
NoDense = Annotated[bool, typer.Option("--no-dense", help="Build no dense index.")]

CHAIN = (
    (opt.FilterOptions, "Rules"),
    (opt.MineOptions, "Mining"),
    (opt.ExportOptions, "Layout"),
    (opt.DenseOptions, "Dense index"),
    (opt.Bm25Options, "BM25 index"),
    INPUT,
    COMMON,
)


@app.command()
@with_flags(*CHAIN[:-1], PUSH, COMMON, SHARD, EXECUTOR, ESTIMATE, APPEND, MODEL, skip=frozenset({"name"}))
def run(
    given: Given,
    data: ChainData = None,
    output: ChainOutput = None,
    config: Config = None,
    preset: Preset = None,
    index: FurtherIndex = [],  # noqa: B006
    reranker: Reranker = None,
    no_bm25: NoBm25 = False,
    no_dense: NoDense = False,
    only: Annotated[
        str | None,
        typer.Option(
            "--only", help="This step alone: ingest, bm25, dense, mine, score, filter or export; --shard goes with it."
        ),
    ] = None,
) -> None:
    """The whole chain: DATA to a training file.

    \b
      hnmine run stdlib -o demo/triplets.parquet --limit 500
      hnmine run pairs.parquet -o triplets.parquet -n 5 --relative-margin 0.05
      hnmine run beir/scifact -o scifact --reranker models/mine
      hnmine run beir/scifact -o scifact --preset nv-retriever
      hnmine run beir/grown -o grown --append scifact
    """
    from hnmine.cli.config import run_settings
    from hnmine.stages.chain import INGEST, Chain

    flags = {"index": index, "reranker": reranker, "no_bm25": no_bm25, "no_dense": no_dense}
    settings = run_settings(given, config, preset=preset, data=data, output=output, flags=flags)
    if only in (None, INGEST):
        if given.shard is not None:
            raise UsageError(
                "--shard: " + ("ingesting is not cut into shards" if only else "a whole run is not cut into shards"),
                expected="--only with another step",
                remedy="`hnmine plan --launcher slurm` writes the jobs of a run",
            )
        del given.values["shard"]  # the tasks of an array may be runs of their own
    how, terminal = stoppable(given)
    chain = Chain(settings.data, settings.output, settings.options, cache=cache(given))
    push = push_of(given, terminal, whole=only is None)
    if given.dry_run:
        _preview(chain, given, how, terminal, push)
        return
    outcomes = chain.run(how, lambda name, outcome: show.outcome(name, outcome, terminal), only=only)
    terminal.say(_times(outcomes) if outcomes else f"--only {only}: {settings.data} is a collection already")
    if chain.file is not None and only is None:
        terminal.say(f"training file: {chain.file}; a few rows of it: hnmine inspect {chain.directory} --sample 3")
    summary: dict[str, Any] = {name: outcome.summary() for name, outcome in outcomes}
    counts: dict[str, Any] = {name: outcome.counts for name, outcome in outcomes}
    try:
        if only is None:
            fail_if(check_conditions(tuple(given.fail_if)), {**counts, **counts["filter"]})
            export = outcomes[-1][1].artefact
            if push is not None and export is not None:
                summary["push"] = pushed(push, export, how, terminal)
        elif outcomes and outcomes[0][1].artefact is not None:
            fail_if(check_conditions(tuple(given.fail_if)), outcomes[0][1].counts)
    finally:
        if given.json:
            print_json(summary)


@app.command()
@with_flags(*CHAIN, (LaunchFlags, "Scheduler"), EXECUTOR, ESTIMATE, APPEND, MODEL, skip=frozenset({"name"}))
def plan(
    given: Given,
    data: ChainData = None,
    output: ChainOutput = None,
    config: Config = None,
    preset: Preset = None,
    index: FurtherIndex = [],  # noqa: B006
    reranker: Reranker = None,
    no_bm25: NoBm25 = False,
    no_dense: NoDense = False,
) -> None:
    """What `run` would do with these arguments; with --launcher, as a script for a scheduler.

    \b
      hnmine plan beir/scifact -o scifact
      hnmine plan beir/scifact -o scifact --launcher slurm --tasks 32 --gpus 1 > scifact.sh
    """
    from hnmine.cli.config import run_settings
    from hnmine.cli.launch import command_of, script
    from hnmine.stages.chain import Chain

    flags = {"index": index, "reranker": reranker, "no_bm25": no_bm25, "no_dense": no_dense}
    settings = run_settings(given, config, preset=preset, data=data, output=output, flags=flags)
    how, terminal = execution(given)
    launch = given.record(LaunchFlags)
    if launch.launcher is None:
        given.values["dry_run"] = True
        _preview(Chain(settings.data, settings.output, settings.options, cache=cache(given)), given, how, terminal)
        return
    if given.overwrite:
        raise UsageError(
            "--overwrite in every task would remove the others' blocks", remedy="remove the output once, then plan"
        )
    without = [*opt.option_fields(LaunchFlags), "dry_run", "json", "price_per_hour"]
    chain = Chain(settings.data, settings.output, settings.options)
    print(script(chain, command_of(given.context, without), launch), end="")


def _preview(chain: Chain, given: Given, how: Execution, terminal: Terminal, push: Push | None = None) -> None:
    """Show what each step of a run would do, what is left of it will take, and what would be pushed."""
    import tempfile

    from hnmine.stages import forecast

    previews = chain.preview(how)
    with tempfile.TemporaryDirectory(prefix="hnmine-") as folder:
        estimates = forecast.of_chain(chain, Path(folder))
    told: dict[str, Any] = {}
    shown = []
    for name, path, found in previews:
        left = found.left if found is not None else 1.0
        estimate = estimates[name]
        estimate = estimate.times(left) if estimate is not None else None
        show.preview(name, found, path, terminal)
        show.estimate(estimate, given.price_per_hour, terminal, is_done=not left)
        told[name] = found.summary() if found is not None else {"path": str(path)}
        if estimate is not None:
            told[name]["estimate"] = estimate.to_json(given.price_per_hour)
        shown.append(estimate)
    show.total(shown, given.price_per_hour, terminal)
    if push is not None:
        told["push"] = _preview_push(push, previews[-1][2], given, terminal)
    if given.json:
        print_json(told)


def _times(outcomes: list[tuple[str, Any]]) -> str:
    total = sum(outcome.seconds for _, outcome in outcomes)
    parts = ", ".join(f"{name} {duration(outcome.seconds)}" for name, outcome in outcomes)
    return f"total {duration(total)}: {parts}"


@app.command()
@with_flags(COMMON)
def merge(
    path: Annotated[Path, typer.Argument(metavar="ARTEFACT", help="An artefact whose blocks were done as shards.")],
    given: Given,
) -> None:
    """Close an artefact that several shards worked on.

    \b
      hnmine merge scifact/candidates
    """
    from hnmine import api

    _, terminal = execution(given)
    artefact = api.merge(path)
    terminal.say(f"merged: {path}")
    for line in show.lines(str(artefact.kind), artefact.counts):
        terminal.say(f"  {line}")
    if given.json:
        print_json({"kind": str(artefact.kind), "path": str(path), "counts": artefact.counts})
    fail_if(check_conditions(tuple(given.fail_if)), artefact.counts)


@app.command()
@with_flags(COMMON)
def inspect(
    path: Annotated[Path, typer.Argument(metavar="ARTEFACT", help="Any artefact, or a run directory.")],
    given: Given,
    query: Annotated[
        str | None, typer.Option("--query", help="Show this query's candidates with their verdicts.")
    ] = None,
    sample: Annotated[int | None, typer.Option("--sample", help="Show K triplets (keyed sample).")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of --sample.")] = 0,
) -> None:
    """Counts, schema and provenance of an artefact; a query's candidates; a few triplets.

    \b
      hnmine inspect scifact
      hnmine inspect scifact --sample 3
      hnmine inspect scifact --query 42
    """
    from hnmine.stages import inspect as look

    execution(given)
    if query is not None:
        found = look.query(path, query)
    elif sample is not None:
        found = look.sample(path, sample, seed)
    else:
        found = look.overview(path)
    if given.json:
        print_json(found)
        return
    for line in look.render(found, width=_width()):
        print(line)


def _width() -> int:
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


@app.command("presets")
@with_flags(COMMON)
def presets_(
    given: Given,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Print this preset's file.")] = None,
) -> None:
    """Published recipes, one line each; with NAME its file, to read or to copy as a --config.

    \b
      hnmine presets
      hnmine presets simans
    """
    from hnmine import presets

    execution(given)
    if name is not None:
        if given.json:
            print_json(presets.read(name))
        else:
            print(presets.text(name), end="")
        return
    found = {known: presets.summary(known) for known in presets.names()}
    if given.json:
        print_json(found)
        return
    width = max(len(known) for known in found)
    for known, line in found.items():
        print(f"{known:<{width}}  {line}")


@app.command()
@with_flags((opt.SweepOptions, "Rules"), (opt.TruthOptions, "Truth"), COMMON)
def sweep(
    candidates: Candidates,
    given: Given,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the report too: FILE.json or FILE.csv.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the trade-off: FILE.png or FILE.svg (needs matplotlib).")
    ] = None,
    collection: CollectionDir = None,
) -> None:
    """What a grid of thresholds would give: yield, hardness, false negatives.

    Every number of `filter` is a list here, and the grid is made of all lists. `none` in a list is no margin.

    \b
      hnmine sweep scifact
      hnmine sweep scifact --relative-margin 0,0.05,0.1 --skip-fused 0,10,20 -n 5
      hnmine sweep scifact --qrels beir/scifact/qrels/full.tsv --plot trade-off.svg
    """
    from hnmine import api
    from hnmine.stages import sweep as sweeping

    _, terminal = execution(given)
    if plot is not None:
        from hnmine.stages.sweep_plot import check_plot

        check_plot(plot)
    stage = api.prepare_sweep(
        candidates,
        options=given.record(opt.SweepOptions),
        truth=given.record(opt.TruthOptions),
        collection=collection,
    )
    if given.dry_run:
        terminal.say("sweep: " + ", ".join(f"{key} {value:,}" for key, value in stage.sizes().items()))
        return
    report = stage.run()
    if output is not None:
        sweeping.write(report, output)
    if plot is not None:
        from hnmine.stages.sweep_plot import draw

        draw(report, plot)
    if given.json:
        print_json(report)
    else:
        for line in sweeping.render(report, _width()):
            print(line)
    fail_if(check_conditions(tuple(given.fail_if)), sweeping.summary(report))


@app.command()
@with_flags((opt.ReportOptions, "Report"), COMMON)
def report(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory, or decisions.")],
    given: Given,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="FILE.html [default: report.html in the run directory].")
    ] = None,
    collection: CollectionDir = None,
) -> None:
    """One self-contained HTML page to look at a run: figures, and triplets to judge.

    \b
      hnmine report scifact
      hnmine report scifact -o scifact.html --limit 300
    """
    from hnmine import api

    _, terminal = execution(given)
    page = api.prepare_report(path, options=given.record(opt.ReportOptions), collection=collection)
    target = output or page.default_path
    if given.dry_run:
        terminal.say(f"report: would write {target}")
        return
    numbers = page.write(target)
    if given.json:
        print_json({**numbers, "path": str(target)})
    else:
        terminal.say(f"report: {target} ({target.stat().st_size / 1e6:.1f} MB)")
    fail_if(check_conditions(tuple(given.fail_if)), numbers)


@app.command()
@with_flags((opt.AuditOptions, "Audit"), COMMON)
def audit(
    path: Annotated[
        Path,
        typer.Argument(metavar="FILE|DECISIONS", help="Any tool's training file, decisions, or a run directory."),
    ],
    given: Given,
    collection: CollectionDir = None,
) -> None:
    """What is wrong with a training file: false negatives, leaks, copies, gaps.

    \b
      hnmine audit triplets.parquet --qrels beir/scifact/qrels/full.tsv
      hnmine audit minedHN.jsonl --corpus corpus.jsonl --queries queries.jsonl --qrels full.tsv
      hnmine audit scifact --held-out-queries qrels/test.tsv --fail-if "problems.held-out-query>0"
    """
    from hnmine import api
    from hnmine.stages.audit import render

    _, terminal = execution(given)
    stage = api.prepare_audit(path, options=given.record(opt.AuditOptions), collection=collection)
    if given.dry_run:
        terminal.say(f"audit: would read {path}")
        return
    report = stage.run()
    if given.json:
        print_json(report)
    else:
        for line in render(report):
            print(line)
    fail_if(check_conditions(tuple(given.fail_if)), report)


@app.command()
@with_flags((opt.DownsampleOptions, "Pool"), INPUT, COMMON, SHARD, EXECUTOR)
def downsample(
    data: Data,
    output: Output,
    given: Given,
    candidates: Annotated[
        list[Path],
        typer.Option("--candidates", help="Candidates whose retrievers feed the pool, or a run directory; repeatable."),
    ] = [],  # noqa: B006
) -> None:
    """A small corpus to evaluate with: what is judged, and the first k of several retrievers.

    Writes a BEIR directory, and says what systems are worth in it, and in the whole corpus.

    \b
      hnmine downsample beir/scifact --candidates scifact -k 100 -o scifact-small
      hnmine downsample trecdl --run bm25=BM25.trec --run splade=SPLADE.trec --system llama=LLAMA.trec -o small
    """
    from hnmine import api

    how, terminal = stoppable(given)
    stage = api.prepare_downsample(
        data,
        candidates,
        options=given.record(opt.DownsampleOptions),
        input=given.record(opt.InputOptions),
        cache=cache(given),
        how=how,
    )
    carry_out("downsample", stage, output, given, how, terminal)


@app.command()
@with_flags(COMMON)
def doctor(
    given: Given,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[ARTEFACT]...", help="Hash every file of these, run directories too."),
    ] = None,
) -> None:
    """What works on this machine, what does not, and what to install. With artefacts: whether their bytes are sound.

    Other commands hash a file that has not changed since only once; this one hashes all of them.

    \b
      hnmine doctor
      hnmine doctor scifact/collection runs/first
    """
    from hnmine.stages.doctor import examine, examine_files

    execution(given)
    findings = examine_files(paths) if paths else examine(cache(given))
    if given.json:
        print_json([{"name": f.name, "ok": f.ok, "text": f.text} for f in findings])
    else:
        for finding in findings:
            print(f"{'ok ' if finding.ok else '-- '} {finding.name}: {finding.text}")
    damaged = [finding.name for finding in findings if not finding.ok]
    if paths and damaged:
        raise ArtefactError(f"not sound: {', '.join(damaged)}", remedy="make them again with --overwrite")
