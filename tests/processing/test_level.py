"""How loud a recording is changes nothing, where utterances are brought to one level."""

import numpy as np
import pytest
import torch

from emoicl.processing import EmoIclFeatureExtractor
from emoicl.processing.audio_emoicl import set_level


RATE = 16000


def speech(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(RATE) * np.sin(np.arange(RATE) / 900)).astype(np.float32)


@pytest.mark.parametrize("level", [-40, -26.0, 0])
def test_the_root_mean_square_is_the_level(level):
    found = set_level(speech(), level)
    assert found.dtype == np.float32
    assert 20 * np.log10(np.sqrt(np.square(found).mean())) == pytest.approx(level, abs=1e-4)
    assert np.corrcoef(found, speech())[0, 1] == pytest.approx(1)


@pytest.mark.parametrize("gain", [0.01, 0.1, 0.5, 2.0])
@pytest.mark.parametrize("trim_silence", [None, 35.0])
def test_features_do_not_tell_how_loud_a_recording_is(gain, trim_silence):
    extractor = EmoIclFeatureExtractor(trim_silence=trim_silence, level=-26.0)
    features, louder = (extractor(audio)["input_features"] for audio in (speech(), gain * speech()))
    torch.testing.assert_close(louder, features, rtol=0, atol=1e-5)
    plain = EmoIclFeatureExtractor(trim_silence=trim_silence)
    # Of Whisper's log-mel features, ten times as loud is 0.5 more.
    difference = plain(gain * speech())["input_features"] - plain(speech())["input_features"]
    torch.testing.assert_close(difference.median(), torch.tensor(np.log10(gain) / 2).float(), rtol=0.01, atol=0)


def test_the_level_is_that_of_what_is_left_of_an_utterance():
    extractor = EmoIclFeatureExtractor(trim_silence=35.0, level=-26.0)
    padded = np.concatenate([np.zeros(1600), speech(), np.zeros(3 * RATE)]).astype(np.float32)
    alone = np.concatenate([np.zeros(1600), speech(), np.zeros(1600)]).astype(np.float32)
    torch.testing.assert_close(extractor(padded)["input_features"], extractor(alone)["input_features"])


def test_each_of_a_batch_has_its_own():
    extractor = EmoIclFeatureExtractor(level=-26.0)
    batch = extractor([speech(0), 0.1 * speech(1)])["input_features"]
    for features, audio in zip(batch, (speech(0), 0.1 * speech(1)), strict=True):
        assert torch.equal(features[None], extractor(audio)["input_features"])


@pytest.mark.parametrize("value", [1, -101.0, float("nan"), "-26", True])
def test_what_is_no_level_is_refused(value):
    with pytest.raises(ValueError, match="`level` is a number of dB from -100 to 0, or None; got"):
        EmoIclFeatureExtractor(level=value)


def test_it_is_saved_and_loaded(tmp_path):
    EmoIclFeatureExtractor(level=-23.5).save_pretrained(tmp_path)
    assert EmoIclFeatureExtractor.from_pretrained(tmp_path).level == -23.5
