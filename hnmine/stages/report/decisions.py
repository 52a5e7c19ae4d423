"""The page about decisions: key figures, triplets to judge, figures, and what was made how."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.errors import ArtefactError, UsageError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.candidates import CandidatesTable
from hnmine.files.collection import Collection, rows_of
from hnmine.options import ReportOptions, SweepOptions, from_mapping
from hnmine.schema import Kind
from hnmine.stages.hubs import Hubs
from hnmine.stages.places import artefacts_of, collection_of, is_artefact, open_artefact
from hnmine.stages.report import facts, written
from hnmine.stages.report.browser import triplets
from hnmine.stages.report.page import Report, inert
from hnmine.stages.report.panels import panels
from hnmine.stages.report.rounds import cards
from hnmine.stages.sweep import Sweep

LOOKED_AT = 5_000
"""Queries whose rows make the spreads."""
SWEPT = 1_000
"""Queries over which the trade-off is drawn."""
MOST_SHOWN = 12
"""Hubs, and bulks of near-copies, in their tables; `audit --json` has all."""


class DecisionsReport(Report):
    """A page about the decisions of a run directory, or of one artefact of decisions."""

    template = "decisions.html.j2"
    script = "triplets.js"

    def __init__(self, place: Path, options: ReportOptions, collection: Path | None = None) -> None:
        """Find what there is; raises before any work if decisions, jinja2 or matplotlib are missing."""
        super().__init__(place, options)
        if options.limit < 1:
            raise UsageError(f"--limit {options.limit}: at least 1")
        self.decisions = open_artefact(place, Kind.DECISIONS)
        self.collection: Collection = collection_of(self.decisions, collection)
        self.table = CandidatesTable(self.decisions)

    @cached_property
    def numbers(self) -> Json:
        """The figures that matter most, as `--json` prints them."""
        counts = self.decisions.counts
        return {
            "yield": counts["yield"],
            "estimated_false_negatives": self._spreads.false_negatives(),
            "queries": counts["queries"],
            "queries_short": counts["queries_short"],
            "candidates": counts["candidates"],
            "negatives": counts["verdicts"].get("negative", 0),
            "positives": counts["verdicts"].get("positive", 0),
            "dropped": counts["verdicts"].get("dropped", 0),
            "hub_documents": len({hub["document"] for hub in self._crowding["hubs"]}),
            "bulk_copies": sum(len(bulk["documents"]) for bulk in self._crowding["bulks"]),
            "looked_at": self._spreads.queries,
        }

    @cached_property
    def _spreads(self) -> facts.Spreads:
        return facts.Spreads(self.table, np.sort(self.table.sample(LOOKED_AT, self.options.seed)))

    @property
    def title(self) -> str:
        """The name of the run directory."""
        return (self.place if not is_artefact(self.place) else self.place.absolute().parent).absolute().name

    def artefacts(self) -> Sequence[Artefact]:
        """All of a run directory; of decisions alone, what they were made from, as far as it is where it was."""
        if is_artefact(self.place):
            texts = [self._written] if self._written is not None else []
            return [*texts, self.collection.artefact, *reversed(self._before), self.decisions]
        return [Artefact.open(path, verify=False) for path in artefacts_of(self.place)]

    @cached_property
    def _before(self) -> list[Artefact]:
        """The candidates that the decisions were made from, and those that these were, the last first."""
        return list(_before(self.decisions))

    @cached_property
    def _written(self) -> Artefact | None:
        return written.written_for(self.collection)

    def content(self) -> Json:
        """Figures, cards, tables, and the triplets for the script."""
        shown = np.sort(self.table.sample(self.options.limit, self.options.seed))
        return {
            "advice": self.decisions.counts.get("advice", ""),
            "plan": self.decisions.plan,
            "figures": list(panels(self.decisions, self._spreads, self._crowding, self._sweep())),
            "cards": list(self._cards()),
            "documents": self._documents(),
            "crowding": self._crowding,
            "capped": any(hub["capped"] for hub in self._crowding["hubs"]),
            "shown": len(shown),
            "data": inert({**triplets(self.collection, self.table, shown), "key": self.decisions.fingerprint[:16]}),
        }

    def _cards(self) -> Iterator[Json]:
        yield from cards(self.decisions, self.table, self._spreads.sources(), self._before)
        kinds = written.kinds_of(self.collection, self._spreads)
        yield from written.cards(self._written, kinds, self._spreads, self.decisions.counts["reasons"])

    @cached_property
    def _crowding(self) -> Json:
        """Hubs and bulks of near-copies, as `audit` finds them."""
        return Hubs(self.table, self.collection).report()

    def _documents(self) -> Json:
        """The documents that are told of, each with the beginning of its text."""
        hubs, bulks = self._crowding["hubs"], self._crowding["bulks"]
        used = self._spreads.most_used()
        named = [row["document"] for row in (*hubs[:MOST_SHOWN], *used)]
        named += [bulk["documents"][0] for bulk in bulks[:MOST_SHOWN]]
        texts = self.collection.document_texts(rows_of(self.collection.doc_ids, pa.array(named, pa.string())))
        shown = {
            name: textwrap.shorten(text[:1_000], 160, placeholder=" …") for name, text in zip(named, texts, strict=True)
        }
        return {
            "hubs": [{**hub, "text": shown[hub["document"]]} for hub in hubs[:MOST_SHOWN]],
            "hubs_in_all": len(hubs),
            "bulks": [{**bulk, "text": shown[bulk["documents"][0]]} for bulk in bulks[:MOST_SHOWN]],
            "bulks_in_all": len(bulks),
            "copies": sum(len(bulk["documents"]) for bulk in bulks),
            "used": [{**row, "text": shown[row["document"]]} for row in used],
        }

    def _sweep(self) -> Json | None:
        try:
            candidates = self.decisions.input("candidates", Kind.CANDIDATES)
        except ArtefactError:  # moved or gone: the page goes without the picture
            return None
        if any("until" in score for score in candidates.plan["scores"]):  # other settings would need other scores
            return None
        count = self.decisions.plan["options"]["num_negatives"]
        options = from_mapping(SweepOptions, {"limit": SWEPT, "num_negatives": (count,)}, where="report")
        return Sweep(self.collection, candidates, options).run()


def _before(artefact: Artefact) -> Iterator[Artefact]:
    """The candidates that it was made from, and those that these were made from, the last first."""
    while "candidates" in artefact.plan["inputs"]:
        try:
            artefact = artefact.input("candidates", Kind.CANDIDATES)
        except ArtefactError:  # moved or gone
            return
        yield artefact
