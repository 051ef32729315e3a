"""What a model can know of its training corpus in closed form, before the first step: statistics of the features."""

import torch

from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache


def fit_feature_normalization(
    model: EmoIclForConditionalGeneration | EmoIclForAudioClassification,
    corpus: Corpus,
    features: FeatureCache,
    num_utterances: int = 500,
) -> None:
    """
    Sets the scale and shift of the speech features, where the Q-Former or the classifier takes them in, so that each
    dimension has mean 0 and variance 1.

    Args:
        model ([`EmoIclForConditionalGeneration`] or [`EmoIclForAudioClassification`]): The model, changed in place.
        corpus ([`Corpus`]): Training utterances.
        features ([`FeatureCache`]): Holds their speech features.
        num_utterances (`int`, *optional*, defaults to 500): How many utterances, evenly spread, to take.
    """
    batch = features.load(corpus.utterances[:: max(1, len(corpus) // num_utterances)])
    frames = batch["speech_features"][batch["speech_features_mask"].bool()].float()
    mean, spread = frames.mean(0), frames.std(0) + 1e-4
    reader = model.utterance_encoder if isinstance(model, EmoIclForAudioClassification) else model.model.qformer
    with torch.no_grad():
        reader.feature_scale.copy_(1 / spread)
        reader.feature_shift.copy_(-mean / spread)
