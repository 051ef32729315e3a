"""In-context meta-training on episodes, as a Trainer of transformers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback, TrainerState

from emoicl.modeling.modeling_emoicl import IGNORED, EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.collation import EpisodeCollator
from emoicl.training.episodes.episodes import EpisodeDataset
from emoicl.training.episodes.sampling import ShotsSampler
from emoicl.training.evaluation.evaluate import evaluate
from emoicl.training.evaluation.recognition import SpeechLmRecognizer
from emoicl.training.publishing.card_callback import ModelCardCallback


@dataclass
class MetaIclTrainingArguments(Seq2SeqTrainingArguments):
    r"""
    Arguments of [`MetaIclTrainer`], which adds to [`~transformers.Seq2SeqTrainingArguments`] how episodes are drawn.
    The defaults are the paper's second stage: RAdam, 64 episodes a batch, label smoothing 0.1, TU+LU
    with 0 to 7 shots. The first stage is `max_shots=0`.

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
        radam (`bool`, *optional*, defaults to `True`):
            Whether to use RAdam, the paper's optimizer. `False` takes the one named by `optim`.
        eval_shots (`str`, *optional*, defaults to `"0,3,7"`):
            Numbers of shots at which `evaluate` measures UA_spk, joined by commas.
        eval_setting (`str`, *optional*, defaults to `"TU+LD"`):
            How `evaluate` draws enrollments; with TU+LO, those of `enrollment_label`.
    """

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
    radam: bool = field(default=True, metadata={"help": "Use RAdam, the paper's optimizer, in place of `optim`."})
    eval_shots: str = field(default="0,3,7", metadata={"help": "Numbers of shots at evaluation, joined by commas."})
    eval_setting: str = field(default="TU+LD", metadata={"help": "How enrollments are drawn at evaluation."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Episodes of a batch on each device."})
    label_smoothing_factor: float = field(default=0.1, metadata={"help": "Label smoothing."})
    remove_unused_columns: bool | None = field(default=False, metadata={"help": "Episodes have no columns."})


class DrawnAnew(Protocol):
    """Items that are drawn anew each epoch."""

    def set_epoch(self, epoch: int) -> None: ...


class EpochCallback(TrainerCallback):
    """Tells the items which epoch begins: the data loader itself does not where it resumes within an epoch, or in
    several processes (accelerate 1.15)."""

    def __init__(self, items: DrawnAnew):
        self.items = items

    def on_epoch_begin(self, args, state: TrainerState, control, **kwargs):
        self.items.set_epoch(int(state.epoch or 0))


class MetaIclTrainer(Seq2SeqTrainer):
    r"""
    Trains a speech language model to use the enrollment in its prompt (the paper's MetaICL).

    Several processes (`accelerate launch`) share each batch, with the losses of one process and a batch as large.

    Args:
        model ([`EmoIclForConditionalGeneration`]): The model, its speech encoder frozen, or its `PeftModel`.
        args ([`MetaIclTrainingArguments`]): How to train and how to draw episodes.
        train_dataset ([`Corpus`]): Utterances of the training speakers.
        eval_dataset ([`Corpus`], *optional*): Utterances of other speakers, for UA_spk during training.
        processing_class ([`EmoIclProcessor`]): Lays out the prompts; its `candidate_labels` are the labels.
        features ([`FeatureCache`], *optional*): Where speech features are kept; by default the default folder.
        **kwargs: Further arguments of [`~transformers.Seq2SeqTrainer`].

    Example:

    ```python
    >>> trainer = MetaIclTrainer(
    ...     model=model,
    ...     args=MetaIclTrainingArguments("outputs/mine", max_steps=1000),
    ...     train_dataset=load_corpus("train.parquet"),
    ...     eval_dataset=load_corpus("validation.parquet"),
    ...     processing_class=processor,
    ... )
    >>> trainer.train()
    ```
    """

    args: MetaIclTrainingArguments
    model: EmoIclForConditionalGeneration

    def __init__(
        self,
        model: EmoIclForConditionalGeneration,
        args: MetaIclTrainingArguments,
        train_dataset: Corpus,
        processing_class: EmoIclProcessor,
        eval_dataset: Corpus | None = None,
        features: FeatureCache | None = None,
        **kwargs: Any,
    ):
        self.processor = processing_class
        self.features = features or FeatureCache(model, processing_class.feature_extractor)
        # Each process computes its share; all wait for each other below.
        self.features.fill(train_dataset.utterances[args.process_index :: args.world_size])
        episodes = EpisodeDataset(
            train_dataset,
            processing_class.candidate_labels,
            shots=(args.min_shots, args.max_shots),
            setting=args.setting,
            symbol_share=args.symbol_share,
            enrollment_label=args.enrollment_label,
            seed=args.seed if args.data_seed is None else args.data_seed,
        )
        super().__init__(
            model=model,
            args=args,
            train_dataset=episodes,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            data_collator=EpisodeCollator(train_dataset, processing_class, model, self.features, args.frame_share),
            compute_loss_func=self.mean_token_loss,
            **kwargs,
        )
        self.add_callback(EpochCallback(episodes))
        self.card = ModelCardCallback(train_dataset, eval_dataset)
        self.add_callback(self.card)
        self.accelerator.wait_for_everyone()

    def mean_token_loss(
        self, outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, num_items_in_batch: torch.Tensor | int
    ) -> torch.Tensor:
        """Cross entropy with label smoothing, summed over the tokens of a batch, of which the optimizer's step has
        `num_items_in_batch`: labels differ in length, so that a mean of means would depend on how it is accumulated.
        """
        loss = torch.nn.functional.cross_entropy(
            outputs["logits"].flatten(0, 1).float(),
            labels.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self.args.label_smoothing_factor,
            reduction="sum",
        )
        return loss / num_items_in_batch

    def _get_train_sampler(self, train_dataset: EpisodeDataset | None = None) -> ShotsSampler:
        episodes = cast(EpisodeDataset, train_dataset or self.train_dataset)
        processes = self.args.world_size
        fill_last = processes > 1 and not self.args.dataloader_drop_last
        # All share a batch, so that a step has the episodes that it has in one process with a batch as large.
        return ShotsSampler(episodes, self.args.train_batch_size * processes, fill_last)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None and self.args.radam:
            self.optimizer = torch.optim.RAdam(
                self.parameter_groups(model or self.model),
                lr=self.args.learning_rate,
                betas=(self.args.adam_beta1, self.args.adam_beta2),
                eps=self.args.adam_epsilon,
                decoupled_weight_decay=True,
            )
        return super().create_optimizer(model)

    def parameter_groups(self, model: torch.nn.Module) -> list[dict[str, Any]]:
        """Parameters with and without weight decay, and those of the speaker adaptation."""
        decayed = self.get_decay_parameter_names(model)
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        adaptation = [parameter for name, parameter in named if "adaptation." in name]
        others = [(name, parameter) for name, parameter in named if "adaptation." not in name]
        rate = self.args.adaptation_learning_rate
        groups = [
            {"params": [p for name, p in others if name in decayed], "weight_decay": self.args.weight_decay},
            {"params": [p for name, p in others if name not in decayed], "weight_decay": 0.0},
            {
                "params": adaptation,
                "weight_decay": 0.0,
                "lr": self.args.learning_rate if rate is None else rate,
            },
        ]
        return [group for group in groups if group["params"]]

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the model, its processor, the facts of its training and its card."""
        super().save_model(output_dir, _internal_call)
        # The callback writes beside a checkpoint.
        if not _internal_call:
            self.card.save(str(output_dir or self.args.output_dir))

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:  # pyright: ignore
        """Writes the card into `output_dir`, as `push_to_hub` asks."""
        self.card.save(str(self.args.output_dir))

    def evaluate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        eval_dataset: Corpus | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        **gen_kwargs: Any,
    ) -> dict[str, float]:
        """UA_spk at each of `args.eval_shots` (`args.eval_setting`, one enrollment seed), their mean as `eval_ua_spk`.

        Args:
            eval_dataset ([`Corpus`], *optional*): Utterances of speakers that are not trained on.
            ignore_keys (`list[str]`, *optional*): Unused; part of the interface of Trainer.
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`): Put before the names of the metrics.
            **gen_kwargs: Unused; part of the interface of Seq2SeqTrainer.

        Returns:
            `dict[str, float]`: The metrics, also given to callbacks and the log.
        """
        corpus = eval_dataset or self.eval_dataset
        if not isinstance(corpus, Corpus):
            raise ValueError("`evaluate` needs a `Corpus`, as an argument or as the trainer's `eval_dataset`.")
        # YAML reads a single number as such.
        shots = [int(number) for number in str(self.args.eval_shots).split(",")]
        recognizer = SpeechLmRecognizer(self.model, self.processor, self.features)
        setting = self.args.eval_setting
        label = self.args.enrollment_label if setting == "TU+LO" else None
        report = evaluate(recognizer, corpus, shots, setting, seeds=[0], controls=[], label=label)
        accuracies = {k: report.accuracy(k).ua_spk for k in shots}
        metrics = {f"{metric_key_prefix}_ua_spk_{k}_shot": accuracy for k, accuracy in accuracies.items()}
        metrics[f"{metric_key_prefix}_ua_spk"] = sum(accuracies.values()) / len(accuracies)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self._memory_tracker.stop_and_update_metrics(metrics)
        return metrics
