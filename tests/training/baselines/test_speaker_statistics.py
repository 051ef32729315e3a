"""Of two sources whose emotions point in opposite directions, one Gaussian for both would be wrong about each."""

from typing import Any

import numpy as np
import pytest
import torch
from synthetic_voices import ManyVoices, episodes_of, renamed
from tiny import LABELS

from emoicl.modeling.configuration_emoicl import EmoIclAdaptationConfig
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.speaker_statistics import (
    Factors,
    discriminant_directions,
    fit_adaptation,
    group_means,
    label_evidence,
    label_means,
    speaker_centers,
    variance_components,
)
from emoicl.training.data.corpus import Corpus


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


def fit(corpus, features, sources=()):
    labels = {"label_words": list(LABELS), "label_token_ids": [[number] for number in range(len(LABELS))]}
    config = EmoIclAdaptationConfig(sources=list(sources), prototype_weight=0.0, **labels)
    return fit_adaptation(corpus, PooledFeatures(features)(corpus), config)


def source_shares(adaptation, pooled, episodes):
    voices = adaptation.project(torch.from_numpy(pooled).float())[:, : adaptation.config.size]
    index = torch.tensor([[*episode.enrollment, episode.target] for episode in episodes])
    return adaptation.source_shares(voices, index).T.detach().numpy()


def test_each_source_is_read_by_its_own_statistics(corpora):
    training, test, features = corpora
    pooled = PooledFeatures(features)(test)
    of_sources, of_all = fit(training, features, SOURCES), fit(training, features)
    for shots in (0, 3):
        episodes = episodes_of(test, shots)
        shares = source_shares(of_sources, pooled, episodes)
        assert shares.sum(1) == pytest.approx(1) and shares[:, 0].max() < 1e-6
        assert (shares.argmax(1) == 1 + source_of(test, episodes)).mean() > 0.95
        better, worse = (accuracy(label_evidence(a, pooled, episodes), episodes) for a in (of_sources, of_all))
        assert better > worse


def test_other_sources_are_read_by_the_statistics_of_all(corpora):
    training, test, features = corpora
    episodes = episodes_of(test, 1)
    shares = source_shares(fit(training, features, ["street"]), PooledFeatures(features)(test), episodes)
    assert ((shares[:, 0] > 0.5) == (source_of(test, episodes) == SOURCES.index("studio"))).mean() > 0.9


def test_a_source_that_is_not_there(corpora):
    training, _, features = corpora
    with pytest.raises(ValueError, match="names cellar; the training corpora are street, studio"):
        fit(training, features, ["studio", "cellar"])


def test_the_only_source(corpora):
    studio, features = renamed(5, "studio/a", 1)
    with pytest.raises(ValueError, match="studio is the only one: leave it out"):
        fit(studio, features, ["studio"])


def test_a_source_without_one_of_the_labels(corpora):
    training, _, features = corpora
    part = Corpus(u for u in training if (u.speaker_id.split("/")[0], u.label) != ("street", LABELS[0]))
    with pytest.raises(ValueError, match=f"street cannot be one of `sources`: .*{LABELS[0]} of the candid"):
        fit(part, features, SOURCES)


def crossed_factors(num_speakers=400, num_labels=6, takes=4):
    """Two features of utterances, with standard deviations that are known, and what they depend on."""
    rng = np.random.default_rng(0)
    speaker, label, _ = (index.ravel() for index in np.indices((num_speakers, num_labels, takes)))
    label_effects = rng.normal(0, [2, 1], (num_labels, 2))
    x = label_effects[label] + rng.normal(0, [1, 3], (num_speakers, 2))[speaker]
    x = (
        x
        + rng.normal(0, [0.5, 2], (num_speakers, num_labels, 2))[speaker, label]
        + rng.normal(0, [1, 0.7], (len(label), 2))
    )
    return x, Factors(label, speaker, np.zeros_like(label)), label_effects.var(0)


def test_known_variances_are_recovered():
    x, factors, label_variance = crossed_factors()
    variances = variance_components(x, factors)
    assert variances["noise"] == pytest.approx(np.square([1, 0.7]), rel=0.1)
    assert variances["speaker_label"] == pytest.approx(np.square([0.5, 2]), rel=0.15)
    assert variances["speaker"] == pytest.approx(np.square([1, 3]), rel=0.2)
    assert variances["unknown_label"] == pytest.approx(label_variance, rel=0.15)


