"""The tables that a split reads and writes, a few clips at a time."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from tqdm.auto import tqdm

from emoicl.training.corpora.prepare import GROUP_SIZE
from emoicl.training.data.progress import progress
from emoicl.training.data.tables import AUDIO_TYPE, Row, Table, path_of, read_clip
from emoicl.training.data.utterances import corpus_of


@dataclass(frozen=True, slots=True)
class SplitRow:
    """
    What a split has to know of one row, its clip left where it is.

    Args:
        name (`str`): What messages call it: its file, or its row.
        speaker_id (`str`): Who speaks, `"corpus/speaker"`.
        corpus (`str`): The corpus of the speaker.
        emotion (`str`): The label.
        sha256 (`str`): SHA-256 of the encoded clip, in hexadecimal.
        traits (`Mapping[str, str]`): The values of other columns; `""` is unknown.
    """

    name: str
    speaker_id: str
    corpus: str
    emotion: str
    sha256: str
    traits: Mapping[str, str]


def list_rows(tables: Sequence[Table], traits: Sequence[str]) -> list[SplitRow]:
    """
    What the rows of tables say, in their order.

    Args:
        tables (`Sequence[Table]`): The tables.
        traits (`Sequence[str]`): Further columns; one that a table lacks is unknown for its rows.

    Returns:
        `list[SplitRow]`

    Raises:
        `ValueError`: If rows have no audio, no emotion or no speaker; names them.
    """
    rows: list[SplitRow] = []
    flawed: list[str] = []
    with _progress("Reading", tables) as bar:
        for table in tables:
            for row in table.rows(["speaker_id", "emotion", "corpus", *traits]):
                described, flaw = _describe(row, traits)
                rows.append(described)
                flawed += [f"{described.name} of {table.path} ({flaw})"] if flaw else []
                bar.update()
    if flawed:
        more = f" and {len(flawed) - 5} more" if len(flawed) > 5 else ""
        raise ValueError(f"{len(flawed)} rows are incomplete: {', '.join(flawed[:5])}{more}. Complete or remove them.")
    return rows


def write_parts(tables: Sequence[Table], parts: Sequence[str], folder: Path) -> None:
    """
    Write each part of the rows as a table of its own, `PART.parquet`, in their order and with all their columns.

    Clips that tables keep in files are put into the new tables, which can so be moved.

    Args:
        tables (`Sequence[Table]`): The tables.
        parts (`Sequence[str]`): The part of each row of them all; a row of the part `""` is left out.
        folder (`Path`): An existing folder.

    Raises:
        `ValueError`: If a column is of one type here and of another there.
    """
    schema = _common_schema(tables)
    with ExitStack() as stack:
        names = sorted(set(parts) - {""})
        writers = {part: stack.enter_context(_Writer(folder / f"{part}.parquet", schema)) for part in names}
        bar = stack.enter_context(_progress(f"Writing {folder.name}", tables))
        start = 0
        for table in tables:
            for batch in table.batches():
                of_batch = parts[start : start + batch.num_rows]
                for part, writer in writers.items():
                    if rows := [row for row, its_part in enumerate(of_batch) if its_part == part]:
                        writer.add(_fit(table, batch.take(pa.array(rows)), schema))
                start += batch.num_rows
                bar.update(batch.num_rows)


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


def _describe(row: Row, traits: Sequence[str]) -> tuple[SplitRow, str]:
    """What a row says, and what it lacks."""
    sha256, flaw = "", ""
    try:
        sha256 = hashlib.sha256(read_clip(row.clip)).hexdigest()
    except (OSError, ValueError) as error:
        flaw = f"audio: {error}"
    flaw = next((f"no {column}" for column in ("speaker_id", "emotion") if not row.texts[column]), flaw)
    speaker_id = row.texts["speaker_id"]
    corpus = row.texts["corpus"] or corpus_of(speaker_id)
    name = row.path or f"row {row.number}"
    return SplitRow(name, speaker_id, corpus, row.texts["emotion"], sha256, {t: row.texts[t] for t in traits}), flaw


def _common_schema(tables: Sequence[Table]) -> pa.Schema:
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


def _fit(table: Table, batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    columns = {name: batch.column(name) for name in batch.schema.names}
    clips = [
        {"bytes": read_clip(table.clip(audio)), "path": path_of(audio) or None}
        for audio in columns["audio"].to_pylist()
    ]
    columns["audio"] = pa.array(clips, AUDIO_TYPE)
    absent = {field.name: pa.nulls(batch.num_rows, field.type) for field in schema if field.name not in columns}
    columns |= absent
    return pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)


def _progress(description: str, tables: Sequence[Table]) -> tqdm:
    # Quiet where nobody watches.
    return progress(total=sum(table.num_rows for table in tables), desc=description, unit="clips")
