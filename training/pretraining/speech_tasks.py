"""Pretrains the paper's speech encoder from scratch, on several speech-understanding tasks at once."""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedModel, TrainingArguments, set_seed

from emoicl.modeling.configuration_emoicl import EmoIclSpeechEncoderConfig
from emoicl.modeling.speech_encoder_emoicl import EmoIclSpeechEncoder
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.training.experiments.recipe import keep_settings
from emoicl.training.experiments.stage_running import run_stage
from emoicl.training.pretraining.running import Schedule, pretraining_arguments
from emoicl.training.pretraining.speech_data import (
    IGNORED,
    TASKS,
    SpeechTaskCollator,
    Targets,
    read_examples,
)
from emoicl.training.systems.checkpoints import ResumableTrainer
from emoicl.training.systems.sharding import refuse_sharding


logger = logging.getLogger(__name__)

BLANK = 0


@strict
class SpeechTaskConfig(EmoIclSpeechEncoderConfig):
    r"""
    Configuration of [`SpeechTaskModel`]: that of the speech encoder, and what the heads answer.

    Args:
        head_sizes (`dict[str, int]`, *optional*):
            By task, the number of outputs of its head. A task that is not named has none.
        task_weights (`dict[str, float]`, *optional*):
            Weights of the tasks in the sum of losses, by default 1.
    """

    model_type = "emoicl_speech_tasks"

    head_sizes: dict[str, int] | None = None
    task_weights: dict[str, float] | None = None


class SpeechTaskModel(PreTrainedModel):
    r"""
    The speech encoder with a linear head for each task: on every 40 ms for the transcription (CTC, Graves et al.
    2006), on the mean over time for speaker, gender, emotion and age. The heads only teach the encoder, and are
    dropped.

    Args:
        config ([`SpeechTaskConfig`]): Sizes of the encoder and of the heads.
    """

    config_class = SpeechTaskConfig
    base_model_prefix = "speech_encoder"
    main_input_name = "input_features"

    def __init__(self, config: SpeechTaskConfig):
        super().__init__(config)
        self.speech_encoder = EmoIclSpeechEncoder(config)
        sizes = config.head_sizes or {}
        self.heads = nn.ModuleDict({task: nn.Linear(config.hidden_size, size) for task, size in sizes.items()})
        self.post_init()

    def forward(
        self,
        input_features: torch.Tensor,
        input_features_mask: torch.Tensor,
        transcription: torch.Tensor | None = None,
        speaker: torch.Tensor | None = None,
        gender: torch.Tensor | None = None,
        emotion: torch.Tensor | None = None,
        age: torch.Tensor | None = None,
    ) -> dict[str, Any]:
        """
        Args:
            input_features (`torch.Tensor` of shape `(batch_size, num_mel_bins, num_frames)`): Log-mel features.
            input_features_mask (`torch.Tensor` of shape `(batch_size, num_frames)`): 1 for real frames.
            transcription, speaker, gender, emotion, age (`torch.Tensor`, *optional*):
                What [`Targets.encode`] gives. Where nothing is known of an utterance, its task is passed over.

        Returns:
            `dict`: `loss`, the weighted sum, and `losses`, by task.
        """
        states = self.speech_encoder(input_features, input_features_mask).last_hidden_state
        mask = self.speech_encoder.feature_mask(input_features_mask)
        lengths = mask.sum(1)
        pooled = (states * mask[..., None]).sum(1) / lengths[:, None]
        targets = {"speaker": speaker, "gender": gender, "emotion": emotion}
        losses = {task: class_loss(self.heads[task](pooled), of) for task, of in targets.items() if of is not None}
        if transcription is not None:
            losses["transcription"] = transcription_loss(self.heads["transcription"](states), lengths, transcription)
        if age is not None:
            losses["age"] = age_loss(self.heads["age"](pooled)[:, 0], age)
        weights = self.config.task_weights or {}
        return {"loss": sum(weights.get(task, 1.0) * loss for task, loss in losses.items()), "losses": losses}


def transcription_loss(logits: torch.Tensor, lengths: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """CTC's negative log likelihood per character, over the utterances whose text is known."""
    num_characters = (targets != IGNORED).sum(1)
    loss = nn.functional.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1),
        targets.clamp(min=BLANK),
        lengths,
        num_characters,
        blank=BLANK,
        reduction="none",
        # A text that is longer than CTC can align with its frames teaches nothing.
        zero_infinity=True,
    )
    # Without any character, CTC would ask for silence.
    return (loss * (num_characters > 0)).sum() / num_characters.sum().clamp(min=1)


def class_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy over the utterances whose class is known."""
    loss = nn.functional.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")
    return loss / (targets != IGNORED).sum().clamp(min=1)


def age_loss(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the standardized age over the utterances whose age is known."""
    known = ~targets.isnan()
    errors = (predictions.float() - targets.nan_to_num()) * known
    return errors.square().sum() / known.sum().clamp(min=1)


