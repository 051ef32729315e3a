"""The tables that a split reads and writes, a few clips at a time."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from tqdm.auto import tqdm

from emoicl.training.corpora.prepare import AUDIO_TYPE, GROUP_SIZE, SCHEMA
from emoicl.training.data.corpus import COLUMNS


SUFFIXES = (".parquet", ".jsonl", ".csv")


@dataclass(frozen=True, slots=True)
class Clip:
    """
    What a split has to know of one row.

    Args:
        name (`str`): What messages call it: its file, or its row.
        speaker_id (`str`): Who speaks, `"corpus/speaker"`.
        emotion (`str`): The label.
        sha256 (`str`): SHA-256 of the encoded clip, in hexadecimal.
        traits (`Mapping[str, str]`): The values of other columns; `""` is unknown.
    """

    name: str
    speaker_id: str
    emotion: str
    sha256: str
    traits: Mapping[str, str]

    @property
    def source(self) -> str:
        """The corpus of the speaker: `"ravdess"` of `"ravdess/01"`."""
        return self.speaker_id.rpartition("/")[0]


class TableFile:
    """
    One table of a corpus. The audio of a parquet file is never held as a whole.

    Args:
        path (`Path`): A `.parquet`, `.jsonl` or `.csv` file.

    Attributes:
        schema (`pa.Schema`): Its columns.
        num_rows (`int`): Its rows.

    Raises:
        `ValueError`: If it cannot be read, is empty, or lacks `audio`, `emotion` or `speaker_id`.
    """

    def __init__(self, path: Path):
        if path.suffix not in SUFFIXES or not path.is_file():
            raise ValueError(f"{path}: is no table; a table is a {', '.join(SUFFIXES)} file.")
        self.path = path
        try:
            if path.suffix == ".parquet":
                metadata = pyarrow.parquet.read_metadata(path)
                self.schema, self.num_rows = metadata.schema.to_arrow_schema(), metadata.num_rows
            else:
                table = _read_text_table(path)
                self.schema, self.num_rows = table.schema, table.num_rows
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from error
        self.require(COLUMNS)
        if not self.num_rows:
            raise ValueError(f"{path}: the table has no rows.")

    def require(self, columns: Sequence[str]) -> None:
        """Refuses a table that lacks one of the columns."""
        if missing := [name for name in columns if name not in self.schema.names]:
            raise ValueError(f"{self.path}: lacks the columns {missing}; it has {self.schema.names}.")

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Its rows in order, a few at a time."""
        if self.path.suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(self.path) as file:
                yield from file.iter_batches(GROUP_SIZE, columns=columns)
        else:
            table = _read_text_table(self.path)
            yield from (table.select(columns) if columns else table).to_batches(GROUP_SIZE)

    def encoded(self, audio: bytes | str | dict | None) -> dict:
        """One value of the column `audio`, as `{"bytes", "path"}`; a clip in a file of its own is read.

        Raises:
            `FileNotFoundError`: If that file is missing.
            `ValueError`: If there is neither.
        """
        value: dict[str, Any] = (
            audio if isinstance(audio, dict) else {"path" if isinstance(audio, str) else "bytes": audio}
        )
        content, path = value.get("bytes"), value.get("path")
        if not (content or path):
            raise ValueError("neither bytes nor a path")
        return {"bytes": content or (self.path.parent / str(path)).read_bytes(), "path": path}


