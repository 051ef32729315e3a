"""Progress of what takes long: a bar on a terminal, and a line a minute where nobody watches, as in a log file."""

import logging
import sys
from typing import Any

from tqdm.auto import tqdm


logger = logging.getLogger(__name__)

# In seconds, between lines.
INTERVAL = 60
LINE = "{desc}: {n_fmt} of {total_fmt} {unit}, {remaining} left"


class LogLines:
    """What tqdm writes to, for a log: whole lines, without what moves the cursor."""

    def write(self, text: str) -> None:
        if line := text.strip():
            logger.info(line)

    def flush(self) -> None:
        """Lines are written at once."""


def progress(iterable: Any = None, desc: str = "", unit: str = "it", **kwargs: Any) -> tqdm:
    """
    A progress bar on a terminal, and elsewhere a line a minute in the log, if it takes as long.

    Args:
        iterable (`Iterable`, *optional*): What is gone through.
        desc (`str`): What is done.
        unit (`str`): What is counted.
        **kwargs: Further arguments of `tqdm`.
    """
    if sys.stderr.isatty():
        return tqdm(iterable, desc=desc, unit=unit, **kwargs)
    kwargs |= {"leave": False, "file": LogLines(), "bar_format": LINE}
    return tqdm(
        iterable,
        desc=desc,
        unit=unit,
        mininterval=INTERVAL,
        maxinterval=INTERVAL,
        delay=INTERVAL,
        miniters=1,
        **kwargs,
    )
