"""Raw audio and enrollment -> prompts of the speech language model, and the pipeline around them."""

from .audio_emoicl import decode_audio
from .classification_pipeline_emoicl import EmoIclClassificationPipeline
from .feature_extraction_emoicl import EmoIclFeatureExtractor
from .pipeline_emoicl import EmoIclPipeline
from .processing_emoicl import EmoIclProcessor
from .profile_emoicl import SpeakerProfile


__all__ = [
    "EmoIclClassificationPipeline",
    "EmoIclFeatureExtractor",
    "EmoIclPipeline",
    "EmoIclProcessor",
    "SpeakerProfile",
    "decode_audio",
]
