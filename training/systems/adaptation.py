"""Gives a trained speech language model a speaker adaptation: fitted in closed form to its training speakers, and
blended with the language model on speakers that neither has seen."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from emoicl.modeling.adaptation_emoicl import EmoIclSpeakerAdaptation
from emoicl.modeling.configuration_emoicl import EmoIclAdaptationConfig, EmoIclConfig
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.baselines.familiarity import default_size
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.prototypes import tuning_episodes
from emoicl.training.baselines.speaker_statistics import evidence_parts, fit_adaptation, label_trust
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.evaluation.recognition import SpeechLmRecognizer


# As many as the answers are to be good at: the weights are the same for any number of shots.
BLEND_SHOTS = (0, 1, 3, 7)
BLEND_SETTINGS = ("TU+LD", "TU+LU")
# Log-probabilities of texts that the language model all but excludes would outweigh everything else.
SMALLEST_PROBABILITY = 1e-6


def add_adaptation(
    model: EmoIclForConditionalGeneration,
    processor: EmoIclProcessor,
    training: Corpus,
    validation: Corpus,
    features: FeatureCache,
    adaptation_config: EmoIclAdaptationConfig | Mapping[str, Any],
    num_copies: int = 0,
) -> EmoIclForConditionalGeneration:
    """
    A copy of a trained speech language model with a speaker adaptation.

    Args:
        model ([`EmoIclForConditionalGeneration`]): The model, without a speaker adaptation.
        processor ([`EmoIclProcessor`]): Lays out its prompts; its candidate labels are the known ones.
        training ([`Corpus`]): Utterances to fit the adaptation to, several for each speaker and label.
        validation ([`Corpus`]): Utterances of other speakers, perhaps of other corpora too, to choose the weights of
            the blend on.
        features ([`FeatureCache`]): Holds the speech features of both.
        adaptation_config ([`EmoIclAdaptationConfig`] or `Mapping`):
            Its `size` and `sources`, as far as they differ from the defaults. Labels and weights are found here.
        num_copies (`int`, *optional*, defaults to 0): How many copies of each speaker it is fitted to as well, see
            [`Augmentation`].

    Returns:
        [`EmoIclForConditionalGeneration`]

    Raises:
        `ValueError`: If the training corpus lacks utterances to fit it to.
    """
    given = adaptation_config
    fields = given.to_dict() if isinstance(given, EmoIclAdaptationConfig) else dict(given)
    labels = processor.candidate_labels
    label_ids = [[token for token in row if token >= 0] for row in processor.label_ids(labels).tolist()]
    fields |= {"label_words": labels, "label_token_ids": label_ids}
    fields |= {"familiarity_size": default_size(2 * model.config.speech_feature_size)}
    config = EmoIclConfig.from_dict(model.config.to_dict() | {"adaptation_config": fields})
    adaptation = fit_to_features(training, features, config.adaptation_config, num_copies)
    choose_weights(adaptation, model, processor, validation, features)
    adapted = EmoIclForConditionalGeneration(config)
    adapted.load_state_dict(model.state_dict(), strict=False)
    adapted.model.adaptation = adaptation
    return adapted.eval()


def fit_statistics(
    model: EmoIclForConditionalGeneration, training: Corpus, features: FeatureCache, num_copies: int = 0
) -> None:
    """
    Fits the speaker adaptation that a model has to training speakers, in place; its weights stay as they are.

    Args:
        model ([`EmoIclForConditionalGeneration`]): The model.
        training ([`Corpus`]): Utterances to fit it to, several for each speaker and label.
        features ([`FeatureCache`]): Holds their speech features.
        num_copies (`int`, *optional*, defaults to 0): How many copies of each speaker it is fitted to as well, see
            [`Augmentation`].
    """
    adaptation: Any = model.model.adaptation
    adaptation.load_state_dict(fit_to_features(training, features, adaptation.config, num_copies).state_dict())


def fit_to_features(
    training: Corpus, features: FeatureCache, config: EmoIclAdaptationConfig, num_copies: int
) -> EmoIclSpeakerAdaptation:
    """[`fit_adaptation`] to what a cache holds of the training speakers and of their copies."""
    pooled, *copies = (PooledFeatures(of_copy)(training) for of_copy in (features, *features.copies(num_copies)))
    return fit_adaptation(training, pooled, config, copies)


def choose_weights(
    adaptation: EmoIclSpeakerAdaptation,
    model: EmoIclForConditionalGeneration,
    processor: EmoIclProcessor,
    validation: Corpus,
    features: FeatureCache,
) -> None:
    """
    Sets the weights of language model, probe and prototypes, the power of the share of enrolled labels by which the
    prototypes count, and what labels with shots lose, to those that give the smallest cross entropy of a log-linear
    blend. It is over episodes with 0, 1, 3 and 7 shots, of labels that all differ (TU+LD) and of any (TU+LU), in which
    all corpora count alike, and so do the speakers of one.
    """
    recognizer, pooled = SpeechLmRecognizer(model, processor, features), PooledFeatures(features)(validation)
    labels, config = processor.candidate_labels, adaptation.config
    config.enrolled_share_exponent, config.enrolled_penalty = 0.0, 0.0
    episodes = [
        episode
        for setting in BLEND_SETTINGS
        for shots in BLEND_SHOTS
        for episode in tuning_episodes(validation, labels, shots, setting)
    ]
    trust = label_trust(adaptation, pooled, episodes)[:, None]
    language_model = trust * np.log(np.maximum(recognizer.score(validation, episodes), SMALLEST_PROBABILITY))
    probe, prototypes = evidence_parts(adaptation, pooled, episodes)
    enrolled = np.array([[label in episode.enrollment_labels for label in labels] for episode in episodes])
    answers = [labels.index(episode.label) for episode in episodes]
    num_speakers = Counter(validation.corpus_of.values())
    shares = [
        1 / (len(validation.by_speaker[speaker_id]) * num_speakers[validation.corpus_of[speaker_id]])
        for speaker_id in (validation.speaker_ids[episode.target] for episode in episodes)
    ]

    def cross_entropy(log_weights: np.ndarray) -> float:
        *weights, penalty, exponent = np.exp(log_weights)
        by_share = enrolled.mean(axis=1, keepdims=True) ** exponent
        parts = [language_model, probe, by_share * prototypes, -trust * enrolled]
        log_probabilities = log_softmax(np.tensordot([*weights, penalty], parts, 1), axis=1)
        return -np.average(log_probabilities[np.arange(len(answers)), answers], weights=shares)

    chosen = np.exp(minimize(cross_entropy, np.log([0.3, 1.0, 0.1, 0.3, 1.0])).x).round(4).tolist()
    config.language_model_weight, config.probe_weight, config.prototype_weight = chosen[:3]
    config.enrolled_penalty, config.enrolled_share_exponent = chosen[3:]
