"""Where things are: DATA becomes a collection, a run directory becomes the artefact that is meant."""

from __future__ import annotations

from pathlib import Path

from hnmine.errors import ArtefactError, UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import MANIFEST, PLAN, Artefact, read_plan
from hnmine.files.atomic import locked
from hnmine.files.collection import Collection
from hnmine.files.remote import as_path, is_there
from hnmine.hashing import digest_json
from hnmine.options import Format, InputOptions
from hnmine.schema import FORMAT_VERSION, Kind
from hnmine.spelling import nearest_file

COLLECTION = "collection"
GENERATED = "generated"
INDEXES = "indexes"
CANDIDATES = "candidates"
SCORED = "scored"
DECISIONS = "decisions"
EXPORT = "export"

_IN_RUN = {
    Kind.COLLECTION: (COLLECTION,),
    Kind.CANDIDATES: (SCORED, CANDIDATES),
    Kind.DECISIONS: (DECISIONS,),
    Kind.EXPORT: (EXPORT,),
    Kind.GENERATED: (GENERATED,),
}
"""Where a run directory keeps each kind; the first that is finished is meant."""


_FILES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".trec", ".arrow", ".pq")


def training_places(output: Path, form: Format) -> tuple[Path, Path | None]:
    """(directory of the artefacts, training file): `X.parquet` keeps them in `X.hnmine`; a directory has no such file.

    Raises `UsageError` for a file of another kind than the format's, which would otherwise become a directory of that
    name.
    """
    from hnmine.stages.formats import FORMATS

    found = FORMATS[form]
    suffix = output.suffix.lower()
    if suffix not in _FILES:
        return output, None
    if found.beside:
        files = ", ".join([found.name, *(further.name for further in found.beside), *found.fixed(["train"], "")])
        raise UsageError(
            f"-o {output}: --format {form} is several files ({files})",
            expected="a directory",
            remedy=f"-o {output.with_suffix('')}",
        )
    if output.suffix not in found.encoding.suffixes:
        usual = found.encoding.suffixes[0]
        other = "; `hnmine export ... -o - > FILE.jsonl` for JSON lines" if usual == ".parquet" else ""
        raise UsageError(
            f"-o {output}: a training file of --format {form} ends in {' or '.join(found.encoding.suffixes)}",
            expected=f"FILE{usual}, or a directory",
            remedy=f"-o {output.with_suffix(usual)}{other}",
        )
    return output.with_suffix(".hnmine"), output


def is_artefact(path: Path) -> bool:
    """Whether `path` is a directory with a plan."""
    return is_there(path / PLAN)


def locate(path: Path, *kinds: Kind) -> Path:
    """The artefact meant by `path`: itself, or the right part of a run directory (kinds in order of preference)."""
    if is_artefact(path):
        return path
    for kind in kinds:
        found = [path / name for name in _IN_RUN.get(kind, ()) if is_artefact(path / name)]
        finished = [place for place in found if is_there(place / MANIFEST)]
        if finished or found:
            return (finished or found)[0]
    wanted = " or ".join(kinds) or "an artefact"
    if not path.exists():
        siblings = [item.name for item in path.parent.iterdir() if item.is_dir()] if path.parent.is_dir() else []
        guess = nearest_file(path.name, siblings)
        raise ArtefactError(
            f"{path} does not exist",
            expected=f"a directory with {wanted}, or a run directory",
            remedy=f"{path.parent / guess}, if that is meant" if guess else None,
        )
    beside = path.with_suffix(".hnmine")
    remedy: str | None = None
    if path.is_file() and beside.is_dir():
        remedy = f"{beside}: the artefacts of this file"
    elif path.is_file():
        remedy = f"`hnmine run {path} -o DIR` mines a file of pairs, `hnmine audit {path}` looks at a training file"
    else:
        runs = [place for place in sorted(path.glob("*")) if _is_run(place)]
        if runs:
            remedy = f"{runs[0]}, if that is meant"
    raise ArtefactError(
        f"{path} is not a directory with {wanted}", expected="a directory that hnmine wrote", remedy=remedy
    )


