"""Trains and measures systems on one split of the speakers. What is done is on disk, and is not done again."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import set_seed

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.prototypes import LinearProbe, PrototypeBaseline
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.classifier_inputs import InputCache
from emoicl.training.episodes.enrollment import EnrollmentError, max_shots, select_enrollment
from emoicl.training.evaluation.evaluate import CONTROLS, evaluate
from emoicl.training.evaluation.recognition import ClassifierRecognizer, Recognizer, SpeechLmRecognizer
from emoicl.training.evaluation.reports import EvaluationReport
from emoicl.training.experiments.recipe import save_checkpoint
from emoicl.training.experiments.reproduction.splits import SpeakerSplit
from emoicl.training.experiments.reproduction.systems import Size, System, SystemTest
from emoicl.training.experiments.stages import run_stage, stage_arguments
from emoicl.training.systems.adaptation import add_adaptation
from emoicl.training.systems.classifier_config import ClassifierTrainingArguments
from emoicl.training.systems.classifier_trainer import ClassifierTrainer
from emoicl.training.systems.composition import compose, compose_classifier
from emoicl.training.systems.initialization import fit_feature_normalization
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer


logger = logging.getLogger(__name__)


@dataclass
class Outcome:
    """
    What a test gave for one test corpus.

    Args:
        report ([`EvaluationReport`], *optional*): The numbers of shots that could be drawn; `None` if there is none.
        reasons (`dict[int, str]`): For each other number of shots, why not.
    """

    report: EvaluationReport | None
    reasons: dict[int, str]


class Experiment:
    """
    Trains and measures systems on one split of the speakers.

    Args:
        size ([`Size`]): What all systems share.
        split ([`SpeakerSplit`]): Speakers to train on, to choose the best checkpoint by, and to report on.
        labels (`Sequence[str]`): The candidate labels.
        folder (`str` or `Path`): Where models and predictions go, a folder for each system.
        seed (`int`, *optional*, defaults to 0): Seed of the weights and of all draws in training.
        cache_folder (`str` or `Path`, *optional*): Where speech features are kept.
    """

    def __init__(
        self,
        size: Size,
        split: SpeakerSplit,
        labels: Sequence[str],
        folder: str | Path,
        seed: int = 0,
        cache_folder: str | Path | None = None,
    ):
        self.size = size
        self.split = split
        self.labels = list(labels)
        self.folder = Path(folder)
        self.seed = seed
        self.cache_folder = cache_folder

    def run(self, system: System) -> dict[tuple[str, str], Outcome]:
        """
        Measures a system, after training what is not yet trained.

        Args:
            system ([`System`]): What to train and measure.

        Returns:
            `dict` of [`Outcome`] by name of the test and of the test corpus.
        """
        outcomes: dict[tuple[str, str], Outcome] = {}
        recognizer: Recognizer | None = None
        for test in system.tests:
            for name, corpus in self.split.test.items():
                path = self.folder / system.name / f"{test.name.replace(' ', '_')}.{name}.safetensors"
                shots, reasons = drawable_shots(corpus, test)
                if shots and not path.exists():
                    recognizer = recognizer or self.recognizer(system)
                    logger.info("%s, %s: %s on %s, %s.", self.split.name, system.title, test.name, name, shots)
                    self.measure(recognizer, corpus, test, shots).save_predictions(path)
                outcomes[test.name, name] = Outcome(
                    EvaluationReport.load_predictions(path) if shots else None, reasons
                )
        return outcomes

    def measure(
        self, recognizer: Recognizer, corpus: Corpus, test: SystemTest, shots: Sequence[int]
    ) -> EvaluationReport:
        in_full = test.setting == "TU+LD"
        return evaluate(
            recognizer,
            corpus,
            shots=shots,
            setting=test.setting,
            seeds=range(self.size.enrollment_seeds if in_full else self.size.setting_seeds),
            controls=CONTROLS if test.controls else (),
            label=test.label,
            orders=self.size.orders if test.orders else 1,
        )

    def recognizer(self, system: System) -> Recognizer:
        """The trained system."""
        set_seed(self.seed)
        if system.kind == "classifier":
            return self.classifier(system)
        model, processor = self.compose()
        features = FeatureCache(model, processor.feature_extractor, self.cache_folder)
        if system.kind == "linear_probe":
            return LinearProbe(self.split.train, PooledFeatures(features), self.labels)
        if system.kind == "prototypes":
            return PrototypeBaseline(self.split.train, PooledFeatures(features), self.labels, self.split.validation)
        if system.kind == "adapted":
            model = self.adapted(system, processor, features)
            save_checkpoint(model, processor, self.folder / system.name / "model")
        else:
            model = self.speech_lm(system)
        return SpeechLmRecognizer(model, processor, features)

    def compose(self) -> tuple[EmoIclForConditionalGeneration, EmoIclProcessor]:
        """A speech LM as it is before training, without a speaker adaptation: the paper's."""
        without_adaptation: dict[str, Any] = self.size.speech_lm | {"adaptation_config": None}
        return compose(
            self.speech_encoder(),
            self.labels,
            speech_layer=self.size.speech_layer,
            language_model=self.size.language_model,
            feature_dropout=self.size.feature_dropout,
            **without_adaptation,
        )

    def speech_encoder(self) -> str:
        if self.size.speech_encoder is None:
            raise ValueError(
                f"The size {self.size.name!r} names no pretrained speech encoder: give one (--speech_encoder), "
                "such as the folder that `emoicl pretrain speech-encoder` wrote."
            )
        return self.size.speech_encoder

    def classifier(self, system: System) -> Recognizer:
        """A trained classifier."""
        stage_dir = self.folder / system.name
        fields = self.size.classifier | system.model
        if fields.get("enrollment_labels") == "all":
            fields["enrollment_labels"] = self.labels
        if system.name == "scratch":
            # It has transformer layers of its own, and nothing frozen that could be over-fitted.
            model, feature_extractor = compose_classifier(None, self.labels, **self.size.scratch)
        else:
            model, feature_extractor = compose_classifier(
                self.speech_encoder(),
                self.labels,
                speech_layer=self.size.speech_layer,
                feature_dropout=self.size.feature_dropout,
                **fields,
            )
        speech = InputCache(feature_extractor)
        if model.config.freeze_speech_encoder:
            speech = FeatureCache(model, feature_extractor, self.cache_folder)
            fit_feature_normalization(model, self.split.train, speech)
        args = ClassifierTrainingArguments(**self.stage(system, stage_dir))
        logger.info("%s: training %s in %s.", self.split.name, system.title, stage_dir)
        model = run_stage(
            stage_dir,
            model,
            lambda model: ClassifierTrainer(
                model=model,
                args=args,
                train_dataset=self.split.train,
                eval_dataset=self.split.validation,
                processing_class=feature_extractor,
                speech=speech,
            ),
        )
        return ClassifierRecognizer(model.eval(), feature_extractor, speech)

    def speech_lm(self, system: System) -> EmoIclForConditionalGeneration:
        """A trained speech LM, and before it the one that it starts from."""
        stage_dir = self.folder / system.name
        if (stage_dir / "model").exists():
            return EmoIclForConditionalGeneration.from_pretrained(stage_dir / "model")
        model, processor = self.compose()
        features = FeatureCache(model, processor.feature_extractor, self.cache_folder)
        if system.start is None:
            fit_feature_normalization(model, self.split.train, features)
        else:
            model = self.speech_lm(System.load(system.start, self.labels))
        args = MetaIclTrainingArguments(**self.stage(system, stage_dir))
        args.eval_shots = self.validation_shots(args)
        logger.info("%s: training %s in %s.", self.split.name, system.title, stage_dir)
        return run_stage(
            stage_dir,
            model,
            lambda model: MetaIclTrainer(
                model=model,
                args=args,
                train_dataset=self.split.train,
                eval_dataset=self.split.validation,
                processing_class=processor,
                features=features,
            ),
        )

    def stage(self, system: System, stage_dir: Path) -> dict[str, Any]:
        """Training arguments of a system."""
        if system.stage not in self.size.stages:
            raise ValueError(f"The size {self.size.name!r} has no stage {system.stage!r}, which {system.title} needs.")
        return stage_arguments(stage_dir, self.seed) | self.size.stages[system.stage] | system.arguments

    def validation_shots(self, args: MetaIclTrainingArguments) -> list[int]:
        """Those of `args.eval_shots` that the validation speakers have utterances for."""
        label = args.enrollment_label if args.eval_setting == "TU+LO" else None
        drawable, _ = drawable_shots(self.split.validation, SystemTest(args.eval_setting, args.eval_shots, label))
        return drawable or [0]

    def adapted(
        self, system: System, processor: EmoIclProcessor, features: FeatureCache
    ) -> EmoIclForConditionalGeneration:
        """The speech LM that the system starts from, with a speaker adaptation in closed form."""
        trained = self.speech_lm(System.load(str(system.start), self.labels))
        adaptation_config = self.size.speech_lm["adaptation_config"]
        return add_adaptation(trained, processor, self.split.train, self.split.validation, features, adaptation_config)


def drawable_shots(corpus: Corpus, test: SystemTest) -> tuple[list[int], dict[int, str]]:
    """
    The numbers of shots of a test for which each utterance of a corpus can be given an enrollment.

    Args:
        corpus ([`Corpus`]): Test utterances.
        test ([`SystemTest`]): The setting and the numbers of shots.

    Returns:
        `tuple`: the numbers that can be drawn, and for each other one why not (what the smallest of them lacks).
    """
    limits = [max_shots(corpus, target, test.setting, label=test.label) for target in range(len(corpus))]
    scarcest = min(range(len(corpus)), key=limits.__getitem__)
    absent = sorted(k for k in test.shots if k > limits[scarcest])
    reason = ""
    if absent:
        try:
            select_enrollment(corpus, scarcest, absent[0], test.setting, label=test.label)
        except EnrollmentError as error:
            reason = str(error)
    return [k for k in test.shots if k not in absent], dict.fromkeys(absent, reason)
