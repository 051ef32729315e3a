"""Arguments of the tuning of a speech encoder."""

from dataclasses import dataclass, field

from emoicl.training.systems.base_config import ShotsEvaluationArguments


@dataclass
class EncoderTrainingArguments(ShotsEvaluationArguments):
    r"""
    Arguments of [`EncoderTrainer`]: how utterances are drawn.

    Args:
        open_share (`float`, *optional*, defaults to 0.5):
            Share of the blocks whose labels are drawn from all that the training corpora have, rather than from the
            candidates alone.
        pseudo_speaker_spread (`float`, *optional*, defaults to 0.1):
            How far the frequencies and the tempo of a block are from those recorded, at most. 0 leaves them.
        hidden_share (`float`, *optional*, defaults to 0.15):
            Largest share of the frequencies, and of the frames, that is hidden in each utterance.
        longest (`float`, *optional*, defaults to 2.5): How much of an utterance a step hears, in seconds.
    """

    ranges = {
        "open_share": (0, 1),
        "pseudo_speaker_spread": (0, 0.5),
        "hidden_share": (0, 1),
        "longest": (0.1, 60),
    }

    open_share: float = field(default=0.5, metadata={"help": "Share of blocks with labels beyond the candidates."})
    pseudo_speaker_spread: float = field(default=0.1, metadata={"help": "Largest change of frequencies and tempo."})
    hidden_share: float = field(default=0.15, metadata={"help": "Largest share of frequencies and frames hidden."})
    longest: float = field(default=2.5, metadata={"help": "How much of an utterance a step hears, in seconds."})
    # The paper says nothing of tuning; the bundled model's encoder was tuned by AdamW, the default of `optim`.
    radam: bool = field(default=False, metadata={"help": "Use RAdam in place of `optim`."})
    per_device_train_batch_size: int = field(default=4, metadata={"help": "Speakers of a batch on each device."})
