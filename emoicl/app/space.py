"""The page as a Hugging Face Space: three files that install this package and serve a model from the Hub."""

from pathlib import Path

import gradio
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from emoicl import __version__
from emoicl.bundled import BUNDLED_MODEL


SPACE_FILES = ("app.py", "requirements.txt", "README.md")
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates" / "space"),
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)


def write_space(folder: str | Path, model: str = str(BUNDLED_MODEL)) -> list[Path]:
    """
    Writes what a Space needs. It holds no weights: the bundled model comes with the package, others from the Hub.

    Args:
        folder (`str` or `Path`): Where to write; a new or an empty folder.
        model (`str`, *optional*): Hub name of the model, by default the bundled one.

    Returns:
        `list[Path]`: The files.

    Raises:
        `ValueError`: If the model is a folder of this machine, or there are files in `folder`.
    """
    folder = Path(folder)
    bundled = Path(model) == BUNDLED_MODEL
    if not bundled and Path(model).exists():
        raise ValueError(
            f"{model} is on this machine, where a Space cannot reach it: publish it, and give its Hub name."
        )
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: give a new folder for the Space.")
    folder.mkdir(parents=True, exist_ok=True)
    fields = {"model": None if bundled else model, "version": __version__, "gradio_version": gradio.__version__}
    for name in SPACE_FILES:
        (folder / name).write_text(TEMPLATES.get_template(f"{name}.jinja").render(fields), encoding="utf-8")
    return [folder / name for name in SPACE_FILES]
