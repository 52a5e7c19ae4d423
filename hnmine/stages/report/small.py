"""The page about a small corpus to evaluate with: what was kept and why, and whether it can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np

from hnmine.errors import ArtefactError
from hnmine.files.artefact import Artefact, Json
from hnmine.options import ReportOptions
from hnmine.schema import Kind
from hnmine.stages.places import collection_of
from hnmine.stages.report import figures
from hnmine.stages.report.page import Report
from hnmine.stages.report.panels import panel, wide
from hnmine.stages.report.standing import standing


class SmallCorpusReport(Report):
    """A page about what `downsample` wrote."""

    template = "small.html.j2"

    def __init__(self, place: Path, options: ReportOptions, collection: Path | None = None) -> None:
        """Raises `ArtefactError` for an artefact that is not finished, or that an earlier hnmine wrote.

        A `collection` must be the one that it was made from; without one the page may do without.
        """
        super().__init__(place, options)
        self.small = Artefact.open(place, Kind.DOWNSAMPLED)
        self._collection = collection_of(self.small, collection).artefact if collection is not None else None
        if "pool" not in self.small.counts:
            raise ArtefactError(
                f"{place} does not tell what each ranking brought: an earlier hnmine wrote it",
                remedy="run `hnmine downsample` again, with another -o",
            )

    @cached_property
    def numbers(self) -> Json:
        """The figures that matter most, as `--json` prints them."""
        counts = self.small.counts
        gains = [own["left_out"] - own["whole"] for own in counts["systems"].values()]
        return {
            "documents": counts["documents"],
            "documents_of": counts["documents_of"],
            "share": counts["documents"] / counts["documents_of"],
            "documents_judged": counts["documents_judged"],
            "queries": counts["queries"],
            "judgments": counts["judgments"],
            "systems": len(counts["systems"]),
            "kendall_tau": counts["kendall_tau"],
            "overrated": {"mean": round(float(np.mean(gains)), 4), "most": round(max(gains), 4)},
        }

    @property
    def title(self) -> str:
        """The name of the directory."""
        return self.small.path.absolute().name

    def artefacts(self) -> Sequence[Artefact]:
        """The collection and the candidates, as far as they are where they were, and itself."""
        return [*self._inputs(), self.small]

    def _inputs(self) -> Iterator[Artefact]:
        for name in sorted(self.small.plan["inputs"], key=lambda name: name != "collection"):
            if name == "collection" and self._collection is not None:
                yield self._collection
                continue
            with suppress(ArtefactError):  # moved or gone
                yield self.small.input(name)

    def content(self) -> Json:
        """Figures and tables."""
        counts, options = self.small.counts, self.small.plan["options"]
        systems = dict(sorted(counts["systems"].items(), key=lambda item: (-item[1]["whole"], item[0])))
        return {
            "counts": counts,
            "options": options,
            "standing": standing(counts),
            "shallow": self.small.run_record().get("notes", {}).get("deepest rank"),
            "systems": systems,
            "of_systems": list(_of_systems(systems)),
            "of_corpus": list(_of_corpus(counts, options["top_k"])),
            "changed": sorted(
                (
                    {"newcomer": name, "other": other, **lead}
                    for name, others in counts["changed_places"].items()
                    for other, lead in others.items()
                ),
                key=lambda row: (-abs(row["small"]), row["newcomer"], row["other"]),
            ),
            "pooled": counts["documents"] - counts["documents_judged"],
            "gone": counts["documents_of"] - counts["documents"],
        }


def _of_systems(systems: Json) -> Iterator[Json]:
    height = 0.28 * len(systems) + 0.9
    words = (
        "nDCG@10 in the whole corpus, in this one, and in the one that there would be had the system not fed the pool."
    )
    yield wide(
        "Systems in both corpora", words, "systems", figures.systems(systems), height=height, narrow_height=height + 0.3
    )
    words = (
        "Each system as it would be were it new to the pool, with its place in the whole corpus. On the dashed line"
        " nothing changes, above it a system is overrated. Numbers that fall as dots rise keep their order."
    )
    yield panel("Whole against small", words, "against", figures.whole_against_small(systems))


def _of_corpus(counts: Json, depth: int) -> Iterator[Json]:
    rows = {
        "judged": counts["documents_judged"],
        "pooled, not judged": counts["documents"] - counts["documents_judged"],
        "left out": counts["documents_of"] - counts["documents"],
    }
    yield panel("What became of the corpus", "Each document once.", "corpus", figures.shares(rows))
    if counts["pool"]:
        words = f"The documents among the first {depth} of any query: judged ones would be here without it, others not."
        yield panel("What each ranking brought", words, "brought", figures.brought(counts["pool"]))
