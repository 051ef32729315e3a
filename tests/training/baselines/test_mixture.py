"""Two sources whose emotions point in opposite directions: one Gaussian for both would be wrong about each."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from synthetic_voices import ManyVoices, episodes_of, renamed
from tiny import LABELS
from tiny_corpus import compose_tiny

from emoicl.training.baselines.mixture import BaselineMixture
from emoicl.training.baselines.prototypes import PooledFeatures, PrototypeBaseline
from emoicl.training.data.corpus import Corpus
from emoicl.training.evaluation.recognition import SpeechLmRecognizer
from emoicl.training.systems.adaptation import add_adaptation


SOURCES = ["studio", "street"]


def mirrored(num_speakers, prefix, seed):
    corpus, features = renamed(num_speakers, prefix, seed)
    features.frames = {name: 10 - frames for name, frames in features.frames.items()}
    return corpus, features


@pytest.fixture(scope="module")
def corpora() -> Any:
    """Training and test speakers of both sources, and their features."""
    parts = [renamed(30, "studio/a", 1), mirrored(30, "street/b", 2), renamed(10, "studio/c", 3)]
    parts.append(mirrored(10, "street/d", 4))
    training, test = (Corpus(u for corpus, _ in both for u in corpus) for both in (parts[:2], parts[2:]))
    return training, test, ManyVoices(*parts)


def accuracy(scores, episodes):
    return np.mean([LABELS[row.argmax()] == episode.label for row, episode in zip(scores, episodes, strict=True)])


def source_of(corpus, episodes):
    return np.array([SOURCES.index(corpus.speaker_ids[e.target].split("/")[0]) for e in episodes])


def test_each_source_is_read_by_its_own_floor(corpora):
    training, test, features = corpora
    pooled = PooledFeatures(features)
    mixture = BaselineMixture(training, pooled, LABELS, SOURCES)
    one = PrototypeBaseline(training, pooled, LABELS, weight=0.0)
    for shots in (0, 3):
        episodes = episodes_of(test, shots)
        shares = mixture.source_shares(test, episodes)
        assert shares.sum(1) == pytest.approx(1) and shares[:, 0].max() < 1e-6
        assert (shares.argmax(1) == 1 + source_of(test, episodes)).mean() > 0.95
        assert accuracy(mixture.read(test, episodes)[0], episodes) > accuracy(one.read(test, episodes)[0], episodes)


def test_other_sources_are_read_by_the_floor_of_all(corpora):
    training, test, features = corpora
    mixture = BaselineMixture(training, PooledFeatures(features), LABELS, ["street"])
    episodes = episodes_of(test, 1)
    of_all = mixture.source_shares(test, episodes)[:, 0] > 0.5
    assert (of_all == (source_of(test, episodes) == SOURCES.index("studio"))).mean() > 0.9


def test_a_source_that_is_not_there(corpora):
    training, _, features = corpora
    with pytest.raises(ValueError, match="names cellar; the training corpora are street, studio"):
        BaselineMixture(training, PooledFeatures(features), LABELS, ["studio", "cellar"])


def test_the_only_source(corpora):
    _, _, features = corpora
    studio, _ = renamed(5, "studio/a", 1)
    with pytest.raises(ValueError, match="studio is the only one: leave it out"):
        BaselineMixture(studio, PooledFeatures(features), LABELS, ["studio"])


def test_a_source_without_one_of_the_labels(corpora):
    training, _, features = corpora
    part = Corpus(u for u in training if (u.speaker_id.split("/")[0], u.label) != ("street", LABELS[0]))
    with pytest.raises(ValueError, match=f"street cannot be one of `adaptation_sources`: .*{LABELS[0]} of the candid"):
        BaselineMixture(part, PooledFeatures(features), LABELS, SOURCES)


def test_the_model_is_its_twin(whisper, corpora):
    training, test, features = corpora
    torch.manual_seed(0)
    model, processor = compose_tiny(whisper, adaptation_size=0, adaptation_sources=SOURCES)
    adapted = add_adaptation(model.eval(), processor, training, test, features)
    assert adapted.config.adaptation_sources == SOURCES
    adapted.config.language_model_weight, adapted.config.probe_weight, adapted.config.prototype_weight = 0.0, 1.0, 0.2
    mixture = BaselineMixture(training, PooledFeatures(features), LABELS, SOURCES)
    recognizer = SpeechLmRecognizer(adapted, processor, features)
    for shots in (0, 2):
        episodes = episodes_of(test, shots)[::3]
        centered, evidence = mixture.read(test, episodes)
        expected = softmax(centered + 0.2 * evidence, axis=1)
        np.testing.assert_allclose(recognizer.score(test, episodes), expected, atol=1e-4)
