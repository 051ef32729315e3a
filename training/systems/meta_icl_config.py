"""Arguments of in-context meta-training."""

import math
from dataclasses import dataclass, field

from emoicl.training.episodes.enrollment import EnrollmentSetting
from emoicl.training.systems.base_config import ShotsEvaluationArguments


@dataclass
class MetaIclTrainingArguments(ShotsEvaluationArguments):
    r"""
    Arguments of [`MetaIclTrainer`]: how episodes are drawn. The defaults are the paper's second stage: RAdam, 64
    episodes a batch, label smoothing 0.1, TU+LU with 0 to 7 shots. The first stage is `max_shots=0`.

    Args:
        setting (`str`, *optional*, defaults to `"TU+LU"`):
            How enrollments are drawn, one of the nine settings.
        enrollment_label (`str`, *optional*):
            With TU+LO, the one emotion that every enrollment is of, such as the neutral one (the paper, Table IV).
        min_shots (`int`, *optional*, defaults to 0):
            Smallest number of shots of an episode.
        max_shots (`int`, *optional*, defaults to 7):
            Largest number of shots of an episode.
        symbol_share (`float`, *optional*, defaults to 0.3):
            Share of the episodes with shots in which random symbols stand for the labels. 0 is the paper's training,
            with which few training speakers teach a model to pass over the labels of the enrollment.
        frame_share (`float`, *optional*, defaults to 1.0):
            Share of each utterance's frames that a training step sees, drawn anew each time.
        adaptation_learning_rate (`float`, *optional*):
            Learning rate of the speaker adaptation, which starts from a closed form; by default `learning_rate`.
        predict_with_generate (`bool`, *optional*, defaults to `False`):
            Whether to evaluate the paper's way: of each utterance's scores only that of the label which beam search
            writes is not 0, and none is if the text is no label. By default each label has its exact probability.
    """

    ranges = {
        "min_shots": (0, math.inf),
        "max_shots": (0, math.inf),
        "symbol_share": (0, 1),
        "frame_share": (0, 1),
        "adaptation_learning_rate": (0, 1),
    }

    setting: str = field(default="TU+LU", metadata={"help": "How enrollments are drawn, such as TU+LU."})
    enrollment_label: str | None = field(
        default=None, metadata={"help": "The one emotion of enrollments, with TU+LO."}
    )
    min_shots: int = field(default=0, metadata={"help": "Smallest number of shots of an episode."})
    max_shots: int = field(default=7, metadata={"help": "Largest number of shots of an episode."})
    symbol_share: float = field(default=0.3, metadata={"help": "Share of episodes with symbols for labels."})
    frame_share: float = field(default=1.0, metadata={"help": "Share of an utterance's frames in a training step."})
    adaptation_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of the speaker adaptation; by default `learning_rate`."}
    )
    predict_with_generate: bool = field(default=False, metadata={"help": "Evaluate by beam search, the paper's way."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Episodes of a batch on each device."})
    label_smoothing_factor: float = field(default=0.1, metadata={"help": "Label smoothing."})

    @property
    def eval_label(self) -> str | None:
        return self.enrollment_label if self.eval_setting == "TU+LO" else None

    def __post_init__(self):
        setting = EnrollmentSetting.parse(self.setting)
        super().__post_init__()
        if self.min_shots > self.max_shots:
            raise ValueError(f"`min_shots` is {self.min_shots}, more than `max_shots`, {self.max_shots}.")
        if self.enrollment_label is not None and str(setting) != "TU+LO":
            raise ValueError(f"`enrollment_label` is the one emotion of TU+LO; it has no meaning with {setting}.")
