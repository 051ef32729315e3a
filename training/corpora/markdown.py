"""Text of others in a Markdown page: it is shown as it is, and is never markup, whatever it holds."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup


_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# What begins markup within a line. An underscore within a word does not.
_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)")


def plain(value: Any) -> Markup:
    """A text in one line, with all that Markdown or HTML would read as markup escaped; markup of ours stays."""
    if isinstance(value, Markup):
        return value
    return Markup(_MARKUP.sub(lambda found: f"\\{found[0]}", " ".join(str(value).split()).translate(_HTML)))


def code(value: Any) -> Markup:
    """A text in one line, as code."""
    return Markup(f"`{' '.join(str(value).split()).replace('`', chr(39)).replace('|', '¦')}`")


def python(value: str) -> Markup:
    """A text as a string literal of Python."""
    return Markup(json.dumps(value, ensure_ascii=False))


def cells(values: Iterable[Any]) -> Markup:
    """A row of a table."""
    return Markup(f"| {' | '.join(map(plain, values))} |")


def listed(values: Iterable[Any], separator: str = ", ") -> Markup:
    """Texts one after the other."""
    return Markup(separator.join(map(plain, values)))


def load_template(path: Path, trim: bool = True) -> Template:
    """
    A template that escapes every text by [`plain`], unless one of the filters here has made markup of it.

    Args:
        path (`Path`): The template.
        trim (`bool`, *optional*, defaults to `True`): Whether a line with a block alone leaves nothing behind.
    """
    environment = Environment(
        loader=FileSystemLoader(path.parent),
        undefined=StrictUndefined,
        finalize=plain,
        trim_blocks=trim,
        lstrip_blocks=trim,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": code, "python": python, "cells": cells, "listed": listed}
    return environment.get_template(path.name)
