"""What an artefact was made from, as strangers may read it: models by name and weights, settings; no place, no host."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from hnmine.errors import HnmineError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.candidates import ScoreInfo
from hnmine.files.collection import Collection
from hnmine.files.readers.generated import WRITTEN_KIND
from hnmine.files.remote import joined
from hnmine.files.store import split_url
from hnmine.options import (
    Bm25Options,
    DenseOptions,
    ExportOptions,
    FilterOptions,
    GenerateOptions,
    InputOptions,
    LateOptions,
    MineOptions,
    ScoreOptions,
    SparseOptions,
    as_plain,
    option_fields,
)
from hnmine.schema import PREVIOUS, Kind
from hnmine.stages.indexes import TOP_K
from hnmine.stages.ranking import default_rank_by

_NOTE = re.compile(r"(?P<name>.+) from (?P<origin>path|wheel|hub)(, revision (?P<revision>\S+))?")
_SERVED = re.compile(r"(?P<name>.+) at \w+://\S+")
_INDEX = "index:"
_OPTIONS = {
    Kind.BM25_INDEX: Bm25Options,
    Kind.DENSE_INDEX: DenseOptions,
    Kind.SPARSE_INDEX: SparseOptions,
    Kind.LATE_INDEX: LateOptions,
}
_COMMANDS = {Kind.BM25_INDEX: "bm25", Kind.DENSE_INDEX: "dense", Kind.SPARSE_INDEX: "sparse", Kind.LATE_INDEX: "late"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model as it can be told of: its name, where that is no local path, and the SHA-256 of its weights."""

    name: str
    is_local: bool
    revision: str | None
    fingerprint: str | None
    facts: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """An export and all that it comes from. What was moved or removed since is None."""

    export: Artefact
    decisions: Artefact | None
    collection: Artefact | None
    candidates: Artefact | None
    """As `mine` wrote them."""
    scored: tuple[Artefact, ...]
    """As `score` wrote them, the first score first."""
    indexes: Mapping[str, Artefact | None]
    """By the name of their columns."""

    @classmethod
    def of(cls, export: Artefact) -> Lineage:
        """Follow an export back to its collection; large files are not read for that."""
        decisions = _input(export, "decisions")
        found = _input(decisions, "candidates")
        scored: list[Artefact] = []
        while found is not None and "reranker" in found.plan:
            scored.insert(0, found)
            found = _input(found, "candidates")
        names = [name for name in (found.plan["inputs"] if found else ()) if name.startswith(_INDEX)]
        return cls(
            export=export,
            decisions=decisions,
            collection=_input(export, "collection"),
            candidates=found,
            scored=tuple(scored),
            indexes={name.removeprefix(_INDEX): _input(found, name) for name in names},
        )

    @property
    def version(self) -> str | None:
        """The version of hnmine that wrote the export."""
        return self.export.run_record().get("hnmine")


def model_of(artefact: Artefact) -> Model | None:
    """The model of an index or of a score; None where there is none, as for BM25."""
    facts = artefact.plan.get("model") or artefact.plan.get("reranker")
    if facts is None:
        return None
    notes = artefact.run_record().get("notes", {})
    note = str(notes.get("model") or notes.get("reranker") or "")
    served = facts.get("remote", {}).get("model")
    found = _NOTE.fullmatch(note)
    name = served or (found["name"] if found else None)
    if served is None and found is None and (asked := _SERVED.match(note)):
        name = asked["name"]
    is_local = found is not None and found["origin"] == "path"
    return Model(
        name=PurePath(name).name if name and is_local else name or "a model",
        is_local=is_local or name is None,
        revision=found["revision"] if found else None,
        fingerprint=facts.get("fingerprint"),
        facts=facts,
    )


def without_place(value: Any) -> Any:
    """A value of an option; of a path or a URL the last part alone."""
    if isinstance(value, list | tuple):
        return [without_place(one) for one in value]
    if isinstance(value, str) and (split_url(value) is not None or PurePath(value).is_absolute()):
        return PurePath(value.rstrip("/")).name
    return value


def settings(kind: type, values: Mapping[str, Any]) -> Iterator[str]:
    """The flags that say what of `values` is not the default of an options record."""
    defaults = as_plain(kind())
    for name, field in option_fields(kind).items():
        value = without_place(values.get(name, defaults[name]))
        if value == defaults[name] or value is None or not field.metadata.get("cli", True):
            continue
        flag = (field.metadata.get("flags") or ("--" + name.replace("_", "-"),))[0]
        if value is True:
            yield flag
        elif isinstance(value, list | tuple):
            yield from (f"{flag} {shlex.quote(str(one))}" for one in value)
        elif value is not False:
            yield f"{flag} {shlex.quote(str(value))}"


