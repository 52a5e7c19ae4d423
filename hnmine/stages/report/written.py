"""What `generate` wrote for a collection, and what became of it: negatives by the way they were made, or queries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.rules.consistency import Inconsistent
from hnmine.errors import ArtefactError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.collection import Collection, rows_of
from hnmine.schema import DOC_ID, WRITTEN_BY, Kind
from hnmine.stages.places import GENERATED
from hnmine.stages.report.facts import Spreads

Texts = npt.NDArray[np.object_]
_KINDS = {
    "perturb:swap": "two words changed places",
    "perturb:shuffle": "words in another order",
    "perturb:negation": "a negation added or taken away",
    "perturb:number": "other numbers",
    "llm": "by a language model",
    "ict": "a sentence of the document",
}
_REFUSED = {
    "no-op": "nothing changed",
    "in-corpus": "the corpus has it already",
    "repeated": "written twice",
    "query": "it is the query, or one that there is",
    "document": "it is the document",
    "not-needed": "more than were wanted",
}


def written_for(collection: Collection) -> Artefact | None:
    """What `generate` wrote for this collection; None if nothing, or if it is not beside it any more."""
    wanted = collection.artefact.plan.get("fingerprint", {}).get("generated")
    try:
        found = Artefact.open(collection.artefact.path.parent / GENERATED, Kind.GENERATED, verify=False)
    except ArtefactError:
        return None
    return found if found.fingerprint == wanted else None


def cards(generated: Artefact | None, kinds: Texts | None, spreads: Spreads, reasons: Json) -> Iterator[Json]:
    """Each card: `heading`, `words`, and `rows` of (what, value). `kinds` is of each row that was looked at."""
    counts: Json = generated.counts if generated is not None else {}
    if kinds is not None:
        yield {
            "heading": "Written negatives",
            "words": "By the way they were made, and of the queries looked at; see “written” in the triplets.",
            "rows": [*_negatives(counts.get("by", {}), kinds, spreads), *_refused(counts)],
        }
    elif "documents" in counts:
        rows = [(_KINDS.get(name, name), f"{count:,}") for name, count in counts.get("by", {}).items()]
        rows += _refused(counts)
        if without := counts.get("documents_without_query"):
            rows.append(("documents without one", f"{without:,}"))
        if lost := reasons.get(Inconsistent.reason):
            rows.append(("rows of queries whose document is found too late (--consistency-top)", f"{lost:,}"))
        yield {"heading": "Written queries", "words": "All queries were written for their documents.", "rows": rows}


def _negatives(by: Json, kinds: Texts, spreads: Spreads) -> Iterator[tuple[str, str]]:
    for name in sorted({*by, *(kind for kind in kinds if kind is not None)}):
        own = kinds == name
        chosen = own & spreads.group["negatives"]
        said = f"{chosen.sum():,} chosen of {own.sum():,}"
        yield _KINDS.get(name, name), f"{by[name]:,} written, {said}" if name in by else said


def _refused(counts: Json) -> Iterator[tuple[str, str]]:
    for name, count in sorted(counts.get("refused", {}).items(), key=lambda item: -item[1]):
        yield f"refused: {_REFUSED.get(name, name)}", f"{count:,}"
    for name in ("queries_not_asked", "documents_not_asked", "without_texts"):
        if counts.get(name):
            yield name.replace("_", " "), f"{counts[name]:,}"
    if counts.get("cost"):
        yield "cost, by the prices given", f"{counts['cost']:,.4g}"


def kinds_of(collection: Collection, spreads: Spreads) -> Texts | None:
    """How the document of each row was written, None where it was not; None if there is no such row."""
    if WRITTEN_BY not in collection.column_names("documents"):
        return None
    curated = spreads.curated
    if not curated.any():
        return None
    rows = rows_of(collection.doc_ids, spreads.rows[DOC_ID].filter(pa.array(curated)))
    said = collection.column("documents", WRITTEN_BY).take(pa.array(rows))
    found: Texts = np.full(len(curated), None, dtype=object)
    found[curated] = said.to_pylist()
    return found
