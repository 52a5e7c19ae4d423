"""A page: one HTML file that needs no network, whatever it is about.

Everything from the data is hostile until proved otherwise: templates escape, what a script reads is JSON in which no
`<` is left, and the page's own policy allows no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from hnmine.errors import MissingDependencyError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.atomic import write_text
from hnmine.options import ReportOptions
from hnmine.stages.places import is_artefact
from hnmine.stages.report.facts import stages


class Report(ABC):
    """A page about something that hnmine made."""

    template: str
    script: str | None = None
    """The file of the page's own script, which runs when all is there; that of the theme runs before."""

    def __init__(self, place: Path, options: ReportOptions) -> None:
        """Raises `MissingDependencyError` if jinja2 or matplotlib are missing."""
        _require()
        self.place, self.options = place, options

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
    @abstractmethod
    def numbers(self) -> Json:
        """The figures that matter most, as `--json` prints them."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What the page is about."""

    @abstractmethod
    def artefacts(self) -> Sequence[Artefact]:
        """What it was made from, and itself, in the order of work."""

    @abstractmethod
    def content(self) -> Json:
        """What the template is given beside the frame's own."""

    def html(self) -> str:
        """The whole page."""
        import jinja2

        folder = files("hnmine.stages.report")
        environment = jinja2.Environment(
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text("utf-8")),
        )
        environment.filters |= {
            "thousands": lambda n: f"{n:,}",
            "json": _pretty,
            "duration": _duration,
            "minute": _minute,
            "hashed": lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
        }
        return environment.get_template(self.template).render(
            title=self.title,
            numbers=self.numbers,
            stages=stages(self.artefacts()),
            style=(folder / "page.css").read_text("utf-8"),
            theme=(folder / "theme.js").read_text("utf-8"),
            script=(folder / self.script).read_text("utf-8") if self.script else "",
            **self.content(),
        )


def inert(value: Any) -> str:
    """JSON that can stand in a `<script>` element: nothing in it ends the element or opens a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return (
        text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
        .replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )  # fmt: skip


def _require() -> None:
    for package in ("jinja2", "matplotlib"):
        try:
            __import__(package)
        except ImportError:
            raise MissingDependencyError(
                f"the report needs {package}", remedy="pip install 'hnmine[report]' (or: pip install jinja2 matplotlib)"
            ) from None


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
