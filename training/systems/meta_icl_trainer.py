"""In-context meta-training on episodes, as a Trainer of transformers."""

from collections.abc import Mapping
from typing import Any, cast

import torch

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.data.corpus import CorpusLike
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.collation import EpisodeCollator
from emoicl.training.episodes.episodes import EpisodeDataset
from emoicl.training.episodes.sampling import ShotsSampler
from emoicl.training.evaluation.recognition import SpeechLmRecognizer
from emoicl.training.systems.base_trainer import EmoIclTrainer, load_part
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments


class MetaIclTrainer(EmoIclTrainer):
    r"""
    Trains a speech language model to use the enrollment in its prompt (the paper's MetaICL). [`EmoIclTrainer`] tells
    what `evaluate`, `predict` and `compute_metrics` give, at each of `args.eval_shots`.

    Args:
        model ([`EmoIclForConditionalGeneration`]): The model, its speech encoder frozen, or its `PeftModel`.
        args ([`MetaIclTrainingArguments`]): How to train and how to draw episodes.
        train_dataset ([`Corpus`] or what [`load_corpus`] reads, such as a `datasets.Dataset`):
            Utterances of the training speakers.
        processing_class ([`EmoIclProcessor`]): Lays out the prompts; its `candidate_labels` are the labels.
        eval_dataset ([`Corpus`] or what [`load_corpus`] reads, or a `dict` of them, *optional*):
            Utterances of other speakers, for UA_spk during training.
        features ([`FeatureCache`], *optional*): Where speech features are kept; by default the default folder.
        column_names (`Mapping[str, str]`, *optional*): What the columns of both are called, see [`load_corpus`].
        **kwargs: Further arguments of [`~transformers.Trainer`].

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
        train_dataset: CorpusLike,
        processing_class: EmoIclProcessor,
        eval_dataset: CorpusLike | dict[str, CorpusLike] | None = None,
        features: FeatureCache | None = None,
        column_names: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        train_dataset = load_part("train_dataset", train_dataset, column_names)
        self.processor = processing_class
        self.features = features or FeatureCache(model, processing_class.feature_extractor)
        self.features.fill_together(train_dataset.utterances)
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            items=EpisodeDataset(
                train_dataset,
                processing_class.candidate_labels,
                shots=(args.min_shots, args.max_shots),
                setting=args.setting,
                symbol_share=args.symbol_share,
                enrollment_label=args.enrollment_label,
                seed=args.seed if args.data_seed is None else args.data_seed,
            ),
            eval_dataset=eval_dataset,
            column_names=column_names,
            processing_class=processing_class,
            data_collator=EpisodeCollator(train_dataset, processing_class, model, self.features, args.frame_share),
            **kwargs,
        )

    def _get_train_sampler(self, train_dataset: EpisodeDataset | None = None) -> ShotsSampler:
        episodes = cast(EpisodeDataset, train_dataset or self.train_dataset)
        processes = self.args.world_size
        fill_last = processes > 1 and not self.args.dataloader_drop_last
        # All share a batch, so that a step has the episodes that it has in one process with a batch as large.
        return ShotsSampler(episodes, self.args.train_batch_size * processes, fill_last)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            model = model or self.model
            kind, options = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer_cls_and_kwargs = kind, {"params": self.parameter_groups(model), **options}
        return super().create_optimizer(model)

    def parameter_groups(self, model: torch.nn.Module) -> list[dict[str, Any]]:
        """Parameters with and without weight decay, and those of the speaker adaptation, at a rate of their own."""
        decayed = self.get_decay_parameter_names(model)
        rate = self.args.adaptation_learning_rate
        of_kind: dict[str, dict[str, Any]] = {
            "decayed": {"weight_decay": self.args.weight_decay},
            "not decayed": {"weight_decay": 0.0},
            "adaptation": {"weight_decay": 0.0, "lr": self.args.learning_rate if rate is None else rate},
        }
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                other = "decayed" if name in decayed else "not decayed"
                of_kind["adaptation" if "adaptation." in name else other].setdefault("params", []).append(parameter)
        return [group for group in of_kind.values() if "params" in group]

    def recognizer(self) -> SpeechLmRecognizer:
        decoding = "beam" if self.args.predict_with_generate else "labels"
        return SpeechLmRecognizer(self.model, self.processor, self.features, decoding, self.args.eval_batch_size)
