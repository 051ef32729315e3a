"""The windows of a recording: each of them is answered."""


def window_spans(num_samples: int, window: int, hop: int) -> list[tuple[int, int]]:
    """
    Cuts a recording into windows that reach from its first to its last sample. All have the same length, the last too:
    it starts earlier than a hop after the one before. A recording that is not longer than a window is one.

    Args:
        num_samples (`int`): Length of the recording.
        window (`int`): Length of a window, in samples.
        hop (`int`): From the start of a window to that of the next, in samples; at most `window`.

    Returns:
        `list[tuple[int, int]]`: first sample of each window, and the one after its last.
    """
    last = max(num_samples - window, 0)
    return [(start, min(start + window, num_samples)) for start in (*range(0, last, hop), last)]


__all__ = ["window_spans"]
