"""What `make docs` does beside building pages: one package for the reference, and links to files that are no pages."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page


ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "build" / "package" / "emoicl"
FOLDERS = ("modeling", "processing", "training")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./)+[^)#]+)(#[^)]*)?\)")


def on_startup(**kwargs: Any) -> None:
    """Lays the folders of the house as they are installed: the reference is read from the source, not imported."""
    shutil.rmtree(PACKAGE, ignore_errors=True)
    no_code = shutil.ignore_patterns("assets", "__pycache__")
    shutil.copytree(ROOT / "emoicl", PACKAGE, ignore=no_code)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, PACKAGE / name, ignore=no_code)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Takes pictures from anywhere in the repository; links to its files need its address, or are plain text."""
    source = Path(page.file.src_uri)

    def rewrite(link: re.Match) -> str:
        is_picture, text, target, anchor = link.groups()
        path = Path(os.path.normpath(config.docs_dir / source.parent / target))
        if path.is_relative_to(config.docs_dir):
            return link.group()
        if not path.exists():
            raise PluginError(f"{source}: there is no {target}")
        name = path.relative_to(ROOT)
        if is_picture:
            picture = File.generated(config, f"pictures/{name}", abs_src_path=str(path))
            if picture.src_uri not in files.src_uris:
                files.append(picture)
            return f"![{text}]({os.path.relpath(picture.src_uri, source.parent)})"
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{name}{anchor or ''})" if config.repo_url else text

    return LINK.sub(rewrite, markdown)
