"""Decodes audio in any of its usual forms to a mono waveform. All audio of the package comes in through here."""

import io
import numbers
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch


AudioLike = str | os.PathLike | bytes | Mapping | np.ndarray | torch.Tensor

# An array with more channels than 7.1 surround is taken to be a mistake (say, a batch), not audio.
MAX_CHANNELS = 8
# -80 dBFS: below the noise floor of any microphone, and of 16-bit dither.
SILENT_PEAK = 1e-4
# Float audio may overshoot 1.0 a little (lossy codecs, mixing). This far out, it is integer samples cast to float.
UNSCALED_PEAK = 100.0


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
        audio (`str`, `os.PathLike`, `bytes`, `dict`, `np.ndarray` or `torch.Tensor`):
            - a path, or the bytes of a file: wav, flac, ogg (opus or vorbis), mp3;
            - `{"bytes": ..., "path": ...}` as in `datasets`: the bytes if there are any, else the path;
            - `{"array": ..., "sampling_rate": ...}` (or `"raw"` for `"array"`, as in the pipelines of transformers);
            - an array or a tensor, taken to be at `sampling_rate`.

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
    try:
        samples, source_rate = _load(audio, sampling_rate)
        waveform = _to_mono(_to_float(samples))
        _check_finite(waveform)
        waveform = _resample(waveform, source_rate, sampling_rate)
        _check_duration(len(waveform) / sampling_rate, min_duration, max_duration)
        _check_level(waveform)
    except ValueError as error:
        raise ValueError(f"{_describe(audio, name)}: {error}") from error
    return waveform


def _describe(audio: AudioLike, name: str | None) -> str:
    path = audio.get("path") if isinstance(audio, Mapping) else audio
    if isinstance(path, (str, os.PathLike)):
        return f"{name} ({os.fspath(path)})" if name else os.fspath(path)
    return name or "audio"


def _load(audio: AudioLike, default_rate: int) -> tuple[np.ndarray, int]:
    """Returns the samples as they are stored, and their sampling rate."""
    if isinstance(audio, Mapping):
        array = audio["array"] if audio.get("array") is not None else audio.get("raw")
        if array is not None:
            return _to_numpy(array), _check_rate(audio.get("sampling_rate"))
        return _load_file(audio["bytes"] if audio.get("bytes") is not None else audio.get("path"))
    if isinstance(audio, (np.ndarray, torch.Tensor)):
        return _to_numpy(audio), default_rate
    return _load_file(audio)


def _load_file(source) -> tuple[np.ndarray, int]:
    if isinstance(source, (str, os.PathLike)):
        source = _read_bytes(Path(source))
    if isinstance(source, bytes):
        return _decode_file(source)
    raise ValueError(
        f"cannot read audio from {type(source).__name__!r}; give a path, the bytes of a file, an array, "
        '{"array", "sampling_rate"} or {"bytes", "path"}'
    )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot open the file: {error.strerror}") from error


def _decode_file(content: bytes) -> tuple[np.ndarray, int]:
    # In a `try`: all other imports, of torchaudio below too, are demanded of whoever loads this file from the Hub.
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("Audio files are decoded with soundfile: `pip install soundfile`.") from error
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            samples = file.read(dtype="float32", always_2d=True)
            truncated = _is_truncated(file, content, len(samples))
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{len(content)} bytes that are not readable audio, or are damaged ({error.error_string}); wav, flac, "
            "ogg (opus, vorbis) and mp3 are read; convert m4a, aac or webm with `ffmpeg -i in.m4a -ar 16000 out.wav`"
        ) from error
    if truncated:
        raise ValueError(f"the file is truncated: only its first {len(samples) / rate:.2f} s are there; copy it again")
    return samples.mean(axis=1), rate


