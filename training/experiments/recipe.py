"""A recipe: all that is trained and measured, from corpora and sizes to stages and tests, as plain data."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from accelerate import PartialState
from transformers import PreTrainedModel

from emoicl.processing.processing_emoicl import CANDIDATE_LABELS
from emoicl.training.data.writing import write_aside


# Beside what a recipe makes.
RECIPE_NAME = "recipe.yaml"
# What the weights depend on, beside the speakers and the stages.
COMPOSITION = (
    "speech_encoder",
    "speech_layer",
    "language_model",
    "lora",
    "trim_silence",
    "level",
    "pad_silence",
    "augmented_copies",
    "feature_dropout",
    "labels",
    "seed",
    "model",
    "qformer",
    "text",
    "num_open_labels",
    "open_labels",
    "left_out",
)


@dataclass(frozen=True)
class SystemTest:
    """
    One evaluation of what a recipe makes.

    Args:
        setting (`str`): How enrollments are drawn.
        shots (`list[int]`): Numbers of shots; those that a corpus has too few utterances for are left out.
        label (`str`, *optional*): With TU+LO, the one emotion to enroll; `"each"` for one test of each label.
        controls (`bool`, *optional*, defaults to `False`): Whether the two controls are run at the largest number.
        orders (`bool`, *optional*, defaults to `False`): Whether other orders of the same shots are run there.
    """

    setting: str
    shots: list[int]
    label: str | None = None
    controls: bool = False
    orders: bool = False

    @property
    def name(self) -> str:
        """What the tables call it, such as `"TU+LO Neutral"`."""
        return f"{self.setting} {self.label}" if self.label else self.setting

    def of_labels(self, labels: Sequence[str]) -> "list[SystemTest]":
        """The test of each label where it is of `"each"`, else itself alone."""
        chosen = labels if self.label == "each" else [self.label]
        return [SystemTest(self.setting, self.shots, label, self.controls, self.orders) for label in chosen]


@dataclass
class Recipe:
    """
    All of what is trained and measured. In a file, `extends: [sizes/tiny]` takes over the fields of other recipes.

    Args:
        name (`str`): That of its file.
        run (`list[str]`): The stages to run, in their order.
        stages (`dict`): By name, the `type` of a stage (adaptation, classifier, contrastive_shots, encoder,
            linear_probe, made_up_speakers, meta_icl, normalized_probe, prototypes, shots_alone or weights) and its
            fields: the arguments of its trainer, and those of its class.
        train (`list[str]`): Tables of the training speakers, relative to `data_folder`.
        validation (`list[str]`): Tables of the speakers that choose the best checkpoint.
        test (`list[str]`): Tables of the speakers that are reported on.
        open_labels (`list[str]`): Tables of training speakers with other labels than the candidates, to tune by.
        left_out (`list[str]`): Tables of corpora that nothing is fitted to, but by which a speaker adaptation is
            weighted too: it should help where nobody measured it.
        data_folder (`str`, defaults to `.`): Folder that holds the tables.
        output (`str`, defaults to `outputs/NAME`): Where checkpoints, the model and the report go.
        cache_folder (`str`, *optional*): Where speech features are kept.
        labels (`list[str]`, defaults to the paper's seven): Candidate labels; utterances of others are left out.
        seed (`int`, defaults to 0): Seed of the weights and of all draws in training.
        speech_encoder (`str`, *optional*): Hub name or folder of the pretrained speech encoder.
        speech_layer (`int` or `list[int]`, *optional*): Its layer that is used, or several side by side; by default
            the last.
        language_model (`str`, *optional*): Hub name or folder of a pretrained one, by default a T5 from scratch.
        lora (`dict`): Low-rank adapters that meta_icl and made_up_speakers train in place of the weights of a
            pretrained language model, such as `{r: 16, lora_alpha: 32}`: fields of `LoraConfig` of peft (extra
            `lora`). Without `target_modules` they are of all its linear layers but the head. `load_in_4bit: true`
            beside them trains them on weights of 4 bits (QLoRA; extra `quantized`).
        trim_silence (`float`, *optional*): Field of [`EmoIclFeatureExtractor`]; by default nothing is cut.
        level (`float`, *optional*): The same; by default an utterance is as loud as it was recorded.
        pad_silence (`float`, defaults to 0.0): The same; in seconds.
        augmented_copies (`int`, defaults to 0): How many copies of each training speaker, as if another person had
            spoken in another room, the statistics are fitted to as well; see [`Augmentation`].
        feature_dropout (`float`, defaults to 0.0): Dropout probability on the features of a frozen encoder.
        model (`dict`): Further fields of [`EmoIclConfig`], such as `num_query_tokens`.
        qformer (`dict`): Sizes of the Q-Former, fields of `Blip2QFormerConfig`.
        text (`dict`): Sizes of a language model from scratch, fields of `T5Config`.
        num_open_labels (`int`, defaults to 0): Tokens of a language model from scratch for labels of unknown words.
        title (`str`, defaults to the name): What the tables call it.
        tests (`list[SystemTest]`, defaults to TU+LD at 0 to 7 shots with controls): What is measured.
        enrollment_seeds (`int`, defaults to 5): Enrollment draws of TU+LD.
        setting_seeds (`int`, defaults to 1): Enrollment draws of the other settings.
        orders (`int`, defaults to 5): Orders of the same shots, where a test has some.
        card (`dict`): What the model card says that no run can tell; the remarks of [`Provenance`].
    """

    name: str
    run: list[str]
    stages: dict[str, dict[str, Any]]
    train: list[str] = field(default_factory=list)
    validation: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    open_labels: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    data_folder: str = "."
    output: str = ""
    cache_folder: str | None = None
    labels: list[str] = field(default_factory=lambda: list(CANDIDATE_LABELS))
    seed: int = 0
    speech_encoder: str | None = None
    speech_layer: int | list[int] | None = None
    language_model: str | None = None
    lora: dict[str, Any] = field(default_factory=dict)
    trim_silence: float | None = None
    level: float | None = None
    pad_silence: float = 0.0
    augmented_copies: int = 0
    feature_dropout: float = 0.0
    model: dict[str, Any] = field(default_factory=dict)
    qformer: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)
    num_open_labels: int = 0
    title: str = ""
    tests: list[SystemTest] = field(default_factory=lambda: [SystemTest("TU+LD", list(range(8)), controls=True)])
    enrollment_seeds: int = 5
    setting_seeds: int = 1
    orders: int = 5
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.output = self.output or f"outputs/{self.name}"
        self.title = self.title or self.name
        self.tests = [of_label for test in self.tests for of_label in test.of_labels(self.labels)]

    @property
    def audio(self) -> dict[str, Any]:
        """Fields of the feature extractor."""
        return {"trim_silence": self.trim_silence, "level": self.level, "pad_silence": self.pad_silence}

    def tables(self, split: str) -> list[Path]:
        return [Path(self.data_folder) / table for table in getattr(self, split)]

    def stage_digest(self, name: str) -> str:
        """Tells whether two recipes make the same weights up to the end of a stage, on the same speakers."""
        before = self.run[: self.run.index(name) + 1]
        settings = {key: getattr(self, key) for key in COMPOSITION} | {"stages": [self.stages[key] for key in before]}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def keep_settings(settings: Mapping[str, Any], path: Path) -> None:
    """Writes settings beside what is made with them, so that a run is never taken up again with others.

    Args:
        settings (`Mapping`): Plain values.
        path (`Path`): The YAML file.

    Raises:
        `ValueError`: If the file is there with other settings.
    """
    content = yaml.safe_dump(dict(settings), sort_keys=False)
    if path.exists() and path.read_text() != content:
        raise ValueError(
            f"{path.parent} holds a run with other settings, {path.name}: choose another folder, or remove that one."
        )
    with write_aside(path) as aside:
        aside.write_text(content)


@contextmanager
def keeping_settings(settings: Mapping[str, Any], path: Path) -> Iterator[None]:
    """
    Keeps settings beside what is made with them, as [`keep_settings`]. If nothing was made, because it failed at its
    start, they are removed again: the next start may have others. Of several processes, the first writes.

    Args:
        settings (`Mapping`): Plain values.
        path (`Path`): The YAML file.

    Raises:
        `ValueError`: If the file is there with other settings.
    """
    was_there = path.exists()
    with PartialState().main_process_first():
        keep_settings(settings, path)
    try:
        yield
    except BaseException:
        made = (file for file in path.parent.rglob("*") if file.is_file() and not file.name.startswith("."))
        if not was_there and all(file == path for file in made):
            path.unlink(missing_ok=True)
        raise


def save_checkpoint(model: PreTrainedModel, processor: Any, folder: str | Path) -> None:
    """Saves a model and its processor.

    Args:
        model (`PreTrainedModel`): The model.
        processor ([`EmoIclProcessor`] or [`EmoIclFeatureExtractor`]): What makes its inputs.
        folder (`str` or `Path`): Where to.
    """
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
