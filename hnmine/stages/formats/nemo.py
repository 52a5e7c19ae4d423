"""`nemo`: the ids and the corpus folder of NeMo AutoModel's (and NeMo Retriever's) fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_pair
from hnmine.errors import InputError, ProblemLog
from hnmine.files.encodings import Encoding, JsonDocument, Parquet
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.fields import BadRecord
from hnmine.files.readers.json_documents import read_json_rows
from hnmine.files.readers.rows import shards
from hnmine.files.readers.streams import InputFile
from hnmine.stages.formats.base import Documents, DocumentsFile, FurtherFile, Rows, TrainingFormat
from hnmine.stages.formats.reading import (
    Known,
    directory_of,
    file_of,
    id_in,
    list_in,
    parsed,
    score_in,
    table_rows,
    text_in,
)

_CORPUS = "corpus"
_METADATA = "merlin_metadata.json"


def _corpus_id(decisions: str) -> str:
    """A corpus that is trained on with others must not have the id of one of them."""
    return f"hnmine-{decisions[:12]}"


def _documents(documents: Documents) -> pa.Table:
    return pa.table({"id": documents.ids, "text": documents.texts})


def _metadata(decisions: str) -> str:
    return json.dumps({"class": "TextQADataset", "corpus_id": _corpus_id(decisions)}) + "\n"


class Nemo(TrainingFormat):
    """A row for each (query, positive): of several positives in a row its trainer would read the first.

    With scores each document has its `score`, as NeMo's own miner writes it.
    """

    encoding: ClassVar[Encoding] = JsonDocument(f'{{"corpus": [{{"path": "{_CORPUS}"}}], "data": [\n', "\n]}\n")
    name = "train.json"
    beside: ClassVar[tuple[FurtherFile, ...]] = (
        DocumentsFile(name=f"{_CORPUS}/train.parquet", encoding=Parquet(), table=_documents),
    )
    takes_weights = False

    def fixed(self, splits: Sequence[str], decisions: str) -> Mapping[str, str]:
        """What makes the folder of the corpus one."""
        return {f"{_CORPUS}/{_METADATA}": _metadata(decisions)}

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each pair whose query has a negative."""
        return row_per_pair(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """question_id, question, corpus_id, pos_doc, neg_doc; documents are {id[, score]}."""
        documents = {"id": rows.doc_ids, **({"score": rows.scores} if rows.scores is not None else {})}
        found = pa.StructArray.from_arrays(list(documents.values()), names=list(documents))
        return pa.table(
            {
                "question_id": rows.query_ids,
                "question": rows.queries,
                "corpus_id": pa.repeat(pa.scalar(_corpus_id(rows.decisions)), len(rows.layout)),
                "pos_doc": rows.lists_of(found, positive=True),
                "neg_doc": rows.lists_of(found, positive=False),
            }
        )

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """A question with positives and negatives that are in the corpora that the file names."""
        file = file_of(directory_of(place, self.name), self.name) if place.is_dir() else shards(place, ())[0]
        found = read_json_rows(file, problems, "data")
        rows = [(f"{file.shown}:{line}", row) for line, row in found.rows]
        corpora = _corpora(file, found.beside.get("corpus"))
        known = {name: Known("document", wanted) for name, wanted in _wanted(rows, set(corpora)).items()}
        for name, folder in corpora.items():
            _read(folder, known[name], problems)
        return parsed(iter(rows), problems, lambda where, row: _example(where, row, known))


def _example(where: str, row: Any, corpora: dict[str, Known]) -> Example:
    name = id_in(row, "corpus_id")
    if name not in corpora:
        raise BadRecord("unknown corpus_id", f"{name}, not among {', '.join(corpora)}")
    positives, negatives = (
        [_passage(one, corpora[name]) for one in list_in(row, key)] for key in ("pos_doc", "neg_doc")
    )
    return Example(
        where=where,
        query_id=id_in(row, "question_id", number=True),
        query=text_in(row, "question"),
        positives=positives,
        negatives=negatives,
    )


def _passage(document: Any, known: Known) -> Passage:
    if not isinstance(document, dict):
        return known.passage(id_in({"id": document}, "id", number=True))
    return known.passage(id_in(document, "id", number=True), score=score_in(document))


def _wanted(rows: list[tuple[str, Any]], corpora: set[str]) -> dict[str, set[str]]:
    """The ids that the rows name, by corpus; rows that say something else are found out later."""
    wanted: dict[str, set[str]] = {name: set() for name in corpora}
    for _, row in rows:
        if not isinstance(row, dict) or (name := str(row.get("corpus_id"))) not in wanted:
            continue
        for key in ("pos_doc", "neg_doc"):
            listed = row.get(key)
            for one in listed if isinstance(listed, list) else ():
                wanted[name].add(str(one.get("id") if isinstance(one, dict) else one))
    return wanted


def _corpora(file: InputFile, named: Any) -> dict[str, Path]:
    """The corpus folders by id; paths are relative to the file. Raises `InputError`."""
    found: dict[str, Path] = {}
    for entry in named if isinstance(named, list) else [named]:
        path = entry.get("path") if isinstance(entry, dict) else None
        if not isinstance(path, str):
            raise InputError(f"{file.shown}: no corpus: {entry!r}", expected='"corpus": [{"path": FOLDER}]')
        folder = file.path.parent / path
        about = file_of(folder, _METADATA)
        try:
            metadata = json.loads(about.path.read_text(encoding="utf-8"))
            kind, name = metadata["class"], metadata["corpus_id"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{about.shown}: no class or no corpus_id ({error})") from error
        if kind != "TextQADataset":
            raise InputError(f"{about.shown}: class {kind!r}", expected="TextQADataset: documents are texts")
        if name in found:
            raise InputError(f"{about.shown}: corpus_id {name!r} is there twice", expected="one for each corpus")
        found[str(name)] = folder
    return found


def _read(folder: Path, known: Known, problems: ProblemLog) -> None:
    for where, row in table_rows(shards(folder, (".parquet",)), problems):
        try:
            known.add(where, id_in(row, "id", number=True), text_in(row, "text"), None, problems)
        except BadRecord as bad:
            problems.add(bad.kind, where, bad.value)
