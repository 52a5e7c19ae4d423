"""The page: facts, figures and triplets put into one HTML file that needs no network.

Everything from the data is hostile until proved otherwise: the template escapes, the triplets are JSON in which no
`<` is left, the script writes texts as text, and the page's own policy allows no script but that one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import textwrap
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.errors import ArtefactError, MissingDependencyError, UsageError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.atomic import write_text
from hnmine.files.candidates import CandidatesTable
from hnmine.files.collection import Collection, rows_of
from hnmine.options import ReportOptions, SweepOptions, from_mapping
from hnmine.schema import Kind
from hnmine.stages.hubs import Hubs
from hnmine.stages.places import artefacts_of, collection_of, is_artefact, open_artefact
from hnmine.stages.report import facts
from hnmine.stages.report.browser import triplets
from hnmine.stages.report.panels import panels
from hnmine.stages.report.rounds import cards
from hnmine.stages.sweep import Sweep

LOOKED_AT = 5_000
"""Queries whose rows make the spreads."""
SWEPT = 1_000
"""Queries over which the trade-off is drawn."""
MOST_SHOWN = 12
"""Hubs, and bulks of near-copies, in their tables; `audit --json` has all."""


class Report:
    """A page about the decisions of a run directory, or of one artefact of decisions."""

    def __init__(self, place: Path, options: ReportOptions, collection: Path | None = None) -> None:
        """Find what there is; raises before any work if decisions, jinja2 or matplotlib are missing."""
        _require()
        if options.limit < 1:
            raise UsageError(f"--limit {options.limit}: at least 1")
        self.place, self.options = place, options
        self.decisions = open_artefact(place, Kind.DECISIONS)
        self.collection: Collection = collection_of(self.decisions, collection)
        self.table = CandidatesTable(self.decisions)

    @property
    def default_path(self) -> Path:
        """Where the page goes unless told otherwise: into a run directory, or beside an artefact."""
        if is_artefact(self.place):
            return self.place.with_name(f"{self.place.name}.report.html")
        return self.place / "report.html"

    def write(self, path: Path) -> Json:
        """Write the page, all or nothing; returns its key numbers."""
        write_text(path, self.html())
        return self.numbers

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

    def html(self) -> str:
        """The whole page."""
        import jinja2

        folder = files("hnmine.stages.report")
        script, style = ((folder / name).read_text("utf-8") for name in ("page.js", "page.css"))
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
        environment.filters |= {
            "thousands": lambda n: f"{n:,}",
            "json": _pretty,
            "duration": _duration,
            "minute": _minute,
        }
        template = environment.from_string((folder / "page.html.j2").read_text("utf-8"))
        shown = np.sort(self.table.sample(self.options.limit, self.options.seed))
        return template.render(
            title=self._title(),
            numbers=self.numbers,
            advice=self.decisions.counts.get("advice", ""),
            plan=self.decisions.plan,
            figures=list(panels(self.decisions, self._spreads, self._crowding, self._sweep())),
            cards=list(cards(self.decisions, self.table, self._spreads.sources())),
            documents=self._documents(),
            crowding=self._crowding,
            capped=any(hub["capped"] for hub in self._crowding["hubs"]),
            stages=facts.stages([Artefact.open(path, verify=False) for path in self._artefacts()]),
            shown=len(shown),
            script=script,
            style=style,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            data=_inert({**triplets(self.collection, self.table, shown), "key": self.decisions.fingerprint[:16]}),
        )

    def _artefacts(self) -> list[Path]:
        return [self.decisions.path] if is_artefact(self.place) else artefacts_of(self.place)

    def _title(self) -> str:
        return (self.place if not is_artefact(self.place) else self.place.absolute().parent).absolute().name

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
        texts = self.collection.document_texts(rows_of(self.collection.doc_ids, _strings(named)))
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
        count = self.decisions.plan["options"]["num_negatives"]
        options = from_mapping(SweepOptions, {"limit": SWEPT, "num_negatives": (count,)}, where="report")
        return Sweep(self.collection, candidates, options).run()


def _require() -> None:
    for package in ("jinja2", "matplotlib"):
        try:
            __import__(package)
        except ImportError:
            raise MissingDependencyError(
                f"the report needs {package}", remedy="pip install 'hnmine[report]' (or: pip install jinja2 matplotlib)"
            ) from None


def _inert(value: Any) -> str:
    """JSON that can stand in a `<script>` element: nothing in it ends the element or opens a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return (
        text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
        .replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )  # fmt: skip


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return (
        f"{seconds:.1f} s"
        if seconds < 90
        else f"{seconds / 60:.1f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def _minute(finished: str | None) -> str:
    """`2026-11-21 22:26 UTC` of an ISO time."""
    if finished is None:
        return "–"
    return datetime.fromisoformat(finished).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _strings(values: list[str]) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.string())