class SpeechTaskTrainer(ResumableTrainer):
    """A Trainer that logs the loss of each task beside their sum."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.of_tasks: dict[str, list[torch.Tensor]] = {}

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any):
        outputs = model(**inputs)
        for task, loss in outputs["losses"].items():
            self.of_tasks.setdefault(task, []).append(loss.detach())
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs |= {f"{task}_loss": torch.stack(losses).mean().item() for task, losses in self.of_tasks.items()}
            self.of_tasks.clear()
        super().log(logs, start_time)


@dataclass(frozen=True)
class SpeechEncoderSize:
    """
    A speech encoder and how it is pretrained.

    Args:
        encoder (`dict`): Sizes of the encoder, fields of [`EmoIclSpeechEncoderConfig`].
        schedule ([`Schedule`]): How it is trained.
    """

    encoder: dict[str, Any]
    schedule: Schedule


SPEECH_ENCODER_SIZES = {
    "tiny": SpeechEncoderSize(
        encoder={"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 512},
        schedule=Schedule(max_steps=1000, batch_size=16, learning_rate=1e-3),
    ),
    "base": SpeechEncoderSize(
        encoder={"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024},
        schedule=Schedule(max_steps=20_000, batch_size=32, learning_rate=1e-3),
    ),
    # The defaults of the configuration are the paper's.
    "paper": SpeechEncoderSize(encoder={}, schedule=Schedule(max_steps=200_000, batch_size=64, learning_rate=5e-4)),
}


@dataclass
class SpeechEncoderPretraining:
    """
    All of a pretraining of a speech encoder.

    Args:
        corpora (`list[str]`): Tables of the *training* speakers, see [`read_examples`]. A model is later evaluated on
            speakers that its encoder has not heard either.
        output_dir (`str`): Where checkpoints and the encoder go.
        tasks (`list[str]`): The tasks, of which those are left out that the corpora tell nothing of.
        task_weights (`dict[str, float]`): Weights of tasks in the sum of losses, by default 1.
        size ([`SpeechEncoderSize`]): The encoder and how it is trained.
        seed (`int`): Seed of the weights and of all draws.
    """

    corpora: list[str]
    output_dir: str
    tasks: list[str] = field(default_factory=lambda: list(TASKS))
    task_weights: dict[str, float] = field(default_factory=dict)
    size: SpeechEncoderSize = SPEECH_ENCODER_SIZES["tiny"]
    seed: int = 0


def pretrain_speech_encoder(pretraining: SpeechEncoderPretraining) -> EmoIclSpeechEncoder:
    """
    Runs a pretraining. Run again after an interruption, it goes on at the checkpoint that it was at. Several processes
    (`accelerate launch`) each take a batch of a step.

    Args:
        pretraining ([`SpeechEncoderPretraining`]): What to run.

    Returns:
        [`EmoIclSpeechEncoder`]: The encoder without the heads; also in `output_dir/model`, for
        `emoicl init --speech-encoder`.

    Raises:
        `ValueError`: If a corpus cannot be read, there is nothing to learn from it, or `output_dir` holds a run with
            other settings.
    """
    output_dir, size = Path(pretraining.output_dir), pretraining.size
    stage_dir = output_dir / "speech_tasks"
    args = TrainingArguments(**pretraining_arguments(stage_dir, size.schedule, pretraining.seed))
    refuse_sharding(args, "a speech encoder")
    if unknown := sorted(set(pretraining.task_weights) - set(pretraining.tasks)):
        raise ValueError(f"There are weights for {', '.join(unknown)}; the tasks are {', '.join(pretraining.tasks)}.")
    examples = read_examples(pretraining.corpora, pretraining.tasks)
    targets = Targets.of(examples)
    if not targets.tasks:
        columns = ", ".join(TASKS[task] for task in pretraining.tasks)
        raise ValueError(f"{', '.join(pretraining.corpora)}: nothing to learn in any of the columns {columns}.")
    logger.info("Pretraining on %d clips: %s.", len(examples), ", ".join(targets.tasks))
    keep_settings(asdict(pretraining), output_dir / "settings.yaml")
    set_seed(pretraining.seed)
    config = SpeechTaskConfig(head_sizes=targets.head_sizes, task_weights=pretraining.task_weights, **size.encoder)
    extractor = EmoIclFeatureExtractor(feature_size=config.num_mel_bins)

    def make_trainer(model: SpeechTaskModel) -> SpeechTaskTrainer:
        return SpeechTaskTrainer(
            model=model,
            args=args,
            train_dataset=cast(Any, examples),
            data_collator=SpeechTaskCollator(extractor, targets),
        )

    model = run_stage(stage_dir, SpeechTaskModel(config), make_trainer)
    encoder = EmoIclSpeechEncoder(EmoIclSpeechEncoderConfig(**size.encoder))
    encoder.load_state_dict(model.speech_encoder.state_dict())
    if PartialState().is_main_process:
        encoder.save_pretrained(output_dir / "model")
        extractor.save_pretrained(output_dir / "model")
    PartialState().wait_for_everyone()
    return encoder.eval()
