"""What a speech encoder is pretrained on: clips with whatever is known of them."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils.data import Dataset

from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.training.pretraining.tables import read_table, text_column


logger = logging.getLogger(__name__)

IGNORED = -100
# Of each task, the column that it reads.
TASKS = {"transcription": "text", "speaker": "speaker_id", "gender": "gender", "emotion": "emotion", "age": "age"}
CLASSIFIED = ("speaker", "gender", "emotion")


@dataclass(frozen=True)
class Clip:
    """
    A recorded utterance and what is known of it.

    Args:
        audio (`bytes` or `Path`): The encoded clip, or the file that holds it.
        name (`str`): What messages call it.
        known (`dict[str, str]`): By task, what a corpus tells; tasks of which it tells nothing are not there.
    """

    audio: bytes | Path = field(repr=False)
    name: str
    known: dict[str, str]


def read_clips(paths: Iterable[str | Path], tasks: Sequence[str] = tuple(TASKS)) -> list[Clip]:
    """
    Reads clips with the columns that they need for some tasks.

    Args:
        paths (`Iterable[str | Path]`):
            `.parquet`, `.jsonl` or `.csv` tables with the column `audio`, which holds bytes, a path relative to the
            table, or `{"bytes", "path"}`, and any of the columns `text`, `speaker_id`, `gender`, `emotion` and `age`
            (in years). A column may be absent, or empty in some rows.
        tasks (`Sequence[str]`, *optional*): The tasks; by default all.

    Returns:
        `list[Clip]`: The clips, in the order of the tables and of their rows.

    Raises:
        `ValueError`: If a task is unknown, a table cannot be read, a row has no audio, or an age is not a number.
    """
    if unknown := sorted(set(tasks) - set(TASKS)):
        raise ValueError(f"There is no task {', '.join(unknown)}; choose from {', '.join(TASKS)}.")
    return [clip for path in paths for clip in read_clips_of(Path(path), tasks)]


def read_clips_of(path: Path, tasks: Sequence[str]) -> list[Clip]:
    table = read_table(path, ["audio"])
    columns = {task: text_column(table, TASKS[task]) for task in tasks}
    clips = []
    for row, value in enumerate(table["audio"].to_pylist()):
        source = (value.get("bytes") or value.get("path")) if isinstance(value, dict) else value
        name = f"row {row + 1} of {path.name}"
        if not source:
            raise ValueError(f"{path}: row {row + 1} has no audio, neither bytes nor a path. Complete or remove it.")
        known = {task: column[row] for task, column in columns.items() if column[row]}
        if "age" in known and not known["age"].replace(".", "", 1).isdecimal():
            raise ValueError(f"{path}: the age in row {row + 1} is {known['age']!r}; it should be in years, or empty.")
        clips.append(Clip(source if isinstance(source, bytes) else path.parent / source, name, known))
    return clips


def spoken_characters(text: str) -> str:
    """What of a text can be heard: its letters and digits in lower case, and single spaces between words."""
    heard = "".join(character if character.isalnum() or character == "'" else " " for character in text.casefold())
    return " ".join(heard.split())


@dataclass(frozen=True)
class Targets:
    """
    What the tasks can answer, as found in the training clips. A task that a corpus tells nothing of, or always the
    same, is left out.

    Args:
        characters (`list[str]`): Characters of the transcriptions. Token 0 is the blank of CTC, and they follow it.
        classes (`dict[str, list[str]]`): Classes of the speaker, gender and emotion tasks.
        age (`list[float]`, *optional*): Mean and standard deviation of the age, in years.
    """

    characters: list[str]
    classes: dict[str, list[str]]
    age: list[float] | None = None

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> "Targets":
        """Collects the targets of some clips."""
        texts = [spoken_characters(clip.known.get("transcription", "")) for clip in clips]
        classes = {task: sorted({clip.known[task] for clip in clips if task in clip.known}) for task in CLASSIFIED}
        ages = torch.tensor([float(clip.known["age"]) for clip in clips if "age" in clip.known])
        return cls(
            characters=sorted(set("".join(texts))),
            classes={task: found for task, found in classes.items() if len(found) > 1},
            age=[ages.mean().item(), ages.std().item()] if len(ages.unique()) > 1 else None,
        )

    @property
    def head_sizes(self) -> dict[str, int]:
        """Number of outputs of each task that there is something to learn for."""
        sizes = {task: len(classes) for task, classes in self.classes.items()}
        if self.characters:
            sizes["transcription"] = len(self.characters) + 1
        if self.age is not None:
            sizes["age"] = 1
        return {task: sizes[task] for task in TASKS if task in sizes}

    @property
    def tasks(self) -> list[str]:
        """The tasks that there is something to learn for."""
        return list(self.head_sizes)

    def encode(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """Targets of a batch: `-100` (for the age, NaN) where nothing is known.

        Returns:
            `dict`: for those of `tasks`, `transcription`, int64 of shape `(batch_size, longest_text)`, padded with
            -100; `speaker`, `gender` and `emotion`, int64, and `age`, float32 and standardized, of shape
            `(batch_size,)`.
        """
        encoded = {
            task: torch.tensor([classes.index(clip.known[task]) if task in clip.known else IGNORED for clip in clips])
            for task, classes in self.classes.items()
        }
        if self.characters:
            texts = [spoken_characters(clip.known.get("transcription", "")) for clip in clips]
            tokens = [torch.tensor([self.characters.index(c) + 1 for c in text], dtype=torch.long) for text in texts]
            encoded["transcription"] = torch.nn.utils.rnn.pad_sequence(tokens, True, IGNORED)
        if self.age is not None:
            mean, std = self.age
            encoded["age"] = torch.tensor([(float(clip.known.get("age", "nan")) - mean) / std for clip in clips])
        return encoded


class ClipDataset(Dataset[Clip]):
    """Clips, which are decoded in [`SpeechTaskCollator`]: in the workers of a data loader if it has any."""

    def __init__(self, clips: Sequence[Clip]):
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: int) -> Clip:
        return self.clips[item]


@dataclass
class SpeechTaskCollator:
    """
    Clips -> a batch of [`SpeechTaskModel`]: log-mel features at their real length, their mask, and targets.

    Args:
        feature_extractor ([`EmoIclFeatureExtractor`]): Turns clips into log-mel features.
        targets ([`Targets`]): What the tasks can answer.
    """

    feature_extractor: EmoIclFeatureExtractor
    targets: Targets

    def __call__(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        waveforms = [self.feature_extractor.decode(clip.audio, name=clip.name) for clip in clips]
        return {**self.feature_extractor(waveforms), **self.targets.encode(clips)}
