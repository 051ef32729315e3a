"""Arguments that the trainers of this package share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

from transformers import TrainingArguments

from emoicl.training.episodes.enrollment import EnrollmentSetting


@dataclass
class EmoIclTrainingArguments(TrainingArguments):
    r"""
    Arguments of an [`EmoIclTrainer`], beyond those of [`~transformers.TrainingArguments`].

    With `load_best_model_at_end` or `save_strategy="best"`, `metric_for_best_model` is `"ua_spk"` by default. Memory
    is pinned only where there is an accelerator with memory of its own.

    Args:
        radam (`bool`, *optional*, defaults to `True`):
            Whether to use RAdam, the paper's optimizer. `False` takes the one named by `optim`.

    Raises:
        `ValueError`: If a value is of another kind or out of its range.
    """

    # Smallest and largest value of the fields that are numbers.
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

    radam: bool = field(default=True, metadata={"help": "Use RAdam, the paper's optimizer, in place of `optim`."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Utterances of an evaluation batch."})
    remove_unused_columns: bool | None = field(default=False, metadata={"help": "Episodes have no columns."})

    def __post_init__(self):
        self._check_ranges()
        if self.include_for_metrics or self.batch_eval_metrics:
            raise ValueError(
                "`compute_metrics` is given the label scores and labels of a whole corpus: leave out "
                "`include_for_metrics` and `batch_eval_metrics`."
            )
        if self.metric_for_best_model is None and (self.load_best_model_at_end or self.save_strategy == "best"):
            self.metric_for_best_model = "ua_spk"
        super().__post_init__()
        self.dataloader_pin_memory &= self.device.type not in ("cpu", "mps")

    def _check_ranges(self) -> None:
        for item in fields(self):
            name, value = item.name, getattr(self, item.name)
            if name not in self.ranges or value is item.default is None:
                continue
            least, most = self.ranges[name]
            kind, words = (int, "a whole number") if item.type is int else (int | float, "a number")
            if not isinstance(value, kind) or isinstance(value, bool) or not least <= value <= most:
                up_to = f" to {most}" if most < math.inf else ""
                raise ValueError(f"`{name}` is {value!r}; it should be {words} from {least}{up_to}.")


@dataclass
class ShotsEvaluationArguments(EmoIclTrainingArguments):
    r"""
    Arguments of a trainer that is evaluated after several numbers of enrollment utterances (shots).

    Args:
        eval_shots (`list[int]`, *optional*, defaults to `[0, 3, 7]`):
            Numbers of shots at which UA_spk is measured. `"0,3,7"` is read too.
        eval_setting (`str`, *optional*, defaults to `"TU+LD"`): How enrollments are drawn, one of the nine settings.
    """

    eval_shots: list[int] = field(
        default_factory=lambda: [0, 3, 7], metadata={"help": "Numbers of shots at evaluation."}
    )
    eval_setting: str = field(default="TU+LD", metadata={"help": "How enrollments are drawn at evaluation."})

    @property
    def eval_label(self) -> str | None:
        """The one emotion that is enrolled at evaluation, if it is one."""
        return None

    def __post_init__(self):
        self.eval_shots = _numbers_of_shots(self.eval_shots)
        EnrollmentSetting.parse(self.eval_setting)
        super().__post_init__()


def _numbers_of_shots(given: object) -> list[int]:
    # Where all is text, or a single number, as in YAML and on a command line.
    parts = given if isinstance(given, list | tuple) else str(given).split(",")
    numbers = [int(part) for part in map(str, parts) if part.strip().isdecimal()]
    if not numbers or len(numbers) < len(parts):
        raise ValueError(f"`eval_shots` is {given!r}; it should be numbers from 0, such as [0, 3, 7].")
    return numbers
