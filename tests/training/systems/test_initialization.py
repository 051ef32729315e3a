import numpy as np
import pytest
import torch
from synthetic_voices import HIDDEN_SIZE, voices

from emoicl.training.systems.initialization import (
    discriminant_directions,
    fit_feature_normalization,
    group_means,
    variance_components,
)


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
    return x, label, speaker * num_labels + label, speaker, label_effects.var(0)


def test_known_variances_are_recovered():
    *factors, label_variance = crossed_factors()
    variances = variance_components(*factors)
    assert variances["noise"] == pytest.approx(np.square([1, 0.7]), rel=0.1)
    assert variances["speaker_label"] == pytest.approx(np.square([0.5, 2]), rel=0.15)
    assert variances["speaker"] == pytest.approx(np.square([1, 3]), rel=0.2)
    assert variances["unknown_label"] == pytest.approx(label_variance, rel=0.15)


def test_group_means():
    means = group_means(np.array([[1.0, 0.0], [5.0, 2.0], [3.0, 4.0]]), np.array(["b", "a", "b"]))
    assert means.tolist() == [[2, 2], [5, 2], [2, 2]]


def test_directions_whiten_the_spread_within_a_speaker_and_label(monkeypatch):
    monkeypatch.setattr("emoicl.training.systems.initialization.SHRINKAGE", 0.0)
    rng = np.random.default_rng(0)
    cells = np.arange(3000) // 10
    labels = cells % 5
    mixing = np.array([[1.0, 0.0, 0.0], [0.6, 1.2, 0.0], [0.0, 0.3, 0.8]])
    # The first feature tells the labels best, the last one not at all.
    x = rng.normal(size=(3000, 3)) @ mixing + rng.normal(size=(5, 3))[labels] * [3, 1, 0]
    directions = discriminant_directions(x, labels, cells, size=3)
    residuals = (x - group_means(x, cells)) @ directions
    covariance = residuals.T @ residuals / (len(x) - len(set(cells)))
    assert covariance == pytest.approx(np.eye(3), abs=1e-6)
    told = (group_means(x, labels) @ directions).var(0)
    assert told[0] > 3 * told[1] > 9 * told[2]
    assert discriminant_directions(x, labels, cells, size=2) == pytest.approx(directions[:, :2])


def test_features_are_normalized(composed):
    model, _ = composed
    corpus, features = voices(5)
    for name, frames in features.frames.items():
        features.frames[name] = frames * torch.linspace(1, 30, HIDDEN_SIZE) + 2
    fit_feature_normalization(model, corpus, features)
    frames = (
        torch.cat(list(features.frames.values())) * model.model.qformer.feature_scale
        + model.model.qformer.feature_shift
    )
    frames = frames.detach()
    torch.testing.assert_close(frames.mean(0), torch.zeros(HIDDEN_SIZE), rtol=0, atol=1e-4)
    torch.testing.assert_close(frames.std(0), torch.ones(HIDDEN_SIZE), rtol=1e-3, atol=0)
