"""Tables with a row for each clip or text: parquet, JSON or CSV, read a few rows at a time."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from emoicl.training.data.text_tables import read_text_table


# Its functions are made as it is imported, which no type checker sees.
pc: Any = pyarrow.compute


# In upper or lower case.
SUFFIXES = (".parquet", ".jsonl", ".csv", ".tsv", ".json")
# Columns that tell what or who a row is: in a table that has types, a number there is a class that nobody names.
NAMING = ("emotion", "label", "native_label", "speaker_id", "corpus")
AUDIO_TYPE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
# Rows in memory at once, with their clips.
BATCH_SIZE = 100


class Row(NamedTuple):
    """
    One row of a table.

    Args:
        number (`int`): Which one; the first is 1.
        clip (`bytes` or `Path`, *optional*): The encoded clip, or the file that holds it. `None` if there is neither.
        path (`str`): What the table has as the path of the clip; `""` if it has none.
        texts (`dict[str, str]`): Other columns, without blanks around them; `""` where nothing is known.
    """

    number: int
    clip: bytes | Path | None
    path: str
    texts: dict[str, str]


# pyarrow rather than `datasets`, which takes seconds to import and copies every table into a cache.
class Table:
    """
    A table. The clips inside a parquet file are never held as a whole.

    Args:
        path (`str` or `Path`): A file of one of the `SUFFIXES`.
        required (`Sequence[str]`, *optional*, defaults to `()`): Columns that it must have. The column `audio` holds
            bytes, paths relative to the folder of the table, or `{"bytes", "path"}`, of which bytes count if they are
            there.

    Attributes:
        is_binary (`bool`): Whether it is in a binary format, which has types, and may hold the clips themselves.
        schema (`pa.Schema`): Its columns.
        num_rows (`int`): Its rows.

    Raises:
        `ValueError`: If it cannot be read, is empty or lacks a column.
    """

    def __init__(self, path: str | Path, required: Sequence[str] = ()):
        self.path = Path(path)
        self.is_binary = self.path.suffix.lower() == ".parquet"
        if not self.path.exists():
            raise ValueError(f"{path}: there is no such file or folder.")
        if self.path.suffix.lower() not in SUFFIXES or not self.path.is_file():
            raise ValueError(f"{path}: a table is a {', '.join(SUFFIXES)} file.")
        if self.is_binary:
            with naming_parquet(self.path):
                metadata = pyarrow.parquet.read_metadata(self.path)
                self.schema, self.num_rows = metadata.schema.to_arrow_schema(), metadata.num_rows
        else:
            self._rows, self._lines = read_text_table(self.path)
            self.schema, self.num_rows = self._rows.schema, self._rows.num_rows
        # Read once, however many batches of rows there are.
        self.class_names = class_names_of(self.schema)
        self.require(required)
        if not self.num_rows:
            raise ValueError(f"{path}: the table has no rows.")

    def require(self, columns: Sequence[str]) -> None:
        """Refuses a table that lacks one of the columns, or whose `audio` is something else."""
        require_columns(str(self.path), self.schema.names, columns)
        if "audio" in columns and not _is_audio(kind := self.schema.field("audio").type):
            kind = " ".join(str(kind).split())
            raise ValueError(f"{self.path}: audio is of type {kind}; it should be bytes, a path or {{bytes, path}}.")

    def place(self, number: int) -> str:
        """Where a row stands, for people: the line of a text, else the row, of which the first is 1."""
        line = None if self.is_binary else self._lines[number - 1]
        return f"{self.path}, row {number}" if line is None else f"{self.path}, line {line}"

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Its rows in order, a few at a time."""
        if self.is_binary:
            with naming_parquet(self.path), pyarrow.parquet.ParquetFile(self.path) as file:
                yield from file.iter_batches(BATCH_SIZE, columns=columns)
        else:
            yield from (self._rows.select(columns) if columns else self._rows).to_batches(BATCH_SIZE)

    def columns(self, columns: Sequence[str]) -> pa.Table:
        """Some of its columns, whole."""
        if self.is_binary:
            with naming_parquet(self.path), pyarrow.parquet.ParquetFile(self.path) as file:
                return file.read(list(columns))
        return self._rows.select(columns)

    def row_batches(self, columns: Sequence[str]) -> Iterator[list[Row]]:
        """Its rows in order, a few at a time, with some columns of text, of which any may be absent."""
        if "audio" in self.schema.names:
            self.require(["audio"])
        first = 1
        there = [name for name in dict.fromkeys(["audio", *columns]) if name in self.schema.names]
        for batch in self.batches(there):
            values = batch["audio"].to_pylist() if "audio" in there else [None] * batch.num_rows
            texts = {name: self._texts(batch, name) for name in columns}
            yield [
                Row(first + index, self.clip(audio), path_of(audio), {name: texts[name][index] for name in columns})
                for index, audio in enumerate(values)
            ]
            first += batch.num_rows

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """Its rows in order; see [`~Table.row_batches`]."""
        return chain.from_iterable(self.row_batches(columns))

    def texts(self, column: str, meaning: str | None = None) -> list[str]:
        """
        A column as strings without blanks around them: `""` where it is null, or everywhere if it is not there.
        Numbers of a `ClassLabel` are their names.

        Args:
            column (`str`): What it is called.
            meaning (`str`, *optional*): What it holds, if it is called otherwise. Of the columns that name what or who
                a row is, other numbers are refused.
        """
        if column not in self.schema.names:
            return [""] * self.num_rows
        return [text for batch in self.batches([column]) for text in self._texts(batch, column, meaning)]

    def _texts(self, batch: pa.RecordBatch, column: str, meaning: str | None = None) -> list[str]:
        if column not in batch.schema.names:
            return [""] * batch.num_rows
        values, words = batch[column], self.class_names.get(column)
        if self.is_binary and (meaning or column) in NAMING:
            return as_text(str(self.path), column, values, words).to_pylist()
        if words is not None:
            values = class_words(f"{self.path}: {column}", values, words)
        try:
            return [text.strip() for text in values.cast(pa.string()).fill_null("").to_pylist()]
        except pa.ArrowException as error:
            kind = " ".join(str(batch[column].type).split())
            raise ValueError(f"{self.path}: {column} is of type {kind}; it should be text.") from error

    def clip(self, audio: bytes | str | dict | None) -> bytes | Path | None:
        """The encoded clip that one value of the column `audio` stands for, or the file that holds it."""
        if isinstance(audio, dict):
            audio = audio.get("bytes") or audio.get("path")
        if not audio:
            return None
        if isinstance(audio, bytes):
            return audio
        return resolve_clip(self.path.parent, audio)


