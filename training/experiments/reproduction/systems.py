"""The systems of the paper's tables: a recipe for what each has of its own, and a size for what all share."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from emoicl.processing.processing_emoicl import CANDIDATE_LABELS
from emoicl.training.experiments.recipe import RECIPES, override, read_yaml


SYSTEMS = RECIPES / "systems"
SIZES = RECIPES / "sizes"
# As the paper's Table II has them, and then those that it lacks.
ORDER = (
    "linear_probe",
    "scratch",
    "pretrained",
    "personalized_n",
    "personalized_a",
    "prototypes",
    "zero_shot",
    "one_shot_n",
    "proposed",
    "adapted",
    "to_ld_7",
    "neutral_0_7",
)
KINDS = ("classifier", "speech_lm", "adapted", "linear_probe", "prototypes")


@dataclass(frozen=True)
class SystemTest:
    """
    One evaluation of a system.

    Args:
        setting (`str`): How enrollments are drawn.
        shots (`list[int]`): Numbers of shots.
        label (`str`, *optional*): With TU+LO, the one emotion to enroll; `"each"` for one evaluation of each label.
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


@dataclass(frozen=True)
class System:
    """
    What a system has of its own. Its file in `recipes/systems` is its recipe.

    Args:
        name (`str`): Name of its file.
        title (`str`): What the tables call it.
        kind (`str`): `"classifier"`, `"speech_lm"`, `"adapted"` (a speech LM with a speaker adaptation fitted to it),
            `"linear_probe"` or `"prototypes"`.
        tests (`list[SystemTest]`): What is measured.
        start (`str`, *optional*): The system whose weights it starts from.
        stage (`str`, *optional*): The stage of the size whose training arguments it takes.
        arguments (`dict`, *optional*): Training arguments that differ from those of the stage.
        model (`dict`, *optional*): Fields of the model that differ from those of the size.
    """

    name: str
    title: str
    kind: str
    tests: list[SystemTest]
    start: str | None = None
    stage: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str, labels: Sequence[str] = CANDIDATE_LABELS) -> "System":
        """
        Reads the recipe of a system.

        Args:
            name (`str`): Name of a system.
            labels (`Sequence[str]`, *optional*): The candidate labels, for tests of each.

        Raises:
            `ValueError`: If there is no such system.
        """
        if name not in ORDER:
            raise ValueError(f"There is no system {name!r}; there are {', '.join(ORDER)}.")
        path = SYSTEMS / f"{name}.yaml"
        content = read_yaml(path.read_text(), str(path))
        tests: list[SystemTest] = []
        for test in content.pop("tests"):
            of_labels = labels if test.get("label") == "each" else [test.get("label")]
            tests += [SystemTest(**(test | {"label": label})) for label in of_labels]
        return cls(name=name, tests=tests, **content)


@dataclass
class Size:
    """
    What all systems share: encoders, widths, and how long they are trained.

    Args:
        name (`str`): Name of the size.
        speech_lm (`dict`): Sizes of the speech LM, arguments of [`compose`].
        classifier (`dict`): Sizes of the classifiers, fields of [`EmoIclClassifierConfig`].
        scratch (`dict`): Sizes of the speech encoder of *Scratch*, fields of [`EmoIclSpeechEncoderConfig`].
        stages (`dict[str, dict]`): For each stage its training arguments.
        speech_encoder (`str`, *optional*): Hub name or folder of the pretrained speech encoder.
        language_model (`str`, *optional*): Hub name or folder of a pretrained language model; by default a new one.
        speech_layer (`int`, *optional*): Encoder layer that is used; by default the last.
        feature_dropout (`float`, *optional*, defaults to 0.0): Dropout probability on the speech features.
        enrollment_seeds (`int`, *optional*, defaults to 5): Enrollment draws of TU+LD, which Tables II and IV are of.
        setting_seeds (`int`, *optional*, defaults to 1): Enrollment draws of the other settings.
        orders (`int`, *optional*, defaults to 5): Orders of the same shots.
    """

    name: str
    speech_lm: dict[str, Any]
    classifier: dict[str, Any]
    scratch: dict[str, Any]
    stages: dict[str, dict[str, Any]]
    speech_encoder: str | None = None
    language_model: str | None = None
    speech_layer: int | None = None
    feature_dropout: float = 0.0
    enrollment_seeds: int = 5
    setting_seeds: int = 1
    orders: int = 5

    @classmethod
    def load(cls, name: str, overrides: Mapping[str, str] | None = None) -> "Size":
        """
        Reads a size.

        Args:
            name (`str`): One of those that come with the package, or a YAML file.
            overrides (`Mapping[str, str]`, *optional*): New values by dotted name, written as in YAML.

        Raises:
            `ValueError`: If there is no such size or field, or a field is missing.
        """
        path = Path(name) if Path(name).is_file() else SIZES / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(size.stem for size in SIZES.glob("*.yaml")))
            raise ValueError(f"There is no size {name!r}: give a YAML file, or one of {known}.")
        content = read_yaml(path.read_text(), str(path))
        for dotted, value in (overrides or {}).items():
            override(content, dotted, read_yaml(value, f"--{dotted}"))
        known_fields = {item.name for item in fields(cls)} - {"name"}
        required = {item.name for item in fields(cls) if item.default is item.default_factory is MISSING} - {"name"}
        if unknown := sorted(set(content) - known_fields):
            raise ValueError(
                f"{path.name}: no such field {', '.join(unknown)}; there are {', '.join(sorted(known_fields))}."
            )
        if missing := sorted(required - set(content)):
            raise ValueError(f"{path.name}: the field {', '.join(missing)} is missing.")
        return cls(name=path.stem, **content)
