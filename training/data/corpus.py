"""A corpus: labeled utterances of named speakers, read from parquet, JSONL or CSV tables."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from torch.utils.data import Dataset


logger = logging.getLogger(__name__)

COLUMNS = ("audio", "emotion", "speaker_id")


@dataclass(frozen=True)
class Utterance:
    """
    One recorded, labeled utterance.

    Args:
        audio (`bytes` or `Path`): The encoded clip (wav, flac, ogg/opus, mp3), or the file that holds it.
        label (`str`): The emotion as a display word, for example `"Joy"`.
        speaker_id (`str`): Who speaks. Unique over everything that is loaded together, as in `"ravdess/01"`.
        name (`str`): What messages call this utterance: its file name, or its row in the table.
    """

    audio: bytes | Path = field(repr=False)
    label: str
    speaker_id: str
    name: str

    @cached_property
    def audio_sha256(self) -> str:
        """The identity of the clip: the SHA-256 of its encoded bytes, as 64 hexadecimal digits."""
        data = self.audio if isinstance(self.audio, bytes) else self.audio.read_bytes()
        return hashlib.sha256(data).hexdigest()

    @property
    def num_bytes(self) -> int:
        return len(self.audio) if isinstance(self.audio, bytes) else self.audio.stat().st_size


class Corpus(Dataset[Utterance]):
    """
    An indexable collection of utterances in which no clip occurs twice.

    A clip that is byte-identical to an earlier one is left out, with a logged count: as an enrollment of its own copy
    it would give the answer away.

    Args:
        utterances (`Iterable[Utterance]`): The utterances, in the order in which they are indexed.

    Attributes:
        labels (`list[str]`): The label of each utterance.
        speaker_ids (`list[str]`): The speaker of each utterance.
        by_speaker (`dict[str, list[int]]`): The indices of each speaker's utterances.

    Raises:
        `ValueError`: If there are no utterances, or if two byte-identical clips differ in emotion or in speaker.
    """

    def __init__(self, utterances: Iterable[Utterance]):
        self.utterances = _drop_duplicates(list(utterances))
        if not self.utterances:
            raise ValueError("The corpus holds no utterances.")
        self.labels = [utterance.label for utterance in self.utterances]
        self.speaker_ids = [utterance.speaker_id for utterance in self.utterances]
        self.by_speaker: dict[str, list[int]] = {}
        for index, speaker_id in enumerate(self.speaker_ids):
            self.by_speaker.setdefault(speaker_id, []).append(index)

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Utterance:
        return self.utterances[index]

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def __repr__(self) -> str:
        return f"Corpus({len(self)} utterances, {len(self.by_speaker)} speakers, {len(set(self.labels))} labels)"


def load_corpus(paths: str | Path | Sequence[str | Path], labels: Sequence[str] | None = None) -> Corpus:
    """
    Read a corpus from one or several tables with the columns `audio`, `emotion` and `speaker_id`.

    Other columns are ignored. `audio` is the bytes of a clip, a path (relative to the folder of its table), or a dict
    `{"bytes", "path"}` of which the bytes count if they are there. Clips given as paths are read when they are
    needed; clips inside a parquet file are held in memory, encoded. Nothing is decoded here.

    Args:
        paths (`str`, `Path` or a sequence of them): `.parquet`, `.jsonl` or `.csv` files.
        labels (`Sequence[str]`, *optional*): Keep only utterances with these labels (`"joy"` and `"Joy"` are the same
            label); the others are counted in the log. By default all are kept.

    Returns:
        [`Corpus`]: The utterances, in the order of the tables and of their rows.

    Raises:
        `ValueError`: If a table cannot be read, is empty or lacks a column, if rows have no emotion, no speaker or no
            audio, if audio files are missing, or if no utterance has one of `labels`. The message names the table
            and its rows (the first row is 1).
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    utterances = [utterance for path in paths for utterance in _read_utterances(Path(path))]
    if labels is not None:
        utterances = _keep_labels(utterances, [display_label(label) for label in labels])
    return Corpus(utterances)


def display_label(emotion: str) -> str:
    """The word that is shown for an emotion: `"joy"` is `"Joy"`, `"surprise_negative"` is `"Surprise negative"`."""
    return emotion.replace("_", " ").strip().capitalize()


def _read_utterances(path: Path) -> list[Utterance]:
    table = _read_table(path)
    audio = table["audio"].to_pylist()
    labels = [display_label(emotion) for emotion in table["emotion"].to_pylist()]
    speaker_ids = [speaker_id.strip() for speaker_id in table["speaker_id"].to_pylist()]
    clips = [_clip(value, path.parent) for value in audio]
    names = [_name(value, f"row {number} of {path.name}") for number, value in enumerate(audio, start=1)]
    problems = {
        "no emotion": [not label for label in labels],
        "no speaker_id": [not speaker_id for speaker_id in speaker_ids],
        "no audio, neither bytes nor a path": [clip is None for clip in clips],
        f"an audio path (from {path.parent}) where there is no file": [
            isinstance(clip, Path) and not clip.is_file() for clip in clips
        ],
    }
    found = [
        f"{sum(flags)} of {len(names)} rows have {what}: {_enumerate_rows(flags, names)}"
        for what, flags in problems.items()
        if any(flags)
    ]
    if found:
        raise ValueError(f"{path}: {'; '.join(found)}. Complete these rows or remove them.")
    columns = zip(clips, labels, speaker_ids, names, strict=True)
    return [Utterance(clip, label, speaker_id, name) for clip, label, speaker_id, name in columns if clip is not None]


