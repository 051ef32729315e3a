"""The model that a command works with."""

from pathlib import Path

from emoicl.bundled import BUNDLED_MODEL
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.training.data.features import FeatureCache
from emoicl.training.evaluation.recognition import ClassifierRecognizer, Decoding, Recognizer, SpeechLmRecognizer
from emoicl.training.publishing.checkpoint import EmotionPipeline, load_pipeline


def load_recognizer(
    model: str | None = None, decoding: Decoding = "labels", cache_folder: str | Path | None = None
) -> Recognizer:
    """What `evaluate` measures of a speech language model or of a classifier.

    Args:
        model (`str`, *optional*): Folder or Hub name, by default the bundled model.
        decoding (`str`, *optional*, defaults to `"labels"`): `"labels"` or, of a speech language model, `"beam"`.
        cache_folder (`str` or `Path`, *optional*): Where speech features are kept.

    Raises:
        `ValueError`: If a classifier is asked for beam search.
    """
    model = model or str(BUNDLED_MODEL)
    pipeline = load_pipeline(model)
    frozen = pipeline.model.config.freeze_speech_encoder
    if isinstance(pipeline, EmoIclPipeline):
        features = FeatureCache(pipeline.model, pipeline.processor.feature_extractor, cache_folder) if frozen else None
        return SpeechLmRecognizer(pipeline.model, pipeline.processor, features, decoding)
    check_decoding(model, pipeline, decoding)
    features = FeatureCache(pipeline.model, pipeline.feature_extractor, cache_folder) if frozen else None
    return ClassifierRecognizer(pipeline.model, pipeline.feature_extractor, features)


def check_decoding(model: str, pipeline: EmotionPipeline, decoding: Decoding) -> None:
    """Refuses beam search with a classifier, which writes no text."""
    if decoding == "beam" and not isinstance(pipeline, EmoIclPipeline):
        raise ValueError(f"{model} is a classifier, which writes no text: leave out --decoding beam.")