def commands(lineage: Lineage) -> Iterator[str]:
    """The commands that make the export again from DATA, with what was not left at its default."""
    found = lineage.collection
    if found is not None:
        yield from _of_collection(found.plan)
    names = []
    for name, index in lineage.indexes.items():
        names.append(f"--index indexes/{name}")
        if index is not None:
            values = {**index.plan["options"], **_asked(index)}
            yield _line(
                f"hnmine index {_COMMANDS[index.kind]} collection -o indexes/{name}",
                *settings(_OPTIONS[index.kind], {**values, "name": None}),
            )
    if lineage.candidates is not None:
        values = dict(lineage.candidates.plan["options"])
        runs = [f"--run {name}=FILE" for name in values.pop("run", {})]
        scores = [
            ScoreInfo(name=s["name"], scale=s["scale"], origin=s["origin"]) for s in lineage.candidates.plan["scores"]
        ]
        if PREVIOUS in lineage.candidates.plan["inputs"]:
            values["previous"] = "EARLIER"
        if values["rank_by"] == default_rank_by(scores):
            values["rank_by"] = None
        if values["top_k"] == TOP_K:
            values["top_k"] = None
        if found is not None and values["min_relevance"] == Collection(found).min_relevance:
            values["min_relevance"] = None
        yield _line("hnmine mine collection -o candidates", *names, *runs, *settings(MineOptions, values))
    last = "candidates"
    for number, scored in enumerate(lineage.scored):
        before, last = last, "scored" if not number else f"scored-{number + 1}"
        values = {**scored.plan["options"], **_asked(scored)}
        yield _line(f"hnmine score collection {before} -o {last}", *settings(ScoreOptions, values))
    if lineage.decisions is not None:
        chosen = {name: value for name, value in lineage.decisions.plan["in_force"].items() if value is not None}
        values = {**lineage.decisions.plan["options"], **chosen}
        yield _line(f"hnmine filter {last} -o decisions", *settings(FilterOptions, values))
    yield _line("hnmine export decisions -o train", *settings(ExportOptions, lineage.export.plan["options"]))


def _of_collection(plan: Json) -> Iterator[str]:
    """The commands that make a collection of DATA: `ingest`, and `generate` where texts were written for it."""
    source: Json = plan["source"]
    written: list[Json] = []
    while source["kind"] == WRITTEN_KIND:
        written.insert(0, source)
        source = source["of"]
    data, place = "stdlib" if source["kind"] == "stdlib" else "DATA", "data" if written else "collection"
    yield _line("hnmine ingest", data, f"-o {place}", *settings(InputOptions, {**plan, **source}))
    for number, one in enumerate(written, 1):
        before, place = place, "." if number == len(written) else f"written-{number}"
        values = {name: one["writer"][name] for name in ("model", "language", "budget") if name in one["writer"]}
        values |= {"change": one["writer"].get("changes", []), **one["options"]}
        yield _line(f"hnmine generate {before} -o {place}", *settings(GenerateOptions, values))


def _asked(artefact: Artefact) -> dict[str, str]:
    """The options that name a model, which plans do not."""
    model = model_of(artefact)
    if model is None:
        return {"vectors": "FILE"} if "vectors" in artefact.plan else {}
    name = "reranker" if "reranker" in artefact.plan else "model"
    revision = {"revision": model.revision} if model.revision else {}
    kept = {"keep_documents": "EARLIER"} if "documents" in artefact.plan["inputs"] else {}
    return {name: f"models/{model.name}" if model.is_local else model.name, **revision, **kept}


def _line(*words: str) -> str:
    return " ".join(word for word in words if word)


def _input(artefact: Artefact | None, name: str) -> Artefact | None:
    """What an artefact was made from, if it is where `run.json` says and still the same."""
    recorded = artefact.run_record().get("inputs", {}).get(name) if artefact is not None else None
    if artefact is None or recorded is None:
        return None
    try:
        found = Artefact.open(joined(artefact.path.resolve(), recorded), verify=False)
    except (HnmineError, OSError):
        return None
    return found if found.fingerprint == artefact.plan["inputs"].get(name) else None
