"""Audio columns of any kind as encoded clips in Arrow, with a hash of each that is computed once and stored."""

import hashlib
import io
import numbers
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.ipc
import soundfile

from emoicl.processing.audio_emoicl import AudioDecoder
from emoicl.training.data.writing import default_cache_folder, write_aside


# Its functions are made as it is imported, which no type checker sees.
pc: Any = pyarrow.compute


CLIPS = pa.schema({"audio": pa.large_binary(), "path": pa.string(), "sha256": pa.binary(32)})
DIGESTS = pa.schema({"sha256": pa.binary(32)})
# Bytes. What is smaller is read again rather than stored.
LARGE = 2**26
SUBTYPES = {"float32": "FLOAT", "float64": "FLOAT", "int16": "PCM_16", "int32": "PCM_32"}


def store(
    key: Sequence[Any], schema: pa.Schema, make: Callable[[], Iterable[pa.RecordBatch]], num_bytes: int
) -> pa.Table:
    """
    What was computed once and is kept in the cache, memory-mapped.

    Args:
        key (`Sequence`): All that it depends on.
        schema (`pa.Schema`): Its columns.
        make (`Callable`): Computes it, a few rows at a time.
        num_bytes (`int`): Size of what it is computed from: what is small is made each time, in memory.

    Returns:
        `pa.Table`
    """
    if num_bytes < LARGE:
        return pa.Table.from_batches(make(), schema)
    name = hashlib.sha256(repr((*key, schema.to_string())).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    path = default_cache_folder() / "corpora" / f"{name}.arrow"
    # One that is damaged is made again.
    with suppress(OSError, pa.ArrowException):
        return _open(path)
    with write_aside(path) as unfinished, pyarrow.ipc.new_file(str(unfinished), schema) as file:
        for batch in make():
            file.write_batch(batch)
    return _open(path)


def _open(path: Path) -> pa.Table:
    return pyarrow.ipc.open_file(pa.memory_map(str(path))).read_all()


def file_identity(path: str | Path) -> tuple[str, int, int]:
    """Changes when a file does."""
    status = os.stat(path)
    return os.path.realpath(path), status.st_size, status.st_mtime_ns


def digest(clips: Iterable[Any]) -> pa.Array:
    """SHA-256 of each clip, a scalar of Arrow; null where there is none."""
    hashes = [hashlib.sha256(clip.as_buffer()).digest() if clip.is_valid else None for clip in clips]
    return pa.array(hashes, pa.binary(32))


def digest_files(files: Sequence[bytes]) -> pa.Array:
    """SHA-256 of the content of each file. Those of many are stored, until one of them changes."""

    def compute() -> Iterable[pa.RecordBatch]:
        hashes = [hashlib.sha256(Path(os.fsdecode(file)).read_bytes()).digest() for file in files]
        yield pa.record_batch([pa.array(hashes, pa.binary(32))], DIGESTS)

    identities = [file_identity(os.fsdecode(file)) for file in files]
    table = store(identities, DIGESTS, compute, sum(size for _, size, _ in identities))
    return table["sha256"].combine_chunks()


def check_audio(name: str, kind: pa.DataType) -> None:
    """
    Refuses a column that is no audio.

    Args:
        name (`str`): What to call the table.
        kind (`pa.DataType`): Type of the column.

    Raises:
        `ValueError`: If it is of another type than those that [`split_audio`] takes.
    """
    parts = {part.name: part.type for part in kind} if pa.types.is_struct(kind) else {}
    is_encoded = bool(parts.keys() & {"bytes", "path"}) and all(
        is_kind(parts[part]) for part, is_kind in (("bytes", _is_binary), ("path", _is_text)) if part in parts
    )
    if not (is_encoded or {"array", "sampling_rate"} <= parts.keys() or _is_binary(kind) or _is_text(kind)):
        kind_in_words = " ".join(str(kind).split())
        raise ValueError(
            f"{name}: audio is of type {kind_in_words}; it should be bytes, a path, {{bytes, path}} or "
            "{array, sampling_rate}."
        )


def split_audio(audio: pa.Array) -> tuple[pa.Array, pa.Array]:
    """
    The clips of a column and their paths.

    Args:
        audio (`pa.Array`): Bytes, paths, `{"bytes", "path"}` of which bytes count if they are there, or `{"array",
            "sampling_rate"}`, which becomes a file with the same samples.

    Returns:
        `tuple`: `large_binary` and `string`; null where there is none.
    """
    if is_decoded(audio.type):
        return to_arrow(map(encode, audio.to_pylist()))
    nulls = pa.nulls(len(audio))
    if pa.types.is_struct(audio.type):
        names = {part.name for part in audio.type}
        clips, paths = (pc.struct_field(audio, name) if name in names else nulls for name in ("bytes", "path"))
    else:
        clips, paths = (audio, nulls) if _is_binary(audio.type) else (nulls, audio)
    return _without_empty(clips.cast(pa.large_binary())), _without_empty(paths.cast(pa.string()))


def is_decoded(kind: pa.DataType) -> bool:
    """Whether a column holds samples."""
    return pa.types.is_struct(kind) and any(part.name == "array" for part in kind)


def to_arrow(encoded: Iterable[tuple[bytes | None, str | None]]) -> tuple[pa.Array, pa.Array]:
    """What [`encode`] made of some clips, as [`split_audio`] has it."""
    pairs = list(encoded)
    clips = pa.array([clip for clip, _ in pairs], pa.large_binary())
    return clips, pa.array([path for _, path in pairs], pa.string())


def _without_empty(values: pa.Array) -> pa.Array:
    """With null for what is empty, as tables without nulls have it."""
    lengths = pc.fill_null(pc.binary_length(values), 1)
    if pc.min(lengths).as_py() != 0:
        return values
    return pc.if_else(pc.equal(lengths, 0), pa.scalar(None, values.type), values)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)


