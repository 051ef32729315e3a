"""Arguments of the training of a classifier."""

import math
from dataclasses import dataclass, field

from emoicl.training.systems.base_config import EmoIclTrainingArguments
from emoicl.training.systems.sharding import refuse_sharding


@dataclass
class ClassifierTrainingArguments(EmoIclTrainingArguments):
    r"""
    Arguments of [`ClassifierTrainer`]: how items are drawn. The defaults are the paper's: RAdam, 64 utterances a
    batch, label smoothing 0.1.

    Args:
        absent_share (`float`, *optional*, defaults to 0.1):
            Share of the items of a personalized classifier that have no enrollment, so that it answers without too.
        targets_per_speaker (`int`, *optional*, defaults to 8):
            Targets of a speaker that stand together in a batch of a personalized classifier, where their enrollments
            share utterances: less to compute.
        frame_share (`float`, *optional*, defaults to 1.0):
            Share of each utterance's speech features that a training step sees, drawn anew each time; of a frozen
            speech encoder only.
    """

    ranges = {"absent_share": (0, 1), "targets_per_speaker": (1, math.inf), "frame_share": (0, 1)}

    absent_share: float = field(default=0.1, metadata={"help": "Share of the items without enrollment."})
    targets_per_speaker: int = field(default=8, metadata={"help": "Targets of a speaker that stand together."})
    frame_share: float = field(default=1.0, metadata={"help": "Share of an utterance's frames in a training step."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Utterances of a batch on each device."})
    label_smoothing_factor: float = field(default=0.1, metadata={"help": "Label smoothing."})

    def __post_init__(self):
        refuse_sharding(self, "a classifier")
        super().__post_init__()
