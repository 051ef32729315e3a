from dataclasses import replace

import numpy as np
import pytest
from synthetic_voices import ManyVoices, episodes_of, renamed
from tiny import LABELS

from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.shots_alone import ShotsAlone
from emoicl.training.evaluation.evaluate import ALL_CONTROLS, evaluate


@pytest.fixture(scope="module")
def voices():
    part = renamed(30, "test", 3)
    return part[0], ShotsAlone(PooledFeatures(ManyVoices(part)), LABELS)


def test_the_enrollment_helps_and_controls_hurt(voices):
    corpus, alone = voices
    report = evaluate(alone, corpus, shots=[0, 2, 3], seeds=[0], controls=ALL_CONTROLS)
    assert report.accuracy(3).ua_spk > report.accuracy(0).ua_spk + 0.08
    for control in ("rotated", "other_speaker"):
        assert report.accuracy(3, control).ua_spk < report.accuracy(3).ua_spk - 0.08
    for probabilities in (report.condition(k).probabilities[0] for k in (0, 2, 3)):
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)


def test_it_knows_nothing_without_two_labels(voices):
    corpus, alone = voices
    few = [*episodes_of(corpus, 0)[:2], *episodes_of(corpus, 1)[:2]]
    few += [replace(episode, enrollment_labels=[None, None]) for episode in episodes_of(corpus, 2)[:2]]
    np.testing.assert_allclose(alone.score(corpus, few), 1 / len(LABELS))


def test_a_label_that_is_not_enrolled_has_its_share(voices):
    corpus, alone = voices
    episode = episodes_of(corpus, 2)[0]
    [probabilities] = alone.score(corpus, [episode])
    absent = [column for column, label in enumerate(LABELS) if label not in episode.enrollment_labels]
    np.testing.assert_allclose(probabilities[absent], 1 / len(LABELS))
    assert probabilities.max() > 1 / len(LABELS)


def test_shots_without_labels_still_normalize(voices):
    corpus, alone = voices
    episode = episodes_of(corpus, 3)[0]
    partly = replace(episode, enrollment_labels=[*episode.enrollment_labels[:2], None])
    two = replace(episode, enrollment=episode.enrollment[:2], enrollment_labels=episode.enrollment_labels[:2])
    assert not np.allclose(alone.score(corpus, [partly]), alone.score(corpus, [two]))
