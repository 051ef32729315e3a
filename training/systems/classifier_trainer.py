"""The paper's classifiers: how they are composed, trained and evaluated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from transformers import AutoConfig, Trainer, TrainingArguments

from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.modeling.configuration_emoicl import EmoIclClassifierConfig
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.classifier_inputs import (
    ClassifierCollator,
    ClassifierDataset,
    SpeakerSampler,
    SpeechSource,
    index_shots,
    speech_source,
)
from emoicl.training.episodes.episodes import Episode
from emoicl.training.evaluation.metrics import speaker_accuracy
from emoicl.training.evaluation.recognition import evaluation_mode
from emoicl.training.publishing.card_callback import ModelCardCallback
from emoicl.training.systems.composition import load_feature_extractor, load_speech_encoder
from emoicl.training.systems.meta_icl_trainer import EpochCallback


def compose_classifier(
    speech_encoder: str | None,
    labels: Sequence[str],
    enrollment_labels: Sequence[str] | None = None,
    speech_layer: int | None = None,
    speech: Mapping[str, Any] | None = None,
    **fields: Any,
) -> tuple[EmoIclForAudioClassification, EmoIclFeatureExtractor]:
    """
    Composes a classifier: *Scratch* without a pretrained speech encoder, *Pretrained* with one, and *Personalized_N*
    or *Personalized_A* with enrollment labels.

    Args:
        speech_encoder (`str`, *optional*): Hub name or folder of a pretrained speech encoder, which stays frozen.
            `None` makes a new one, [`EmoIclSpeechEncoder`], which is trained.
        labels (`Sequence[str]`): The labels.
        enrollment_labels (`Sequence[str]`, *optional*): Labels of which utterances of the speaker join the input.
        speech_layer (`int`, *optional*): Encoder layer that is classified; those above are left away.
        speech (`Mapping`, *optional*): Sizes of a new speech encoder, fields of [`EmoIclSpeechEncoderConfig`].
        **fields: Further fields of [`EmoIclClassifierConfig`].

    Returns:
        `tuple`: the model, all random but a pretrained speech encoder, and its feature extractor.
    """
    new_encoder = {"model_type": "emoicl_speech_encoder", **(speech or {})}
    config = EmoIclClassifierConfig(
        **{
            "speech_config": new_encoder if speech_encoder is None else AutoConfig.from_pretrained(speech_encoder),
            "speech_layer": speech_layer,
            "freeze_speech_encoder": speech_encoder is not None,
            "id2label": dict(enumerate(labels)),
            "enrollment_labels": None if enrollment_labels is None else list(enrollment_labels),
            **fields,
        }
    )
    model = EmoIclForAudioClassification(config)
    if speech_encoder is None:
        return model, EmoIclFeatureExtractor(feature_size=config.speech_config.num_mel_bins)
    load_speech_encoder(model, speech_encoder)
    return model, load_feature_extractor(model, speech_encoder)


@dataclass
class ClassifierTrainingArguments(TrainingArguments):
    r"""
    Arguments of [`ClassifierTrainer`], which adds to [`~transformers.TrainingArguments`] how items are drawn. The
    defaults are the paper's: RAdam, 64 utterances a batch, label smoothing 0.1.

    Args:
        absent_share (`float`, *optional*, defaults to 0.1):
            Share of the items of a personalized classifier that have no enrollment, so that it answers without too.
        targets_per_speaker (`int`, *optional*, defaults to 8):
            Targets of a speaker that stand together in a batch of a personalized classifier, where their enrollments
            share utterances: less to compute.
        frame_share (`float`, *optional*, defaults to 1.0):
            Share of each utterance's speech features that a training step sees, drawn anew each time; of a frozen
            speech encoder only.
        radam (`bool`, *optional*, defaults to `True`):
            Whether to use RAdam, the paper's optimizer. `False` takes the one named by `optim`.
    """

    absent_share: float = field(default=0.1, metadata={"help": "Share of the items without enrollment."})
    targets_per_speaker: int = field(default=8, metadata={"help": "Targets of a speaker that stand together."})
    frame_share: float = field(default=1.0, metadata={"help": "Share of an utterance's frames in a training step."})
    radam: bool = field(default=True, metadata={"help": "Use RAdam, the paper's optimizer, in place of `optim`."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Utterances of a batch on each device."})
    label_smoothing_factor: float = field(default=0.1, metadata={"help": "Label smoothing."})
    remove_unused_columns: bool | None = field(default=False, metadata={"help": "Items have no columns."})


class ClassifierTrainer(Trainer):
    r"""
    Trains a classifier of the paper. Each utterance of the corpus is a target once an epoch; a personalized classifier
    is given one utterance of the same speaker for each of its `enrollment_labels`, never the target.

    Args:
        model ([`EmoIclForAudioClassification`]): The model.
        args ([`ClassifierTrainingArguments`]): How to train.
        train_dataset ([`Corpus`]): Utterances of the training speakers.
        eval_dataset ([`Corpus`], *optional*): Utterances of other speakers, for UA_spk during training.
        processing_class ([`EmoIclFeatureExtractor`]): Turns clips into what the speech encoder reads.
        speech ([`FeatureCache`] or [`InputCache`], *optional*):
            Where utterances are taken from; by default see [`speech_source`].
        **kwargs: Further arguments of [`~transformers.Trainer`].

    Raises:
        ValueError: If the corpus has labels that the model lacks, or a `frame_share` goes with a speech encoder that
            is trained.

    Example:

    ```python
    >>> model, feature_extractor = compose_classifier("openai/whisper-tiny.en", labels, enrollment_labels=labels)
    >>> trainer = ClassifierTrainer(
    ...     model=model,
    ...     args=ClassifierTrainingArguments("outputs/personalized_a", max_steps=400),
    ...     train_dataset=load_corpus("train.parquet", labels),
    ...     eval_dataset=load_corpus("validation.parquet", labels),
    ...     processing_class=feature_extractor,
    ... )
    >>> trainer.train()
    ```
    """

    args: ClassifierTrainingArguments
    model: EmoIclForAudioClassification

    def __init__(
        self,
        model: EmoIclForAudioClassification,
        args: ClassifierTrainingArguments,
        train_dataset: Corpus,
        processing_class: EmoIclFeatureExtractor,
        eval_dataset: Corpus | None = None,
        speech: SpeechSource | None = None,
        **kwargs: Any,
    ):
        config: Any = model.config
        if args.frame_share < 1 and not config.freeze_speech_encoder:
            raise ValueError("`frame_share` takes features of a frozen speech encoder; this model trains it.")
        self.speech = speech or speech_source(model, processing_class)
        self.speech.fill(train_dataset)
        items = ClassifierDataset(
            train_dataset,
            list(config.id2label.values()),
            config.enrollment_labels,
            args.absent_share,
            seed=args.seed if args.data_seed is None else args.data_seed,
        )
        enrollment_labels = config.enrollment_labels or []
        super().__init__(
            model=model,
            args=args,
            train_dataset=items,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            data_collator=ClassifierCollator(
                train_dataset, self.speech, config.label2id, enrollment_labels, args.frame_share
            ),
            optimizer_cls_and_kwargs=radam(args) if args.radam else None,
            **kwargs,
        )
        self.add_callback(EpochCallback(items))
        self.add_callback(ModelCardCallback(train_dataset, eval_dataset))

    def _get_train_sampler(self, train_dataset: ClassifierDataset | None = None) -> SpeakerSampler:
        items = cast(ClassifierDataset, train_dataset or self.train_dataset)
        return SpeakerSampler(items, self.args.targets_per_speaker if items.enrollment_labels else 1)

    def evaluate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        eval_dataset: Corpus | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """UA_spk, with one utterance of the speaker for each enrollment label, always the same, as `eval_ua_spk`.

        Args:
            eval_dataset ([`Corpus`], *optional*): Utterances of speakers that are not trained on.
            ignore_keys (`list[str]`, *optional*): Unused; part of the interface of Trainer.
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`): Put before the names of the metrics.

        Returns:
            `dict[str, float]`: The metrics, also given to callbacks and the log.
        """
        corpus = eval_dataset or self.eval_dataset
        if not isinstance(corpus, Corpus):
            raise ValueError("`evaluate` needs a `Corpus`, as an argument or as the trainer's `eval_dataset`.")
        recognizer = ClassifierRecognizer(self.model, cast(Any, self.processing_class), self.speech)
        items = ClassifierDataset(corpus, recognizer.candidate_labels, self.model.config.enrollment_labels)
        scores = recognizer.score(corpus, [items[item] for item in range(len(items))])
        predictions = [recognizer.candidate_labels[best] for best in scores.argmax(-1)]
        metrics = {
            f"{metric_key_prefix}_ua_spk": speaker_accuracy(predictions, corpus.labels, corpus.speaker_ids).ua_spk
        }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self._memory_tracker.stop_and_update_metrics(metrics)
        return metrics


def radam(args: TrainingArguments) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """RAdam with the learning rate and coefficients of `args`, and decoupled weight decay."""
    coefficients = {"betas": (args.adam_beta1, args.adam_beta2), "eps": args.adam_epsilon}
    return torch.optim.RAdam, {"lr": args.learning_rate, "decoupled_weight_decay": True, **coefficients}


class ClassifierRecognizer:
    """
    A classifier as a [`Recognizer`]. Shots with a label that is not among the `enrollment_labels` of the model are
    passed over; all others join the attention, also several of one label.

    Each utterance of a corpus goes through the model once, for all episodes it will stand in. So make a new recognizer
    when the weights of the model have changed.

    Args:
        model ([`EmoIclForAudioClassification`]): The model.
        feature_extractor ([`EmoIclFeatureExtractor`]): Turns clips into what the speech encoder reads.
        speech ([`FeatureCache`] or [`InputCache`], *optional*):
            Where utterances are taken from; by default see [`speech_source`].
        batch_size (`int`, *optional*, defaults to 64): Utterances in a batch.
    """

    def __init__(
        self,
        model: EmoIclForAudioClassification,
        feature_extractor: EmoIclFeatureExtractor,
        speech: SpeechSource | None = None,
        batch_size: int = 64,
    ):
        self.model = model
        self.speech = speech or speech_source(model, feature_extractor)
        self.batch_size = batch_size
        self._embedded: tuple[Corpus, torch.Tensor] | None = None

    @property
    def candidate_labels(self) -> list[str]:
        id2label: Any = self.model.config.id2label
        return [id2label[number] for number in range(len(id2label))]

    @torch.no_grad()
    def score(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        """Probabilities of the labels; see [`Recognizer`]."""
        with evaluation_mode(self.model):
            embeds = self.embed(corpus)
            inputs = index_shots(episodes, self.model.config.enrollment_labels or [])
            inputs = {name: tensor.to(self.model.device) for name, tensor in inputs.items()}
            logits = self.model(utterance_embeds=embeds, **inputs).logits
        return logits.double().softmax(-1).cpu().numpy()

    def embed(self, corpus: Corpus) -> torch.Tensor:
        """Vectors of all utterances of a corpus, which are kept until another corpus is asked for."""
        if self._embedded is None or self._embedded[0] is not corpus:
            self.speech.fill(corpus)
            embeds = []
            for start in range(0, len(corpus), self.batch_size):
                batch = self.speech.load(corpus.utterances[start : start + self.batch_size])
                batch = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
                embeds.append(self.model.get_audio_features(**batch).pooler_output)
            self._embedded = corpus, torch.cat(embeds)
        return self._embedded[1]
