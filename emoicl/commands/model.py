"""The model that a command works with."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoicl.bundled import BUNDLED_MODEL


if TYPE_CHECKING:
    from emoicl.training.evaluation.recognition import Decoding, Recognizer


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=str(BUNDLED_MODEL), help="folder or Hub name (default: the bundled model)")


def load_recognizer(
    model: str, decoding: "Decoding" = "labels", cache_folder: str | Path | None = None
) -> "Recognizer":
    """What `evaluate` measures of a speech language model or of a classifier.

    Args:
        model (`str`): Folder or Hub name.
        decoding (`str`, *optional*, defaults to `"labels"`): `"labels"` or, of a speech language model, `"beam"`.
        cache_folder (`str` or `Path`, *optional*): Where speech features are kept.

    Raises:
        `ValueError`: If a classifier is asked for beam search.
    """
    from emoicl import EmoIclPipeline
    from emoicl.training.data.features import FeatureCache
    from emoicl.training.evaluation.recognition import ClassifierRecognizer, SpeechLmRecognizer
    from emoicl.training.publishing.checkpoint import load_pipeline

    pipeline = load_pipeline(model)
    frozen = pipeline.model.config.freeze_speech_encoder
    if isinstance(pipeline, EmoIclPipeline):
        features = FeatureCache(pipeline.model, pipeline.processor.feature_extractor, cache_folder) if frozen else None
        return SpeechLmRecognizer(pipeline.model, pipeline.processor, features, decoding)
    check_decoding(model, pipeline, decoding)
    features = FeatureCache(pipeline.model, pipeline.feature_extractor, cache_folder) if frozen else None
    return ClassifierRecognizer(pipeline.model, pipeline.feature_extractor, features)


def check_decoding(model: str, pipeline: Any, decoding: str) -> None:
    """Refuses beam search with a classifier, which writes no text."""
    if decoding == "beam" and pipeline.model.config.model_type == "emoicl_classifier":
        raise ValueError(f"{model} is a classifier, which writes no text: leave out --decoding beam.")
