"""What a speech encoder is pretrained on: utterances with whatever is known of them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.training.data.table_sources import open_tables
from emoicl.training.data.tables import Table


logger = logging.getLogger(__name__)

IGNORED = -100
# Of each task, the column that it reads.
TASKS = {"transcription": "text", "speaker": "speaker_id", "gender": "gender", "emotion": "emotion", "age": "age"}
CLASSIFIED = ("speaker", "gender", "emotion")


@dataclass(frozen=True)
class TaskExample:
    """
    A recorded utterance and what speech tasks should answer to it, as far as that is known.

    Args:
        audio (`bytes` or `Path`): The encoded clip, or the file that holds it.
        name (`str`): What messages call it.
        known (`dict[str, str]`): By task, what a corpus tells; tasks of which it tells nothing are not there.
    """

    audio: bytes | Path = field(repr=False)
    name: str
    known: dict[str, str]


def read_examples(paths: Sequence[str | Path], tasks: Sequence[str] = tuple(TASKS)) -> list[TaskExample]:
    """
    Reads utterances with the columns that some tasks need.

    Args:
        paths (`Sequence[str | Path]`):
            What [`open_tables`] takes, with the column `audio`, which holds bytes, a path relative to the table, or
            `{"bytes", "path"}`, and any of the columns `text`, `speaker_id`, `gender`, `emotion` and `age` (in years).
            A column may be absent, or empty in some rows.
        tasks (`Sequence[str]`, *optional*): The tasks; by default all.

    Returns:
        `list[TaskExample]`: In the order of the tables and of their rows.

    Raises:
        `ValueError`: If a task is unknown, a table cannot be read, a row has no audio, or an age is not a number.
    """
    if unknown := sorted(set(tasks) - set(TASKS)):
        raise ValueError(f"There is no task {', '.join(unknown)}; choose from {', '.join(TASKS)}.")
    return [example for table in open_tables(paths, ["audio"]) for example in read_examples_of(table, tasks)]


def read_examples_of(table: Table, tasks: Sequence[str]) -> list[TaskExample]:
    examples, path = [], table.path
    for row in table.rows([TASKS[task] for task in tasks]):
        if row.clip is None:
            raise ValueError(
                f"{path}: row {row.number} has no audio, neither bytes nor a path. Complete or remove it."
            )
        known = {task: row.texts[TASKS[task]] for task in tasks if row.texts[TASKS[task]]}
        if "age" in known and not known["age"].replace(".", "", 1).isdecimal():
            raise ValueError(
                f"{path}: the age in row {row.number} is {known['age']!r}; it should be in years, or empty."
            )
        examples.append(TaskExample(row.clip, f"row {row.number} of {path.name}", known))
    return examples


def spoken_characters(text: str) -> str:
    """What of a text can be heard: its letters and digits in lower case, and single spaces between words."""
    heard = "".join(character if character.isalnum() or character == "'" else " " for character in text.casefold())
    return " ".join(heard.split())


@dataclass(frozen=True)
class Targets:
    """
    What the tasks can answer, as found in the training examples. A task that a corpus tells nothing of, or always the
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
    def of(cls, examples: Sequence[TaskExample]) -> "Targets":
        """Collects the targets of some examples."""
        texts = [spoken_characters(example.known.get("transcription", "")) for example in examples]
        classes = {
            task: sorted({example.known[task] for example in examples if task in example.known}) for task in CLASSIFIED
        }
        ages = torch.tensor([float(example.known["age"]) for example in examples if "age" in example.known])
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

    def encode(self, examples: Sequence[TaskExample]) -> dict[str, torch.Tensor]:
        """Targets of a batch: `-100` (for the age, NaN) where nothing is known.

        Returns:
            `dict`: for those of `tasks`, `transcription`, int64 of shape `(batch_size, longest_text)`, padded with
            -100; `speaker`, `gender` and `emotion`, int64, and `age`, float32 and standardized, of shape
            `(batch_size,)`.
        """
        encoded = {
            task: torch.tensor(
                [classes.index(example.known[task]) if task in example.known else IGNORED for example in examples]
            )
            for task, classes in self.classes.items()
        }
        if self.characters:
            texts = [spoken_characters(example.known.get("transcription", "")) for example in examples]
            tokens = [torch.tensor([self.characters.index(c) + 1 for c in text], dtype=torch.long) for text in texts]
            encoded["transcription"] = torch.nn.utils.rnn.pad_sequence(tokens, True, IGNORED)
        if self.age is not None:
            mean, std = self.age
            encoded["age"] = torch.tensor(
                [(float(example.known.get("age", "nan")) - mean) / std for example in examples]
            )
        return encoded


@dataclass
class SpeechTaskCollator:
    """
    Examples -> a batch of [`SpeechTaskModel`]: log-mel features at their real length, their mask, and targets.

    Args:
        feature_extractor ([`EmoIclFeatureExtractor`]): Turns clips into log-mel features.
        targets ([`Targets`]): What the tasks can answer.
    """

    feature_extractor: EmoIclFeatureExtractor
    targets: Targets

    def __call__(self, examples: Sequence[TaskExample]) -> dict[str, torch.Tensor]:
        waveforms = [self.feature_extractor.decode(example.audio, name=example.name) for example in examples]
        return {**self.feature_extractor(waveforms), **self.targets.encode(examples)}
