from dataclasses import replace

import numpy as np
import pytest
from synthetic_voices import ManyVoices, episodes_of, renamed
from tiny import LABELS

from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.prototypes import LinearProbe
from emoicl.training.baselines.speaker_normalization import NormalizedProbe


@pytest.fixture(scope="module")
def voices():
    parts = [renamed(60, "train", 1), renamed(30, "test", 3)]
    pooled = PooledFeatures(ManyVoices(*parts))
    return parts[0][0], parts[1][0], pooled


def test_the_speaker_as_their_audio_shows_them_is_taken_away(voices):
    training, test, pooled = voices
    probe = NormalizedProbe(training, pooled, LABELS)

    def accuracy(recognizer, shots):
        episodes = episodes_of(test, shots)
        rows = zip(recognizer.score(test, episodes), episodes, strict=True)
        return np.mean([LABELS[row.argmax()] == episode.label for row, episode in rows])

    np.testing.assert_allclose(
        probe.score(test, episodes_of(test, 0)),
        LinearProbe(training, pooled, LABELS).score(test, episodes_of(test, 0)),
    )
    assert accuracy(probe, 3) > accuracy(probe, 0) + 0.04


def test_labels_are_not_looked_at(voices):
    training, test, pooled = voices
    probe = NormalizedProbe(training, pooled, LABELS)
    episode = episodes_of(test, 3)[0]
    unlabeled = replace(episode, enrollment_labels=[None] * 3)
    np.testing.assert_allclose(probe.score(test, [episode]), probe.score(test, [unlabeled]))
