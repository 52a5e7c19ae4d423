"""The page: facts, figures and triplets put into one HTML file that needs no network.

Everything from the data is hostile until proved otherwise: the template escapes, the triplets are JSON in which no
`<` is left, the script writes texts as text, and the page's own policy allows no script but that one.
"""

from __future__ import annotations

import base64
import hashlib
import json
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
from hnmine.stages.places import artefacts_of, collection_of, is_artefact, open_artefact
from hnmine.stages.report import facts, figures
from hnmine.stages.report.browser import triplets
from hnmine.stages.sweep import Sweep

LOOKED_AT = 5_000
"""Queries whose rows make the spreads."""
SWEPT = 1_000
"""Queries over which the trade-off is drawn."""


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
        environment.filters |= {"thousands": lambda n: f"{n:,}", "json": _pretty, "duration": _duration}
        template = environment.from_string((folder / "page.html.j2").read_text("utf-8"))
        shown = np.sort(self.table.sample(self.options.limit, self.options.seed))
        return template.render(
            title=self._title(),
            numbers=self.numbers,
            advice=self.decisions.counts.get("advice", ""),
            plan=self.decisions.plan,
            figures=self._figures(),
            hubs=self._hubs(),
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

    def _hubs(self) -> list[Json]:
        rows, _ = self._spreads.hubs
        texts = self.collection.document_texts(rows_of(self.collection.doc_ids, _strings([name for name, *_ in rows])))
        return [
            {"id": name, "used": used, "known": known, "text": " ".join(text.split())[:160]}
            for (name, used, known), text in zip(rows, texts, strict=True)
        ]

    def _figures(self) -> list[Json]:
        """Each figure: a heading, what it says in words, and its SVG."""
        spreads, counts = self._spreads, self.decisions.counts
        judge = self.decisions.plan["judge_by"]
        found = [_figure("Funnel", "Where the candidates went, rules by how much they took.", "funnel",
                         figures.draw_funnel(facts.funnel(counts), name="funnel"), wide=True)]  # fmt: skip
        for number, (name, histogram) in enumerate(spreads.score_histograms().items()):
            words = "What the rules compare. " if name == judge else ""
            found.append(
                _figure(
                    f"Scores under {name}",
                    f"{words}Where negatives lie above positives, look at the triplets.",
                    f"score{number}",
                    figures.draw_histogram(histogram, name, name=f"score{number}"),
                )
            )
        if (margins := spreads.margins()) is not None:
            found.append(
                _figure(
                    "Gap to the positive",
                    f"The lowest positive's score less the negative's, under {judge}. Left of the line a negative is"
                    " placed above a known positive.",
                    "gap",
                    figures.draw_histogram(margins, f"gap under {judge}", name="gap", line=0.0),
                )
            )
        if (probabilities := spreads.probabilities()) is not None:
            limit = self.decisions.plan.get("in_force", {}).get("max_fn_probability")
            found.append(
                _figure(
                    "Estimated to be false",
                    "The estimated probability that a row is relevant after all; the line is the limit in force.",
                    "probability",
                    figures.draw_histogram(probabilities, "probability", name="probability", line=limit),
                )
            )
        if (ranked := spreads.picked_ranks()) is not None:
            rank_by = self.decisions.plan["rank_by"]
            found.append(
                _figure(
                    "Ranks",
                    f"Where positives and negatives stand under {rank_by}.",
                    "ranks",
                    figures.draw_histogram(ranked, f"rank under {rank_by}", name="ranks"),
                )
            )
        if agreement := spreads.agreement():
            found.append(
                _figure(
                    "Agreement of retrievers",
                    "Jaccard overlap of their first documents, mean over queries. Little overlap: each brings its own.",
                    "agreement",
                    figures.draw_agreement(agreement, name="agreement"),
                )
            )
        per_query = {int(number): int(count) for number, count in counts["negatives_per_query"].items()}
        if len(per_query) > 1:
            words = f"{counts['queries_short']:,} of {counts['queries']:,} queries have fewer negatives than asked for."
            drawing = figures.draw_counts(per_query, "negatives of a query", "queries", name="yield")
            found.append(_figure("Yield", words, "yield", drawing))
        _, reuse = spreads.hubs
        found.append(
            _figure(
                "Reuse of documents",
                "How many queries a document is a negative of.",
                "reuse",
                figures.draw_counts(figures.drawn(reuse), "queries", "documents", name="reuse"),
            )
        )
        sweep = self._sweep()
        if sweep is not None and (picture := figures.draw_sweep(sweep, name="sweep")) is not None:
            words = (
                f"Other settings over {min(SWEPT, counts['queries']):,} queries: estimated false negatives against"
                " how hard negatives are. Joined: no other setting beats it."
            )
            found.append(_figure("What other settings would give", words, "sweep", picture, wide=True))
        return found

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


def _figure(heading: str, words: str, name: str, svg: str, *, wide: bool = False) -> Json:
    return {"heading": heading, "words": words, "name": name, "svg": svg, "wide": wide}


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


def _strings(values: list[str]) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.string())
