"""Pages of the site that `mkdocs.yml` alone does not make: a hook of MkDocs.

CONTRIBUTING.md and CHANGELOG.md stay where people look for them in a repository, and are pages here. Links between them
and docs/ are right on disk and become links between pages; a link out of docs/ to anything else is a warning, as any
link to nowhere. A how-to guide or a benchmark without a place in the navigation comes at the end of its section.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "index.md"}
"""What a link to a file of the top directory leads to."""
SECTIONS = {"How-to guides": "how-to", "Benchmarks": "benchmarks"}
"""Sections that take all pages of a directory."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages that have no place yet, by name."""
    placed = set(re.findall(r"[\w./-]+\.md", str(config.nav)))
    for section in config.nav or []:
        for title, entries in section.items():
            found = sorted(Path(config.docs_dir, SECTIONS[title]).glob("*.md")) if title in SECTIONS else []
            entries += [page for path in found if (page := path.relative_to(config.docs_dir).as_posix()) not in placed]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the top directory."""
    for name, page in PAGES.items():
        if files.get_file_from_path(page) is None:
            text = (ROOT / name).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=re.sub(r"\]\(docs/", "](", text)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead links to files of the top directory to their pages."""
    up = "../" * page.file.src_uri.count("/")
    for name, target in PAGES.items():
        markdown = re.sub(rf"\]\((?:{re.escape(up)}\.\./)?{re.escape(name)}", f"]({up}{target}", markdown)
    return markdown