def resolve_clip(folder: Path, path: str) -> Path:
    """The file that a table in a folder means by a path, which may be one of Windows."""
    file = folder / path
    return folder / PureWindowsPath(path).as_posix() if "\\" in path and not is_file(file) else file


def require_columns(name: str, present: Sequence[str], columns: Iterable[str]) -> None:
    """Refuses a table that lacks one of the columns."""
    if missing := [column for column in columns if column not in present]:
        raise ValueError(
            f"{name}: lacks the columns {missing}; it has {list(present)}. Add them or rename others to them."
        )


def class_names_of(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of the numbers of each `ClassLabel` column, as `datasets` writes them into a file."""
    # What is damaged there says nothing.
    with suppress(ValueError, AttributeError, KeyError, TypeError):
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
    return {}


def class_words(column: str, values: Any, names: Sequence[str]) -> Any:
    """What the numbers of a `ClassLabel` column stand for, in Arrow; null for -1, where there is no label."""
    if not pa.types.is_integer(values.type):
        return values
    if (largest := pc.max(values).as_py() or 0) >= len(names):
        raise ValueError(f"{column} is {largest} in a row, and a `ClassLabel` of {len(names)} names.")
    known = pc.if_else(pc.greater_equal(values, 0), values, pa.scalar(None, values.type))
    return pc.take(pa.array(names, pa.string()), known)


def as_text(name: str, column: str, values: Any, names: Sequence[str] | None = None) -> pa.Array:
    """
    A column as strings without blanks around them: `""` where nothing is known. Numbers are no text.

    Args:
        name (`str`): What messages call the table.
        column (`str`): The column.
        values (`pa.Array` or `pa.ChunkedArray`): What it holds.
        names (`Sequence[str]`, *optional*): Those of a `ClassLabel`, which stand for its numbers.

    Raises:
        `ValueError`: If it holds something else than text.
    """
    if names is not None:
        values = class_words(f"{name}: {column}", values, names)
    kind = values.type
    if not any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)):
        if not (pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type)):
            kind_in_words = " ".join(str(kind).split())
            raise ValueError(
                f"{name}: {column} is of type {kind_in_words}; it should be text, or numbers of a `ClassLabel`. Cast "
                f"it, as in dataset.cast_column({column!r}, Value('string'))."
            )
    texts = pc.fill_null(pc.utf8_trim_whitespace(values.cast(pa.string())), "")
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


@contextmanager
def naming_parquet(path: Path) -> Iterator[None]:
    """Turns whatever pyarrow raises of a damaged parquet file, which is found as late as a row is, into one line."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as parquet: {' '.join(str(error).split())}") from error


def is_file(path: Path) -> bool:
    """Whether there is a file, at a path that may be none: too long, say."""
    try:
        return path.is_file()
    except OSError:
        return False


def path_of(audio: bytes | str | dict | None) -> str:
    """The path that a table has for a clip, `""` if it has none."""
    path = audio.get("path") if isinstance(audio, dict) else audio
    return path if isinstance(path, str) else ""


def read_clip(clip: bytes | Path | None) -> bytes:
    """The encoded clip of a [`Row`], from its file if it is in one.

    Raises:
        `FileNotFoundError`: If that file is missing.
        `ValueError`: If there is neither.
    """
    if clip is None:
        raise ValueError("neither bytes nor a path")
    return clip if isinstance(clip, bytes) else clip.read_bytes()


def _is_audio(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        parts = [field.type for field in kind if field.name in ("bytes", "path")]
        return bool(parts) and not any(map(pa.types.is_struct, parts)) and all(map(_is_audio, parts))
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return pa.types.is_null(kind) or any(is_kind(kind) for is_kind in kinds)
