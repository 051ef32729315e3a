import numpy as np
import pytest
import torch
from synthetic_voices import ManyVoices, episodes_of, renamed
from tiny import LABELS

from emoicl.training.baselines.contrastive import ContrastiveShots, CroppedFeatures, tune


@pytest.fixture(scope="module")
def voices():
    part = renamed(20, "test", 3)
    return part[0], ContrastiveShots(CroppedFeatures(ManyVoices(part)), LABELS)


def test_tuning_draws_a_label_together_and_others_apart():
    x = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = np.array(["a", "a", "a", "b", "b", "b"])
    before, after = (torch.nn.functional.normalize(part, dim=-1) for part in (x, x @ tune(x, labels)))
    same = torch.from_numpy(labels[:, None] == labels)
    gaps = [(cosines[same].mean() - cosines[~same].mean()).item() for cosines in (before @ before.T, after @ after.T)]
    assert gaps[1] > gaps[0] + 0.1


def test_shots_of_a_speaker_tell_of_their_labels(voices):
    corpus, contrastive = voices
    episodes = episodes_of(corpus, 3)[::2]
    probabilities = contrastive.score(corpus, episodes)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    right = [LABELS[row.argmax()] == episode.label for row, episode in zip(probabilities, episodes, strict=True)]
    assert np.mean(right) > 0.45
    few = [episodes_of(corpus, 0)[0], episodes_of(corpus, 1)[0]]
    np.testing.assert_allclose(contrastive.score(corpus, few), 1 / len(LABELS))
