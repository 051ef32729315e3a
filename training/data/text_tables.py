"""CSV and JSON as people have them: other encodings, delimiters and blanks are found out, or named."""

import codecs
import csv
import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.json


# All else is text: a speaker "007" is not the number 7, and a speaker "NA" is not a missing one.
NUMBERS = ("duration",)
# The first counts where two are as frequent.
DELIMITERS = (",", ";", "\t", "|")


def read_text_table(path: Path) -> tuple[pa.Table, list[int | None]]:
    """
    Reads a table of text.

    Args:
        path (`Path`): A `.csv`, `.tsv`, `.json` (a list of objects) or `.jsonl` file.

    Returns:
        `tuple`: its columns, `pa.Table`, of which those of a CSV file are strings without blanks around them, but for
            `duration`; and the line that each row ends in, None in a list of JSON objects.

    Raises:
        `ValueError`: If it cannot be read. The message names the file.
    """
    try:
        text = decode_text(path)
        is_json = path.suffix.lower() in (".json", ".jsonl")
        return _parse_json(text) if is_json else _parse_csv(text)
    except (ValueError, RecursionError, csv.Error, OSError, pa.ArrowException) as error:
        raise ValueError(f"{path}: cannot be read as {path.suffix[1:]}: {' '.join(str(error).split())}") from error


def decode_text(path: Path) -> str:
    """The text of a file in UTF-8, in UTF-16 with or without a mark, or else, with a warning, in Windows-1252."""
    with path.open("rb") as file:
        content = file.read()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    # Every other byte of Latin letters is 0 in UTF-16, and none is in any other text.
    if b"\0" in content:
        for place, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            halves = content[place:1000:2], content[1 - place : 1000 : 2]
            if halves[0].count(0) > 0.75 * len(halves[0]) and 0 not in halves[1]:
                return content.decode(encoding)
        raise ValueError("it is no text, whatever its name; save it as CSV in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"byte {error.start + 1}, {content[error.start]:#04x}, is not UTF-8"
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        raise ValueError(f"{place}, nor is the file UTF-16 or Windows-1252; save it in UTF-8") from None
    warnings.warn(f"{path}: {place}; it is read as Windows-1252 (ANSI). Save it in UTF-8 to be sure.", stacklevel=2)
    return text


def _parse_json(text: str) -> tuple[pa.Table, list[int | None]]:
    """Objects, in a list or one a line."""
    lines: list[int | None] = [number for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if text.lstrip().startswith("["):
        rows = json.loads(text)
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("it is a list of something else than objects")
        text = "\n".join(map(json.dumps, rows))
        lines = []
    table = pyarrow.json.read_json(pa.BufferReader(text.encode()))
    # An object may go over several lines.
    return table, lines if len(lines) == table.num_rows else [None] * table.num_rows


# Of `csv`, because pyarrow's reader takes a quotation mark after a blank for a letter.
def _parse_csv(text: str) -> tuple[pa.Table, list[int | None]]:
    first, _, rest = text.partition("\n")
    # By this line, Excel is told the delimiter.
    num_before = 0
    if first.strip().lower().startswith("sep=") and len(first.strip("\r")) == 5:
        delimiter, text, num_before = first[4], rest, 1
    else:
        delimiter = _find_delimiter(first)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    # Lines of nothing but delimiters are what spreadsheets leave of deleted rows.
    rows, lines = [], []
    for row in reader:
        if any(cell.strip() for cell in row):
            rows.append([cell.strip() for cell in row])
            lines.append(num_before + reader.line_num)
    if not rows:
        raise ValueError("it has no header")
    header, *rows = rows
    lines = lines[1:]
    names = [name for name in header if name]
    if len(set(names)) < len(names):
        raise ValueError(f"a column occurs more than once in {names}")
    for line, row in zip(lines, rows, strict=True):
        if len(row) < len(header) or any(row[len(header) :]):
            raise ValueError(
                f"line {line} has {len(row)} values where the header has {len(header)}, separated by {delimiter!r}: "
                f"{row}"
            )
    # A column without a name, such as pandas' numbers of rows, cannot be asked for.
    columns = {name: _column(name, [row[place] for row in rows]) for place, name in enumerate(header) if name}
    return pa.table(columns), lines


def _find_delimiter(header: str) -> str:
    """What occurs most often in the first line, outside of quotation marks."""
    outside = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


def _column(name: str, cells: Sequence[str]) -> pa.Array:
    if name not in NUMBERS:
        return pa.array(cells, pa.string())
    try:
        return pa.array([float(cell) if cell else None for cell in cells], pa.float64())
    except ValueError as error:
        raise ValueError(f"{name} is a number in every row: {error}") from error


def printable(text: str) -> str:
    """A file name, of which bytes that are not UTF-8 are written as `\\xdc`; any other text as it is."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