def _read_table(path: Path) -> pa.Table:
    """The three columns of a table; emotion and speaker as strings, empty where null."""
    if path.suffix not in _READERS:
        raise ValueError(f"{path}: a corpus is a {', '.join(_READERS)} file.")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file.")
    try:
        table = _READERS[path.suffix](path)
        missing = [name for name in COLUMNS if name not in table.column_names]
        if missing:
            raise ValueError(
                f"{path}: lacks the columns {missing}; it has {table.column_names}. Add them or rename others to them."
            )
        texts = {name: table[name].cast(pa.string()).fill_null("") for name in ("emotion", "speaker_id")}
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from error
    if not table.num_rows:
        raise ValueError(f"{path}: the table has no rows.")
    if not _is_audio(table["audio"].type):
        raise ValueError(
            f"{path}: audio is of type {table['audio'].type}; it should be bytes, a path or {{bytes, path}}."
        )
    return pa.table({"audio": table["audio"], **texts})


def _read_csv(path: Path) -> pa.Table:
    # Typed as strings, because a speaker "007" is not the number 7 and a speaker "NA" is not a missing one.
    options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.string()), strings_can_be_null=False)
    return pyarrow.csv.read_csv(path, convert_options=options)


# pyarrow rather than `datasets`, whose readers copy every table into a cache and decode audio columns with torchcodec.
_READERS = {".parquet": pyarrow.parquet.read_table, ".jsonl": pyarrow.json.read_json, ".csv": _read_csv}


def _is_audio(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return {field.name for field in kind} & {"bytes", "path"} != set()
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind)


def _clip(audio: bytes | str | dict | None, folder: Path) -> bytes | Path | None:
    if isinstance(audio, dict):
        audio = audio.get("bytes") or audio.get("path")
    if not audio:
        return None
    return audio if isinstance(audio, bytes) else folder / audio


def _name(audio: bytes | str | dict | None, row: str) -> str:
    path = audio.get("path") if isinstance(audio, dict) else audio
    return path if isinstance(path, str) and path else row


def _enumerate_rows(flags: list[bool], names: list[str], limit: int = 5) -> str:
    """The first flagged rows, counted from 1, with what they are called."""
    pairs = enumerate(zip(flags, names, strict=True), start=1)
    rows = [f"{number} ({name})" for number, (flag, name) in pairs if flag]
    return ", ".join(rows[:limit]) + (f" and {len(rows) - limit} more" if len(rows) > limit else "")


def _keep_labels(utterances: list[Utterance], labels: list[str]) -> list[Utterance]:
    counts = Counter(utterance.label for utterance in utterances)
    left_out = {label: count for label, count in sorted(counts.items()) if label not in labels}
    if left_out:
        logger.info("Left out %d utterances of other labels: %s.", sum(left_out.values()), left_out)
    absent = [label for label in labels if label not in counts]
    if len(absent) == len(labels):
        raise ValueError(f"No utterance is labeled {', '.join(labels)}; the corpus has {', '.join(sorted(counts))}.")
    if absent:
        logger.warning("No utterance is labeled %s; the corpus has %s.", ", ".join(absent), ", ".join(sorted(counts)))
    return [utterance for utterance in utterances if utterance.label in labels]


def _drop_duplicates(utterances: list[Utterance]) -> list[Utterance]:
    # Only clips of one size can be identical: the others are not read here.
    sizes = [utterance.num_bytes for utterance in utterances]
    occurrences = Counter(sizes)
    first: dict[str, Utterance] = {}
    kept, dropped = [], []
    for utterance, size in zip(utterances, sizes, strict=True):
        original = first.setdefault(utterance.audio_sha256, utterance) if occurrences[size] > 1 else utterance
        if (original.label, original.speaker_id) != (utterance.label, utterance.speaker_id):
            raise ValueError(
                f"{original.name} ({original.label}, speaker {original.speaker_id}) and {utterance.name} "
                f"({utterance.label}, speaker {utterance.speaker_id}) are the same clip: remove the wrong row."
            )
        (kept if original is utterance else dropped).append(utterance)
    if dropped:
        names = ", ".join(utterance.name for utterance in dropped[:5])
        logger.warning("Left out %d clips that are byte-identical to an earlier one: %s.", len(dropped), names)
    return kept
