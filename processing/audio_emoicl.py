"""Decodes audio in any of its usual forms to a mono waveform. All audio of the package comes in through here."""

import math
import numbers
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from .audio_file_emoicl import BLOCK_SIZE, check_not_longer, read_blocks
from .foreign_audio_emoicl import container_of, fetch, has_ffmpeg, is_url, read_with_ffmpeg, torchcodec_decoder


@runtime_checkable
class AudioDecoder(Protocol):
    """What `datasets` gives as the audio of a row, and torchcodec of a file, which need not be there for it."""

    def get_all_samples(self) -> Any: ...


AudioLike = str | os.PathLike | bytes | Mapping | np.ndarray | torch.Tensor | AudioDecoder

# An array with more channels than 7.1 surround is taken to be a mistake (say, a batch), not audio.
MAX_CHANNELS = 8
# -80 dBFS: below the noise floor of any microphone, and of 16-bit dither.
SILENT_PEAK = 1e-4
# Float audio may overshoot 1.0 a little (lossy codecs, mixing). This far out, it is integer samples cast to float.
UNSCALED_PEAK = 100.0
# Channels cancel each other if a tenth is left of the power that the mean of unrelated ones has.
CANCELLED = 0.1
# In Hz. What lies outside is no recording of speech.
MIN_RATE, MAX_RATE = 1000, 1_000_000
# Zero crossings of the resampling filter on either side, and the largest term of a ratio of rates, which may be larger
# if the other is less than the least.
FILTER_WIDTH = 64
MIN_TERM, MAX_TERM = 64, 640


def decode_audio(
    audio: AudioLike,
    sampling_rate: int = 16000,
    name: str | None = None,
    min_duration: float = 0.1,
    max_duration: float = 30.0,
) -> np.ndarray:
    """
    Decodes one utterance to a mono waveform: channels are averaged, another sampling rate is resampled through a
    low-pass filter (windowed sinc), and audio no emotion could be heard in is refused.

    Args:
        audio (`str`, `os.PathLike`, `bytes`, `dict`, `np.ndarray`, `torch.Tensor` or `AudioDecoder`):
            - a path, a URL, or the bytes of a file: wav, flac, ogg (opus or vorbis), mp3, and where FFmpeg or
              torchcodec is installed m4a, mp4, aac, webm, amr and wma too;
            - `{"bytes": ..., "path": ...}` as in `datasets`: the bytes if there are any, else the path;
            - `{"array": ..., "sampling_rate": ...}` (or `"raw"` for `"array"`, as in the pipelines of transformers);
            - an array or a tensor, taken to be at `sampling_rate`;
            - a decoder of torchcodec, which `datasets` gives as the audio of a row.

            Arrays have shape `(n,)`, `(channels, n)` or `(n, channels)`, and hold floats in [-1, 1], int16 or int32.
        sampling_rate (`int`, *optional*, defaults to 16000):
            Sampling rate of the returned waveform, in Hz.
        name (`str`, *optional*):
            What to call this utterance in error messages, beside its path.
        min_duration (`float`, *optional*, defaults to 0.1):
            Shortest utterance accepted, in seconds.
        max_duration (`float`, *optional*, defaults to 30.0):
            Longest utterance accepted, in seconds.

    Returns:
        `np.ndarray` of shape `(n,)`, float32: the waveform at `sampling_rate`.

    Raises:
        `ValueError`: If the audio is missing, unreadable, truncated, empty, too short, too long, silent, or holds NaN
            or infinite samples. The message names the utterance and says what would be right.
    """
    with naming(audio, name):
        blocks = list(_stream(audio, sampling_rate, _describe(audio, name), max_duration))
        waveform = np.concatenate(blocks) if blocks else np.empty(0, np.float32)
        check_not_shorter(len(waveform) / sampling_rate, min_duration)
        _check_audible(waveform)
    return waveform


