"""Reads docstrings in Hugging Face's form of Google's sections, for the reference."""

import re
from pathlib import Path
from typing import Any

import griffe


# `` name (`type` of shape `(a, b)`, *optional*, defaults to `3`): ``
ARGUMENT = re.compile(
    r"^( *\*{0,2}\w+) \((\[?`[^:]*?)(?:,\s+\*optional\*(?:, defaults\s+to ([^:]*?))?)?\):(?=\s)", re.MULTILINE
)
# `` `type`: `` and `` [`Name`] of shape `(a, b)`: ``
RESULT = re.compile(r"^( *)(\[?`[^`\n]+`\]?(?: (?:of shape|of|or) \[?`[^`\n]+`\]?)*): ", re.MULTILINE)
# A result without a type, which goes on in a list.
LISTED_RESULT = re.compile(r"^( *)Return:\n(.*):$", re.MULTILINE)
REFERENCE = re.compile(r"\[`~?([\w.]+)`\]")

REFERENCE_PAGES = Path(__file__).parents[1] / "reference"
PLACES = {
    place.rpartition(".")[2]: place
    for page in REFERENCE_PAGES.glob("*.md")
    for place in re.findall(r"^::: (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
}


def plain(annotation: str) -> str:
    """A type without its marks."""
    return REFERENCE.sub(r"\1", annotation).replace("`", "")


def link(reference: re.Match) -> str:
    """A name, with a link if it, or the class that it belongs to, has a place in the reference."""
    name = reference[1]
    place = PLACES.get(name.partition(".")[0])
    return f"[`{name}`][{place}]" if place else f"`{name}`"


class HuggingFaceDocstrings(griffe.Extension):
    """Takes the marks of types away, which griffe writes in its own way, and links names that have a page."""

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        if obj.docstring is None:
            return

        def argument(match: re.Match) -> str:
            # Of a configuration no signature tells the defaults.
            default = f"Default: {match[3]}." if obj.is_class and match[3] else ""
            return f"{match[1]} ({plain(match[2])}): {default}"

        text = ARGUMENT.sub(argument, obj.docstring.value)
        text = RESULT.sub(lambda match: f"{match[1]}{plain(match[2])}: ", text)
        text = LISTED_RESULT.sub(r"\1Returns:\n\2.", text)
        obj.docstring.value = REFERENCE.sub(link, text)
