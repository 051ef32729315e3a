"""What listening to a clip tells: its format, and whether it is silent, clipped or not usable at all."""

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from emoicl.processing.audio_emoicl import decode_audio
from emoicl.processing.audio_file_emoicl import read_blocks
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
    sound = _listen(content)
    is_silent = sound.duration > 0 and sound.peak < SILENT_PEAK
    waveform, refusal = None, sound.refusal
    if not (refusal or is_silent):
        try:
            waveform = decode_audio(content)
        except ValueError as error:
            refusal = str(error).removeprefix("audio: ")
    return ClipCheck(
        sha256=sha256,
        refusal=refusal,
        duration=sound.duration,
        format=_describe_format(content, sound),
        is_silent=is_silent,
        num_clipped=0 if refusal else sound.num_clipped,
        fingerprint=None if waveform is None else fingerprint(waveform),
    )


@dataclass(slots=True)
class _Sound:
    """What is in a file as it is stored: mixing channels and resampling move peaks."""

    refusal: str = ""
    duration: float = 0.0
    peak: float = 0.0
    num_clipped: int = 0
    rate: int = 0
    channels: int = 0


def _listen(content: bytes) -> _Sound:
    sound = _Sound()
    try:
        # A block holds more seconds than most clips: no run is sought across two.
        for block, rate in read_blocks(content, "audio", math.inf):
            levels = np.abs(block)
            sound.duration += len(block) / rate
            sound.peak = max(sound.peak, float(levels.max()))
            sound.num_clipped += _count_clipped(levels >= FULL_SCALE)
            sound.rate, sound.channels = rate, block.shape[1]
    except ValueError as error:
        sound.refusal = str(error)
    return sound


def _describe_format(content: bytes, sound: _Sound) -> str:
    if not sound.rate:
        return ""
    try:
        header = soundfile.info(io.BytesIO(content))
    except soundfile.LibsndfileError:
        encoding = "a header that libsndfile cannot read"
    else:
        encoding = f"{header.format} {header.subtype}"
    return f"{sound.rate} Hz, {sound.channels} channel{'s' * (sound.channels > 1)}, {encoding}"


def _count_clipped(is_full: np.ndarray) -> int:
    """The samples at full scale, if there is a run of them in one of the channels; shape `(num_samples, channels)`."""
    if len(is_full) < CLIPPED_RUN:
        return 0
    runs = np.lib.stride_tricks.sliding_window_view(is_full, CLIPPED_RUN, axis=0).all(axis=-1)
    return int(is_full.sum()) if runs.any() else 0
