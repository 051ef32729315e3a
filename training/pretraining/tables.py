"""What pretraining reads: lines of text, and any columns of parquet, JSONL or CSV tables."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet


logger = logging.getLogger(__name__)

TABLES = (".parquet", ".jsonl", ".csv")


def read_table(path: str | Path, required: Sequence[str]) -> pa.Table:
    """
    Reads a table. All columns of a CSV file are strings: a speaker "007" is not the number 7.

    Args:
        path (`str` or `Path`): A `.parquet`, `.jsonl` or `.csv` file.
        required (`Sequence[str]`): Columns that it must have.

    Raises:
        `ValueError`: If the table cannot be read, is empty or lacks a column.
    """
    path = Path(path)
    if path.suffix not in TABLES:
        raise ValueError(f"{path}: a table is a {', '.join(TABLES)} file.")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file.")
    try:
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
        elif path.suffix == ".jsonl":
            table = pyarrow.json.read_json(path)
        else:
            table = read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from error
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise ValueError(f"{path}: lacks the columns {missing}; it has {table.column_names}.")
    if not table.num_rows:
        raise ValueError(f"{path}: the table has no rows.")
    return table


def read_csv(path: Path) -> pa.Table:
    with pyarrow.csv.open_csv(path) as reader:
        names = reader.schema.names
    options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    return pyarrow.csv.read_csv(path, convert_options=options)


def text_column(table: pa.Table, name: str) -> list[str]:
    """A column as stripped strings, empty where it is null or not there at all."""
    if name not in table.column_names:
        return [""] * table.num_rows
    return [value.strip() for value in table[name].cast(pa.string()).fill_null("").to_pylist()]


def read_texts(paths: Iterable[str | Path]) -> list[str]:
    """
    Reads the texts to pretrain on: the lines of text files, the column `text` of tables.

    A text that occurs again is left out, with a logged count: in a corpus of speech every speaker says the same
    sentences.

    Args:
        paths (`Iterable[str | Path]`): `.parquet`, `.jsonl` or `.csv` tables; any other file is UTF-8 text.

    Returns:
        `list[str]`: The texts without empty ones, in the order in which they come first.

    Raises:
        `ValueError`: If a file cannot be read, or there is no text at all.
    """
    paths = [Path(path) for path in paths]
    texts = [text for path in paths for text in read_texts_of(path)]
    different = list(dict.fromkeys(texts))
    if not different:
        raise ValueError(f"There is no text in {', '.join(map(str, paths))}.")
    if len(different) < len(texts):
        logger.info("Left out %d texts that occur again; %d remain.", len(texts) - len(different), len(different))
    return different


def read_texts_of(path: Path) -> list[str]:
    if path.suffix in TABLES:
        return [text for text in text_column(read_table(path, ["text"]), "text") if text]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return [line.strip() for line in lines if line.strip()]
