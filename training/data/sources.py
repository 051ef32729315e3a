"""What people have labeled utterances in: tables, data sets of `datasets` and of the Hub, and lists of rows."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from emoicl.processing.enrollment_emoicl import display_label
from emoicl.training.data.clips import (
    CLIPS,
    DIGESTS,
    check_audio,
    digest,
    encode,
    file_identity,
    is_decoded,
    split_audio,
    store,
    to_arrow,
)
from emoicl.training.data.table_sources import DatasetTable, is_hub_name, one_split, open_tables
from emoicl.training.data.tables import Table, as_text, is_file, naming_parquet, require_columns, resolve_clip
from emoicl.training.data.utterances import FACTS, StoredUtterances, corpus_of


# Its functions are made as it is imported, which no type checker sees.
pc: Any = pyarrow.compute


REQUIRED = ("audio", "emotion", "speaker_id")
COLUMNS = (*REQUIRED, "corpus")
# Rows whose clips are in memory at once.
BATCH_SIZE = 100


def read_source(source: Any, split: str | None, column_names: Mapping[str, str] | None) -> StoredUtterances:
    """
    The utterances of anything that [`load_corpus`] takes, clips that are twice there included.

    Args:
        source (`str`, `Path`, `Dataset`, `DatasetDict` or a sequence): See [`load_corpus`], as for all else.
        split (`str`, *optional*): Which split of several.
        column_names (`Mapping[str, str]`, *optional*): What the columns are called in `source`.

    Raises:
        `ValueError`: If it cannot be read, or a row is incomplete.
    """
    columns = _columns(column_names)
    if isinstance(source, str) and split is not None and is_hub_name(source):
        source, split = f"{source}:{split}", None
    if isinstance(source, (str, Path)):
        source = [source]
    if isinstance(source, Mapping) or hasattr(source, "features"):
        name = "the data set"
        return _read_dataset(DatasetTable(one_split(source, split, name), name), columns)
    if not isinstance(source, Sequence):
        raise ValueError(
            f"A corpus is read from tables, a `Dataset` or a list of rows, not from {type(source).__name__!r}."
        )
    if any(isinstance(item, Mapping) for item in source):
        return _read_rows(source, columns)
    if split is not None:
        raise ValueError(f"`split` names a part of a data set of the Hub or a `DatasetDict`; {source[0]} is a table.")
    if other := [item for item in source if not isinstance(item, (str, Path))]:
        raise ValueError(
            "A list is of paths of tables, or of rows, which are dictionaries; one item is of type "
            f"{type(other[0]).__name__!r}."
        )
    tables = open_tables(source)
    # Together, many small tables are a large one.
    files = [table.path for table in tables if table.is_binary and not isinstance(table, DatasetTable)]
    num_bytes = sum(path.stat().st_size for path in files)
    return StoredUtterances.join(
        [
            _read_dataset(table, columns)
            if isinstance(table, DatasetTable)
            else _read_table(table, columns, num_bytes)
            for table in tables
        ]
    )


def _columns(column_names: Mapping[str, str] | None) -> dict[str, str]:
    if column_names is not None and not isinstance(column_names, Mapping):
        raise ValueError(f"`column_names` is a dictionary, as in {{'emotion': 'label'}}; got {column_names!r:.80}.")
    if unknown := sorted(set(column_names or ()) - set(COLUMNS)):
        raise ValueError(
            f"`column_names` says what {', '.join(COLUMNS)} are called, as in {{'emotion': 'label'}}; it has "
            f"{unknown}."
        )
    return {name: name for name in COLUMNS} | dict(column_names or {})


def _read_table(table: Table, columns: Mapping[str, str], num_bytes: int) -> StoredUtterances:
    name, audio = str(table.path), columns["audio"]
    require_columns(name, table.schema.names, [columns[column] for column in REQUIRED])
    check_audio(name, table.schema.field(audio).type)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in table.batches([audio]):
            try:
                clips, paths = split_audio(batch[audio])
            except ValueError as error:
                raise ValueError(f"{name}: {' '.join(str(error).split())}") from error
            yield pa.record_batch([clips, paths, digest(clips)], CLIPS)

    clips = store((*file_identity(table.path), audio), CLIPS, batches, num_bytes if table.is_binary else 0)
    with naming_parquet(table.path):
        texts = table.columns([columns[column] for column in COLUMNS[1:] if columns[column] in table.schema.names])
        told = {}
        for column in COLUMNS[1:]:
            if columns[column] in texts.schema.names:
                values = texts[columns[column]]
                # In JSON, a number is text like all else.
                values = values if table.is_binary or pa.types.is_nested(values.type) else values.cast(pa.string())
                told[column] = as_text(name, columns[column], values, table.class_names.get(columns[column]))
        rows = np.arange(table.num_rows)
        return _complete(table.path.name, name, clips, rows, clips["sha256"], told, table.path.parent)


def _read_dataset(table: DatasetTable, columns: Mapping[str, str]) -> StoredUtterances:
    name, dataset = str(table.path), table.dataset
    require_columns(name, dataset.column_names, [columns[column] for column in REQUIRED])
    # Columns as they are stored, of which a data set may have selected rows: nothing is decoded or copied.
    indices = dataset._indices
    rows = np.arange(len(dataset)) if indices is None else indices.column(0).to_numpy()
    told = {}
    for column in COLUMNS[1:]:
        if (called := columns[column]) in dataset.column_names:
            values = dataset.data.column(called).take(pa.array(rows))
            told[column] = as_text(name, called, values, table.class_names.get(called))
    audio = dataset.data.column(columns["audio"])
    check_audio(name, audio.type)
    key, batches = (dataset._fingerprint, columns["audio"]), np.split(rows, range(BATCH_SIZE, len(rows), BATCH_SIZE))
    if is_decoded(audio.type):

        def encoded() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                clips, paths = to_arrow(
                    _encode(audio[row].as_py(), f"{name}: row {row + 1}") for row in batch.tolist()
                )
                yield pa.record_batch([clips, paths, digest(clips)], CLIPS)

        clips = store(key, CLIPS, encoded, audio.nbytes)
        return _complete(name, name, clips, np.arange(len(rows)), clips["sha256"], told, Path())
    parts = [split_audio(chunk) for chunk in audio.chunks]
    stored = pa.chunked_array([clips for clips, _ in parts])
    clips = pa.table({"audio": stored, "path": pa.chunked_array([paths for _, paths in parts])})

    def digests() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.record_batch([digest(stored[row] for row in batch.tolist())], DIGESTS)

    sha256 = store(key, DIGESTS, digests, audio.nbytes)["sha256"]
    return _complete(name, name, clips, rows, sha256, told, Path())


def _read_rows(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> StoredUtterances:
    name = "the rows"
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise ValueError(f"{name}: row {number} is of type {type(row).__name__!r}; it should be a dictionary.")
    present = list(dict.fromkeys(column for row in rows for column in row))
    require_columns(name, present, [columns[column] for column in REQUIRED])
    told = {
        column: as_text(name, columns[column], _array(name, columns[column], rows))
        for column in COLUMNS[1:]
        if columns[column] in present
    }

    audio = (_encode(row.get(columns["audio"]), f"{name}: row {number}") for number, row in enumerate(rows, start=1))
    clips, paths = to_arrow(audio)
    table = pa.table([clips, paths, digest(clips)], CLIPS)
    return _complete(name, name, table, np.arange(len(rows)), table["sha256"], told, Path())


def _encode(audio: Any, name: str) -> tuple[bytes | None, str | None]:
    try:
        return encode(audio)
    except ValueError as error:
        raise ValueError(f"{name}: {error}.") from error


def _array(name: str, column: str, rows: Sequence[Mapping[str, Any]]) -> pa.ChunkedArray:
    values = [row.get(column) for row in rows]
    if kinds := sorted({type(value).__name__ for value in values if not isinstance(value, (str, type(None)))}):
        raise ValueError(f"{name}: {column} is of type {', '.join(kinds)}; it should be text.")
    return pa.chunked_array([pa.array(values, pa.string())])


def _complete(
    short_name: str,
    name: str,
    clips: pa.Table,
    rows: np.ndarray,
    sha256: pa.ChunkedArray,
    told: Mapping[str, pa.Array],
    folder: Path,
) -> StoredUtterances:
    """Utterances with all that is known of them; refuses what lacks something."""
    paths = pc.take(clips["path"].combine_chunks(), pa.array(rows))
    paths.validate(full=True)
    has_clip = clips["audio"].is_valid().to_numpy()[rows]
    numbers = pa.array(np.arange(1, len(rows) + 1)).cast(pa.string())
    names = pc.coalesce(
        paths, pc.binary_join_element_wise(pa.scalar("row"), numbers, pa.scalar(f"of {short_name}"), " ")
    )
    files: list[bytes | None] = [None] * len(rows)
    is_absent = np.zeros(len(rows), bool)
    for index in np.flatnonzero(~has_clip & paths.is_valid().to_numpy(zero_copy_only=False)).tolist():
        file = resolve_clip(folder, paths[index].as_py())
        files[index] = os.fsencode(file)
        is_absent[index] = not is_file(file)
    beside = f" (from {folder})" if folder != Path() else ""
    problems = {
        "no emotion": pc.equal(told["emotion"], "").to_numpy(zero_copy_only=False),
        "no speaker_id": pc.equal(told["speaker_id"], "").to_numpy(zero_copy_only=False),
        "no audio, neither bytes nor a path": ~has_clip & paths.is_null().to_numpy(zero_copy_only=False),
        f"an audio path{beside} where there is no file": is_absent,
    }
    found = [
        f"{flags.sum()} of {len(rows)} rows have {what}: {_enumerate_rows(np.flatnonzero(flags), names)}"
        for what, flags in problems.items()
        if flags.any()
    ]
    if found:
        raise ValueError(f"{name}: {'; '.join(found)}. Complete these rows or remove them.")
    speakers = told["speaker_id"]
    own = _map_unique(speakers, corpus_of)
    given = told.get("corpus")
    facts = {
        "row": pa.array(rows, pa.int64(), mask=~has_clip),
        "file": pa.array(files, pa.binary()),
        "name": names,
        "label": _map_unique(told["emotion"], display_label),
        "speaker_id": speakers,
        "corpus": own if given is None else pc.if_else(pc.equal(given, ""), own, given),
        "sha256": sha256,
    }
    return StoredUtterances(clips["audio"], pa.table(facts, FACTS))


def _map_unique(values: pa.Array, function: Any) -> pa.Array:
    """Calls a function once for each distinct text."""
    encoded = values.dictionary_encode()
    return pc.take(
        pa.array([function(value) for value in encoded.dictionary.to_pylist()], pa.string()), encoded.indices
    )


def _enumerate_rows(indices: Iterable[int], names: pa.Array, limit: int = 5) -> str:
    """The first rows, counted from 1, with what they are called."""
    rows = [f"{index + 1} ({' '.join(names[int(index)].as_py().split())})" for index in indices]
    return ", ".join(rows[:limit]) + (f" and {len(rows) - limit} more" if len(rows) > limit else "")
