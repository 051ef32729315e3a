"""Files and folders that are there as a whole or not at all, and that one process writes at a time."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


LOCK_NAME = ".lock"
# safetensors has an error of its own; `torch.save` tells no more than that a file is shorter than it should be.
FULL_DISK = ("No space left on device", "quota exceeded", "PytorchStreamWriter failed", "unexpected pos ")


def default_cache_folder() -> Path:
    """Where what is computed once is kept, if nothing else is said: `$EMOICL_CACHE`, or `~/.cache/emoicl`."""
    return Path(os.environ.get("EMOICL_CACHE", Path.home() / ".cache" / "emoicl"))


@contextmanager
def write_aside(path: str | Path) -> Iterator[Path]:
    """
    Gives a place to write a file or a folder at, which becomes `path` at the end. An interruption, an error or a
    second process that writes the same leaves nothing half done.

    Args:
        path (`str` or `Path`): A file, which may be there already, or a folder, which may not unless it is empty. The
            folder around it is created if it does not exist.

    Raises:
        `OSError`: If the disk is full.
    """
    path = Path(path)
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".unfinished", dir=path.parent) as folder:
            unfinished = Path(folder) / path.name
            yield unfinished
            os.replace(unfinished, path)


@contextmanager
def sole_writer(folder: str | Path) -> Iterator[None]:
    """
    Keeps all other processes that ask for it out of a folder. The lock of a process that was killed is no lock.

    Args:
        folder (`str` or `Path`): The folder, which is created if it does not exist.

    Raises:
        `ValueError`: If another process writes there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"{folder}: another run is writing there now; wait until it has ended, or name another folder."
        ) from None
    try:
        yield
    finally:
        # Removed while it is held, so that it is never another process's. Windows removes no open file.
        with suppress(OSError):
            (folder / LOCK_NAME).unlink()
        lock.release()


@contextmanager
def explain_full_disk(path: str | Path) -> Iterator[None]:
    """
    Says in one line that a file or folder could not be written because the disk is full or takes no file as large,
    however a library says it.

    Args:
        path (`str` or `Path`): What is written.

    Raises:
        `OSError`: If the disk, or what the user may have of it, is full, or a file may not be as large.
    """
    try:
        yield
    except Exception as error:
        is_too_large = _tells(error, (errno.EFBIG,), ("File too large",))
        if not is_too_large and not _tells(error, (errno.ENOSPC, errno.EDQUOT), FULL_DISK):
            raise
        reason = "No file may be so large there (a limit as of `ulimit -f`)" if is_too_large else "The disk is full"
        raise OSError(
            errno.EFBIG if is_too_large else errno.ENOSPC,
            f"{reason}: {path} could not be written. What was complete before is whole; make room, and run the same "
            "again",
        ) from error


def _tells(error: Exception, numbers: tuple[int, ...], signs: tuple[str, ...]) -> bool:
    """Whether an error of the system, or of a library that says it in its own words, is one of these."""
    if isinstance(error, OSError):
        return error.errno in numbers
    return any(sign in str(error) for sign in signs)
