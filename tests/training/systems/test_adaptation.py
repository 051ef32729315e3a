import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from synthetic_voices import ManyVoices, renamed
from tiny import LABELS
from tiny_corpus import MODEL_FIELDS, SIZES, compose_tiny

from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.prototypes import PrototypeBaseline, tuning_episodes
from emoicl.training.baselines.speaker_statistics import evidence_parts, group_means
from emoicl.training.data.corpus import Corpus
from emoicl.training.evaluation.evaluate import evaluate
from emoicl.training.evaluation.recognition import SpeechLmRecognizer
from emoicl.training.systems.adaptation import add_adaptation
from emoicl.training.systems.composition import compose


@pytest.fixture(scope="module")
def corpora() -> Any:
    """Training, validation and test speakers, and their features."""
    parts = [renamed(60, "train", 1), renamed(20, "validation", 2), renamed(40, "test", 3)]
    return *(corpus for corpus, _ in parts), ManyVoices(*parts)


@pytest.fixture(scope="module")
def untrained(whisper) -> Any:
    torch.manual_seed(0)
    model, processor = compose_tiny(whisper, adaptation_config=None)
    return model.eval(), processor


@pytest.fixture(scope="module")
def adapted(untrained, corpora):
    model, processor = untrained
    training, validation, _, features = corpora
    return add_adaptation(model, processor, training, validation, features, {})


def set_weights(model, language_model, probe, prototypes):
    config = model.config.adaptation_config
    config.language_model_weight, config.probe_weight, config.prototype_weight = language_model, probe, prototypes
    config.enrolled_share_exponent, config.enrolled_penalty = 0.0, 0.0


def trust_all(model):
    """Leaves out what is familiar, and with it the trust that goes by it."""
    model.model.adaptation.familiarity = None


@pytest.mark.parametrize("size", [None, 12])
def test_without_the_language_model_it_is_the_floor(untrained, corpora, size):
    model, processor = untrained
    training, validation, test, features = corpora
    model: Any = add_adaptation(model, processor, training, validation, features, {"size": size})
    assert model.config.adaptation_config.size == (size or 32)
    assert model.model.adaptation.familiarity.weight.any(), "what is familiar is fitted with it"
    set_weights(model, 0.0, 1.0, 0.2)
    trust_all(model)
    floor = PrototypeBaseline(training, PooledFeatures(features), LABELS, weight=0.2, size=size)
    recognizer = SpeechLmRecognizer(model, processor, features)
    for shots in (0, 1, 3):
        episodes = tuning_episodes(test, list(LABELS), shots)[:100]
        np.testing.assert_allclose(recognizer.score(test, episodes), floor.score(test, episodes), atol=1e-4)


def test_prototypes_count_by_the_share_of_labels_that_are_enrolled(untrained, corpora):
    model, processor = untrained
    training, validation, test, features = corpora
    adapted: Any = add_adaptation(model, processor, training, validation, features, {})
    assert adapted.config.adaptation_config.enrolled_share_exponent > 0
    set_weights(adapted, 0.0, 1.0, 0.2)
    pooled, adaptation = PooledFeatures(features)(test), adapted.model.adaptation
    recognizer = SpeechLmRecognizer(adapted, processor, features)
    for shots in (1, 3):
        episodes = tuning_episodes(test, list(LABELS), shots)[:100]
        adaptation.config.enrolled_share_exponent = 0.0
        probe, prototypes = evidence_parts(copy.deepcopy(adaptation), pooled, episodes)
        adaptation.config.enrolled_share_exponent = 0.5
        expected = softmax(probe + 0.2 * (shots / len(LABELS)) ** 0.5 * prototypes, axis=1)
        np.testing.assert_allclose(recognizer.score(test, episodes), expected, atol=1e-4)


