"""Audio files -> blocks of samples. What a file holds is decided by what is decoded, not by what its header says."""

import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


# Samples, of all channels together, that are decoded at a time.
BLOCK_SIZE = 2**18
# What a file may lack of its announced length: headers count bytes of others, and copies lose the last one.
TOLERANCE = 0.1
# Announced sizes from here on, of files that are shorter, come from programs that did not know the size (streams).
UNKNOWN_SIZE = 1_900_000_000
# Frames. Where files of no known length stop, and where no real one does.
UNKNOWN_LENGTH = 2**40
# Samples that a byte holds at most, but in the codings that shrink silence to nothing. Of damaged files, some decoders
# make up samples without end.
MAX_DENSITY = 8
SHRINKING = re.compile("FLAC|OGG|MPEG|ALAC")
# The first frame of an MP3 file, which tells how long it is.
LENGTH_FRAME = re.compile(rb"\xff[\xe0-\xff]..(?:.{32}|.{17}|.{9})(?:Xing|Info)", re.DOTALL)


def read_blocks(source: Path | bytes, name: str, max_duration: float) -> Iterator[tuple[np.ndarray, int]]:
    """
    Decodes a file block by block.

    Args:
        source (`Path` or `bytes`): The file, or what is in it.
        name (`str`): What to call it in warnings.
        max_duration (`float`): Longest accepted, in seconds.

    Yields:
        `tuple`: samples of shape `(n, channels)`, float32, and their sampling rate.

    Raises:
        `ValueError`: If the file cannot be read, is truncated or too long.
    """
    # In a `try`: all other imports, of torchaudio too, are demanded of whoever loads this file from the Hub.
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("Audio files are decoded with soundfile: `pip install soundfile`.") from error

    class SequentialFile(soundfile.SoundFile):
        def seekable(self) -> bool:
            # Or soundfile seeks after every block, which not all codecs can.
            return False

    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
            decoded, size = 0.0, stream.seek(0, os.SEEK_END)
            stream.seek(0)
            for part in _parts(stream, name):
                with SequentialFile(part) as file:
                    rate, num_frames = file.samplerate, 0
                    if file.frames < UNKNOWN_LENGTH:
                        check_not_longer(file.frames / rate, max_duration)
                    while len(block := file.read(max(1, BLOCK_SIZE // file.channels), "float32", always_2d=True)):
                        num_frames += len(block)
                        if decoded + num_frames / rate > max_duration:
                            check_not_longer(decoded + num_frames / rate, max_duration, is_part=True)
                        _check_possible(file, num_frames, size)
                        yield block, rate
                    _check_whole(file, num_frames)
                    decoded += num_frames / rate
    except OSError as error:
        raise ValueError(f"cannot open the file: {error.strerror or error}") from error
    except (soundfile.SoundFileError, RuntimeError, TypeError, OverflowError, MemoryError) as error:
        reason = getattr(error, "error_string", None) or error
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        raise ValueError(
            f"{size} bytes that are not readable audio, or are damaged ({reason}); wav, flac, ogg (opus, vorbis) and "
            "mp3 are read, m4a, aac and webm where FFmpeg or torchcodec is installed"
        ) from error


def check_not_longer(duration: float, max_duration: float, is_part: bool = False) -> None:
    """Refuses audio of more than `max_duration` seconds; `is_part` if more than `duration` may follow."""
    if duration > max_duration:
        found = f"more than {max_duration:g} s" if is_part else f"{duration:.1f} s"
        raise ValueError(
            f"too long: {found}; at most {max_duration:g} s are taken, and nothing is cut silently: split it into "
            "utterances; as a target of the pipeline it may be longer, with `window_s` and `hop_s`"
        )


class _Patched:
    """
    A binary file as libsndfile asks for it: some bytes may read as others, it may claim to be larger than it is, and
    to seek a place that there is not leaves it where it was.
    """

    def __init__(self, stream: BinaryIO, patches: dict[int, bytes] | None = None, claimed_size: int | None = None):
        self._stream = stream
        self._claimed_size = claimed_size
        self._patches = patches or {}
        self._at_end = False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at_end = whence == os.SEEK_END
        # cffi prints the traceback of what is raised here, and goes on.
        with suppress(OSError, ValueError, OverflowError):
            self._stream.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return self._claimed_size if self._at_end and self._claimed_size else self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        start = self._stream.tell()
        content = bytearray(self._stream.read(size))
        for offset, patch in self._patches.items():
            for place, byte in enumerate(patch, offset - start):
                if 0 <= place < len(content):
                    content[place] = byte
        return bytes(content)


def _parts(stream: BinaryIO, name: str) -> Iterator[Any]:
    """The files that one is made of, so that libsndfile reads all that is in them."""
    start = stream.read(12)
    stream.seek(0)
    if start[:4] in (b"RIFF", b"RIFX") and start[8:12] == b"WAVE":
        yield _Patched(stream, _size_of_wav(stream))
    elif start[:4] == b"OggS":
        yield _Patched(stream, _end_of_ogg(stream, name))
    elif start[:3] == b"ID3" or (start[:1] == b"\xff" and start[1:2] >= b"\xe0"):
        yield from _parts_of_mp3(stream)
    else:
        yield _Patched(stream)


def _parts_of_mp3(stream: BinaryIO) -> Iterator[Any]:
    """MP3 files that were joined, each with its own length. If none is announced, libsndfile takes all bit rates to be
    that of the first frame: it reads to the end if the file seems to be endless.
    """
    content = stream.read()
    starts = [match.start() for match in LENGTH_FRAME.finditer(content)]
    is_announced = bool(starts) and starts[0] <= _size_of_id3(content)
    bounds = [0, *starts[is_announced:], len(content)]
    for place, (start, end) in enumerate(pairwise(bounds)):
        part = io.BytesIO(content[start:end])
        yield _Patched(part, claimed_size=None if place or is_announced else 2**50)


def _size_of_id3(content: bytes) -> int:
    """Size of the ID3v2 tag at the start, of which a byte holds 7 bits; 0 if there is none."""
    if not content.startswith(b"ID3"):
        return 0
    high, middle, low, lowest = content[6:10]
    return 10 + (high << 21 | middle << 14 | low << 7 | lowest)


def _size_of_wav(stream: BinaryIO) -> dict[int, bytes]:
    """A size of 0 that a program never came back to fill in, for there is sound: as unknown."""
    end = stream.seek(0, os.SEEK_END)
    place = 12
    patches: dict[int, bytes] = {}
    while place + 8 <= end:
        stream.seek(place)
        kind, size = stream.read(4), int.from_bytes(stream.read(4), "little")
        if kind == b"data":
            following, its_size = stream.read(4), int.from_bytes(stream.read(4), "little")
            is_chunk = following.strip().isalnum() and place + 16 + its_size <= end
            if size == 0 and following and not is_chunk:
                patches = {4: b"\xff" * 4, place + 4: b"\xff" * 4}
            break
        place += 8 + size + size % 2
    stream.seek(0)
    return patches


def _end_of_ogg(stream: BinaryIO, name: str) -> dict[int, bytes]:
    """
    The mark of its last page, with which an Ogg file ends (RFC 3533, section 6), for files that lack it: recorders
    that were stopped write none. libsndfile reads no Opus without it.
    """
    end = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, end - 2**17))
    tail = stream.read()
    stream.seek(0)
    page = bytearray(tail[tail.rfind(b"OggS") :])
    if len(page) < 27 or len(page) < (size := 27 + page[26] + sum(page[27 : 27 + page[26]])):
        raise ValueError("the file is truncated: its last page is not whole; copy it again")
    if page[5] & 4:
        return {}
    warnings.warn(f"{name}: has no end mark; if it was cut off between two pages, its end is missing", stacklevel=2)
    start = end - len(page)
    page[5] |= 4
    page[22:26] = bytes(4)
    return {start + 5: bytes([page[5]]), start + 22: _ogg_checksum(page[:size]).to_bytes(4, "little")}


def _ogg_checksum(page: bytearray) -> int:
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum & 0x80000000 else 0)) & 0xFFFFFFFF
    return checksum


def _check_possible(file, num_frames: int, size: int) -> None:
    """Refuses samples that cannot have been in a file of `size` bytes."""
    if num_frames * file.channels > MAX_DENSITY * size and not SHRINKING.search(f"{file.format} {file.subtype}"):
        raise ValueError(f"the file is damaged: its header tells of far more than its {size} bytes; copy it again")


def _check_whole(file, num_frames: int) -> None:
    """libsndfile reads what is left of most truncated files without a word; sizes are in its log."""
    duration = num_frames / file.samplerate
    announced = file.frames / file.samplerate if file.frames < UNKNOWN_LENGTH else duration
    names = "Riff size|riff" if file.format in ("RF64", "W64") else "data|SSND|Data Size|BODY"
    sizes = re.search(rf"(?:{names})\s*: (\d+) \(should be (\d+)\)", file.extra_info)
    if sizes and 0 < int(sizes[2]) < int(sizes[1]) < UNKNOWN_SIZE:
        announced = duration * int(sizes[1]) / int(sizes[2])
    if announced > duration + TOLERANCE:
        raise ValueError(f"the file is truncated: only its first {duration:.2f} s are there; copy it again")


__all__ = ["check_not_longer", "read_blocks"]
