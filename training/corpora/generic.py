"""A corpus of one's own: a table, a folder for each speaker, or a data set of the Hub."""

import re
import threading
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from emoicl.training.corpora.base import CorpusReader, Recording, file_version
from emoicl.training.data.table_sources import DatasetTable
from emoicl.training.data.tables import Table, naming_parquet, read_clip


REQUIRED = ("audio", "emotion", "speaker_id")
OPTIONAL = ("native_label", "source_id", "sentence_id", "take", "intensity", "gender", "age", "text")
GENDERS = {"f": "female", "m": "male", "woman": "female", "man": "male", "unknown": ""}
FOLDER_PATTERN = "{speaker_id}/{emotion}/*"


class OwnCorpus(CorpusReader):
    """
    What the readers of this module share.

    An emotion becomes its lower-case word, `"Happy"` `"happy"`, unless `labels` names another. Nothing is guessed: map
    it to one of the paper's seven words if that is what it means.

    Args:
        source (`str` or `Path`): The table or folder.
        name (`str`): What to call the corpus: its column, and the first part of its speakers.
        labels (`Mapping[str, str]`, *optional*): Harmonized words of native labels, `{"Happy": "joy"}`; upper and
            lower case are the same.
        license (`str`, *optional*, defaults to `"unknown"`): See [`CorpusReader`]. Goes into the card, as the next.
        languages (`Sequence[str]`, *optional*): BCP-47 codes.

    Raises:
        `ValueError`: If the source cannot be read, or if `labels` names a label that the corpus does not have.
    """

    homepage = ""
    citation = ""
    license_url = ""
    elicitation = "unknown"
    description = "A corpus of the user's own, prepared by the generic reader of emoicl."
    label_meaning = "As its maker defines it."

    def __init__(
        self,
        source: str | Path,
        name: str,
        labels: Mapping[str, str] | None = None,
        license: str = "unknown",
        languages: Sequence[str] = (),
    ):
        self.source = Path(source)
        self.name = self.pretty_name = name
        self.license = license
        self.languages = tuple(languages)
        self.words = {native.lower(): word.lower() for native, word in (labels or {}).items()}
        self.label_map: dict[str, str] = {}

    def _learn_labels(self, emotions: Mapping[str, set[str]]) -> None:
        """Builds `label_map` from the emotions that occur with each native label."""
        known = {emotion.lower() for values in emotions.values() for emotion in values}
        if unknown := sorted(set(self.words) - known):
            raise ValueError(f"{self.source}: has no label {', '.join(unknown)} to map; it has {sorted(known)}.")
        for native in sorted(emotions):
            words = {self.words.get(emotion.lower(), emotion.lower()) for emotion in emotions[native]}
            if len(words) > 1:
                raise ValueError(f"{self.source}: the native label {native!r} stands for {sorted(words)}.")
            self.label_map[native] = words.pop()


class SpeakerFolders(OwnCorpus):
    """
    Audio files whose paths tell who speaks and how, as `{speaker_id}/{emotion}/*`.

    Args:
        source (`str` or `Path`): The folder.
        name (`str`): See [`OwnCorpus`], as for all that is not named here.
        pattern (`str`, *optional*, defaults to `"{speaker_id}/{emotion}/*"`): Relative path without its extension. In
            braces are `speaker_id`, `emotion`, `sentence_id`, `take`, `intensity`, `gender` or `age`, which never
            hold a `/` (`"{speaker_id}/{emotion}_{take}"`); `*` is anything. Files with other paths are unlisted.

    Raises:
        `ValueError`: If there is no such folder, if the pattern lacks speaker or emotion or has an unknown field, if
            no file matches it, or if one does with either of two speakers or emotions.
    """

    def __init__(self, source: str | Path, name: str, pattern: str = FOLDER_PATTERN, **fields: Any):
        super().__init__(source, name, **fields)
        if not self.source.is_dir():
            raise ValueError(f"{self.source}: there is no such folder.")
        names = {path: path.with_suffix("").as_posix() for path in self.files()}
        matches = {path: _match(pattern, name) for path, name in names.items()}
        self.matches = {path: match for path, match in matches.items() if match}
        if not self.matches:
            raise ValueError(f"{self.source}: of {len(matches)} audio files, none has a path like {pattern}.")
        self._learn_labels({match["emotion"]: {match["emotion"]} for match in self.matches.values()})

    def recordings(self) -> Iterator[Recording]:
        source_ids = _unique_ids([path.as_posix() for path in self.matches])
        for (path, match), source_id in zip(self.matches.items(), source_ids, strict=True):
            values: dict[str, Any] = dict(match)
            native_label = values.pop("emotion")
            values["gender"] = _gender(values.get("gender", ""))
            yield Recording(path.as_posix(), native_label=native_label, source_id=source_id, **values)