def test_two_labels(whisper, corpora):
    """scikit-learn keeps the odds of one of them alone."""
    *parts, features = corpora
    training, validation, test = (Corpus(u for u in part if u.label in LABELS[:2]) for part in parts)
    fields: dict[str, Any] = SIZES | MODEL_FIELDS | {"adaptation_config": None}
    model, processor = compose(str(whisper), LABELS[:2], **fields)
    adapted = add_adaptation(model.eval(), processor, training, validation, features, {})
    set_weights(adapted, 0.0, 1.0, 0.2)
    trust_all(adapted)
    floor = PrototypeBaseline(training, PooledFeatures(features), LABELS[:2], weight=0.2)
    episodes = tuning_episodes(test, list(LABELS[:2]), 2)[:50]
    found = SpeechLmRecognizer(adapted, processor, features).score(test, episodes)
    np.testing.assert_allclose(found, floor.score(test, episodes), atol=1e-4)


def test_the_rest_of_the_model_stays(untrained, adapted):
    before, after = untrained[0].state_dict(), adapted.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert {name.split(".")[1] for name in after.keys() - before.keys()} == {"adaptation"}


def test_a_language_model_that_knows_nothing_has_little_weight(adapted):
    config = adapted.config.adaptation_config
    assert config.language_model_weight < 0.2 * config.probe_weight
    assert config.prototype_weight > 0


def test_the_blend_is_better_than_its_parts(untrained, adapted, corpora):
    _, validation, _, features = corpora

    def loss(**weights):
        config = adapted.config.adaptation_config
        kept = {name: getattr(config, name) for name in weights}
        for name, weight in weights.items():
            setattr(config, name, weight)
        recognizer, losses = SpeechLmRecognizer(adapted, untrained[1], features), []
        for shots in (0, 1, 3, 7):
            episodes = tuning_episodes(validation, list(LABELS), shots)
            rights = [LABELS.index(episode.label) for episode in episodes]
            losses += (-np.log(recognizer.score(validation, episodes)[np.arange(len(rights)), rights])).tolist()
        for name, weight in kept.items():
            setattr(config, name, weight)
        return np.mean(losses)

    chosen = loss()
    assert chosen < loss(prototype_weight=0.0) - 0.01
    for name in ("probe_weight", "prototype_weight"):
        for factor in (0.7, 1.4):
            assert chosen < loss(**{name: factor * getattr(adapted.config.adaptation_config, name)})


def test_the_noise_is_that_of_new_speakers(adapted, corpora):
    _, _, test, features = corpora
    embeds = np.concatenate(
        [adapted.model.adaptation.embed(*features.load([u]).values()).detach().double().numpy() for u in test]
    )
    cells = np.array([f"{u.speaker_id} {u.label}" for u in test])
    noise = ((embeds - group_means(embeds, cells)) ** 2).sum(0) / (len(embeds) - len(set(cells)))
    learned = adapted.model.adaptation.variance("noise").detach().numpy()
    assert learned.mean() == pytest.approx(noise.mean(), rel=0.15)


def test_enrollment_helps_and_controls_hurt(untrained, adapted, corpora):
    _, _, test, features = corpora
    report = evaluate(SpeechLmRecognizer(adapted, untrained[1], features), test, shots=(0, 1, 3), seeds=[0])
    assert report.accuracy(3).ua_spk > report.accuracy(0).ua_spk + 0.08
    for control in ("rotated", "other_speaker"):
        assert report.accuracy(3, control).ua_spk < report.accuracy(3).ua_spk - 0.08


def test_sources(untrained):
    """With statistics of their own, sources do not spoil each other's."""
    model, processor = untrained
    parts = [renamed(30, "studio/a", 1), renamed(30, "street/b", 2), renamed(10, "studio/c", 3)]
    training, validation = Corpus([*parts[0][0], *parts[1][0]]), parts[2][0]
    adapted = add_adaptation(model, processor, training, validation, ManyVoices(*parts), {"sources": ["studio"]})
    assert adapted.config.adaptation_config.sources == ["studio"]
    adaptation: Any = adapted.model.adaptation
    assert adaptation.label_means.shape == (2, len(LABELS), 32)
    assert adaptation.config is adapted.config.adaptation_config
    episodes = tuning_episodes(validation, list(LABELS), 2)
    scores = SpeechLmRecognizer(adapted, processor, ManyVoices(*parts)).score(validation, episodes)
    np.testing.assert_allclose(scores.sum(1), 1)
