"""The site builds without a warning, needs nothing from elsewhere, and its pages say what is so."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from markdown_blocks import ROOT, blocks

import hnmine
from hnmine import training

sys.path.insert(0, str(ROOT / "scripts"))
import plot_false_negatives

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("material", "mkdocstrings_handlers.python"):
        if importlib.util.find_spec(package.split(".")[0]) is None:
            pytest.skip("the extra docs is not installed")
    place = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(place)]
    done = subprocess.run(
        build, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr  # dead links, dead anchors and pages out of the navigation warn
    return place


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    text = "".join((site / f"{page}.html").read_text(encoding="utf-8") for page in ("api", "options"))
    anchors = {name.rsplit(".", 1)[-1] for name in re.findall(r'<h3 id="(hnmine\.[\w.]+)"', text)}
    samplers = {
        name for name, kind in vars(training).items() if isinstance(kind, type) and kind.__module__ == training.__name__
    }
    wanted = {*hnmine.__all__, *(name for name in samplers if not name.startswith("_"))}
    assert wanted - {"__version__", "SweepOptions"} <= anchors
    assert "SweepOptions" in text  # made when the module is loaded: the page has a sentence about it


def test_fields_of_options_come_with_help_and_default(site: Path) -> None:
    text = (site / "options.html").read_text(encoding="utf-8")
    own = text.split('id="hnmine.options.FilterOptions"')[1].split("<h3")[0]
    row = own.split("<code>num_negatives</code>")[1].split("</tr>")[0]
    assert "Negatives per query." in row
    assert "<code>7</code>" in row
    assert "<code>seed</code>" in own  # a field of its base


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        found = re.findall(
            r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*>", page.read_text("utf-8")
        )
        assert not found, page.name


def test_pages_with_commands_are_run_by_a_test() -> None:
    names = {
        node.value
        for file in TESTS.glob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        page = str(path.relative_to(ROOT))
        if blocks(page, "console"):
            assert page in names, f"{page} has commands, and no test of {TESTS} runs them"


def test_every_extra_is_on_the_page_about_installing() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (table,) = re.findall(r"(?s)\n## Extras\n(.*?)\n## ", (ROOT / "docs/install.md").read_text(encoding="utf-8"))
    assert [name for name in extras if f"`{name}`" not in table] == []


def cells(page: str, first: str) -> list[list[str]]:
    """The rows below the header line of a table that begins so."""
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = text.split(f"\n{first}", 1)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]


def test_shares_of_relevant_candidates_are_those_that_were_measured() -> None:
    page = "docs/explanation/why-negatives-are-false.md"
    found = json.loads((ROOT / "docs/explanation/relevance.json").read_text(encoding="utf-8"))
    shown = {name: values for name, *values in cells(page, "| | relevant a query |")}
    assert shown == {
        name: [
            f"{one['relevant_a_query']:.1f}",
            *(f"{100 * row['relevant'] / row['candidates']:.0f}" for row in one["by_rank"]["dense"][:7]),
        ]
        for name, one in found.items()
    }


def test_false_negatives_of_the_explanation_are_those_of_the_benchmark() -> None:
    rows = plot_false_negatives.read((ROOT / "docs/benchmarks/false_negatives.md").read_text(encoding="utf-8"))
    assert {row.collection for row in rows} == {"cranfield", "cacm", "cisi", "trecdl_19_20"}
    settings = ("ST naive top 5", "ST range_min 10", "ST relative_margin 0.05", "hnmine default")
    shown = [values for _, *values in cells("docs/explanation/why-negatives-are-false.md", "| | cranfield |")]
    assert shown == [[f"{row.rate:.2%}" for row in rows if row.setting == setting] for setting in settings]