def stream_audio(audio: AudioLike, sampling_rate: int = 16000, name: str | None = None) -> Iterator[np.ndarray]:
    """
    Decodes a recording of any length, block by block, as [`decode_audio`] does an utterance.

    Args:
        audio (`str`, `os.PathLike`, `bytes`, `dict`, `np.ndarray` or `torch.Tensor`):
            The recording, see [`decode_audio`].
        sampling_rate (`int`, *optional*, defaults to 16000):
            Sampling rate of the blocks, in Hz.
        name (`str`, *optional*):
            What to call it in error messages, beside its path.

    Yields:
        `np.ndarray` of shape `(n,)`, float32: the blocks, none of which is empty.

    Raises:
        `ValueError`: As [`decode_audio`], but not of what is short or silent.
    """
    with naming(audio, name):
        yield from _stream(audio, sampling_rate, _describe(audio, name), math.inf)


@contextmanager
def naming(audio: AudioLike, name: str | None) -> Iterator[None]:
    """Puts the name and path of an utterance in front of what is said of it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{_describe(audio, name)}: {error}") from error


def with_rate(audio: AudioLike, sampling_rate: int | None) -> AudioLike:
    """An array or a tensor with the sampling rate that it was recorded at. Files and dictionaries carry their own."""
    if sampling_rate is None or not isinstance(audio, (np.ndarray, torch.Tensor)):
        return audio
    return {"array": audio, "sampling_rate": sampling_rate}


def _describe(audio: AudioLike, name: str | None) -> str:
    path = audio.get("path") if isinstance(audio, Mapping) else audio
    if isinstance(path, (str, os.PathLike)):
        return f"{name} ({os.fspath(path)})" if name else os.fspath(path)
    return name or "audio"


def _stream(audio: AudioLike, sampling_rate: int, name: str, max_duration: float) -> Iterator[np.ndarray]:
    blocks, source_rate = _peek_rate(_load(audio, sampling_rate, name, max_duration))
    for block in _resample(_mix(blocks, source_rate, name), source_rate, sampling_rate):
        if (peak := float(np.abs(block).max(initial=0))) > UNSCALED_PEAK:
            raise ValueError(
                f"floats up to {peak:.0f}; scale them to [-1, 1] (int16: / 32768), or give int16 or int32"
            )
        if len(block):
            yield block


def _load(audio: AudioLike, default_rate: int, name: str, max_duration: float) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks of samples `(n, channels)`, as they are stored, and their sampling rate."""
    if isinstance(audio, Mapping):
        if unknown := audio.keys() - {"array", "raw", "sampling_rate", "bytes", "path"}:
            raise ValueError(
                f"unknown key {min(unknown)!r} of an utterance; with labels of its speaker, a request is "
                '{"audio": ..., "enrollment": ...}'
            )
        array = audio["array"] if audio.get("array") is not None else audio.get("raw")
        if array is not None:
            return _split(_to_numpy(array), audio.get("sampling_rate"), max_duration)
        audio = audio["bytes"] if audio.get("bytes") is not None else audio.get("path")  # pyright: ignore[reportAssignmentType]
    if isinstance(audio, (np.ndarray, torch.Tensor)):
        return _split(_to_numpy(audio), default_rate, max_duration)
    if isinstance(audio, AudioDecoder):
        return _decode(audio, max_duration)
    if isinstance(audio, (str, os.PathLike)):
        audio = fetch(audio) if isinstance(audio, str) and is_url(audio) else Path(audio)
    if isinstance(audio, (bytes, Path)):
        return _read(audio, name, max_duration)
    raise ValueError(
        f"cannot read audio from {type(audio).__name__!r}; give a path, the bytes of a file, an array, "
        '{"array", "sampling_rate"} or {"bytes", "path"}'
    )


