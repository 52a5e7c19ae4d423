"""`audit`: what is wrong with a training file, whoever made it, or with decisions.

Everything is told by ids and by texts (equal after NFKC, case folding, and removal of white space and punctuation).
The file is read twice and streamed; memory grows by a few hashes a text, never by the texts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hnmine.core.audit import Hashes, counts_by, is_among, lowest_by, pair_hashes
from hnmine.core.grouped import repeats
from hnmine.errors import ProblemLog, UsageError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.candidates import CandidatesTable, floats, query_offsets
from hnmine.files.collection import Collection, rows_of
from hnmine.files.encodings import Parquet
from hnmine.files.readers.layout import existing_file
from hnmine.files.readers.streams import InputFile
from hnmine.files.readers.training import Item, TrainingFile, TrainingRow, id_hash, training_row
from hnmine.files.remote import joined
from hnmine.options import AuditOptions, Format
from hnmine.schema import DOC_ID, PICK_RANK, QUERY_ID, TEXT_KEY, VERDICT, Kind, Verdict
from hnmine.stages.audit_reference import Reference
from hnmine.stages.export_files import sibling
from hnmine.stages.formats import FORMATS
from hnmine.stages.hubs import Hubs, hubs_of_negatives
from hnmine.stages.hubs import lines as crowding_lines
from hnmine.stages.places import locate
from hnmine.stages.report.facts import histogram
from hnmine.stages.text_layout import table
from hnmine.stages.training_input import TrainingInput

KINDS = {
    "positive-among-negatives": "a negative is a positive of the same query somewhere in the file",
    "relevant-among-negatives": "--qrels call a negative relevant",
    "query-as-negative": "a negative is the query's own text",
    "repeated-negative": "a row has the same negative twice",
    "empty-text": "a text is empty",
    "unknown-document": "a document is not in the corpus",
    "non-finite-score": "a score is missing, NaN or infinite",
    "too-few-negatives": "a query has fewer negatives than wanted",
    "held-out-query": "a query is held out",
    "held-out-document": "a document is held out",
}
"""What is looked for, in the order of the report."""

BLOCK_ROWS = 4_096


class Rows(Protocol):
    """Something that gives its training rows as often as it is asked."""

    def rows(self, problems: ProblemLog) -> Iterator[TrainingRow]:
        """The rows, in order; those that cannot be read go to `problems`."""
        ...


class DecidedRows:
    """Decisions seen as training rows: one row a query, its positives and the negatives that were picked."""

    def __init__(self, decisions: Artefact, collection: Collection) -> None:
        self.table = CandidatesTable(decisions)
        self.collection = collection
        self.judge = decisions.plan["judge_by"]

    def rows(self, problems: ProblemLog) -> Iterator[TrainingRow]:
        """One row a query, in order; `where` names the query."""
        positions = np.arange(len(self.table.query_ids))
        for start in range(0, len(positions), BLOCK_ROWS):
            table = self.table.read(positions[start : start + BLOCK_ROWS])
            offsets = query_offsets(table[QUERY_ID])
            query_ids = table[QUERY_ID].take(offsets[:-1])
            keys = self.collection.query_text_keys[rows_of(self.collection.query_ids, query_ids)]
            scores = floats(table, self.judge) if self.judge else np.full(table.num_rows, np.nan)
            doc_ids, doc_keys = table[DOC_ID].to_pylist(), table[TEXT_KEY].to_pylist()
            verdicts, places = table[VERDICT].to_pylist(), table[PICK_RANK].fill_null(0).to_pylist()
            for i, query_id in enumerate(query_ids.to_pylist()):
                span = range(int(offsets[i]), int(offsets[i + 1]))
                found: dict[str, list[tuple[int, Item]]] = {Verdict.POSITIVE: [], Verdict.NEGATIVE: []}
                for row in span:
                    if verdicts[row] in found:
                        one = Item(doc_keys[row], id_hash(doc_ids[row]), float(scores[row]), doc_ids[row])
                        found[verdicts[row]].append((places[row], one))
                yield TrainingRow(
                    where=f"query {query_id}",
                    anchor=Item(int(keys[i]), id_hash(query_id), None, query_id),
                    positives=[one for _, one in found[Verdict.POSITIVE]],
                    negatives=[one for _, one in sorted(found[Verdict.NEGATIVE], key=lambda pair: pair[0])],
                    has_scores=self.judge is not None,
                )


class SeveralFiles:
    """Training files read one after the other: the shards of one export."""

    def __init__(self, files: Sequence[TrainingFile]) -> None:
        self.files = files

    def rows(self, problems: ProblemLog) -> Iterator[TrainingRow]:
        """The rows of all files."""
        for file in self.files:
            yield from file.rows(problems)


class FormatRows:
    """The rows of a training file of a known format, read as strictly as its trainer reads them."""

    def __init__(self, training: TrainingInput) -> None:
        self._input = training

    def rows(self, problems: ProblemLog) -> Iterator[TrainingRow]:
        """The rows, in order; those that the trainer would refuse or misread go to `problems`."""
        return map(training_row, self._input.examples(problems))


@dataclass(frozen=True, slots=True)
class _Flat:
    """Items of a block of rows, one entry an item."""

    anchor: Hashes
    anchor_id: Hashes
    key: Hashes
    id: Hashes
    score: npt.NDArray[np.float64]
    row: npt.NDArray[np.int64]
    items: list[Item]
    has_score: npt.NDArray[np.bool_]

    @property
    def owner(self) -> Hashes:
        """What stands for the query: its text if there is one, else its id."""
        return np.where(self.anchor != 0, self.anchor, self.anchor_id)

    @property
    def document(self) -> Hashes:
        """What stands for the document: its text if there is one, else its id."""
        return np.where(self.key != 0, self.key, self.id)

    @property
    def pairs(self) -> tuple[Hashes, Hashes]:
        """(query, document) by text and by id; 0 where one is unknown."""
        return pair_hashes(self.anchor, self.key), pair_hashes(self.anchor_id, self.id)


def _flatten(block: Sequence[TrainingRow], positive: bool) -> _Flat:
    found = [(row, i, one) for i, row in enumerate(block) for one in (row.positives if positive else row.negatives)]
    size = len(found)
    return _Flat(
        anchor=np.fromiter((row.anchor.key for row, _, _ in found), np.uint64, size),
        anchor_id=np.fromiter((row.anchor.id_hash for row, _, _ in found), np.uint64, size),
        key=np.fromiter((one.key for _, _, one in found), np.uint64, size),
        id=np.fromiter((one.id_hash for _, _, one in found), np.uint64, size),
        score=np.fromiter((np.nan if one.score is None else one.score for _, _, one in found), np.float64, size),
        row=np.fromiter((i for _, i, _ in found), np.int64, size),
        items=[one for _, _, one in found],
        has_score=np.fromiter((row.has_scores for row, _, _ in found), np.bool_, size),
    )


def _blocks(rows: Iterator[TrainingRow]) -> Iterator[list[TrainingRow]]:
    while block := list(itertools.islice(rows, BLOCK_ROWS)):
        yield block


class Audit:
    """One audit of one set of training rows."""

    def __init__(self, source: Rows, options: AuditOptions, collection: Collection | None, wanted: int | None) -> None:
        """`wanted` is the number of negatives per query that was asked for, if that is known."""
        if options.min_negatives is not None and options.min_negatives < 1:
            raise UsageError(f"--min-negatives {options.min_negatives}: at least 1")
        self.source = source
        self.wanted = options.min_negatives or wanted
        self.reference = Reference(options, collection)
        self.log = ProblemLog()
        self._totals = dict.fromkeys(("rows", "positives", "negatives", "judged", "false", "gaps"), 0)
        self._gap_sum = 0.0
        self._gaps: list[npt.NDArray[np.float32]] = []

    def run(self) -> Json:
        """The report: figures (None where they cannot be computed), the count of every problem, the first ten."""
        self._learn_positives()
        owners: list[Hashes] = []
        documents: list[Hashes] = []
        for block in _blocks(self.source.rows(ProblemLog())):
            flat = self._check(block)
            owners.append(flat.owner)
            documents.append(flat.document)
        counts = counts_by(self._queries, _joined(owners), _joined(documents))
        crowding = self._crowding(_joined(owners), _joined(documents))
        least = self.wanted or 1
        self._starved = int((counts < least).sum())
        if self._starved:
            self._name_starved(counts < least)
        delivered = int(np.minimum(counts, least).sum()) if self.wanted else 0
        return {**self._report(delivered), **crowding}

    def _learn_positives(self) -> None:
        """The first pass: every query, its positives, and the lowest score of these."""
        problems = ProblemLog()
        by_text, by_id, owners, scores, queries = [], [], [], [], []
        for block in _blocks(self.source.rows(problems)):
            flat = _flatten(block, positive=True)
            text_pairs, id_pairs = flat.pairs
            by_text.append(np.unique(text_pairs))
            by_id.append(np.unique(id_pairs))
            owners.append(flat.owner)
            scores.append(flat.score)
            anchors = (row.anchor.key or row.anchor.id_hash for row in block)
            queries.append(np.unique(np.fromiter(anchors, np.uint64, len(block))))
        problems.raise_if_any(remedy="correct the file")
        self._positive_texts, self._positive_ids = np.unique(_joined(by_text)), np.unique(_joined(by_id))
        self._anchored, self._anchor_scores = lowest_by(
            _joined(owners), np.concatenate(scores) if scores else np.empty(0)
        )
        self._queries = np.unique(_joined(queries))
        self._queries = self._queries[self._queries != 0]

    def _check(self, block: list[TrainingRow]) -> _Flat:
        positives, negatives = _flatten(block, positive=True), _flatten(block, positive=False)
        self._totals["rows"] += len(block)
        self._totals["positives"] += len(positives.items)
        self._totals["negatives"] += len(negatives.items)
        text_pairs, id_pairs = negatives.pairs
        known = is_among(text_pairs, self._positive_texts) | is_among(id_pairs, self._positive_ids)
        self._tell("positive-among-negatives", block, negatives, known)
        judged, relevant = self.reference.judged(text_pairs, id_pairs)
        self._totals["judged"] += int(judged.sum())
        self._totals["false"] += int(relevant.sum())
        self._tell("relevant-among-negatives", block, negatives, relevant)
        own = (negatives.key == negatives.anchor) & (negatives.key != 0)
        self._tell("query-as-negative", block, negatives, own)
        self._tell("repeated-negative", block, negatives, repeats(negatives.row, negatives.document))
        for flat in (positives, negatives):
            empty = np.fromiter((one.is_empty for one in flat.items), np.bool_, len(flat.items))
            self._tell("empty-text", block, flat, empty)
            self._tell("unknown-document", block, flat, self.reference.unknown(flat.key, flat.id) & ~empty)
            self._tell("non-finite-score", block, flat, flat.has_score & ~np.isfinite(flat.score))
            self._tell("held-out-document", block, flat, self.reference.held_out_documents(flat.key, flat.id))
        anchors = [row.anchor for row in block]
        keys = np.fromiter((one.key for one in anchors), np.uint64, len(block))
        ids = np.fromiter((one.id_hash for one in anchors), np.uint64, len(block))
        held_out = self.reference.held_out_queries(keys, ids)
        for place, (row, one) in enumerate(zip(block, anchors, strict=True)):
            if one.is_empty:
                self.log.add("empty-text", row.where, "the query")
            if held_out[place]:
                self.log.add("held-out-query", row.where, one.shown)
        self._measure_gaps(negatives)
        return negatives

    def _measure_gaps(self, negatives: _Flat) -> None:
        if not len(self._anchored) or not len(negatives.items):
            return
        place = np.minimum(np.searchsorted(self._anchored, negatives.owner), len(self._anchored) - 1)
        anchor = np.where(self._anchored[place] == negatives.owner, self._anchor_scores[place], np.nan)
        gaps = anchor - negatives.score
        gaps = gaps[np.isfinite(gaps)]
        self._totals["gaps"] += len(gaps)
        self._gap_sum += float(gaps.sum())
        self._gaps.append(gaps.astype(np.float32))

    def _tell(self, kind: str, block: list[TrainingRow], flat: _Flat, bad: npt.NDArray[np.bool_]) -> None:
        for place in np.flatnonzero(bad).tolist():
            self.log.add(kind, block[int(flat.row[place])].where, flat.items[place].shown)

    def _name_starved(self, starved: npt.NDArray[np.bool_]) -> None:
        """Find the first rows of the queries that got too little, in a last pass that ends when ten are found."""
        names = set(self._queries[starved].tolist()) if starved.sum() <= 100_000 else None
        ascending = self._queries[starved]
        seen: set[int] = set()
        for row in self.source.rows(ProblemLog()):
            owner = row.anchor.key or row.anchor.id_hash
            short = owner in names if names is not None else bool(is_among(np.array([owner], np.uint64), ascending)[0])
            if short and owner not in seen:
                seen.add(owner)
                self.log.add("too-few-negatives", row.where, row.anchor.shown)
                if len(seen) >= min(10, len(ascending)):
                    break
        self.log.counts["too-few-negatives"] = len(ascending)

    def _gap_histogram(self) -> Json | None:
        """Counts of gaps between edges, what lies outside in the outermost ones; None without scores."""
        if not self._totals["gaps"]:
            return None
        found = histogram({"negatives": np.concatenate(self._gaps)})
        return {"edges": found.edges.tolist(), "negatives": found.counts["negatives"].tolist()}

    def _crowding(self, owners: Hashes, documents: Hashes) -> Json:
        """Hubs and near-copies in bulk: by what was searched, else by who is whose negative."""
        if isinstance(self.source, DecidedRows):
            found = Hubs(self.source.table, self.source.collection).report()
        else:
            self.reference.unchecked.append("bulk-copies: give decisions or a run directory")
            distinct = np.unique(documents)
            counts = counts_by(distinct, documents, owners)
            found, keys = hubs_of_negatives(distinct, counts, len(self._queries))
            for hub, name in zip(found["hubs"], self._names(keys), strict=True):
                hub["document"] = name
        copied = sum(len(bulk["documents"]) for bulk in found["bulks"])
        return {
            "hub_documents": len({hub["document"] for hub in found["hubs"]}),
            "bulk_copies": copied,
            "crowding": found,
        }

    def _names(self, keys: Hashes) -> list[str]:
        """What the file shows of each of these negatives, found in a pass that ends when all are."""
        names: dict[int, str] = {}
        wanted = set(keys.tolist())
        for row in self.source.rows(ProblemLog()) if wanted else ():
            for one in row.negatives:
                if (key := one.key or one.id_hash) in wanted:
                    names.setdefault(key, one.shown)
            if len(names) == len(wanted):
                break
        return [names[key] for key in keys.tolist()]

    def _report(self, delivered: int) -> Json:
        totals, queries = self._totals, len(self._queries)
        negatives = totals["negatives"]
        measured = self.reference.has_judgments and negatives > 0
        problems = {kind: self.log.counts.get(kind, 0) for kind in KINDS}
        return {
            "rows": totals["rows"],
            "queries": queries,
            "positives": totals["positives"],
            "negatives": negatives,
            "false_negatives": totals["false"] if measured else None,
            "false_negative_rate": totals["false"] / negatives if measured else None,
            "judged_share": totals["judged"] / negatives if measured else None,
            "mean_gap": self._gap_sum / totals["gaps"] if totals["gaps"] else None,
            "gaps": self._gap_histogram(),
            "coverage": delivered / (self.wanted * queries) if self.wanted and queries else None,
            "problems_total": sum(problems.values()),
            "problems": problems,
            "unchecked": self.reference.unchecked,
            "first": {
                kind: [{"where": p.where, "value": p.value} for p in self.log.first[kind]]
                for kind in KINDS
                if kind in self.log.first
            },
        }


def _joined(arrays: Sequence[Hashes]) -> Hashes:
    return np.concatenate(arrays) if arrays else np.empty(0, np.uint64)


def open_rows(
    place: Path, collection: Path | None, form: Format | None = None
) -> tuple[Rows, Collection | None, int | None]:
    """The training rows at `place`, the collection they are known to be of, and the negatives wanted per query.

    `place` is a training file (its ids beside it are read too), decisions, an export, or a run directory; with `form`
    a file or directory of that format, read as strictly as its trainer reads it.
    """
    from hnmine.stages.places import collection_of

    given = Collection.open(locate(collection, Kind.COLLECTION)) if collection is not None else None
    if form is not None:
        return FormatRows(TrainingInput(place, form)), given, None
    if place.is_dir():
        artefact = Artefact.open(locate(place, Kind.DECISIONS, Kind.EXPORT), Kind.DECISIONS, Kind.EXPORT)
        if artefact.kind is Kind.DECISIONS:
            found = collection_of(artefact, collection)
            asked = artefact.plan["options"]
            return DecidedRows(artefact, found), found, int(asked["num_negatives"]) * int(asked["epochs"])
        return _exported(artefact), given, None
    file, beside = existing_file(str(place)), sibling(place)
    ids = InputFile(path=beside, shown=str(beside)) if beside.is_file() else None
    return TrainingFile(file, ids), given, None


def _exported(artefact: Artefact) -> Rows:
    """The training files of an export with the ids beside them."""
    form = Format(artefact.plan["options"]["format"])
    if FORMATS[form].beside or not isinstance(FORMATS[form].encoding, Parquet):
        file = artefact.plan["file"]
        return FormatRows(TrainingInput(joined(artefact.path, file) if file else artefact.path, form))
    files = {path.name: path for path in artefact.files("data/")}
    ids = {path.name: path for path in artefact.files("ids/")}
    if not files:  # one file, elsewhere
        written = [artefact.path / name for name in artefact.manifest["files"]]
        files = {path.name: path for path in written if not path.stem.endswith(".ids")}
        ids = {name: sibling(path) for name, path in files.items()}
    return SeveralFiles([TrainingFile(_input(path), _input(ids[name])) for name, path in sorted(files.items())])


def _input(path: Path) -> InputFile:
    resolved = path.resolve()
    return InputFile(path=resolved, shown=str(resolved))


def render(report: Json, columns: int = 100) -> Iterator[str]:
    """The report as a table at most so many columns wide, the first places of each problem below its row."""
    yield ", ".join(f"{report[name]:,} {name}" for name in ("rows", "queries", "positives", "negatives"))
    rows = []
    for name, form, words in _FIGURES:
        rows.append((name.replace("_", " "), "-" if report[name] is None else form.format(report[name]), words))
    found = [kind for kind, count in report["problems"].items() if count]
    rows += [(kind, f"{report['problems'][kind]:,}", KINDS[kind]) for kind in found]
    header, *lines = table(("measure", "value", "what it is"), rows, columns)
    yield header
    yield from lines[: len(_FIGURES)]
    if not report["problems_total"]:
        yield "no problem found"
    for kind, line in zip(found, lines[len(_FIGURES) :], strict=True):
        yield line
        yield from (f"  {p['where']}: {_short(p['value'])}" for p in report["first"].get(kind, ()))
    yield from crowding_lines(report["crowding"])
    if report["unchecked"]:
        yield "not looked at: " + "; ".join(report["unchecked"])


_FIGURES: tuple[tuple[str, str, str], ...] = (
    ("false_negative_rate", "{:.2%}", "of the negatives, relevant by --qrels"),
    ("judged_share", "{:.1%}", "of the negatives, in --qrels at all"),
    ("mean_gap", "{:.4f}", "how far negatives score below the positive"),
    ("coverage", "{:.3f}", "of the negatives wanted"),
)


def _short(text: Any) -> str:
    shown = str(text)
    return shown if len(shown) <= 100 else shown[:97] + "..."
