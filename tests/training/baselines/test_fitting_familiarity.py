"""Speakers whom the statistics have not heard sound as usual, and another room does not."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_voices import voices

from emoicl.modeling.familiarity_emoicl import EmoIclFamiliarity
from emoicl.training.baselines.familiarity import default_size, fit_familiarity
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.evaluation.trust import auroc


@pytest.fixture(scope="module")
def heard() -> Any:
    """What a module that was fitted to 40 speakers says of 40 others, and of these in another room."""
    (training, features), (others, theirs) = voices(40, seed=1), voices(40, seed=2)
    mixing = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 12)))[0]
    pooled, unheard = PooledFeatures(features)(training), PooledFeatures(theirs)(others)
    # Recordings of a corpus have something in common: some directions hardly vary.
    pooled, unheard = (
        x @ mixing @ mixing.T + 0.1 * np.random.default_rng(1).normal(size=x.shape) for x in (pooled, unheard)
    )
    module = EmoIclFamiliarity(32, default_size(32))
    values = fit_familiarity(pooled, np.array(training.speaker_ids), default_size(32))
    module.load_state_dict({name.partition(".")[2]: torch.from_numpy(value) for name, value in values.items()})
    another_room = unheard + 0.6 * np.random.default_rng(2).normal(size=32)
    parts = {"training": pooled, "unheard": unheard, "another_room": another_room}
    return SimpleNamespace(**{name: module(torch.from_numpy(x)).numpy() for name, x in parts.items()})


def test_of_others_one_in_twenty_sounds_less_familiar_than_a_twentieth(heard):
    assert 0.02 < np.mean(heard.unheard < 0.05) < 0.1
    assert 0.35 < np.median(heard.unheard) < 0.65


def test_another_room_is_told_from_what_was_trained_on(heard):
    told = auroc(heard.unheard, heard.another_room)
    assert told is not None and told > 0.95
    assert np.mean(heard.another_room < 0.05) > 0.7
