"""What listening to a clip tells: its format, and whether it is silent, clipped or not usable at all."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from emoicl.processing.audio_emoicl import decode_audio
from emoicl.training.corpora.near_duplicates import Fingerprint, fingerprint


# A clip whose peak is lower, -60 dBFS, is called silent: what speech is in it lies in the noise of 16 bits.
SILENT_PEAK = 1e-3
# 32765 of 32768: at full scale, but for what converting and dithering change.
FULL_SCALE = 0.9999
# No wave of speech has its tip this long at full scale, at 16 kHz.
CLIPPED_RUN = 3


@dataclass(frozen=True, slots=True)
class ClipCheck:
    """
    What is found in a clip.

    Args:
        sha256 (`str`): Identity of its encoded bytes.
        refusal (`str`): Why the package would not take it; empty if it does, or if the clip is silent. The rest is
            only known of clips that can be read.
        duration (`float`): In seconds.
        format (`str`): `"16000 Hz, 1 channel, WAV PCM_16"`.
        is_silent (`bool`): The peak is below -60 dBFS.
        num_clipped (`int`): Samples at full scale, if at least 3 in a row are (in one channel); else 0.
        fingerprint ([`Fingerprint`], *optional*): By which copies are found.
    """

    sha256: str = ""
    refusal: str = ""
    duration: float = 0.0
    format: str = ""
    is_silent: bool = False
    num_clipped: int = 0
    fingerprint: Fingerprint | None = None


def check_clips(clips: Sequence[bytes | Path]) -> list[ClipCheck]:
    """Checks some clips: what a worker does at a time."""
    return [check_clip(clip) for clip in clips]


def check_clip(clip: bytes | Path) -> ClipCheck:
    """
    Decode a clip and look at it.

    Args:
        clip (`bytes` or `Path`): The encoded clip, or the file that holds it.

    Returns:
        [`ClipCheck`]: With `refusal`, if it cannot be read or is no utterance for the package (see [`decode_audio`]).
    """
    try:
        content = clip if isinstance(clip, bytes) else clip.read_bytes()
    except OSError as error:
        return ClipCheck(refusal=f"cannot open {clip}: {error.strerror}")
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        # As it is stored, because mixing channels and resampling move peaks.
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            samples = file.read(dtype="float32", always_2d=True)
            rate, encoding = file.samplerate, f"{file.format} {file.subtype}"
    except soundfile.LibsndfileError:
        samples, rate, encoding = np.empty((0, 1), np.float32), 0, ""
    levels = np.abs(samples)
    is_silent = levels.size > 0 and float(levels.max()) < SILENT_PEAK
    waveform = None
    refusal = ""
    if not is_silent:
        try:
            waveform = decode_audio(content)
        except ValueError as error:
            refusal = str(error).removeprefix("audio: ")
    channels = samples.shape[1]
    return ClipCheck(
        sha256=sha256,
        refusal=refusal,
        duration=len(samples) / rate if rate else 0.0,
        format=f"{rate} Hz, {channels} channel{'s' * (channels > 1)}, {encoding}" if rate else "",
        is_silent=is_silent,
        num_clipped=0 if refusal else _count_clipped(levels >= FULL_SCALE),
        fingerprint=None if waveform is None else fingerprint(waveform),
    )


def _count_clipped(is_full: np.ndarray) -> int:
    """The samples at full scale, if there is a run of them in one of the channels; shape `(num_samples, channels)`."""
    if len(is_full) < CLIPPED_RUN:
        return 0
    runs = np.lib.stride_tricks.sliding_window_view(is_full, CLIPPED_RUN, axis=0).all(axis=-1)
    return int(is_full.sum()) if runs.any() else 0
