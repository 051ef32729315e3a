"""Speech emotion recognition that adapts to a person from a few labeled utterances, by in-context learning."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForMultimodalLM,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
)
from transformers.pipelines import PIPELINE_REGISTRY

from emoicl.bundled import SPEECH_MODEL
from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.modeling.configuration_emoicl import (
    EmoIclAdaptationConfig,
    EmoIclClassifierConfig,
    EmoIclConfig,
    EmoIclSpeechEncoderConfig,
)
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration, EmoIclModel
from emoicl.processing.classification_pipeline_emoicl import EmoIclClassificationPipeline
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.processing.pipeline_emoicl import TASK, EmoIclPipeline
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.processing.profile_emoicl import SpeakerProfile
from emoicl.task_pipeline import TaskPipeline


if TYPE_CHECKING:
    from emoicl.loading import load_pipeline
    from emoicl.training.data.corpus import Corpus, load_corpus
    from emoicl.training.episodes.collation import EpisodeCollator
    from emoicl.training.episodes.enrollment import EnrollmentSetting, select_enrollment
    from emoicl.training.episodes.episodes import EpisodeDataset
    from emoicl.training.evaluation.evaluate import evaluate
    from emoicl.training.evaluation.recognition import ClassifierRecognizer, SpeechLmRecognizer
    from emoicl.training.publishing.export import export
    from emoicl.training.systems.base_trainer import EpochCallback
    from emoicl.training.systems.classifier_config import ClassifierTrainingArguments
    from emoicl.training.systems.classifier_trainer import ClassifierTrainer
    from emoicl.training.systems.made_up_config import MadeUpTrainingArguments
    from emoicl.training.systems.made_up_trainer import MadeUpTrainer
    from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments
    from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer

__version__ = version("emoicl")

# Imported when first asked for, so that a user of the pipeline does not wait for what only training needs.
_LAZY_NAMES = {
    "load_pipeline": "loading",
    "ClassifierRecognizer": "training.evaluation.recognition",
    "ClassifierTrainer": "training.systems.classifier_trainer",
    "ClassifierTrainingArguments": "training.systems.classifier_config",
    "EpisodeCollator": "training.episodes.collation",
    "Corpus": "training.data.corpus",
    "load_corpus": "training.data.corpus",
    "EnrollmentSetting": "training.episodes.enrollment",
    "select_enrollment": "training.episodes.enrollment",
    "EpisodeDataset": "training.episodes.episodes",
    "evaluate": "training.evaluation.evaluate",
    "export": "training.publishing.export",
    "SpeechLmRecognizer": "training.evaluation.recognition",
    "EpochCallback": "training.systems.base_trainer",
    "MadeUpTrainer": "training.systems.made_up_trainer",
    "MadeUpTrainingArguments": "training.systems.made_up_config",
    "MetaIclTrainer": "training.systems.meta_icl_trainer",
    "MetaIclTrainingArguments": "training.systems.meta_icl_config",
}

AutoConfig.register("emoicl", EmoIclConfig, exist_ok=True)
AutoModel.register(EmoIclConfig, EmoIclModel, exist_ok=True)
AutoModelForSpeechSeq2Seq.register(EmoIclConfig, EmoIclForConditionalGeneration, exist_ok=True)
AutoModelForMultimodalLM.register(EmoIclConfig, EmoIclForConditionalGeneration, exist_ok=True)
AutoFeatureExtractor.register(EmoIclConfig, EmoIclFeatureExtractor, exist_ok=True)
AutoProcessor.register(EmoIclConfig, EmoIclProcessor, exist_ok=True)
AutoConfig.register("emoicl_classifier", EmoIclClassifierConfig, exist_ok=True)
AutoModelForAudioClassification.register(EmoIclClassifierConfig, EmoIclForAudioClassification, exist_ok=True)
AutoFeatureExtractor.register(EmoIclClassifierConfig, EmoIclFeatureExtractor, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(
    TASK,
    pipeline_class=TaskPipeline,
    pt_model=(AutoModelForSpeechSeq2Seq, AutoModelForAudioClassification),  # pyright: ignore[reportArgumentType]
    # With its revision, which a folder has not.
    default={"model": (str(SPEECH_MODEL), None)},
    type="multimodal",
)

# What `save_pretrained` copies beside the weights, so that a checkpoint loads where this package is absent.
EmoIclConfig.register_for_auto_class()
EmoIclModel.register_for_auto_class("AutoModel")
EmoIclForConditionalGeneration.register_for_auto_class("AutoModelForSpeechSeq2Seq")
EmoIclClassifierConfig.register_for_auto_class()
EmoIclForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")
EmoIclFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
EmoIclProcessor.register_for_auto_class("AutoProcessor")


def __getattr__(name: str):
    if name in _LAZY_NAMES:
        return getattr(import_module(f".{_LAZY_NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY_NAMES})


__all__ = [
    "TASK",
    "ClassifierRecognizer",
    "ClassifierTrainer",
    "ClassifierTrainingArguments",
    "Corpus",
    "EmoIclAdaptationConfig",
    "EmoIclClassificationPipeline",
    "EmoIclClassifierConfig",
    "EmoIclConfig",
    "EmoIclFeatureExtractor",
    "EmoIclForAudioClassification",
    "EmoIclForConditionalGeneration",
    "EmoIclModel",
    "EmoIclPipeline",
    "EmoIclProcessor",
    "EmoIclSpeechEncoderConfig",
    "EnrollmentSetting",
    "EpisodeCollator",
    "EpisodeDataset",
    "EpochCallback",
    "MadeUpTrainer",
    "MadeUpTrainingArguments",
    "MetaIclTrainer",
    "MetaIclTrainingArguments",
    "SpeakerProfile",
    "SpeechLmRecognizer",
    "evaluate",
    "export",
    "load_corpus",
    "load_pipeline",
    "select_enrollment",
]
