"""The stages of a recipe, by type: what each needs, and what it does with what the stages before it made."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from inspect import get_annotations
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from accelerate import PartialState
from transformers import PreTrainedModel, set_seed

from emoicl.modeling.configuration_emoicl import EmoIclClassifierConfig, EmoIclSpeechEncoderConfig
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.baselines.contrastive import ContrastiveShots, CroppedFeatures
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.prototypes import LinearProbe, PrototypeBaseline
from emoicl.training.baselines.shots_alone import ShotsAlone
from emoicl.training.baselines.speaker_normalization import NormalizedProbe
from emoicl.training.baselines.speaker_statistics import check_corpus, split_sources
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.classifier_inputs import InputCache
from emoicl.training.evaluation.recognition import ClassifierRecognizer, Recognizer, SpeechLmRecognizer
from emoicl.training.experiments.measurement import drawable_shots
from emoicl.training.experiments.recipe import Recipe, SystemTest
from emoicl.training.experiments.stage_running import keep_model, run_stage, stage_arguments
from emoicl.training.experiments.voice_size import Size, check_size, dimensions, pooled_size, pretrained
from emoicl.training.systems.adaptation import add_adaptation, fit_statistics
from emoicl.training.systems.base_config import ShotsEvaluationArguments
from emoicl.training.systems.classifier_config import ClassifierTrainingArguments
from emoicl.training.systems.classifier_trainer import ClassifierTrainer
from emoicl.training.systems.composition import compose, compose_classifier
from emoicl.training.systems.encoder_config import EncoderTrainingArguments
from emoicl.training.systems.encoder_trainer import EncoderTrainer, start_adaptation
from emoicl.training.systems.initialization import fit_feature_normalization
from emoicl.training.systems.made_up_config import MadeUpTrainingArguments
from emoicl.training.systems.made_up_trainer import MadeUpTrainer, prepare_to_hear, prepare_to_read
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer


# Largest number of dimensions of the voice embeddings by which a speech encoder is tuned.
TUNING_SIZE = 256
# It takes no part in the tuning.
SMALLEST_LANGUAGE_MODEL: dict[str, Any] = {
    "num_query_tokens": 1,
    "qformer": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8},
    "text": {"d_model": 8, "d_kv": 8, "d_ff": 8, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 1},
}


class SpeechLm(NamedTuple):
    """
    A speech language model and what it takes.

    Args:
        model ([`EmoIclForConditionalGeneration`]): The model.
        processor ([`EmoIclProcessor`]): Its processor.
        features ([`FeatureCache`]): Features of its speech encoder.
    """

    model: EmoIclForConditionalGeneration
    processor: EmoIclProcessor
    features: FeatureCache


@dataclass(frozen=True)
class Context:
    """
    What the stages of a recipe work on and hand on.

    Args:
        recipe ([`Recipe`]): The recipe.
        training ([`Corpus`]): Utterances of the training speakers.
        validation ([`Corpus`]): Those of the speakers that choose the best checkpoint.
        folders (`Mapping[str, Path]`): The folder of each stage.
        open_labels ([`Corpus`], *optional*): Utterances of training speakers with other labels than the candidates.
        left_out ([`Corpus`], *optional*): Utterances of corpora that nothing is fitted to.
        speech_encoder (`PreTrainedModel`, *optional*): The speech encoder, if a stage has tuned it.
        speech_lm ([`SpeechLm`], *optional*): The speech LM, as the last stage left it.
        recognizer ([`Recognizer`], *optional*): What is measured.
        checkpoint (`tuple`, *optional*): The model that is measured, and what makes its inputs; a baseline has none.
    """

    recipe: Recipe
    training: Corpus
    validation: Corpus
    folders: Mapping[str, Path]
    open_labels: Corpus | None = None
    left_out: Corpus | None = None
    speech_encoder: PreTrainedModel | None = None
    speech_lm: SpeechLm | None = None
    recognizer: Recognizer | None = None
    checkpoint: tuple[PreTrainedModel, EmoIclProcessor | EmoIclFeatureExtractor] | None = None

    def latest_speech_lm(self, adaptation_config: dict[str, Any] | None = None) -> SpeechLm:
        """The speech LM, which is new if no stage has made one, with such a speaker adaptation if given."""
        if self.speech_lm is not None:
            return self.speech_lm
        recipe = self.recipe
        set_seed(recipe.seed)
        model, processor = compose(
            pretrained(recipe),
            recipe.labels,
            speech_layer=recipe.speech_layer,
            language_model=recipe.language_model,
            qformer=recipe.qformer,
            text=None if recipe.language_model else recipe.text,
            feature_dropout=recipe.feature_dropout,
            num_open_labels=recipe.num_open_labels,
            audio=recipe.audio,
            adaptation_config=adaptation_config,
            **recipe.model,
        )
        if self.speech_encoder is not None:
            model.get_encoder(modality="audio").load_state_dict(self.speech_encoder.state_dict())
        features = FeatureCache(model, processor.feature_extractor, recipe.cache_folder)
        for corpus in (self.training, self.validation):
            features.fill_together(corpus.utterances)
        for of_copy in features.copies(recipe.augmented_copies):
            of_copy.fill_together(self.training.utterances)
        if not model.config.voice_token:
            fit_feature_normalization(model, self.training, features)
        return SpeechLm(model, processor, features)

    def hand_on(self, speech_lm: SpeechLm) -> "Context":
        """Itself with the speech LM as a stage has left it."""
        recognizer = SpeechLmRecognizer(*speech_lm)
        return replace(self, speech_lm=speech_lm, recognizer=recognizer, checkpoint=speech_lm[:2])


@dataclass
class Stage:
    """
    One stage of a recipe. Its fields are what a recipe may set, and the arguments of its trainer are too.

    Args:
        name (`str`): What the recipe calls it.
        arguments (`dict`): Training arguments; empty for a stage that has no trainer.
    """

    trainer_arguments: ClassVar[type | None] = None
    # Whether a recipe may end with it.
    is_testable: ClassVar[bool] = True
    # Whether what it makes hangs on the training speakers.
    is_trained: ClassVar[bool] = True
    # Arguments that differ for this stage from what all stages share.
    defaults: ClassVar[dict[str, Any]] = {}
    # Fields that are sizes of a model, and the configuration that has them.
    sections: ClassVar[dict[str, type]] = {}

    name: str
    arguments: dict[str, Any]

    @classmethod
    def hints(cls) -> dict[str, Any]:
        """Types of the fields that a recipe may set."""
        described_by = [part for part in (cls.trainer_arguments, cls) if part is not None]
        hints = {name: hint for part in described_by for name, hint in written_types(part).items()}
        return {name: hint for name, hint in hints.items() if name not in ("name", "arguments", "output_dir")}

    def check_parts(self, recipe: Recipe) -> None:
        """Refuses what does not fit together whoever speaks, before any tables are read.

        Raises:
            `ValueError`: If the stage cannot be run.
        """

    def check(self, context: Context) -> None:
        """Refuses, before anything is computed, what `run` would stumble over hours later.

        Raises:
            `ValueError`: If the stage cannot be run.
        """
        if self.trainer_arguments is not None:
            try:
                self.training_arguments(context)
            except (ValueError, TypeError) as error:
                raise ValueError(f"stages.{self.name}: {' '.join(str(error).split())}") from error

    def run(self, context: Context) -> Context:
        """
        Runs the stage, or takes what an earlier run of it left in its folder. Interrupted, it goes on there.

        Args:
            context ([`Context`]): What the stages before it made.

        Returns:
            [`Context`]: With what this stage made.
        """
        raise NotImplementedError

    def training_arguments(self, context: Context) -> Any:
        """Arguments of the trainer."""
        assert self.trainer_arguments is not None
        shared = stage_arguments(context.folders[self.name], context.recipe.seed)
        return self.trainer_arguments(**(shared | self.defaults | self.arguments))


def written_types(described_by: type) -> dict[str, Any]:
    """The fields that a dataclass takes, and their types as they were written: HfArgumentParser changes those that
    `dataclasses.fields` tells, for the whole process."""
    assert is_dataclass(described_by)
    hints = {name: hint for base in reversed(described_by.__mro__) for name, hint in get_annotations(base).items()}
    return {item.name: hints[item.name] for item in fields(described_by) if item.init}


@dataclass
class EncoderStage(Stage):
    """Tunes the pretrained speech encoder on all utterances of the training speakers, those of open labels too."""

    trainer_arguments = EncoderTrainingArguments
    # There is nothing to evaluate: the language model comes later.
    is_testable = False
    defaults = {"eval_strategy": "no", "load_best_model_at_end": False}

    def check(self, context: Context) -> None:
        super().check(context)
        if context.recipe.run[0] != self.name:
            raise ValueError(f"{self.name} tunes the speech encoder that all other stages hear by: run it first.")

    def run(self, context: Context) -> Context:
        recipe, training = context.recipe, context.training
        corpus = Corpus([*training, *context.open_labels]) if context.open_labels is not None else training
        set_seed(recipe.seed)
        model, processor = compose(
            pretrained(recipe),
            recipe.labels,
            known_labels=[*recipe.labels, *sorted(set(corpus.labels) - set(recipe.labels))],
            freeze_speech_encoder=False,
            adaptation_config={"size": min(TUNING_SIZE, pooled_size(recipe))},
            speech_layer=recipe.speech_layer,
            **SMALLEST_LANGUAGE_MODEL,
        )
        inputs = InputCache(processor.feature_extractor)
        args = self.training_arguments(context)

        tuned = run_stage(
            context.folders[self.name],
            model,
            lambda model: EncoderTrainer(model, args, corpus, recipe.labels, inputs),
            lambda model: start_adaptation(model, corpus, processor.feature_extractor, recipe.cache_folder),
        )
        return replace(context, speech_encoder=tuned.get_encoder(modality="audio"))


@dataclass
class MetaIclStage(Stage):
    """Trains the speech LM on episodes: without shots (stage 1 of the paper), or with them (MetaICL)."""

    trainer_arguments = MetaIclTrainingArguments

    def run(self, context: Context) -> Context:
        speech_lm = context.latest_speech_lm()
        args: MetaIclTrainingArguments = self.training_arguments(context)
        args.eval_shots = validation_shots(args, context.validation)
        model = run_stage(
            context.folders[self.name],
            speech_lm.model,
            lambda model: MetaIclTrainer(
                model=model,
                args=args,
                train_dataset=context.training,
                eval_dataset=context.validation,
                processing_class=speech_lm.processor,
                features=speech_lm.features,
            ),
            lora=context.recipe.lora,
        )
        return context.hand_on(speech_lm._replace(model=model))


@dataclass
class MadeUpSpeakersStage(Stage):
    """
    Teaches the language model to read enrollments, by speakers that are drawn from the statistics of real ones.

    Args:
        size (`int` or `"all"`, *optional*, defaults to `"all"`):
            Dimensions of the voice embeddings, all for those of the pooled features. A stage `adaptation` after it has
            the same.
    """

    trainer_arguments = MadeUpTrainingArguments

    size: Size = "all"

    def check_parts(self, recipe: Recipe) -> None:
        check_size(self.name, self.size, recipe)
        model = {"voice_token": False, "bind_labels": False, "enrollment_sees_target": True} | recipe.model
        if not (model["voice_token"] and model["bind_labels"]) or model["enrollment_sees_target"]:
            raise ValueError(
                f"{self.name} teaches a model with `voice_token`, `bind_labels` and `enrollment_sees_target: false`; "
                "recipes of such models extend layouts/reader."
            )
        if recipe.language_model is None and recipe.num_open_labels < len(recipe.labels):
            raise ValueError(
                f"{self.name} teaches a language model from scratch that has tokens for labels of unknown words: "
                f"set `num_open_labels` to {len(recipe.labels)} or more, or name a pretrained `language_model`."
            )
        for name in recipe.run:
            stage = recipe.stages[name]
            if stage["type"] == "adaptation" and (size := stage.get("size", "all")) != self.size:
                raise ValueError(
                    f"stages.{name}.size is {size}, and stages.{self.name}.size is {self.size}: what the "
                    "language model is taught to hear stays the same, so give both one size."
                )

    def run(self, context: Context) -> Context:
        # The language model alone is taught, and measured by the validation speakers.
        speech_lm = context.latest_speech_lm(
            {"size": dimensions(self.size), "probe_weight": 0.0, "prototype_weight": 0.0}
        )
        args: MadeUpTrainingArguments = self.training_arguments(context)
        args.eval_shots = validation_shots(args, context.validation)

        def start(model: EmoIclForConditionalGeneration) -> None:
            fit_statistics(model, context.training, speech_lm.features, context.recipe.augmented_copies)
            prepare = prepare_to_read if context.recipe.language_model is None else prepare_to_hear
            prepare(model)

        model = run_stage(
            context.folders[self.name],
            speech_lm.model,
            lambda model: MadeUpTrainer(
                model, args, context.training, speech_lm.processor, context.validation, speech_lm.features
            ),
            start,
            context.recipe.lora,
        )
        return context.hand_on(speech_lm._replace(model=model))


def validation_shots(args: ShotsEvaluationArguments, validation: Corpus) -> list[int]:
    """Those of `args.eval_shots` that the validation speakers have utterances for."""
    drawable, _ = drawable_shots(validation, SystemTest(args.eval_setting, args.eval_shots, args.eval_label))
    return drawable or [0]


@dataclass
class AdaptationStage(Stage):
    """
    Gives the speech LM a speaker adaptation in closed form, and blends the two on the validation speakers.

    Args:
        size (`int` or `"all"`, *optional*, defaults to `"all"`):
            Dimensions of the voice embeddings, all for those of the pooled features.
        sources (`list[str]`): Source corpora with statistics of their own.
    """

    size: Size = "all"
    sources: list[str] = field(default_factory=list)

    def check_parts(self, recipe: Recipe) -> None:
        check_size(self.name, self.size, recipe)

    def check(self, context: Context) -> None:
        split_sources(context.training, self.sources, context.recipe.labels)
        self.weighing(context)

    def weighing(self, context: Context) -> Corpus:
        """The utterances that the blend is weighted by."""
        if context.left_out is None:
            return context.validation
        return Corpus([*context.validation, *context.left_out])

    def run(self, context: Context) -> Context:
        model, processor, features = speech_lm = context.latest_speech_lm()
        for corpus in (context.training, self.weighing(context)):
            features.fill_together(corpus.utterances)
        finished, processes = context.folders[self.name] / "model", PartialState()
        if not finished.exists() and processes.is_main_process:
            fields = {"size": dimensions(self.size), "sources": self.sources}
            adapted = add_adaptation(
                model,
                processor,
                context.training,
                self.weighing(context),
                features,
                fields,
                context.recipe.augmented_copies,
            )
            keep_model(finished, adapted, processor)
        processes.wait_for_everyone()
        return context.hand_on(speech_lm._replace(model=EmoIclForConditionalGeneration.from_pretrained(finished)))


@dataclass
class ClassifierStage(Stage):
    """
    Trains a classifier of the paper.

    Args:
        sizes (`dict`): Sizes of the classifier, fields of [`EmoIclClassifierConfig`].
        pretrained (`bool`): Whether it has the recipe's speech encoder, frozen; else one of its own, from scratch.
        speech (`dict`): Sizes of a speech encoder from scratch, fields of [`EmoIclSpeechEncoderConfig`].
        enrollment_labels (`list[str]` or `"all"`, *optional*): Labels of which an utterance each joins the input.
    """

    trainer_arguments = ClassifierTrainingArguments
    sections = {"sizes": EmoIclClassifierConfig, "speech": EmoIclSpeechEncoderConfig}

    sizes: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = True
    speech: dict[str, Any] = field(default_factory=dict)
    enrollment_labels: list[str] | Literal["all"] | None = None

    def run(self, context: Context) -> Context:
        recipe = context.recipe
        set_seed(recipe.seed)
        of_encoder = {"speech_layer": recipe.speech_layer, "feature_dropout": recipe.feature_dropout}
        model, feature_extractor = compose_classifier(
            pretrained(recipe) if self.pretrained else None,
            recipe.labels,
            enrollment_labels=recipe.labels if self.enrollment_labels == "all" else self.enrollment_labels,
            audio=recipe.audio,
            # Layers that are trained from scratch are all used, and have a dropout of their own.
            **(of_encoder if self.pretrained else {"speech": self.speech}),
            **self.sizes,
        )
        if self.pretrained and context.speech_encoder is not None:
            model.speech_encoder.load_state_dict(context.speech_encoder.state_dict())
        speech = InputCache(feature_extractor)
        if model.config.freeze_speech_encoder:
            speech = FeatureCache(model, feature_extractor, recipe.cache_folder)
            speech.fill_together(context.training.utterances)
            fit_feature_normalization(model, context.training, speech)
        args = self.training_arguments(context)
        model = run_stage(
            context.folders[self.name],
            model,
            lambda model: ClassifierTrainer(
                model=model,
                args=args,
                train_dataset=context.training,
                eval_dataset=context.validation,
                processing_class=feature_extractor,
                speech=speech,
            ),
        )
        recognizer = ClassifierRecognizer(model.eval(), feature_extractor, speech)
        return replace(context, recognizer=recognizer, checkpoint=(model, feature_extractor))


@dataclass
class LinearProbeStage(Stage):
    """Fits a linear classifier of pooled speech features: the baseline without enrollment."""

    def run(self, context: Context) -> Context:
        pooled = PooledFeatures(context.latest_speech_lm().features)
        baseline = LinearProbe(context.training, pooled, context.recipe.labels)
        return replace(context, recognizer=baseline, checkpoint=None)


@dataclass
class PrototypesStage(Stage):
    """Fits the probe centered on the enrollment, with prototypes of its labels: the baseline with enrollment."""

    def check(self, context: Context) -> None:
        check_corpus(context.training, context.recipe.labels)

    def run(self, context: Context) -> Context:
        pooled, labels = PooledFeatures(context.latest_speech_lm().features), context.recipe.labels
        baseline = PrototypeBaseline(context.training, pooled, labels, context.validation)
        return replace(context, recognizer=baseline, checkpoint=None)


@dataclass
class NormalizedProbeStage(Stage):
    """Fits the probe that is normalized by the speaker's audio: the baseline with an enrollment without labels."""

    def run(self, context: Context) -> Context:
        pooled = PooledFeatures(context.latest_speech_lm().features)
        baseline = NormalizedProbe(context.training, pooled, context.recipe.labels)
        return replace(context, recognizer=baseline, checkpoint=None)


