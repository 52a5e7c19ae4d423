"""Negatives that keep up with the model in training: a callback for sentence-transformers' trainer.

Every so many steps the corpus is encoded with the model as it is, mined and decided by the rules of the first round,
and the negatives of the training rows are replaced (ANCE, arXiv 2007.00808, inside one process)::

    from hnmine.refresh import RefreshNegatives

    refresh = RefreshNegatives("run", every=500)
    trainer = SentenceTransformerTrainer(
        model, args, train_dataset=refresh.dataset, loss=loss, callbacks=[refresh]
    )

`run` is the directory of a `hnmine run`, or the training file that it wrote.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import transformers

from hnmine.engines.loaded import LoadedEncoder, Prompt
from hnmine.errors import ArtefactError, InputError, UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact, Json
from hnmine.files.candidates import CandidatesTable
from hnmine.files.remote import as_path
from hnmine.options import DenseOptions, FilterOptions, Format, MineOptions, from_mapping
from hnmine.schema import Kind, Side
from hnmine.stages.filter import Filter
from hnmine.stages.formats import FORMATS
from hnmine.stages.index_dense import IndexDense
from hnmine.stages.indexes import ORIGINS, NamedIndex, named_index
from hnmine.stages.mine import Mine
from hnmine.stages.picked import read_picked
from hnmine.stages.places import collection_of, indexes_of, open_artefact
from hnmine.stages.stage import Stage
from hnmine.stages.training_rows import training_table

ANCHOR, POSITIVE = "anchor", "positive"
MODEL = "model"
"""What the index of the model in training is called where the first round was not ranked by a dense one."""
Pair = tuple[str, str]
Negatives = Mapping[Pair, tuple[str, ...]]


class RefreshNegatives(transformers.TrainerCallback):
    """Replaces the negatives of `dataset` every `every` steps by those that the model in training finds hard.

    `dataset` has a row for every (anchor, positive) of the first round, with `negative_1`, `negative_2`, ...; where a
    later round has too few negatives for a row, it has those of the first. The rows and their order never change, so
    every batch sampler works. The trainer reads a batch ahead: the first step after a refresh is still on the negatives
    before it; with workers (`dataloader_num_workers`) all steps to the end of the epoch are.

    The dense index of the first round is made again, the other indexes of the run directory are searched as they are.
    The decisions of each round are kept in `OUTPUT_DIR/rounds/step-N`; training that is resumed from a checkpoint goes
    on with those of its last round, and `rounds` and the trainer's log tell what changed. Equal models give equal
    rounds.

    `rules` and `mine` are the first round's unless given. `UsageError` where these cannot be had again: rules that
    judge by a reranker (none is run here), labels, lists of exclusions, runs of other searchers. One process only.
    """

    def __init__(
        self,
        run: str | Path,
        *,
        every: int,
        rules: FilterOptions | None = None,
        mine: MineOptions | None = None,
        batch_size: int = 32,
    ) -> None:
        if every < 1:
            raise UsageError(f"every={every}: at least 1 step")
        place = as_path(run)
        place = place.with_suffix(".hnmine") if place.is_file() else place
        self.every = every
        self.rounds: list[Json] = []
        """What each refresh changed: the step, and what `filter` counts of the change."""
        self._first = open_artefact(place, Kind.DECISIONS)
        self._previous = self._first
        self._collection = collection_of(self._first, None)
        self._batch_size = batch_size
        self._rules = rules or _rules_of(self._first)
        self._mine = mine or _mining_of(self._first)
        self._others, self._name = _indexes(place, self._first, is_judged_alike=rules is None)
        self._width = self._rules.num_negatives
        self._of_first = self._negatives(self._first)
        self._now = dict(self._of_first)
        if not self._now:
            raise InputError(
                f"{self._first.path}: no query has {self._width} negatives", remedy="fewer (-n), or --short random"
            )
        self.dataset = self._dataset()

    def _dataset(self) -> Any:
        """The rows with the negatives of now, looked up as they are read."""
        anchors, positives = zip(*self._now, strict=True)
        columns: dict[str, list[str] | tuple[str, ...]] = {ANCHOR: anchors, POSITIVE: positives}
        names = [f"negative_{number + 1}" for number in range(self._width)]
        columns |= {name: [own[number] for own in self._now.values()] for number, name in enumerate(names)}
        made = datasets.Dataset(pa.table(columns), fingerprint=self._first.fingerprint[:16])
        made.set_transform(partial(_with_negatives, self._now, names))
        return made

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin with the first round, or with the last one before the checkpoint that training goes on from."""
        if args.world_size > 1:
            raise UsageError(f"RefreshNegatives on {args.world_size} processes", expected="one process")
        last = state.global_step // self.every * self.every
        self.rounds.clear()
        self._show(self._first if last == 0 else self._reopened(_place(args, last)))

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Refresh, unless training ends here."""
        if state.global_step % self.every == 0 and state.global_step < state.max_steps:
            artefact = self.refresh(model, _place(args, state.global_step))
            changed = {"step": state.global_step, **artefact.counts["previous"]}
            self.rounds.append(changed)
            state.log_history.append(
                {"step": state.global_step, "refresh_jaccard": changed["jaccard"], "refresh_new": changed["new"]}
            )

    def refresh(self, model: Any, folder: Path) -> Artefact:
        """Mine with the model as it is, show the new negatives, and return the decisions, which stay in `folder`."""
        was_training = model.training
        prompts = {side: Prompt() for side in Side}
        encoder = LoadedEncoder(model, prompts, batch_size=self._batch_size, keep=True, show_progress=False)
        work = folder.with_name(f"{folder.name}.mining")
        how = DenseOptions(name=self._name)
        index = _carry_out(IndexDense(self._collection, how, encoder=encoder), work / "index")
        indexes = [*self._others, NamedIndex(name=self._name, artefact=index)]
        mine = replace(self._mine, previous=str(self._previous.path))
        candidates = _carry_out(Mine(self._collection, indexes, mine), work / "candidates")
        decisions = _carry_out(Filter(self._collection, candidates, self._rules), folder)
        shutil.rmtree(work)
        model.train(was_training)
        self._show(decisions)
        return decisions

    def _reopened(self, path: Path) -> Artefact:
        try:
            return Artefact.open(path, Kind.DECISIONS)
        except ArtefactError as error:
            raise InputError(
                f"{path}: the negatives that training went on with from this checkpoint are not there ({error})",
                remedy="the same output_dir, with its rounds/, or training from the start",
            ) from None

    def _show(self, decisions: Artefact) -> None:
        """Let the rows have the negatives of a round, where it has enough."""
        self._previous = decisions
        found = self._of_first if decisions is self._first else {**self._of_first, **self._negatives(decisions)}
        self._now.update({pair: found[pair] for pair in self._now})

    def _negatives(self, decisions: Artefact) -> Negatives:
        """The negatives of every (anchor, positive) that has enough."""
        table = CandidatesTable(decisions)
        picked = read_picked(self._collection, table, table.sample(None, 0), negatives=self._width)
        layout, _ = FORMATS[Format.N_TUPLE].lay_out(picked.chosen, width=self._width, keys=None)
        rows = training_table(self._collection, picked, layout, Format.N_TUPLE, width=self._width, scores=False)
        texts = [rows[name].cast(pa.string()).to_pylist() for name in rows.column_names]
        return {(own[0], own[1]): tuple(own[2:]) for own in zip(*texts, strict=True)}


def _with_negatives(now: Negatives, names: list[str], batch: dict[str, list[str]]) -> dict[str, list[str]]:
    """Rows as they are read; a caller that takes single columns gets those."""
    wanted = [name for name in names if name in batch]
    if not wanted or ANCHOR not in batch or POSITIVE not in batch:
        return batch
    rows = [now[pair] for pair in zip(batch[ANCHOR], batch[POSITIVE], strict=True)]
    return {**batch, **{name: [own[names.index(name)] for own in rows] for name in wanted}}


def _rules_of(decisions: Artefact) -> FilterOptions:
    options = dict(decisions.plan["options"])
    if options.get("labels") is not None:
        raise UsageError(f"{decisions.path} was decided with --labels", remedy="rules=FilterOptions(labels=FILE, ...)")
    return from_mapping(FilterOptions, options, where=str(decisions.path))


def _mining_of(decisions: Artefact) -> MineOptions:
    mined = decisions.plan.get("mined")
    if mined is None:
        raise UsageError(f"{decisions.path} does not say how it was mined", remedy="mine=MineOptions(...)")
    for name, what in (("run", "runs of other searchers"), ("excluded", "lists of exclusions")):
        if mined.get(name):
            raise UsageError(f"{decisions.path} was mined with {what}", remedy="mine=MineOptions(...), with the files")
    names = ("top_k", "random", "random_near", "seed", "min_relevance", "clusters", "where")
    return MineOptions(**{name: mined[name] for name in names if mined[name] is not None})


def _indexes(place: Path, decisions: Artefact, *, is_judged_alike: bool) -> tuple[list[NamedIndex], str]:
    """(the indexes that stay, the name of the one of the model in training)."""
    origins = {score["name"]: score["origin"] for score in decisions.plan["scores"]}
    rank_by, judge = decisions.plan["rank_by"], decisions.plan["judge_by"]
    name = rank_by if origins.get(rank_by) == ORIGINS[Kind.DENSE_INDEX] else MODEL
    others = [index for index in (named_index(str(path)) for path in indexes_of(place)) if index.name != name]
    known = {name, *(index.name for index in others)}
    missing = [score for score, origin in origins.items() if origin in ORIGINS.values() and score not in known]
    if missing:
        raise UsageError(
            f"{place} has no index {', '.join(missing)}, with which {decisions.path} was made",
            expected="the directory of a hnmine run, with its indexes",
        )
    if is_judged_alike and judge is not None and judge not in known:
        raise UsageError(
            f"{decisions.path} was judged by {judge}, which is not made again when negatives are refreshed",
            expected=f"one of {', '.join(sorted(known))}",
            remedy="rules=FilterOptions(...)",
        )
    return others, name


def _place(args: Any, step: int) -> Path:
    return Path(args.output_dir) / "rounds" / f"step-{step}"


def _carry_out(stage: Stage, path: Path) -> Artefact:
    artefact = stage.run(path, Execution(overwrite=True)).artefact
    if artefact is None:
        raise ArtefactError(f"{path} is unfinished")
    return artefact
