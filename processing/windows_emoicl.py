"""The windows of a recording of any length: each of them is answered."""

from collections.abc import Iterable, Iterator

import numpy as np


def cut_windows(blocks: Iterable[np.ndarray], window: int, hop: int) -> Iterator[tuple[int, np.ndarray]]:
    """
    Cuts a recording into windows that reach from its first to its last sample. All have the same length, the last too:
    it starts earlier than a hop after the one before. A recording that is not longer than a window is one.

    Args:
        blocks (`Iterable[np.ndarray]`): The recording, in parts of any length; no more of it is kept than a window.
        window (`int`): Length of a window, in samples.
        hop (`int`): From the start of a window to that of the next, in samples; at most `window`.

    Yields:
        `tuple`: the first sample of a window in the recording, and the window, `(window,)`.
    """
    held = np.empty(0, np.float32)
    # Where what is held starts in the recording, and the next window.
    first = start = 0
    for block in blocks:
        held = np.concatenate([held, block])
        # One more sample than the window: it is not the last.
        while first + len(held) > start + window:
            yield start, held[start - first : start - first + window]
            held, first, start = held[start - first :], start, start + hop
    if len(held):
        last = max(first + len(held) - window, 0)
        yield last, held[last - first :]


__all__ = ["cut_windows"]
