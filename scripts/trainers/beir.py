"""Reads a BEIR data set with BEIR's own `GenericDataLoader`: no training, it has no trainer of its own to speak of.

Every line of the three files must come back from the loader, the grades too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _proof import CannotRun, Cell, Settings, check, main

EXPORTS = ("beir",)


def prove(export: str, place: Path, args: Settings) -> Iterator[Cell]:
    """Load the train split and compare it with the files."""
    try:
        from beir.datasets.data_loader import GenericDataLoader
    except ImportError as error:
        raise CannotRun(f"beir is not installed ({error})") from None
    corpus, queries, qrels = GenericDataLoader(data_folder=str(place)).load(split="train")
    told = {row["_id"]: {"text": row["text"], "title": row["title"]} for row in lines(place / "corpus.jsonl")}
    check(corpus == told, "the corpus")
    check(queries == {row["_id"]: row["text"] for row in lines(place / "queries.jsonl")}, "the queries")
    judged = [row.split("\t") for row in (place / "qrels/train.tsv").read_text(encoding="utf-8").split("\n")[1:] if row]
    check(all(qrels[q][d] == int(grade) for q, d, grade in judged), "the grades")
    check(all(d in corpus for own in qrels.values() for d in own), "documents that are not in the corpus")
    negatives = sum(grade == 0 for own in qrels.values() for grade in own.values())
    yield Cell(
        trainer="GenericDataLoader",
        version=f"beir {version('beir')}",
        rows_out=sum(map(len, qrels.values())),
        note=f"loader alone: {len(queries):,} queries, {len(corpus):,} documents, {negatives:,} judged 0",
    )


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


if __name__ == "__main__":
    main(prove)
