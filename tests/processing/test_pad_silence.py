"""Utterances between two silences, so that how much of it a recorder left tells nothing."""

import numpy as np
import pytest
import torch

from emoicl.processing import EmoIclFeatureExtractor


RATE = 16000


def speech(seconds: float = 1.0) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(int(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize("input_type, feature_size, frames", [("log_mel", 80, 200), ("waveform", 1, 2 * RATE)])
def test_it_is_put_before_and_after(input_type, feature_size, frames):
    extractor = EmoIclFeatureExtractor(feature_size, input_type=input_type, do_normalize=False, pad_silence=0.5)
    plain = EmoIclFeatureExtractor(feature_size, input_type=input_type, do_normalize=False)
    batch = extractor([speech(), speech(0.4)])
    assert batch["input_features_mask"].sum(1)[0] == frames
    silent = np.zeros(RATE // 2, np.float32)
    by_hand = plain(np.concatenate([silent, speech(0.4), silent]))["input_features"]
    assert torch.equal(extractor(speech(0.4))["input_features"], by_hand)
    assert torch.equal(batch["input_features"][1:, :, : by_hand.shape[-1]], by_hand)


def test_it_is_digital_silence_at_any_level():
    """The level is that of the utterance alone, and a recorder's own silence is cut before."""
    extractor = EmoIclFeatureExtractor(trim_silence=35.0, level=-26.0, pad_silence=0.5)
    recorded = np.concatenate([np.zeros(1600), 0.1 * speech(), np.zeros(3 * RATE)]).astype(np.float32)
    alone = np.concatenate([np.zeros(1600), speech(), np.zeros(1600)]).astype(np.float32)
    torch.testing.assert_close(extractor(recorded)["input_features"], extractor(alone)["input_features"])
    assert extractor(alone)["input_features"].shape[-1] == 220


@pytest.mark.parametrize("seconds, expected", [(2.0, 300), (2.5, 300), (3.0, 300), (1.0, 200)])
def test_only_as_far_as_there_is_room(seconds, expected):
    extractor = EmoIclFeatureExtractor(max_duration=3.0, pad_silence=0.5)
    assert extractor(speech(seconds))["input_features"].shape[-1] == expected


@pytest.mark.parametrize("value", [-0.1, 31.0, float("nan"), "0.5", True, None])
def test_what_is_no_length_is_refused(value):
    with pytest.raises(ValueError, match="`pad_silence` is a number of seconds from 0 to `max_duration`; got"):
        EmoIclFeatureExtractor(pad_silence=value)


def test_it_is_saved_and_loaded(tmp_path):
    EmoIclFeatureExtractor(pad_silence=0.25).save_pretrained(tmp_path)
    assert EmoIclFeatureExtractor.from_pretrained(tmp_path).pad_silence == 0.25
