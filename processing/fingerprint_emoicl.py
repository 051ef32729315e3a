"""By what a recording is known again, encoded or cut otherwise, where its audio is not kept."""

import numpy as np


# In samples (0.26 s and 40 ms at 16 kHz): frames overlap so far that it hardly matters where the first one starts.
WINDOW, HOP = 4096, 640
# In periods for each sample: 200 to 3000 Hz, what telephones and codecs keep.
LOW, HIGH = 0.0125, 0.1875
NUM_BANDS = 17
# In dB below the loudest frame. What is fainter at the ends is noise, which codecs change.
FLOOR = 20
# What is added to the power of each band, of that of the loudest, and the growth of a logarithm that counts: or a tone
# would have the bits of rounding.
FAINT, MIN_GROWTH = 1e-6, 0.01
# In frames: in fewer, two utterances may agree by chance.
MIN_FRAMES = 8
# In frames: how far one copy may begin before the other, and how much of the longer one must have a counterpart.
MAX_SHIFT, MIN_OVERLAP = 5, 0.8
# Of the bits. All 2,412 copies of 268 clips (mp3, Opus, Vorbis, a telephone line, half as loud, shifted, cut by 50 ms)
# differ in less, and none of 8,168 pairs of one speaker does (`benchmarks/fingerprints.py --clips 100`, the validation
# tables of RAVDESS, nEMO and EmoGator). 32 more clips have no fingerprint.
MAX_DIFFERENCE = 0.17
# A hum fits any other hum; it shows by fitting itself when shifted, which speech does not.
HUM_SHIFT, MIN_CHANGE = 5, 0.25


def fingerprint(waveform: np.ndarray) -> str:
    """
    The fingerprint of an utterance, after Haitsma and Kalker (2002): of each frame and each two neighboring bands,
    whether the level of the higher one grows more from this frame to the next. What was said cannot be heard in it.

    Args:
        waveform (`np.ndarray` of shape `(n,)`): The utterance.

    Returns:
        `str`: 4 hexadecimal digits for each frame, 100 a second; empty for what is too short, or a hum.
    """
    padded = np.pad(waveform, WINDOW // 2).astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * np.hanning(WINDOW)
    edges = np.searchsorted(np.fft.rfftfreq(WINDOW), np.geomspace(LOW, HIGH, NUM_BANDS + 1))
    powers = np.add.reduceat(np.square(np.abs(np.fft.rfft(frames)[:, : edges[-1]])), edges[:-1], axis=1)
    total = powers.sum(axis=1)
    loud = np.flatnonzero(total >= total.max() * 10 ** (-FLOOR / 10))
    levels = np.log(powers[loud[0] : loud[-1] + 1] + powers.max() * FAINT + np.finfo(np.float64).tiny)
    bits = np.diff(np.diff(levels, axis=0), axis=1) > MIN_GROWTH
    if len(bits) < MIN_FRAMES + HUM_SHIFT or np.mean(bits[HUM_SHIFT:] != bits[:-HUM_SHIFT]) < MIN_CHANGE:
        return ""
    return np.packbits(bits, axis=1).tobytes().hex()


def is_same_fingerprint(one: str, other: str) -> bool:
    """Whether two fingerprints are of one recording, at some shift; empty ones are of none."""
    first, second = (np.frombuffer(bytes.fromhex(text), np.uint8).reshape(-1, 2) for text in (one, other))
    needed = max(MIN_FRAMES, MIN_OVERLAP * max(len(first), len(second)))
    for shift in range(-MAX_SHIFT, MAX_SHIFT + 1):
        a, b = first[max(0, shift) :], second[max(0, -shift) :]
        length = min(len(a), len(b))
        if length >= needed and np.unpackbits(a[:length] ^ b[:length]).mean() <= MAX_DIFFERENCE:
            return True
    return False


__all__ = ["fingerprint", "is_same_fingerprint"]
