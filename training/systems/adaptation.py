"""Gives a trained speech language model a speaker adaptation: fitted in closed form to its training speakers, and
blended with the language model on speakers that neither has seen."""

from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from emoicl.modeling.adaptation_emoicl import EmoIclAdaptationMixture, EmoIclSpeakerAdaptation
from emoicl.modeling.configuration_emoicl import EmoIclConfig
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.baselines.mixture import BaselineMixture
from emoicl.training.baselines.prototypes import PooledFeatures, PrototypeBaseline, linear_layer, tuning_episodes
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.evaluation.recognition import SpeechLmRecognizer


# As many as the answers are to be good at: the weights are the same for any number of shots.
BLEND_SHOTS = (0, 1, 3, 7)
# Log-probabilities of texts that the language model all but excludes would outweigh everything else.
SMALLEST_PROBABILITY = 1e-6


def add_adaptation(
    model: EmoIclForConditionalGeneration,
    processor: EmoIclProcessor,
    training: Corpus,
    validation: Corpus,
    features: FeatureCache,
    size: int | None = None,
) -> EmoIclForConditionalGeneration:
    """
    A copy of a trained speech language model with a speaker adaptation.

    Args:
        model ([`EmoIclForConditionalGeneration`]):
            The model, without a speaker adaptation. Its configuration says how prototypes count
            (`enrolled_share_exponent`), and which source corpora have statistics of their own (`adaptation_sources`).
        processor ([`EmoIclProcessor`]): Lays out its prompts; its candidate labels are the known ones.
        training ([`Corpus`]): Utterances to fit the adaptation to, several for each speaker and label.
        validation ([`Corpus`]): Utterances of other speakers, to choose the weights of the blend on.
        features ([`FeatureCache`]): Holds the speech features of both.
        size (`int`, *optional*): Size of the voice embeddings, by default that of the pooled features.

    Returns:
        [`EmoIclForConditionalGeneration`]

    Raises:
        `ValueError`: If the training corpus lacks utterances to fit it to.
    """
    labels = processor.candidate_labels
    size = size or 2 * model.config.speech_config.hidden_size
    pooled, sources = PooledFeatures(features), model.config.adaptation_sources
    floor: PrototypeBaseline | BaselineMixture
    if sources:
        floor = BaselineMixture(training, pooled, labels, sources, size)
    else:
        floor = PrototypeBaseline(training, pooled, labels, weight=0.0, size=size)
    weights = choose_weights(model, processor, validation, features, floor)
    label_ids = [[token for token in row if token >= 0] for row in processor.label_ids(labels).tolist()]
    fields = {"adaptation_size": size, "label_words": labels, "label_token_ids": label_ids} | weights
    config = EmoIclConfig.from_dict(model.config.to_dict() | fields)
    adapted = EmoIclForConditionalGeneration(config)
    adapted.load_state_dict(model.state_dict(), strict=False)
    adaptation: Any = adapted.model.adaptation
    if isinstance(floor, BaselineMixture):
        copy_mixture(floor, adaptation)
    else:
        copy_floor(floor, adaptation)
    return adapted.eval()


def choose_weights(
    model: EmoIclForConditionalGeneration,
    processor: EmoIclProcessor,
    validation: Corpus,
    features: FeatureCache,
    floor: PrototypeBaseline | BaselineMixture,
) -> dict[str, float]:
    """
    The weights of language model, probe and prototypes that give the smallest cross entropy of a log-linear blend,
    over episodes with 0, 1, 3 and 7 shots (TU+LD), in which all speakers count alike.

    Returns:
        `dict[str, float]`: by the names of the configuration.
    """
    recognizer = SpeechLmRecognizer(model, processor, features)
    parts, answers = [], []
    for shots in BLEND_SHOTS:
        episodes = tuning_episodes(validation, processor.candidate_labels, shots)
        language_model = np.log(np.maximum(recognizer.score(validation, episodes), SMALLEST_PROBABILITY))
        probe, prototypes = floor.read(validation, episodes)
        enrolled = np.array([[len(set(episode.enrollment_labels))] for episode in episodes])
        prototypes *= (enrolled / len(processor.candidate_labels)) ** model.config.enrolled_share_exponent
        parts.append(np.stack([language_model, probe, prototypes]))
        answers += [processor.candidate_labels.index(episode.label) for episode in episodes]
    scores = np.concatenate(parts, axis=1)
    shares = [1 / len(validation.by_speaker[speaker_id]) for speaker_id in validation.speaker_ids]
    shares = np.tile(shares, len(BLEND_SHOTS))

    def cross_entropy(log_weights: np.ndarray) -> float:
        log_probabilities = log_softmax(np.tensordot(np.exp(log_weights), scores, axes=1), axis=1)
        return -np.average(log_probabilities[np.arange(len(answers)), answers], weights=shares)

    found = minimize(cross_entropy, np.log([0.3, 1.0, 0.1]))
    names = ("language_model_weight", "probe_weight", "prototype_weight")
    return dict(zip(names, np.exp(found.x).round(4).tolist(), strict=True))


def copy_mixture(mixture: BaselineMixture, adaptation: EmoIclAdaptationMixture) -> None:
    """Sets the parameters of a mixture to those of its twin, in place."""
    for floor, of_source in zip(mixture.floors, adaptation.of_sources, strict=True):
        copy_floor(floor, of_source)
    weight, bias = (torch.from_numpy(values).float() for values in mixture.source_weights)
    adaptation.source_classifier.load_state_dict({"weight": weight, "bias": bias})


def copy_floor(floor: PrototypeBaseline, adaptation: EmoIclSpeakerAdaptation) -> None:
    """Sets the parameters of a speaker adaptation to those of the floor that is its twin, in place."""
    scaler: Any = floor.probe.scaler
    weight = (floor.directions / scaler.scale_[:, None]).T
    values: dict[str, Any] = {
        "projection.weight": weight,
        "projection.bias": -weight @ scaler.mean_,
        "label_means": floor.label_means,
        **{f"log_variances.{source}": np.log(variance) for source, variance in floor.variances.items()},
    }
    for name, classifier in (("probe", floor.classifier), ("centred_probe", floor.centered_classifier)):
        weight, bias = linear_layer(classifier)
        rows = np.searchsorted(classifier.classes_, floor.candidate_labels)
        values[f"{name}.weight"] = (weight @ floor.inverse.T)[rows]
        values[f"{name}.bias"] = bias[rows]
    adaptation.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(v)).float() for name, v in values.items()})
