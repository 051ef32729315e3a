"""Files and folders that are there as a whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_aside(path: str | Path) -> Iterator[Path]:
    """
    Gives a place to write a file or a folder at, which becomes `path` at the end. An interruption, an error or a
    second process that writes the same leaves nothing half done.

    Args:
        path (`str` or `Path`): A file, which may be there already, or a folder, which may not unless it is empty. The
            folder around it is created if it does not exist.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".unfinished", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        os.replace(unfinished, path)