class TabularCorpus(OwnCorpus):
    """
    A corpus with one row for each clip. Columns that are named as in a prepared corpus are found by themselves.

    Args:
        source (`str` or `Path`): Where it is.
        name (`str`): See [`OwnCorpus`], as for all that is not named here.
        columns (`Mapping[str, str]`, *optional*): Which columns hold what, `{"emotion": "label"}`. `audio`, `emotion`
            and `speaker_id` there must be; `native_label`, `source_id`, `sentence_id`, `take`, `intensity`, `gender`,
            `age` and `text` there may be.

    Raises:
        `ValueError`: If a column is not there, emotions or speakers are numbers that have no names, or rows lack an
            emotion, a speaker or audio.
    """

    table: Table

    def __init__(self, source: str | Path, name: str, columns: Mapping[str, str] | None = None, **fields: Any):
        super().__init__(source, name, **fields)
        columns = columns or {}
        names = self.table.schema.names
        if unknown := sorted(set(columns) - {*REQUIRED, *OPTIONAL}):
            raise ValueError(f"There are no columns {unknown} to fill; there are {', '.join(REQUIRED + OPTIONAL)}.")
        self.columns = {field: columns.get(field, field) for field in REQUIRED + OPTIONAL}
        wanted = {self.columns[field] for field in REQUIRED} | set(columns.values())
        if absent := sorted(wanted - set(names)):
            raise ValueError(f"{self.source}: lacks the columns {absent}; it has {names}. Name others with `columns`.")
        there = [field for field in REQUIRED[1:] + OPTIONAL if self.columns[field] in names]
        self.values = {field: self.table.texts(self.columns[field], meaning=field) for field in there}
        self.paths = self._paths()
        self._check_rows()
        self.values.setdefault("native_label", self.values["emotion"])
        emotions: dict[str, set[str]] = {}
        for native, emotion in zip(self.values["native_label"], self.values["emotion"], strict=True):
            emotions.setdefault(native, set()).add(emotion)
        self._learn_labels(emotions)

    def recordings(self) -> Iterator[Recording]:
        values = {field: column for field, column in self.values.items() if field != "emotion"}
        values.setdefault("source_id", _unique_ids(self.paths))
        for index, path in enumerate(self.paths):
            row: dict[str, Any] = {field: column[index] for field, column in values.items()}
            row["speaker_id"] = row["speaker_id"].removeprefix(f"{self.name}/")
            row["gender"] = _gender(row.get("gender", ""))
            yield Recording(path, **row)

    def files(self, pattern: str = "**/*") -> Iterator[Path]:
        """None: a table says itself which clips it is about."""
        return iter(())

    def _check_rows(self) -> None:
        required = {field: self.values[field] for field in REQUIRED[1:]} | {"audio": self.paths}
        for field, column in required.items():
            if rows := [number for number, value in enumerate(column, start=1) if not value]:
                some = ", ".join(map(str, rows[:5]))
                raise ValueError(f"{self.source}: {len(rows)} of {len(column)} rows have no {field}: {some}.")
        occurrences = Counter(self.paths)
        if repeated := [path for path, count in occurrences.items() if count > 1]:
            raise ValueError(f"{self.source}: more than one row has the audio {', '.join(repeated[:5])}.")

    @abstractmethod
    def _paths(self) -> list[str]:
        """The path of each clip, or what stands for it; `""` where there is no audio."""


class OwnTable(TabularCorpus):
    """
    A CSV, JSON or parquet table. Audio is a path, relative to the table; in parquet also bytes, `{"bytes", "path"}`.

    Args:
        source (`str` or `Path`): The file, see [`Table`].
        name (`str`): See [`TabularCorpus`], as for all else.
    """

    def __init__(self, source: str | Path, name: str, **fields: Any):
        self.table = Table(source)
        self.holds_clips = self.table.is_binary
        self.held = threading.local()
        super().__init__(source, name, **fields)

    def read_audio(self, recording: Recording) -> bytes:
        value = self._value(self.rows[recording.path]) if self.holds_clips else recording.path
        return read_clip(self.table.clip(value))

    def version(self, recording: Recording) -> str:
        clip = None if self.holds_clips else self.table.clip(recording.path)
        return file_version(clip if isinstance(clip, Path) else self.table.path)

    def _paths(self) -> list[str]:
        paths: list[str] = []
        for batch in self.table.batches([self.columns["audio"]]):
            paths += _clip_paths(self.source, batch.column(0), len(paths))
        paths = _tell_apart(paths) if self.holds_clips else paths
        self.rows = {path: row for row, path in enumerate(paths)}
        return paths

    def _value(self, row: int) -> Any:
        """One value of the audio column of a parquet file, of which each thread holds one row group."""
        if row not in getattr(self.held, "rows", ()):
            with naming_parquet(self.table.path), pyarrow.parquet.ParquetFile(self.table.path) as file:
                start = 0
                for group in range(file.num_row_groups):
                    size = file.metadata.row_group(group).num_rows
                    if row < start + size:
                        break
                    start += size
                column = self.columns["audio"]
                self.held.rows = range(start, start + size)
                self.held.values = file.read_row_group(group, columns=[column])[column]
        return self.held.values[row - self.held.rows.start].as_py()


