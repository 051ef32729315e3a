"""Training of the paper's classifiers."""

from collections.abc import Mapping
from typing import Any, cast

from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.training.data.corpus import Corpus, CorpusLike
from emoicl.training.episodes.classifier_inputs import (
    ClassifierCollator,
    ClassifierDataset,
    SpeakerSampler,
    SpeechSource,
    speech_source,
)
from emoicl.training.evaluation.recognition import ClassifierRecognizer
from emoicl.training.evaluation.reports import Condition, EvaluationReport
from emoicl.training.systems.base_trainer import EmoIclTrainer, load_part
from emoicl.training.systems.classifier_config import ClassifierTrainingArguments


class ClassifierTrainer(EmoIclTrainer):
    r"""
    Trains a classifier of the paper. Each utterance of the corpus is a target once an epoch; a personalized classifier
    is given one utterance of the same speaker for each of its `enrollment_labels`, never the target: as many are the
    shots of its evaluation, which [`EmoIclTrainer`] tells of.

    Args:
        model ([`EmoIclForAudioClassification`]): The model.
        args ([`ClassifierTrainingArguments`]): How to train.
        train_dataset ([`Corpus`] or what [`load_corpus`] reads, such as a `datasets.Dataset`):
            Utterances of the training speakers.
        processing_class ([`EmoIclFeatureExtractor`]): Turns clips into what the speech encoder reads.
        eval_dataset ([`Corpus`] or what [`load_corpus`] reads, or a `dict` of them, *optional*):
            Utterances of other speakers, for UA_spk during training.
        speech ([`FeatureCache`] or [`InputCache`], *optional*):
            Where utterances are taken from; by default see [`speech_source`].
        column_names (`Mapping[str, str]`, *optional*): What the columns of both are called, see [`load_corpus`].
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
        train_dataset: CorpusLike,
        processing_class: EmoIclFeatureExtractor,
        eval_dataset: CorpusLike | dict[str, CorpusLike] | None = None,
        speech: SpeechSource | None = None,
        column_names: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        train_dataset = load_part("train_dataset", train_dataset, column_names)
        config: Any = model.config
        if args.frame_share < 1 and not config.freeze_speech_encoder:
            raise ValueError("`frame_share` takes features of a frozen speech encoder; this model trains it.")
        self.speech = speech or speech_source(model, processing_class)
        self.speech.fill_together(train_dataset.utterances)
        enrollment_labels = config.enrollment_labels or []
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            items=ClassifierDataset(
                train_dataset,
                list(config.id2label.values()),
                enrollment_labels,
                args.absent_share,
                seed=args.seed if args.data_seed is None else args.data_seed,
            ),
            eval_dataset=eval_dataset,
            column_names=column_names,
            processing_class=processing_class,
            data_collator=ClassifierCollator(
                train_dataset, self.speech, config.label2id, enrollment_labels, args.frame_share
            ),
            **kwargs,
        )

    def _get_train_sampler(self, train_dataset: ClassifierDataset | None = None) -> SpeakerSampler:
        items = cast(ClassifierDataset, train_dataset or self.train_dataset)
        args = self.args
        fill_last = args.world_size > 1 and not args.dataloader_drop_last
        return SpeakerSampler(
            items,
            args.targets_per_speaker if items.enrollment_labels else 1,
            multiple_of=args.train_batch_size * args.world_size if fill_last else 1,
        )

    def recognizer(self) -> ClassifierRecognizer:
        return ClassifierRecognizer(
            self.model, cast(Any, self.processing_class), self.speech, self.args.eval_batch_size
        )

    def report_on(self, corpus: Corpus) -> EvaluationReport:
        """Scores each utterance with one of its speaker for each enrollment label, always the same."""
        recognizer = self.recognizer()
        labels = recognizer.candidate_labels
        items = ClassifierDataset(corpus, labels, self.model.config.enrollment_labels)
        condition = Condition(len(items.enrollment_labels))
        starts = range(0, len(items), recognizer.batch_size)
        batches = [[items[item] for item in range(s, min(s + recognizer.batch_size, len(items)))] for s in starts]
        condition.add(recognizer.score_together(corpus, batches), labels)
        return EvaluationReport("TU+LD", [0], corpus.labels, corpus.speaker_ids, [condition], labels)
