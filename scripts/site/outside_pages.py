"""CONTRIBUTING.md and CHANGELOG.md as pages of the site: they stay where people look for them in a repository.

A hook of MkDocs. Links between them and docs/ are right on disk and become links between pages here. A link out of
docs/ to anything else is a warning, as any link to nowhere.
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


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name, page in PAGES.items():
        if files.get_file_from_path(page) is None:
            text = (ROOT / name).read_text(encoding="utf-8")
            inside = re.sub(r"\]\(docs/", "](", text)
            files.append(File.generated(config, page, content=inside))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead links to files of the top directory to their pages."""
    up = "../" * page.file.src_uri.count("/")
    for name, target in PAGES.items():
        markdown = re.sub(rf"\]\((?:{re.escape(up)}\.\./)?{re.escape(name)}", f"]({up}{target}", markdown)
    return markdown