class HubDataset(TabularCorpus):
    """
    A data set as `datasets` loads it, with an audio column; the clips stay encoded.

    Args:
        dataset (`datasets.Dataset`): One split.
        name (`str`): See [`TabularCorpus`], as for all else.
    """

    def __init__(self, dataset: Any, name: str, columns: Mapping[str, str] | None = None, **fields: Any):
        import datasets

        audio = (columns or {}).get("audio", "audio")
        if audio in dataset.column_names and isinstance(dataset.features[audio], datasets.Audio):
            # Decoding would ask for torchcodec and a system-wide FFmpeg.
            dataset = dataset.cast_column(audio, datasets.Audio(decode=False))
        self.dataset, self.table = dataset, DatasetTable(dataset, name)
        super().__init__(Path(name), name, columns=columns, **fields)

    def read_audio(self, recording: Recording) -> bytes:
        clip = self.dataset[self.rows[recording.path]][self.columns["audio"]]
        if isinstance(clip, dict):
            clip = clip["bytes"] or clip["path"]
        return clip if isinstance(clip, bytes) else Path(clip).read_bytes()

    def version(self, recording: Recording) -> str:
        return self.dataset._fingerprint

    def _paths(self) -> list[str]:
        # From the Arrow table, so that no clip is copied out of it.
        column = self.table.columns([self.columns["audio"]])[self.columns["audio"]]
        paths = _tell_apart(_clip_paths(self.source, column.combine_chunks()))
        self.rows = {path: row for row, path in enumerate(paths)}
        return paths


def _clip_paths(source: Path, column: pa.Array, first_row: int = 0) -> list[str]:
    """What each clip of an audio column is called: its path, or its row if it has only bytes."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return [(path or "").strip() for path in column.to_pylist()]
    fields = {field.name for field in kind} & {"bytes", "path"} if pa.types.is_struct(kind) else set()
    if fields:
        paths = column.field("path").to_pylist() if "path" in fields else [None] * len(column)
        there = column.field("bytes").is_valid().to_pylist() if "bytes" in fields else [False] * len(column)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        paths, there = [None] * len(column), column.is_valid().to_pylist()
    else:
        kind = " ".join(str(kind).split())
        raise ValueError(f"{source}: audio is of type {kind}; it should be bytes, a path or {{bytes, path}}.")
    rows = enumerate(zip(paths, there, strict=True), start=first_row + 1)
    return [path or (f"row_{row:06}" if has_bytes else "") for row, (path, has_bytes) in rows]


def _tell_apart(paths: list[str]) -> list[str]:
    """Paths that stand beside bytes need not be unique: where they are not, the rows tell the clips apart."""
    occurrences = Counter(paths)
    rows = enumerate(paths, start=1)
    return [f"row_{row:06}/{path}" if path and occurrences[path] > 1 else path for row, path in rows]


def _split(pattern: str) -> list[str]:
    """The fields of a pattern and what stands between them."""
    fields = re.findall(r"{(\w+)}", pattern)
    allowed = ("speaker_id", "emotion", "sentence_id", "take", "intensity", "gender", "age")
    if not {"speaker_id", "emotion"} <= set(fields) or set(fields) - set(allowed) or len(set(fields)) < len(fields):
        raise ValueError(
            f"{pattern!r}: a pattern has {{speaker_id}} and {{emotion}} once, and may have "
            f"{', '.join(allowed[2:])}; for example {FOLDER_PATTERN}."
        )
    return re.split(r"({\w+}|\*)", pattern)


def _match(pattern: str, path: str) -> dict[str, str] | None:
    """
    What the fields of a pattern are in a path; `None` if it has another form.

    Raises:
        `ValueError`: If there is another way to read it, by which the speaker or the emotion is another.
    """
    parts = _split(pattern)
    # If there is more than one way, the first part to differ is shortest in one of these and longest in the other.
    readings = [re.fullmatch("".join(_part(part, lazy) for part in parts), path) for lazy in ("?", "")]
    one, other = (reading.groupdict() if reading else {} for reading in readings)
    for field in ("speaker_id", "emotion"):
        if one.get(field) != other.get(field):
            raise ValueError(
                f"{path}: by the pattern {pattern}, its {field} is {one[field]!r} as well as {other[field]!r}. Name "
                "each part of the path by a field of its own, with the same signs between them, or make a table."
            )
    return one or None


def _part(part: str, lazy: str) -> str:
    if part == "*":
        return f".*{lazy}"
    return f"(?P<{part[1:-1]}>[^/]+{lazy})" if part.startswith("{") else re.escape(part)


def _unique_ids(paths: Sequence[str]) -> list[str]:
    """File names without extension, or whole paths joined by `_` where file names repeat."""
    stems = [PurePosixPath(path).stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    parts = [PurePosixPath(path).with_suffix("").parts for path in paths]
    return ["_".join(part for part in names if part not in ("/", "..")) for names in parts]


def _gender(text: str) -> str:
    return GENDERS.get(text.lower(), text.lower())