def _is_truncated(file, content: bytes, num_frames: int) -> bool:
    """libsndfile refuses a truncated flac, but of other formats it reads what is left without a word."""
    if file.format == "OGG":
        return _is_ogg_truncated(content)
    # The chunk sizes of wav and aiff are in libsndfile's log. Streamed files hold a huge number in place of the size.
    chunk = re.search(r"(?:data|SSND) : (\d+) \(should be (\d+)\)", file.extra_info)
    if chunk and int(chunk[2]) < int(chunk[1]) < 0x7FFFF000:
        return True
    # mp3 may announce its length, not always to the frame.
    return num_frames < file.frames - file.samplerate // 10


def _is_ogg_truncated(content: bytes) -> bool:
    """A whole Ogg file ends in a complete page that has the end-of-stream flag (RFC 3533, section 6)."""
    page = content[content.rfind(b"OggS") :]
    if len(page) < 27:
        return True
    num_segments = page[26]
    end_of_page = 27 + num_segments + sum(page[27 : 27 + num_segments])
    return len(page) < end_of_page or not page[5] & 0x04


def _to_numpy(array) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        # numpy has no bfloat16
        array = array.float() if array.is_floating_point() else array
    return np.asarray(array)


def _check_rate(rate) -> int:
    if not isinstance(rate, numbers.Real) or rate <= 0 or not float(rate).is_integer():
        raise ValueError(f'"sampling_rate" must say the rate of "array" in Hz, as a whole number; got {rate!r}')
    return int(float(rate))


def _to_float(samples: np.ndarray) -> np.ndarray:
    if samples.dtype in (np.int16, np.int32):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    if np.issubdtype(samples.dtype, np.floating):
        return samples.astype(np.float32)
    raise ValueError(f"samples of type {samples.dtype}; give floats in [-1, 1], int16 or int32")


def _to_mono(samples: np.ndarray) -> np.ndarray:
    if samples.size == 0:
        raise ValueError("empty: it holds no samples")
    if samples.ndim == 1:
        return samples
    if samples.ndim == 2 and min(samples.shape) <= MAX_CHANNELS < max(samples.shape):
        return samples.mean(axis=int(np.argmin(samples.shape)))
    raise ValueError(
        f"shape {samples.shape} is not one utterance; give (n,), (channels, n) or (n, channels) with at most "
        f"{MAX_CHANNELS} channels"
    )


def _check_finite(waveform: np.ndarray) -> None:
    if not np.isfinite(waveform).all():
        first = int(np.argmin(np.isfinite(waveform)))
        raise ValueError(f"sample {first} is {waveform[first]}; every sample must be a finite number")


def _resample(waveform: np.ndarray, source_rate: int, sampling_rate: int) -> np.ndarray:
    if source_rate == sampling_rate:
        return waveform
    try:
        from torchaudio.functional import resample
    except ImportError as error:
        raise ImportError("Audio is resampled with torchaudio: `pip install torchaudio`.") from error
    # torchaudio's default width of 6 lets a tone of 9 kHz through at -17 dB, folded back to 7 kHz; 64 at -87 dB.
    return resample(torch.from_numpy(waveform), source_rate, sampling_rate, lowpass_filter_width=64).numpy()


def _check_duration(duration: float, min_duration: float, max_duration: float) -> None:
    if duration < min_duration:
        raise ValueError(f"too short: {duration:.4f} s; at least {min_duration:g} s are needed")
    if duration > max_duration:
        raise ValueError(
            f"too long: {duration:.1f} s; at most {max_duration:g} s are taken, and nothing is cut silently: "
            "split it into utterances; as a target of the pipeline it may be longer, with `window_s` and `hop_s`"
        )


def is_silent(waveform: np.ndarray) -> bool:
    """Whether a waveform `(n,)` is too quiet for an emotion to be heard in."""
    return float(np.abs(waveform).max()) < SILENT_PEAK


def _check_level(waveform: np.ndarray) -> None:
    peak = float(np.abs(waveform).max())
    if is_silent(waveform):
        raise ValueError(f"silent: its peak is {peak:.1e} of full scale, below {SILENT_PEAK:.0e}; record it again")
    if peak > UNSCALED_PEAK:
        raise ValueError(f"floats up to {peak:.0f}; scale them to [-1, 1] (int16: / 32768), or give int16 or int32")
