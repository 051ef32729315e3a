"""The model that a user or a command works with."""

from collections.abc import Sequence
from pathlib import Path

import torch

from emoicl.bundled import find_model
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.training.data.features import FeatureCache
from emoicl.training.data.processes import device_of_process
from emoicl.training.evaluation.recognition import ClassifierRecognizer, Decoding, Recognizer, SpeechLmRecognizer
from emoicl.training.publishing import checkpoint
from emoicl.training.publishing.checkpoint import EmotionPipeline


def load_pipeline(
    model: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> EmotionPipeline:
    """
    The pipeline of a bundled or of any other model. Code that a checkpoint brings is never run.

    Args:
        model (`str` or `Path`, *optional*): `"speech"`, the default, for sentences (CC BY-NC-SA 4.0: non-commercial),
            `"bursts"` for laughs, sighs and gasps (Apache-2.0), or a folder or Hub name.
        device (`str` or `torch.device`, *optional*): Where it computes, by default where transformers' pipelines do.
        dtype (`str` or `torch.dtype`, *optional*): Precision that it computes in, by default that of its weights.

    Raises:
        `ValueError`: If it is a model of another type, or a file of it is damaged, which is named.
    """
    return checkpoint.load_pipeline(find_model(model), device, dtype)


def load_recognizer(
    model: str | Path | None = None,
    decoding: Decoding = "labels",
    cache_folder: str | Path | None = None,
    labels: Sequence[str] | None = None,
) -> Recognizer:
    """
    What `evaluate` measures of a speech language model or of a classifier. Of several processes (`accelerate launch`),
    each has it on a device of its own.

    Args:
        model (`str` or `Path`, *optional*): As [`load_pipeline`] takes it.
        decoding (`str`, *optional*, defaults to `"labels"`): `"labels"` or, of a speech language model, `"beam"`.
        cache_folder (`str` or `Path`, *optional*): Where speech features are kept.
        labels (`Sequence[str]`, *optional*): Of a speech language model, what it chooses from, by default its own.

    Raises:
        `ValueError`: If a classifier is asked for beam search or other labels.
    """
    pipeline = load_pipeline(model, device_of_process())
    frozen = pipeline.model.config.freeze_speech_encoder
    if isinstance(pipeline, EmoIclPipeline):
        features = FeatureCache(pipeline.model, pipeline.processor.feature_extractor, cache_folder) if frozen else None
        return SpeechLmRecognizer(pipeline.model, pipeline.processor, features, decoding, candidate_labels=labels)
    check_decoding(find_model(model), pipeline, decoding)
    check_labels(find_model(model), pipeline, labels)
    features = FeatureCache(pipeline.model, pipeline.feature_extractor, cache_folder) if frozen else None
    return ClassifierRecognizer(pipeline.model, pipeline.feature_extractor, features)


def check_decoding(model: str, pipeline: EmotionPipeline, decoding: Decoding) -> None:
    """Refuses beam search with a classifier, which writes no text."""
    if decoding == "beam" and not isinstance(pipeline, EmoIclPipeline):
        raise ValueError(f"{model} is a classifier, which writes no text: leave out --decoding beam.")


def check_labels(model: str, pipeline: EmotionPipeline, labels: Sequence[str] | None) -> None:
    """Refuses labels that the model cannot choose from, before any file is read: a classifier's are its outputs."""
    if isinstance(pipeline, EmoIclPipeline):
        pipeline.processor.match_enrollment_labels([], labels)
    elif labels:
        known = ", ".join((pipeline.model.config.id2label or {}).values())
        raise ValueError(f"{model} is a classifier of {known}: leave out --labels.")