def _read(source: Path | bytes, name: str, max_duration: float) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks of a file, decoded by libsndfile or, if it does not know the container, by what there is that does."""
    if container := container_of(source):
        if has_ffmpeg():
            return read_with_ffmpeg(source, container, max_duration)
        if decoder := torchcodec_decoder(source):
            return _decode(decoder, max_duration)
    return read_blocks(source, name, max_duration)


def _decode(decoder: AudioDecoder, max_duration: float) -> Iterator[tuple[np.ndarray, int]]:
    """What a decoder of torchcodec gives, `(channels, n)`, in blocks."""
    # Of a header, which need not tell.
    announced = getattr(getattr(decoder, "metadata", None), "duration_seconds_from_header", None) or 0.0
    check_not_longer(announced, max_duration)
    try:
        samples = decoder.get_all_samples()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"its decoder cannot read it: {' '.join(str(error).split())}") from error
    return _split(_to_numpy(samples.data).T, samples.sample_rate, max_duration)


def _split(samples: np.ndarray, rate: Any, max_duration: float) -> Iterator[tuple[np.ndarray, int]]:
    """An array `(n,)`, `(channels, n)` or `(n, channels)`, in blocks."""
    rate = _check_rate(rate)
    if samples.size == 0:
        raise ValueError("empty: it holds no samples")
    if samples.ndim == 2 and min(samples.shape) <= MAX_CHANNELS < max(samples.shape):
        samples = samples if samples.shape[1] <= MAX_CHANNELS else samples.T
    elif samples.ndim != 1:
        raise ValueError(
            f"shape {samples.shape} is not one utterance; give (n,), (channels, n) or (n, channels) with at most "
            f"{MAX_CHANNELS} channels"
        )
    check_not_longer(len(samples) / rate, max_duration)
    for start in range(0, len(samples), BLOCK_SIZE):
        yield samples[start : start + BLOCK_SIZE].reshape(-1, samples[0:1].size), rate


def _peek_rate(blocks: Iterator[tuple[np.ndarray, int]]) -> tuple[Iterator[tuple[np.ndarray, int]], int]:
    """The blocks, and the sampling rate of the first."""
    first = next(blocks, None)
    if first is None:
        raise ValueError("empty: it holds no samples")
    if not MIN_RATE <= first[1] <= MAX_RATE:
        raise ValueError(f"its header has a sampling rate of {first[1]} Hz; {MIN_RATE} to {MAX_RATE} are taken")
    return chain([first], blocks), int(first[1])


def _to_numpy(array) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        # numpy has no bfloat16
        array = array.float() if array.is_floating_point() else array
    return np.asarray(array)


def _check_rate(rate: Any) -> int:
    # As rows have it of a data set with the format of numpy or torch.
    rate = rate.item() if getattr(rate, "ndim", None) == 0 else rate
    if not isinstance(rate, numbers.Real) or not float(rate).is_integer() or not MIN_RATE <= float(rate) <= MAX_RATE:
        raise ValueError(
            f'"sampling_rate" must say the rate of "array" in Hz, a whole number of {MIN_RATE} to {MAX_RATE}; '
            f"got {rate!r}"
        )
    return int(float(rate))


def _to_float(samples: np.ndarray) -> np.ndarray:
    if samples.dtype in (np.int16, np.int32):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    if np.issubdtype(samples.dtype, np.floating):
        return samples.astype(np.float32)
    raise ValueError(f"samples of type {samples.dtype}; give floats in [-1, 1], int16 or int32")


def _mix(blocks: Iterable[tuple[np.ndarray, int]], source_rate: int, name: str) -> Iterator[np.ndarray]:
    """The mean of the channels, or where they cancel each other the loudest of them."""
    num_samples = 0
    has_warned = False
    for block, rate in blocks:
        if rate != source_rate or block.shape[1] > MAX_CHANNELS:
            raise ValueError(
                f"{block.shape[1]} channels at {rate} Hz; at most {MAX_CHANNELS} are taken, and one rate throughout"
            )
        channels = _to_float(block)
        if not np.isfinite(mono := channels.mean(axis=1)).all():
            first = int(np.argmin(np.isfinite(mono)))
            raise ValueError(f"sample {num_samples + first} is {mono[first]}; every sample must be a finite number")
        num_samples += len(block)
        powers = np.square(channels).mean(axis=0)
        # Of channels that have nothing in common, the mean has 1 / n^2 of the sum of their powers.
        if np.square(mono).mean() < CANCELLED * powers.sum() / len(powers) ** 2:
            mono = channels[:, powers.argmax()]
            if not has_warned:
                warnings.warn(
                    f"{name}: the channels are out of phase and cancel each other; the loudest is taken", stacklevel=2
                )
            has_warned = True
        yield mono


def _resample(blocks: Iterable[np.ndarray], source_rate: int, sampling_rate: int) -> Iterator[np.ndarray]:
    """Resamples blocks as if they were one: each with what is around it, as far as the filter reaches."""
    # The filter has as many samples as the terms of the ratio: 700 million for 44101 Hz. A ratio with smaller ones is
    # never off by more than a ten-thousandth. All usual rates have it exactly.
    largest = MAX_TERM * sampling_rate // max(source_rate, sampling_rate)
    ratio = Fraction(source_rate, sampling_rate).limit_denominator(max(MIN_TERM, largest))
    source, target = ratio.numerator, ratio.denominator
    if source == target:
        yield from blocks
        return
    # In whole steps, so that blocks begin with the same phase.
    around = source * (2 + FILTER_WIDTH // min(source, target))
    held, num_before = np.empty(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        end = (len(held) - around) // source * source
        if end > num_before:
            yield _resample_whole(held[: end + around], source, target)[
                num_before * target // source : end * target // source
            ]
            start = max(0, end - around)
            held, num_before = held[start:], end - start
    yield _resample_whole(held, source, target)[num_before * target // source :]


def _resample_whole(waveform: np.ndarray, source: int, target: int) -> np.ndarray:
    try:
        from torchaudio.functional import resample
    except ImportError as error:
        raise ImportError("Audio is resampled with torchaudio: `pip install torchaudio`.") from error
    # torchaudio's default width of 6 lets a tone of 9 kHz through at -17 dB, folded back to 7 kHz; 64 at -87 dB.
    return resample(torch.from_numpy(waveform), source, target, lowpass_filter_width=FILTER_WIDTH).numpy()


def check_not_shorter(duration: float, min_duration: float) -> None:
    """Refuses an utterance of less than `min_duration` seconds."""
    if duration < min_duration:
        raise ValueError(f"too short: {duration:.4f} s; at least {min_duration:g} s are needed")


def is_silent(waveform: np.ndarray) -> bool:
    """Whether a waveform `(n,)` is too quiet for an emotion to be heard in."""
    return float(np.abs(waveform).max()) < SILENT_PEAK


def _check_audible(waveform: np.ndarray) -> None:
    if is_silent(waveform):
        peak = float(np.abs(waveform).max())
        raise ValueError(f"silent: its peak is {peak:.1e} of full scale, below {SILENT_PEAK:.0e}; record it again")


def trim_silence(waveform: np.ndarray, sampling_rate: int, threshold: float, margin: float = 0.1) -> np.ndarray:
    """
    An utterance without what is faint at its start and its end: a recording has as much of it as somebody left there,
    and statistics over time would tell that instead of the voice.

    Args:
        waveform (`np.ndarray` of shape `(n,)`): The utterance.
        sampling_rate (`int`): Its sampling rate, in Hz.
        threshold (`float`): What is faint, in dB below the loudest frame of 25 ms.
        margin (`float`, *optional*, defaults to 0.1): Seconds of it that are kept at either end.

    Returns:
        `np.ndarray` of shape `(m,)`: A part of the waveform.
    """
    size = sampling_rate // 40
    padded = np.pad(waveform, (0, -len(waveform) % size)).astype(np.float64)
    powers = np.square(padded.reshape(-1, size)).mean(1)
    heard = np.flatnonzero(powers >= powers.max() * 10 ** (-threshold / 10))
    kept = round(margin * sampling_rate)
    return waveform[max(0, heard[0] * size - kept) : (heard[-1] + 1) * size + kept]


def set_level(waveform: np.ndarray, level: float) -> np.ndarray:
    """
    An utterance at a level: how loud it is tells of the distance to the microphone before it tells of an emotion.

    Args:
        waveform (`np.ndarray` of shape `(n,)`): The utterance, which is not all zeros.
        level (`float`): Its root mean square, in dB of full scale.

    Returns:
        `np.ndarray` of shape `(n,)`, float32: Peaks may lie above full scale, which no feature minds.
    """
    root_mean_square = np.sqrt(np.square(waveform, dtype=np.float64).mean())
    return (waveform * (10 ** (level / 20) / root_mean_square)).astype(np.float32)


__all__ = [
    "AudioLike",
    "check_not_shorter",
    "decode_audio",
    "is_silent",
    "naming",
    "set_level",
    "stream_audio",
    "trim_silence",
    "with_rate",
]
