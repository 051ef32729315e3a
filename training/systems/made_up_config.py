"""Arguments of the training on made-up speakers."""

from dataclasses import dataclass, field

from emoicl.training.systems.base_config import ShotsEvaluationArguments


@dataclass
class MadeUpTrainingArguments(ShotsEvaluationArguments):
    r"""
    Arguments of [`MadeUpTrainer`]: how contexts are drawn. A batch holds contexts, each with `num_targets` targets.

    Args:
        min_shots (`int`, *optional*, defaults to 0): Smallest number of shots.
        max_shots (`int`, *optional*, defaults to 7): Largest number of shots.
        num_targets (`int`, *optional*, defaults to 7): Targets that share an enrollment.
        wide_share (`float`, *optional*, defaults to 0.8):
            Share of the contexts in which room, voices and noise are not those of the training speakers.
        open_share (`float`, *optional*, defaults to 0.5): Share of the contexts with labels of unknown words.
        unlabeled_share (`float`, *optional*, defaults to 0.4): Share of those with shots that lack their label.
        noise (`float`, *optional*, defaults to 1.2):
            Variance of noise, relative to that of the training speakers: others are as far from their labels as these
            or farther.
        dependence (`float`, *optional*, defaults to 0.8):
            Largest share of the noise that dimensions share: where all are independent, a language model gets too
            sure.
        first_noise (`float`, *optional*, defaults to 0.05): The same, at the beginning.
        easing_share (`float`, *optional*, defaults to 0.3):
            Share of the training in which it rises from the one to the other.
        matching_steps (`int`, *optional*, defaults to 250):
            Steps in which all labels are unknown words, at the beginning. Shots are matched after 150 of them.
        encoder_loss_weight (`float`, *optional*, defaults to 1.0):
            Weight of a second loss: that the encoder's output at a target tells the label's first token from those
            of other labels, without the decoder, which learns it later. 0 leaves it out.
        contexts_per_epoch (`int`, *optional*, defaults to 2400): After how many of them all of this is looked up.
    """

    ranges = {
        "min_shots": (0, 10_000),
        "max_shots": (0, 10_000),
        "num_targets": (1, 10_000),
        "wide_share": (0, 1),
        "open_share": (0, 1),
        "unlabeled_share": (0, 1),
        "noise": (0.001, 1000),
        "dependence": (0, 1),
        "first_noise": (0.001, 1000),
        "easing_share": (0, 1),
        "matching_steps": (0, 10**9),
        "encoder_loss_weight": (0, 1000),
        "contexts_per_epoch": (1, 10**9),
    }

    min_shots: int = field(default=0, metadata={"help": "Smallest number of shots."})
    max_shots: int = field(default=7, metadata={"help": "Largest number of shots."})
    num_targets: int = field(default=7, metadata={"help": "Targets that share an enrollment."})
    wide_share: float = field(default=0.8, metadata={"help": "Share of contexts unlike the training speakers."})
    open_share: float = field(default=0.5, metadata={"help": "Share of contexts with labels of unknown words."})
    unlabeled_share: float = field(default=0.4, metadata={"help": "Share of contexts with shots without labels."})
    noise: float = field(default=1.2, metadata={"help": "Variance of noise, relative to the training speakers'."})
    dependence: float = field(default=0.8, metadata={"help": "Largest share of noise that dimensions share."})
    first_noise: float = field(default=0.05, metadata={"help": "The same, at the beginning."})
    easing_share: float = field(default=0.3, metadata={"help": "Share of the training in which it rises."})
    matching_steps: int = field(default=250, metadata={"help": "Steps with unknown words alone, at the beginning."})
    encoder_loss_weight: float = field(default=1.0, metadata={"help": "Weight of the loss on the encoder's output."})
    contexts_per_epoch: int = field(default=2400, metadata={"help": "Contexts of an epoch."})
    # Contexts never come twice: there is nothing to over-fit to slowly, which RAdam's warm-up is for.
    radam: bool = field(default=False, metadata={"help": "Use RAdam, the paper's optimizer, in place of `optim`."})
    per_device_train_batch_size: int = field(default=48, metadata={"help": "Contexts of a batch on each device."})

    def __post_init__(self):
        super().__post_init__()
        if self.min_shots > self.max_shots:
            raise ValueError(f"`min_shots` is {self.min_shots}, more than `max_shots`, {self.max_shots}.")