def _is_run(path: Path) -> bool:
    return is_artefact(path) or any(is_artefact(path / name) for names in _IN_RUN.values() for name in names)


def artefacts_of(path: Path) -> list[Path]:
    """The artefact at `path`, or all of the run directory `path`; `ArtefactError` if there is none."""
    if is_artefact(path):
        return [path]
    parts = (COLLECTION, GENERATED, f"{INDEXES}/*", CANDIDATES, SCORED, DECISIONS, EXPORT)
    found = [place for part in parts for place in sorted(path.glob(part)) if is_artefact(place)]
    return found or [locate(path)]


def open_artefact(path: Path, *kinds: Kind) -> Artefact:
    """Open the artefact meant by `path`, or by the run directory `path`."""
    place = locate(path, *kinds)
    kind = (read_plan(place) or {}).get("kind")
    if kinds and kind is not None and kind not in kinds:
        beside = [place.parent / name for wanted in kinds for name in _IN_RUN.get(wanted, ())]
        found = next((one for one in beside if is_there(one / MANIFEST)), None)
        if found is not None:
            raise ArtefactError(
                f"{place} is a {kind} artefact", expected=" or ".join(kinds), remedy=f"{found}, if that is meant"
            )
    return Artefact.open(place, *kinds)


def refuse_foreign(file: Path, artefact: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` if writing `file` would destroy a file that the artefact beside it did not write."""
    inside = file.resolve().is_relative_to(artefact.parent.resolve())
    if file.exists() and not inside and not is_artefact(artefact) and not overwrite:
        raise UsageError(
            f"{file} exists, and {artefact} does not say that hnmine wrote it",
            expected="a new file, or one written by this command before",
            remedy="choose another -o, or replace it with --overwrite",
        )


def indexes_of(path: Path) -> list[Path]:
    """The finished indexes of a run directory, BM25 first, then by name."""
    found = [p for p in sorted((path / INDEXES).glob("*")) if is_there(p / MANIFEST)]
    return sorted(found, key=lambda p: Artefact.open(p, verify=False).kind is not Kind.BM25_INDEX)


def find_collection(data: str) -> Path | None:
    """The collection that DATA already is or holds; None if DATA must be ingested.

    An artefact that is a BEIR directory too must be.
    """
    path = as_path(data)
    for place in (path, path / COLLECTION):
        if is_artefact(place):
            plan = read_plan(place) or {}
            return None if plan.get("kind") in (Kind.DOWNSAMPLED, Kind.EXPORT) else place
    return None


def open_collection(data: str, options: InputOptions, cache: Path, how: Execution) -> Collection:
    """DATA as a collection: opened if it is one, else ingested once into a cache keyed by its fingerprint."""
    place = find_collection(data)
    if place is not None:
        return Collection.open(place)
    from hnmine.stages.ingest import Ingest

    ingest = Ingest(data, options)
    target = cache / "collections" / digest_json([FORMAT_VERSION, ingest.plan()])[:24]
    if not (target / MANIFEST).exists():
        how.progress.say(f"ingesting {data} into the cache: {target}")
        for note, value in ingest.source.notes().items():
            how.progress.say(f"  {note}: {value}")
    single = Execution(progress=how.progress, stop=how.stop)
    with locked(target.with_suffix(".lock")):  # the shards of one job start together and want the same collection
        ingest.run(target, single)
    return Collection.open(target)


def collection_of(artefact: Artefact, given: Path | None) -> Collection:
    """The collection an artefact was made from, at `given` or where `run.json` says; checked by fingerprint."""
    place = locate(given, Kind.COLLECTION) if given is not None else None
    return Collection(artefact.input("collection", Kind.COLLECTION, given=place))
