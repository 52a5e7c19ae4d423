"""The pages that list things list all of them, as they are."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import pytest
from markdown_blocks import ROOT

import hnmine.core.rules as rules
from hnmine import errors, presets
from hnmine.core import decide
from hnmine.core.guard import LEAST_QUERIES
from hnmine.core.rules.base import Rule
from hnmine.core.rules.rank import RankWindow
from hnmine.options import FilterOptions, Pick
from hnmine.schema import Scale, Verdict


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_cli_reference_is_what_the_commands_say() -> None:
    script = ROOT / "scripts" / "make_cli_reference.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_every_rule_is_on_the_page_in_the_order_in_which_rules_decide() -> None:
    written = re.findall(
        r"(?m)^\| `([a-z-]+)` \|", page("docs/filters.md").split("## Picking")[0].split("## The rules")[1]
    )
    everything = FilterOptions(
        skip_top=1,
        max_rank=9,
        where="document.a == 1",
        consistency_top=1,
        near_duplicate=0.9,
        group_by="a",
        no_answers=True,
        absolute_margin=1.0,
        relative_margin=0.1,
        max_score=1.0,
        min_score=0.0,
        band="0.1:0.6",
        iqr=1.5,
        guide="a",
        max_positive_similarity=0.9,
        closer_to_query=True,
        max_agreement=1,
        skip_fused=1,
        max_fn_probability=0.5,
        relabel="drop",
        max_reuse=1,
    )
    first = RankWindow.reason  # asked for by the drop-in alone, before the rules of the options
    assert written == [
        first,
        *(rule.reason for rule in rules.build(everything, Scale.LOGIT, dense=("a", Scale.COSINE))),
    ]
    assert set(written) == {rule.reason for rule in Rule.__subclasses__()}


def test_rules_page_says_which_rules_guess() -> None:
    rows = re.findall(r"(?m)^\| `([a-z-]+)` \|.*\|$", page("docs/filters.md").split("## Picking")[0])
    spares = {
        line.split("`")[1]: line.rstrip("| ").replace("\\|", "").split("|")[5].strip().startswith("yes")
        for line in page("docs/filters.md").split("## Picking")[0].splitlines()
        if line.startswith("| `") and line.split("`")[1] in {rule.reason for rule in Rule.__subclasses__()}
    }
    assert spares == {rule.reason: rule.is_guess for rule in Rule.__subclasses__()}
    assert len(rows) >= len(spares)


def rows_under(header: str) -> list[list[str]]:
    """The cells of the table of docs/filters.md whose header line begins with `header`; the first column bare."""
    lines = page("docs/filters.md").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(header)) + 2
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), lines[start:]))
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    return [[re.findall(r"`([^`]+)`", first)[0], *rest] for first, *rest in cells]


def test_every_pick_is_on_the_page_with_what_it_does() -> None:
    rows = rows_under("| `--pick` |")
    assert [token for token, *_ in rows] == [pick.value for pick in Pick]
    assert all(what for _, what, _ in rows)


def test_every_preset_is_on_the_page_as_its_file_says_it() -> None:
    rows = rows_under("| `--preset` |")
    assert [(name, what) for name, what, _ in rows] == [(name, presets.summary(name)) for name in presets.names()]
    for name, _, source in rows:
        papers = re.findall(r"https://[^)]+", source)
        assert source
        assert all(paper in presets.text(name) for paper in papers), name


@pytest.mark.parametrize(
    "token",
    [
        decide.KNOWN_POSITIVE,
        decide.RELABELLED,
        decide.PICKED,
        decide.NOT_NEEDED,
        decide.RANDOM_RESERVE,
        decide.SHORT_QUERY,
        decide.NOT_SCORED,
        decide.STEP_RANDOM,
        decide.STEP_REPEATED,
        *(step for _, step in rules.LADDER),
        *Verdict,
    ],
)
def test_every_token_of_a_decision_is_explained(token: str) -> None:
    assert f"`{token}`" in page("docs/filters.md")


def test_defaults_of_the_margins_are_those_of_the_page() -> None:
    text = " ".join(page("docs/filters.md").split())
    said = {Scale.COSINE: "cosine → relative 0.05", Scale.LOGIT: "logit → absolute 3.0"}
    for scale in Scale:
        default = rules.in_force(FilterOptions(), scale, estimated=False)
        relative, absolute = default.relative_margin, default.absolute_margin
        found = f"relative {relative}" if relative is not None else f"absolute {absolute}" if absolute else None
        if found:
            assert said.pop(scale) in text
            assert found in text
    assert not said
    most = rules.in_force(FilterOptions(), Scale.COSINE, estimated=True).max_fn_probability
    assert f"`--max-fn-probability {most}`. Where fewer than {LEAST_QUERIES} queries" in text


def test_every_error_and_its_exit_code_is_on_the_page() -> None:
    written = dict(re.findall(r"(?m)^\| (\d+) \| `(\w+)` \|", page("docs/exit-codes.md")))
    kinds = {kind.__name__: kind.exit_code for kind in errors.HnmineError.__subclasses__()}
    assert {name: int(code) for code, name in written.items()} == kinds


def test_links_between_pages_lead_somewhere() -> None:
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    for path in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.relative_to(ROOT)}: {target}"


def test_no_page_names_a_place_of_one_machine() -> None:
    for path in [ROOT / "README.md", ROOT / "Makefile", ROOT / "constraints.txt", *(ROOT / "docs").rglob("*.md")]:
        assert not re.search(r"(?<![\w.~])/(?:work|home|root|opt|mnt)/", path.read_text(encoding="utf-8")), path


def test_numbers_of_speed_name_their_script() -> None:
    """A page that gives a rate or a duration of its own names the script that measures it."""
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        if re.search(r"\d (?:s|min|queries/s|texts/s|GiB|MiB)\b", text):
            assert "scripts/" in text, f"{path.name} has measurements and names no script"
