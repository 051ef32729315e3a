"""Tables by where they are: files, folders of them, and data sets of `datasets` and of the Hub."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from emoicl.training.data.tables import BATCH_SIZE, SUFFIXES, Table, class_names_of


HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<split>.+))?")


class DatasetTable(Table):
    """
    A data set of `datasets` as a table. Nothing of it is decoded.

    Args:
        dataset (`datasets.Dataset`): One split.
        name (`str`): What messages call it.
        required (`Sequence[str]`, *optional*, defaults to `()`): Columns that it must have, see [`Table`].

    Raises:
        `ValueError`: If it is streamed, is empty or lacks a column.
    """

    def __init__(self, dataset: Any, name: str, required: Sequence[str] = ()):
        if not hasattr(dataset, "num_rows"):
            raise ValueError(f"{name}: is streamed; enrollments need all of it: load it with `streaming=False`.")
        self.path, self.is_binary, self.dataset = Path(name), True, dataset
        self.schema, self.num_rows = dataset.features.arrow_schema, len(dataset)
        self.class_names = class_names_of(self.schema)
        self.require(required)
        if not self.num_rows:
            raise ValueError(f"{name}: has no rows.")

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        for rows in self._select(columns).iter(BATCH_SIZE):
            yield rows.combine_chunks().to_batches()[0]

    def columns(self, columns: Sequence[str]) -> pa.Table:
        return self._select(columns)[:]

    def _select(self, columns: Sequence[str] | None) -> Any:
        dataset = self.dataset if columns is None else self.dataset.select_columns(list(columns))
        return dataset.with_format("arrow")


def is_hub_name(source: str) -> bool:
    """Whether this is no table, nor a path of something, but may be the name of a data set of the Hub."""
    is_table = source.lower().endswith(SUFFIXES)
    return bool(HUB_NAME.fullmatch(source)) and not is_table and not os.path.exists(source)


def load_from_hub(source: str) -> Any:
    """
    A data set of the Hub.

    Args:
        source (`str`): Its name, and after a colon its split if it has several: `"user/name:test"`.

    Returns:
        `datasets.Dataset`

    Raises:
        `ValueError`: If it cannot be had: there is none, nobody answers, or a package is missing. `datasets` takes one
            whose clips are single files by torchcodec alone.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    name, _, split = source.partition(":")
    try:
        dataset = load_dataset(name, split=split or None)
    except (OSError, ValueError, RuntimeError, ImportError, DatasetGenerationError) as error:
        # Of the latter, only its cause tells what happened.
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
        raise ValueError(
            f"{source}: there is no such table or folder, and as a data set of the Hub it cannot be had: "
            f"{' '.join(str(cause).split())}"
        ) from error
    return one_split(dataset, None, source, f"name one, as in {name}:test")


def one_split(dataset: Any, split: str | None, name: str, advice: str = "give one, or name it as `split`") -> Any:
    """The data set that is meant of a `DatasetDict`."""
    if not isinstance(dataset, Mapping):
        return dataset
    if split is None and len(dataset) == 1:
        return next(iter(dataset.values()))
    if not dataset:
        raise ValueError(f"{name}: has no splits.")
    if split not in dataset:
        given = "none is named" if split is None else f"not {split!r}"
        raise ValueError(f"{name}: has the splits {', '.join(map(str, dataset))}; {advice}: {given}.")
    return dataset[split]


def open_tables(paths: Sequence[str | Path], required: Sequence[str] = ()) -> list[Table]:
    """
    The tables of files, folders and data sets of the Hub.

    Args:
        paths (`Sequence[str | Path]`): Tables, folders of tables, prepared corpora (whose tables are in `data/`), or
            data sets of the Hub, see [`load_from_hub`].
        required (`Sequence[str]`, *optional*, defaults to `()`): Columns that each must have.

    Returns:
        `list[Table]`: Each once; those of a folder sorted by name.

    Raises:
        `ValueError`: If a folder holds no tables or several kinds of them, or a table cannot be read.
    """
    found: list[str | Path] = []
    for source in paths:
        path = Path(source)
        if isinstance(source, str) and is_hub_name(source):
            found.append(source)
        else:
            found += _tables_in(path / "data" if (path / "data").is_dir() else path) if path.is_dir() else [path]
    return [
        DatasetTable(load_from_hub(table), table, required) if isinstance(table, str) else Table(table, required)
        for table in dict.fromkeys(found)
    ]


def _tables_in(folder: Path) -> list[Path]:
    # Other files in a folder may be reports and lists.
    suffixes = SUFFIXES[:3]
    found = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )
    if not found:
        raise ValueError(f"{folder}: holds no table; a table is a {', '.join(suffixes)} file.")
    if len(kinds := sorted({path.suffix.lower() for path in found})) > 1:
        raise ValueError(f"{folder}: holds {' and '.join(kinds)} files. Name those that are meant.")
    return found
