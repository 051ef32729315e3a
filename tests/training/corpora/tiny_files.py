"""Small audio files in the layout of a corpus: `from tiny_files import write_clips`."""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile


FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}


def clip(name: str, seconds: float = 0.1, suffix: str = ".wav", sampling_rate: int = 16000) -> bytes:
    """Noise that differs from name to name, encoded."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    waveform = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * sampling_rate))
    file = io.BytesIO()
    soundfile.write(file, waveform.clip(-1, 1), sampling_rate, format=FORMATS[suffix])
    return file.getvalue()


def write_clips(folder: Path, names: Iterable[str]) -> None:
    """Writes a different short clip to each relative path."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip(name, suffix=path.suffix))
