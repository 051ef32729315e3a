"""Frames of many clips in few files: memory-mapped safetensors, each entry with a checksum."""

import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from emoicl.training.data.writing import write_aside


logger = logging.getLogger(__name__)

# A shard is written when it is as large, or when so much work would be lost with it.
SHARD_BYTES = 2**27
SHARD_SECONDS = 60.0
KEY_BYTES = 32


class Shard(NamedTuple):
    """
    One file, as it was when it was opened.

    Args:
        path (`Path`): The file.
        num_bytes (`int`): Its size.
        frames (`torch.Tensor` of shape `(num_frames, width)`): The frames of all entries, float16, memory-mapped.
        keys (`list[bytes]`): The clip of each entry.
        ends (`list[int]`): Where the frames of each entry end, which begin where those before it end.
        checksums (`list[int]`): Of each entry.
    """

    path: Path
    num_bytes: int
    frames: torch.Tensor
    keys: list[bytes]
    ends: list[int]
    checksums: list[int]

    def read(self, row: int) -> torch.Tensor | None:
        """The frames of an entry, or `None` if they are not as they were written."""
        frames = self.frames[self.ends[row - 1] if row else 0 : self.ends[row]]
        return frames if checksum(self.keys[row], frames) == self.checksums[row] else None

    def is_as_opened(self) -> bool:
        """Whether all of it is still there: to read what was cut off a mapped file kills a process."""
        try:
            return self.path.stat().st_size == self.num_bytes
        except FileNotFoundError:
            return False


class FeatureShards:
    """
    Frames `(num_frames, width)` in half precision by the SHA-256 of their clips, in a folder of shards.

    Any number of processes may read and write: a shard has a name of its own, appears as a whole and never changes,
    and of several entries for one clip the newest counts.

    Args:
        folder (`str` or `Path`): Where the shards are.
        width (`int`): Size of a frame.
    """

    def __init__(self, folder: str | Path, width: int):
        self.folder, self.width = Path(folder), width
        self._shards: dict[Path, Shard] = {}
        self._places: dict[bytes, tuple[Shard, int]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process maps the files itself.
        return type(self), (self.folder, self.width)

    def absent(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of some clips that have no entry, also not one that another process wrote meanwhile."""
        if any(key not in self._places for key in keys):
            self._open_new()
        return {key for key in keys if key not in self._places}

    def read(self, keys: Sequence[bytes]) -> list[torch.Tensor | None]:
        """Views of the frames of some entries; `None` for one that is damaged, which is then absent."""
        for shard in {id(shard): shard for shard, _ in map(self._places.__getitem__, keys)}.values():
            if not shard.is_as_opened():
                self._forget(shard)
        frames = [place[0].read(place[1]) if (place := self._places.get(key)) else None for key in keys]
        for key, of_key in zip(keys, frames, strict=True):
            if of_key is None:
                self._places.pop(key, None)
        return frames

    @contextmanager
    def writer(self) -> Iterator["ShardWriter"]:
        """Takes entries, and writes them by the shard; also what is left when it ends, by whatever error."""
        writer = ShardWriter(self)
        try:
            yield writer
        finally:
            writer.flush()

    def write(self, entries: Mapping[bytes, torch.Tensor]) -> None:
        """Writes a shard.

        Args:
            entries (`Mapping[bytes, torch.Tensor]`): Frames `(num_frames, width)`, float16, of each clip.
        """
        keys = np.frombuffer(bytearray().join(entries), np.uint8).reshape(-1, KEY_BYTES)
        ends = np.cumsum([len(frames) for frames in entries.values()])
        checksums = np.array([checksum(*entry) for entry in entries.items()], np.uint64).view(np.int64)
        index = {"keys": keys, "ends": ends, "checksums": checksums}
        # Names that sort by age.
        path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.safetensors"
        with write_aside(path) as unfinished:
            tensors = {name: torch.from_numpy(values) for name, values in index.items()}
            tensors["frames"] = torch.cat(list(entries.values()))
            save_file(tensors, unfinished, metadata={"index": index_checksum(*index.values())})
        self._open_new()

    def _open_new(self) -> None:
        for path in sorted(self.folder.glob("*.safetensors")):
            if path not in self._shards and (shard := open_shard(path, self.width)):
                self._shards[path] = shard
                self._places |= {key: (shard, row) for row, key in enumerate(shard.keys)}

    def _forget(self, shard: Shard) -> None:
        logger.warning("%s is damaged: the features of its %d clips are computed again.", shard.path, len(shard.keys))
        shard.path.unlink(missing_ok=True)
        self._shards.pop(shard.path, None)
        for key in shard.keys:
            if key in self._places and self._places[key][0] is shard:
                del self._places[key]


class ShardWriter:
    """
    Gathers entries until they are worth a shard.

    Args:
        shards ([`FeatureShards`]): Where they go.
    """

    def __init__(self, shards: FeatureShards):
        self.shards = shards
        self._begin()

    def _begin(self) -> None:
        self._entries: dict[bytes, torch.Tensor] = {}
        self._num_bytes, self._since = 0, time.monotonic()

    def add(self, key: bytes, frames: torch.Tensor) -> None:
        """Takes the frames of a clip."""
        self._entries[key] = frames
        self._num_bytes += frames.nbytes
        if self._num_bytes >= SHARD_BYTES or time.monotonic() - self._since >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what was taken."""
        # What does not fit on a full disk is not tried again.
        entries = self._entries
        self._begin()
        if entries:
            self.shards.write(entries)


def open_shard(path: Path, width: int) -> Shard | None:
    """Maps a shard into memory; one that is not whole is named and deleted."""
    try:
        with safe_open(path, framework="pt") as file:
            frames, *index = (file.get_tensor(name) for name in ("frames", "keys", "ends", "checksums"))
            expected = (file.metadata() or {}).get("index")
        keys, ends, checksums = (tensor.numpy() for tensor in index)
        if (
            expected == index_checksum(keys, ends, checksums)
            and frames.dtype == torch.float16
            and frames.shape == (ends[-1], width)
        ):
            joined = keys.tobytes()
            return Shard(
                path,
                path.stat().st_size,
                frames,
                [joined[start : start + KEY_BYTES] for start in range(0, len(joined), KEY_BYTES)],
                ends.tolist(),
                checksums.view(np.uint64).tolist(),
            )
    except FileNotFoundError:
        # Another process found it damaged.
        return None
    except (SafetensorError, TypeError):
        pass
    logger.warning("%s is damaged: the features that it held are computed again.", path)
    path.unlink(missing_ok=True)
    return None


def checksum(key: bytes, frames: torch.Tensor) -> int:
    """Of an entry, so that neither its frames nor whose they are can change unnoticed."""
    return xxhash.xxh3_64_intdigest(frames.contiguous().numpy().data, seed=int.from_bytes(key[:8]))


def index_checksum(keys: np.ndarray, ends: np.ndarray, checksums: np.ndarray) -> str:
    """Of what says which frames are whose."""
    return xxhash.xxh3_64_hexdigest(b"".join(values.tobytes() for values in (keys, ends, checksums)))
