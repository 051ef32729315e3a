"""Links within the repository lead somewhere, with their anchors, and the site is built without a warning."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest


ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "model_cards", "emoicl/assets", ".github")
PAGES = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")
ADDRESS = re.compile(r"[a-z]+:", re.IGNORECASE)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    broken = []
    for link in LINK.findall(page.read_text()):
        if ADDRESS.match(link):
            continue
        target, _, anchor = unquote(link).partition("#")
        path = page.parent / target if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


def test_the_readme_is_a_door():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    process = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    reference = (tmp_path / "reference" / "recognizing" / "index.html").read_text()
    assert 'id="emoicl.processing.pipeline_emoicl.EmoIclPipeline"' in reference
    fetched = re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))"', reference)
    assert fetched == []
