"""What `pipeline(TASK)` of transformers makes where this package is installed."""

from typing import Any

from emoicl.processing.classification_pipeline_emoicl import EmoIclClassificationPipeline
from emoicl.processing.pipeline_emoicl import EmoIclPipeline


class TaskPipeline:
    """
    The pipeline of a model: that of speech language models, or that of classifiers.

    Args:
        model (`PreTrainedModel`): An [`EmoIclForConditionalGeneration`] or an [`EmoIclForAudioClassification`].
        processor ([`EmoIclProcessor`], *optional*): Of a speech language model, by default that it was saved with.
        feature_extractor ([`EmoIclFeatureExtractor`], *optional*): Of a classifier, likewise.
        **kwargs: Of the pipeline.
    """

    # The pipelines find theirs. transformers, where a part may be absent, asks whether to run a folder's code.
    _load_processor = _load_feature_extractor = False
    _load_tokenizer = _load_image_processor = _load_video_processor = False

    def __new__(cls, model: Any, processor: Any = None, feature_extractor: Any = None, **kwargs: Any) -> Any:
        # Not its class: that of an installed package and that of a checkpoint from the Hub are not the same.
        if model.config.model_type == "emoicl_classifier":
            return EmoIclClassificationPipeline(model, feature_extractor=feature_extractor, **kwargs)
        return EmoIclPipeline(model, processor=processor, **kwargs)
