"""A corpus: labeled utterances of named speakers, read from parquet, JSONL or CSV tables."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torch.utils.data import Dataset

from emoicl.training.data.tables import Table, is_file, read_clip


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
        corpus (`str`, *optional*): Which corpus it is of; by default what [`corpus_of`] tells.
    """

    audio: bytes | Path = field(repr=False)
    label: str
    speaker_id: str
    name: str
    corpus: str = ""

    def __post_init__(self):
        if not self.corpus:
            object.__setattr__(self, "corpus", corpus_of(self.speaker_id))

    @cached_property
    def audio_sha256(self) -> str:
        """The identity of the clip: the SHA-256 of its encoded bytes, as 64 hexadecimal digits."""
        return hashlib.sha256(read_clip(self.audio)).hexdigest()

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
        corpus_of (`dict[str, str]`): The corpus of each speaker.

    Raises:
        `ValueError`: If there are no utterances, if two byte-identical clips differ in emotion or in speaker, or if a
            speaker is of two corpora.
    """

    def __init__(self, utterances: Iterable[Utterance]):
        self.utterances = _drop_duplicates(list(utterances))
        if not self.utterances:
            raise ValueError("The corpus holds no utterances.")
        self.labels = [utterance.label for utterance in self.utterances]
        self.speaker_ids = [utterance.speaker_id for utterance in self.utterances]
        self.by_speaker: dict[str, list[int]] = {}
        self.corpus_of: dict[str, str] = {}
        for index, utterance in enumerate(self.utterances):
            speaker_id = utterance.speaker_id
            self.by_speaker.setdefault(speaker_id, []).append(index)
            if self.corpus_of.setdefault(speaker_id, utterance.corpus) != utterance.corpus:
                raise ValueError(
                    f"The speaker {speaker_id} is of the corpora {self.corpus_of[speaker_id]!r} and "
                    f"{utterance.corpus!r}: give the speaker of each corpus another speaker_id."
                )

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
    Read a corpus from one or several tables with the columns `audio`, `emotion`, `speaker_id` and perhaps `corpus`.

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
    try:
        if labels is not None:
            utterances = _keep_labels(utterances, [display_label(label) for label in labels])
        return Corpus(utterances)
    except ValueError as error:
        raise ValueError(f"{', '.join(map(str, paths)) or 'no tables'}: {' '.join(str(error).split())}") from None


def display_label(emotion: str) -> str:
    """The word that is shown for an emotion: `"joy"` is `"Joy"`, `"surprise_negative"` is `"Surprise negative"`."""
    return emotion.replace("_", " ").strip().capitalize()


def corpus_of(speaker_id: str) -> str:
    """
    The corpus of a speaker by the identifier alone: `"ravdess"` of `"ravdess/01"`. All identifiers that do not tell
    count as one corpus, `""`.
    """
    corpus, slash, _ = speaker_id.partition("/")
    return corpus if slash else ""


def _read_utterances(path: Path) -> list[Utterance]:
    rows = list(Table(path, COLUMNS).rows(["emotion", "speaker_id", "corpus"]))
    names = [row.path or f"row {row.number} of {path.name}" for row in rows]
    problems = {
        "no emotion": [not row.texts["emotion"] for row in rows],
        "no speaker_id": [not row.texts["speaker_id"] for row in rows],
        "no audio, neither bytes nor a path": [row.clip is None for row in rows],
        f"an audio path (from {path.parent}) where there is no file": [
            isinstance(row.clip, Path) and not is_file(row.clip) for row in rows
        ],
    }
    found = [
        f"{sum(flags)} of {len(names)} rows have {what}: {_enumerate_rows(flags, names)}"
        for what, flags in problems.items()
        if any(flags)
    ]
    if found:
        raise ValueError(f"{path}: {'; '.join(found)}. Complete these rows or remove them.")
    return [
        Utterance(row.clip, display_label(row.texts["emotion"]), row.texts["speaker_id"], name, row.texts["corpus"])
        for row, name in zip(rows, names, strict=True)
        if row.clip is not None
    ]


def _enumerate_rows(flags: list[bool], names: list[str], limit: int = 5) -> str:
    """The first flagged rows, counted from 1, with what they are called."""
    pairs = enumerate(zip(flags, names, strict=True), start=1)
    rows = [f"{number} ({' '.join(name.split())})" for number, (flag, name) in pairs if flag]
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