def encode(audio: Any) -> tuple[bytes | None, str | None]:
    """
    Audio as somebody has it in Python, as the bytes of a file or its path.

    Args:
        audio (`bytes`, `str`, `os.PathLike`, `dict` or [`AudioDecoder`]): See [`decode_audio`]. An array has its
            sampling rate beside it, `{"array", "sampling_rate"}`.

    Returns:
        `tuple[bytes, str]`: The bytes and the path, `None` where there is none.

    Raises:
        `ValueError`: If it is something else.
    """
    if isinstance(audio, AudioDecoder):
        samples = audio.get_all_samples()
        return _as_file(np.asarray(samples.data).T, samples.sample_rate), None
    if isinstance(audio, Mapping) and audio.get("array") is not None:
        return _as_file(np.asarray(audio["array"]), audio.get("sampling_rate")), audio.get("path") or None
    if isinstance(audio, Mapping) and audio.keys() & {"bytes", "path"}:
        return audio.get("bytes") or None, audio.get("path") or None
    if audio is None or isinstance(audio, bytes):
        return audio or None, None
    if isinstance(audio, (str, os.PathLike)):
        return None, os.fspath(audio) or None
    raise ValueError(
        f"audio is a {type(audio).__name__}; give bytes, a path, {{bytes, path}} or {{array, sampling_rate}}"
    )


def _as_file(samples: np.ndarray, sampling_rate: Any) -> bytes:
    if samples.dtype.name not in SUBTYPES:
        raise ValueError(f"samples of type {samples.dtype}; give floats in [-1, 1], int16 or int32")
    if not isinstance(sampling_rate, numbers.Integral):
        raise ValueError(f'"sampling_rate" must say the rate of "array" in Hz, a whole number; got {sampling_rate!r}')
    # Channels are few.
    channels_last = samples.T if samples.ndim == 2 and samples.shape[0] < samples.shape[1] else samples
    content = io.BytesIO()
    # Not WAV, where libsndfile writes the time beside floats: the same samples are the same bytes.
    try:
        soundfile.write(content, channels_last, int(sampling_rate), SUBTYPES[samples.dtype.name], format="AU")
    except (soundfile.SoundFileError, ValueError, OverflowError) as error:
        raise ValueError(f"samples of shape {samples.shape} at {sampling_rate} Hz are no audio: {error}") from error
    return content.getvalue()
