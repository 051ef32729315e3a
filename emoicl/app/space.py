"""The page as a Hugging Face Space: three files that install this package and serve a model from the Hub."""

from pathlib import Path

import gradio
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from emoicl import __version__
from emoicl.bundled import BUNDLED_MODELS, DEFAULT_MODEL, find_model


SPACE_FILES = ("app.py", "requirements.txt", "README.md")
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates" / "space"),
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)


def write_space(folder: str | Path, model: str | None = None) -> list[Path]:
    """
    Writes what a Space needs. It holds no weights: the bundled models come with the package, others from the Hub.

    Args:
        folder (`str` or `Path`): Where to write; a new or an empty folder.
        model (`str`, *optional*): `"speech"`, the default, `"bursts"`, or a Hub name.

    Returns:
        `list[Path]`: The files.

    Raises:
        `ValueError`: If the model is a folder of this machine, or there are files in `folder`.
    """
    folder = Path(folder)
    place = find_model(model)
    bundled = next((name for name, path in BUNDLED_MODELS.items() if str(path) == place), None)
    if bundled is None and Path(place).exists():
        raise ValueError(
            f"{place} is on this machine, where a Space cannot reach it: publish it, and give its Hub name."
        )
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: give a new folder for the Space.")
    folder.mkdir(parents=True, exist_ok=True)
    fields = {
        "model": bundled or place,
        "is_bundled": bundled is not None,
        # The terms of the weights of `speech` are stricter than those of the code.
        "license": "cc-by-nc-sa-4.0" if bundled == DEFAULT_MODEL else "apache-2.0",
        "version": __version__,
        "gradio_version": gradio.__version__,
    }
    for name in SPACE_FILES:
        (folder / name).write_text(TEMPLATES.get_template(f"{name}.jinja").render(fields), encoding="utf-8")
    return [folder / name for name in SPACE_FILES]