@dataclass
class ShotsAloneStage(Stage):
    """A logistic regression on the shots of each episode: the baseline without training speakers."""

    is_trained = False

    def run(self, context: Context) -> Context:
        pooled = PooledFeatures(context.latest_speech_lm().features)
        return replace(context, recognizer=ShotsAlone(pooled, context.recipe.labels), checkpoint=None)


@dataclass
class ContrastiveShotsStage(Stage):
    """Contrastive tuning on the shots of each episode, the way of SetFit: a baseline without training speakers."""

    is_trained = False

    def run(self, context: Context) -> Context:
        cropped = CroppedFeatures(context.latest_speech_lm().features)
        return replace(context, recognizer=ContrastiveShots(cropped, context.recipe.labels), checkpoint=None)


@dataclass
class WeightsStage(Stage):
    """
    Weighs the parts of a trained speech LM anew, to measure what each is good for.

    Args:
        language_model_weight (`float`, *optional*): Weight of the language model; 0 leaves it out.
        probe_weight (`float`, *optional*): Weight of the probe.
        prototype_weight (`float`, *optional*): Weight of the prototypes.
        enrolled_share_exponent (`float`, *optional*): Power of the share of enrolled labels, by which they count.
        enrolled_penalty (`float`, *optional*): What labels with shots lose.
    """

    language_model_weight: float | None = None
    probe_weight: float | None = None
    prototype_weight: float | None = None
    enrolled_share_exponent: float | None = None
    enrolled_penalty: float | None = None

    def run(self, context: Context) -> Context:
        speech_lm = context.latest_speech_lm()
        for item in fields(WeightsStage):
            if item.default is not MISSING and (value := getattr(self, item.name)) is not None:
                setattr(speech_lm.model.config.adaptation_config, item.name, value)
        return context.hand_on(speech_lm)


# A stage of one's own is registered by adding it.
STAGES: dict[str, type[Stage]] = {
    "adaptation": AdaptationStage,
    "classifier": ClassifierStage,
    "contrastive_shots": ContrastiveShotsStage,
    "encoder": EncoderStage,
    "linear_probe": LinearProbeStage,
    "made_up_speakers": MadeUpSpeakersStage,
    "meta_icl": MetaIclStage,
    "normalized_probe": NormalizedProbeStage,
    "prototypes": PrototypesStage,
    "shots_alone": ShotsAloneStage,
    "weights": WeightsStage,
}


def make_stage(name: str, content: Mapping[str, Any]) -> Stage:
    """The stage that a recipe describes."""
    kind = STAGES[content["type"]]
    own = {item.name for item in fields(kind)} & content.keys()
    arguments = {key: value for key, value in content.items() if key not in {*own, "type"}}
    return kind(name, arguments, **{key: content[key] for key in own})