def test_labels_of_some_corpora_alone_sound_like_no_room():
    """Neither what a corpus lacks nor how large it is moves what its labels sound like."""
    rng = np.random.default_rng(0)
    speaker, label, _ = (index.ravel() for index in np.indices((12, 4, 5)))
    label_effects, rooms = rng.normal(size=(4, 2)), np.array([[10.0, 0.0], [-10.0, 0.0]])
    voices = rng.normal(size=(12, 2))
    corpus = (speaker >= 9).astype(int)
    x = label_effects[label] + rooms[corpus] + voices[speaker]
    # The large corpus lacks the last label, and one speaker of the small one says another label once.
    kept = (corpus == 1) | (label != 3)
    kept[np.flatnonzero((speaker == 11) & (label == 0))[1:]] = False
    factors = Factors(label, speaker, corpus)[kept]
    average = (rooms[0] + voices[:9].mean(0) + rooms[1] + voices[9:].mean(0)) / 2
    assert label_means(x[kept], factors) == pytest.approx(average + label_effects[factors.labels])
    centers = speaker_centers(x[kept] - label_means(x[kept], factors), factors)
    assert centers == pytest.approx((rooms[corpus] + voices[speaker])[kept] - average)


def test_all_corpora_count_alike():
    """Where labels sound otherwise in each, their mean is halfway, however many speakers each has."""
    speaker, label = (index.ravel() for index in np.indices((12, 2)))
    corpus = (speaker >= 10).astype(int)
    x = (label * np.where(corpus, 3.0, 1.0))[:, None]
    means = label_means(x, Factors(label, speaker, corpus))
    assert means[1] - means[0] == pytest.approx(2)


def test_group_means():
    means = group_means(np.array([[1.0, 0.0], [5.0, 2.0], [3.0, 4.0]]), np.array(["b", "a", "b"]))
    assert means.tolist() == [[2, 2], [5, 2], [2, 2]]


def test_directions_whiten_the_spread_within_a_speaker_and_label(monkeypatch):
    monkeypatch.setattr("emoicl.training.baselines.speaker_statistics.SHRINKAGE", 0.0)
    rng = np.random.default_rng(0)
    cells = np.arange(3000) // 10
    labels = cells % 5
    mixing = np.array([[1.0, 0.0, 0.0], [0.6, 1.2, 0.0], [0.0, 0.3, 0.8]])
    # The first feature tells the labels best, the last one not at all.
    x = rng.normal(size=(3000, 3)) @ mixing + rng.normal(size=(5, 3))[labels] * [3, 1, 0]
    factors = Factors(labels, cells // 5, np.zeros_like(cells))
    directions = discriminant_directions(x, factors, size=3)
    residuals = (x - group_means(x, cells)) @ directions
    covariance = residuals.T @ residuals / (len(x) - len(set(cells)))
    assert covariance == pytest.approx(np.eye(3), abs=1e-6)
    told = (group_means(x, labels) @ directions).var(0)
    assert told[0] > 3 * told[1] > 9 * told[2]
    assert discriminant_directions(x, factors, size=2) == pytest.approx(directions[:, :2])


def test_copies_count_as_other_speakers_of_the_same_corpora(corpora):
    training, _, features = corpora
    factors = Factors.of_corpus(training)
    both = factors.with_copies(1)
    assert len(both.labels) == 2 * len(training) and both.num_cells == 2 * factors.num_cells
    assert len(set(both.speakers)) == 2 * len(set(factors.speakers))
    assert set(both.corpora) == set(factors.corpora)
    assert factors.with_copies(0).speakers.tolist() == factors.speakers.tolist()


def test_what_copies_vary_in_is_variance_of_speakers(corpora):
    """A room moves all utterances of a copy alike: the noise stays, and the speakers vary more."""
    training, _, features = corpora
    pooled = PooledFeatures(features)(training)
    factors = Factors.of_corpus(training)
    rng = np.random.default_rng(0)
    rooms = {speaker: 5 * pooled.std(0) * rng.standard_normal(pooled.shape[1]) for speaker in training.by_speaker}
    copy = pooled + np.stack([rooms[speaker] for speaker in training.speaker_ids])
    alone = variance_components(pooled, factors)
    both = variance_components(np.concatenate([pooled, copy]), factors.with_copies(1))
    np.testing.assert_allclose(both["noise"], alone["noise"])
    assert (both["speaker"] > 3 * alone["speaker"]).all()


def test_copies_that_are_no_different_change_nothing(corpora):
    training, test, features = corpora
    pooled = PooledFeatures(features)(training)
    labels = {"label_words": list(LABELS), "label_token_ids": [[number] for number in range(len(LABELS))]}
    fitted = [
        fit_adaptation(training, pooled, EmoIclAdaptationConfig(sources=SOURCES, **labels), copies)
        for copies in ([], [pooled, pooled])
    ]
    episodes, of_test = episodes_of(test, shots=2), PooledFeatures(features)(test)
    alone, both = (label_evidence(adaptation, of_test, episodes) for adaptation in fitted)
    np.testing.assert_allclose(both, alone, rtol=0.02, atol=0.02)
