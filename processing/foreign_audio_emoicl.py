"""Audio that libsndfile cannot get at: at a URL, or in containers that it does not know (m4a, aac, webm, ...)."""

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

from .audio_file_emoicl import BLOCK_SIZE, check_not_longer


# Where the mark of a container stands, the mark, and what FFmpeg calls it. It is told, so that FFmpeg takes no file
# for a playlist, which may name others.
CONTAINERS = (
    (4, b"ftyp", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"#!AMR", "amr"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
)
# In bytes: more than an hour of speech in any usual format.
MAX_DOWNLOAD = 2**27
# In seconds, until a server answers.
PATIENCE = 20


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def fetch(url: str) -> bytes:
    """
    The file at a URL.

    Raises:
        `ValueError`: If it cannot be had, or is larger than `MAX_DOWNLOAD` bytes.
    """
    try:
        with urlopen(url, timeout=PATIENCE) as response:
            content = response.read(MAX_DOWNLOAD + 1)
    except (OSError, ValueError, HTTPException) as error:
        raise ValueError(f"cannot be fetched: {error}") from error
    if len(content) > MAX_DOWNLOAD:
        raise ValueError(f"larger than {MAX_DOWNLOAD >> 20} MiB; download it first")
    return content


def container_of(source: Path | bytes) -> str | None:
    """The container of a file by its first bytes, as FFmpeg calls it; None if libsndfile may know it."""
    if isinstance(source, bytes):
        start = source[:16]
    else:
        try:
            with source.open("rb") as file:
                start = file.read(16)
        except OSError:
            return None
    # A frame of AAC is told from one of MP3 by its layer, which is 0.
    if start[:1] == b"\xff" and len(start) > 1 and start[1] & 0xF6 == 0xF0:
        return "aac"
    return next((name for place, mark, name in CONTAINERS if start[place:].startswith(mark)), None)


def has_ffmpeg() -> bool:
    return shutil.which("ffmpeg") is not None


def read_with_ffmpeg(source: Path | bytes, container: str, max_duration: float) -> Iterator[tuple[np.ndarray, int]]:
    """
    Decodes a file block by block with FFmpeg.

    Args:
        source (`Path` or `bytes`): The file, or what is in it.
        container (`str`): What [`container_of`] tells.
        max_duration (`float`): Longest accepted, in seconds.

    Yields:
        `tuple`: samples of shape `(n, channels)`, float32, and their sampling rate.

    Raises:
        `ValueError`: If the file is damaged, holds no audio or is too long.
    """
    # Of a pipe FFmpeg could not read all m4a files, whose table of contents may be at the end.
    with _as_file(source) as path, tempfile.TemporaryFile() as log:
        command = ["ffmpeg", "-nostdin", "-v", "error", "-xerror", "-protocol_whitelist", "file", "-f", container]
        # Au has the simplest of headers.
        command += ["-i", f"file:{path}", "-map", "0:a:0", "-c:a", "pcm_f32be"]
        with subprocess.Popen([*command, "-f", "au", "pipe:1"], stdout=subprocess.PIPE, stderr=log) as process:
            try:
                yield from _read_au(process.stdout, max_duration)
            finally:
                process.kill()
        log.seek(0)
        if said := log.read(2000).decode(errors="replace").splitlines():
            reason = re.sub(r"\[[^\]]* @ 0x\w+\] ?|^file:.*?: ", "", said[0]).strip()
            raise ValueError(f"FFmpeg cannot read it, or not to its end: {reason}; copy or convert it again")


@contextmanager
def _as_file(source: Path | bytes) -> Iterator[Path]:
    if isinstance(source, Path):
        yield source
        return
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(source)
        copy.flush()
        yield Path(copy.name)


def _read_au(stream: Any, max_duration: float) -> Iterator[tuple[np.ndarray, int]]:
    """The samples of an Au stream of big-endian floats."""
    if len(header := stream.read(24)) < 24:
        return
    _, size, _, _, rate, channels = struct.unpack(">6I", header)
    stream.read(size - 24)
    num_frames = 0
    while content := stream.read(4 * channels * max(1, BLOCK_SIZE // channels)):
        block = np.frombuffer(content[: len(content) // (4 * channels) * 4 * channels], ">f4").astype(np.float32)
        num_frames += len(block) // channels
        check_not_longer(num_frames / rate, max_duration, is_part=True)
        yield block.reshape(-1, channels), rate


def torchcodec_decoder(source: Path | bytes) -> Any:
    """The decoder of torchcodec for a file, None where torchcodec is not installed or finds no FFmpeg.

    Raises:
        `ValueError`: If torchcodec cannot read the file.
    """
    try:
        from torchcodec.decoders import AudioDecoder  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError, OSError):
        return None
    try:
        return AudioDecoder(source if isinstance(source, bytes) else str(source))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"torchcodec cannot read it: {' '.join(str(error).split())}") from error


__all__ = ["container_of", "fetch", "has_ffmpeg", "is_url", "read_with_ffmpeg", "torchcodec_decoder"]