def open_tables(paths: Sequence[str | Path]) -> list[TableFile]:
    """
    The tables of files and folders.

    Args:
        paths (`Sequence[str | Path]`): Tables, folders of tables, or prepared corpora (whose tables are in `data/`).

    Returns:
        `list[TableFile]`: Each once; those of a folder sorted by name.

    Raises:
        `ValueError`: If a folder holds no tables or several kinds of them, or a table cannot be read.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        files += _tables_in(path / "data" if (path / "data").is_dir() else path) if path.is_dir() else [path]
    return [TableFile(path) for path in dict.fromkeys(files)]


def list_clips(tables: Sequence[TableFile], traits: Sequence[str]) -> list[Clip]:
    """
    What the rows of tables say, in their order.

    Args:
        tables (`Sequence[TableFile]`): The tables.
        traits (`Sequence[str]`): Further columns; one that a table lacks is unknown for its rows.

    Returns:
        `list[Clip]`

    Raises:
        `ValueError`: If rows have no audio, no emotion or no speaker; names them.
    """
    clips: list[Clip] = []
    flawed: list[str] = []
    with _progress("Reading", tables) as progress:
        for table in tables:
            columns = [name for name in dict.fromkeys([*COLUMNS, *traits]) if name in table.schema.names]
            first = len(clips)
            for batch in table.batches(columns):
                for row in batch.to_pylist():
                    clip, flaw = _clip(table, row, len(clips) - first + 1, traits)
                    clips.append(clip)
                    flawed += [f"{clip.name} of {table.path} ({flaw})"] if flaw else []
                progress.update(batch.num_rows)
    if flawed:
        more = f" and {len(flawed) - 5} more" if len(flawed) > 5 else ""
        raise ValueError(f"{len(flawed)} rows are incomplete: {', '.join(flawed[:5])}{more}. Complete or remove them.")
    return clips


def write_parts(tables: Sequence[TableFile], parts: Sequence[str], folder: Path) -> None:
    """
    Write each part of the rows as a table of its own, `PART.parquet`, in their order and with all their columns.

    Clips that tables keep in files are put into the new tables, which can so be moved.

    Args:
        tables (`Sequence[TableFile]`): The tables.
        parts (`Sequence[str]`): The part of each row of them all; a row of the part `""` is left out.
        folder (`Path`): An existing folder.

    Raises:
        `ValueError`: If a column is of one type here and of another there.
    """
    schema = _common_schema(tables)
    with ExitStack() as stack:
        names = sorted(set(parts) - {""})
        writers = {part: stack.enter_context(_Writer(folder / f"{part}.parquet", schema)) for part in names}
        progress = stack.enter_context(_progress(f"Writing {folder.name}", tables))
        start = 0
        for table in tables:
            for batch in table.batches():
                of_batch = parts[start : start + batch.num_rows]
                for part, writer in writers.items():
                    if rows := [row for row, its_part in enumerate(of_batch) if its_part == part]:
                        writer.add(_fit(table, batch.take(pa.array(rows)), schema))
                start += batch.num_rows
                progress.update(batch.num_rows)


class _Writer:
    """A parquet file whose row groups have `GROUP_SIZE` clips."""

    def __init__(self, path: Path, schema: pa.Schema):
        # A dictionary of clips, or of names that differ, would only hold them in memory a second time.
        dictionary = [field.name for field in schema if pa.types.is_string(field.type) and field.name != "source_id"]
        options: dict[str, Any] = {"write_statistics": False, "use_dictionary": dictionary}
        self.file = pyarrow.parquet.ParquetWriter(path, schema, **options)
        self.waiting = schema.empty_table()

    def add(self, rows: pa.Table) -> None:
        self.waiting = pa.concat_tables([self.waiting, rows])
        while self.waiting.num_rows >= GROUP_SIZE:
            self.file.write_table(self.waiting.slice(0, GROUP_SIZE))
            self.waiting = self.waiting.slice(GROUP_SIZE)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error: object) -> None:
        if self.waiting.num_rows:
            self.file.write_table(self.waiting)
        self.file.close()


def _tables_in(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    if not found:
        raise ValueError(f"{folder}: holds no table; a table is a {', '.join(SUFFIXES)} file.")
    if len(kinds := sorted({path.suffix for path in found})) > 1:
        raise ValueError(f"{folder}: holds {' and '.join(kinds)} files. Name those that are meant.")
    return found


def _read_text_table(path: Path) -> pa.Table:
    if path.suffix == ".jsonl":
        return pyarrow.json.read_json(path)
    # Typed, because a speaker "007" is not the number 7 and a speaker "NA" is not a missing one.
    types = {field.name: field.type for field in SCHEMA} | {"audio": pa.string()}
    options = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    return pyarrow.csv.read_csv(path, convert_options=options)


def _clip(table: TableFile, row: Mapping, number: int, traits: Sequence[str]) -> tuple[Clip, str]:
    """What a row says, and what it lacks."""
    texts = {
        name: "" if row.get(name) is None else str(row[name]).strip() for name in ("speaker_id", "emotion", *traits)
    }
    name, sha256, flaw = f"row {number}", "", ""
    try:
        audio = table.encoded(row["audio"])
        name = audio["path"] or name
        sha256 = hashlib.sha256(audio["bytes"]).hexdigest()
    except (OSError, ValueError) as error:
        flaw = f"audio: {error}"
    flaw = next((f"no {column}" for column in ("speaker_id", "emotion") if not texts[column]), flaw)
    return Clip(name, texts["speaker_id"], texts["emotion"], sha256, {trait: texts[trait] for trait in traits}), flaw


def _common_schema(tables: Sequence[TableFile]) -> pa.Schema:
    """All columns of all tables; audio as bytes."""
    schemas = []
    for table in tables:
        place = table.schema.get_field_index("audio")
        schemas.append(table.schema.set(place, pa.field("audio", AUDIO_TYPE)))
    try:
        return pa.unify_schemas(schemas)
    except pa.ArrowException as error:
        names = ", ".join(str(table.path) for table in tables)
        raise ValueError(f"{names}: the same columns should have the same types in all tables: {error}") from error


def _fit(table: TableFile, batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["audio"] = pa.array([table.encoded(audio) for audio in columns["audio"].to_pylist()], AUDIO_TYPE)
    absent = {field.name: pa.nulls(batch.num_rows, field.type) for field in schema if field.name not in columns}
    columns |= absent
    return pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)


def _progress(description: str, tables: Sequence[TableFile]) -> tqdm:
    # Quiet where nobody watches.
    return tqdm(total=sum(table.num_rows for table in tables), desc=description, unit="clip", disable=None)
