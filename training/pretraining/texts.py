"""The texts that a language model is pretrained on: lines of text files, a column of tables."""

import logging
from collections.abc import Iterable
from pathlib import Path

from emoicl.training.data.tables import SUFFIXES, Table


logger = logging.getLogger(__name__)


def read_texts(paths: Iterable[str | Path]) -> list[str]:
    """
    Reads the texts to pretrain on: the lines of text files, the column `text` of tables.

    A text that occurs again is left out, with a logged count: in a corpus of speech every speaker says the same
    sentences.

    Args:
        paths (`Iterable[str | Path]`): tables (see [`Table`]); any other file is UTF-8 text.

    Returns:
        `list[str]`: The texts without empty ones, in the order in which they come first.

    Raises:
        `ValueError`: If a file cannot be read, or there is no text at all.
    """
    paths = [Path(path) for path in paths]
    texts = [text for path in paths for text in read_texts_of(path)]
    different = list(dict.fromkeys(texts))
    if not different:
        raise ValueError(f"There is no text in {', '.join(map(str, paths))}.")
    if len(different) < len(texts):
        logger.info("Left out %d texts that occur again; %d remain.", len(texts) - len(different), len(different))
    return different


def read_texts_of(path: Path) -> list[str]:
    if path.suffix.lower() in SUFFIXES:
        return [text for text in Table(path, ["text"]).texts("text") if text]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return [line.strip() for line in lines if line.strip()]
