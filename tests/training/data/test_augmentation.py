import dataclasses

import numpy as np
import pytest
import torch

from emoicl.training.data.augmentation import FILTER_LENGTH, Augmentation


RATE = 16000


def tone(frequency: float, seconds: float = 1.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def plain(**fields) -> Augmentation:
    """Changes nothing but what is given."""
    impulse = np.eye(FILTER_LENGTH)[FILTER_LENGTH // 2]
    neutral = {"speed": 1.0, "impulse_response": impulse, "noise": np.ones(RATE), "signal_to_noise": 200.0}
    return Augmentation(**(neutral | fields))


def test_all_utterances_of_a_speaker_share_one():
    one, again = (Augmentation.of_speaker("ravdess/01", 0) for _ in range(2))
    assert np.array_equal(one(tone(300)), again(tone(300)))
    others = [Augmentation.of_speaker("ravdess/01", 1), Augmentation.of_speaker("ravdess/02", 0)]
    assert len({other.signal_to_noise for other in (one, *others)}) == 3
    assert len({round(float(other.impulse_response[300]), 9) for other in (one, *others)}) == 3


def test_without_changes_it_is_the_utterance():
    np.testing.assert_allclose(plain()(tone(300)), tone(300), atol=1e-6)


def test_a_faster_voice_is_shorter_and_higher():
    found = plain(speed=1.1)(tone(300))
    assert found.dtype == np.float32
    assert len(found) == pytest.approx(RATE / 1.1, abs=1)
    spectrum = np.abs(np.fft.rfft(found))
    assert np.fft.rfftfreq(len(found), 1 / RATE)[spectrum.argmax()] == pytest.approx(330, abs=1.5)


def test_the_noise_is_as_much_quieter_as_it_says():
    noise = np.random.default_rng(0).standard_normal(RATE // 2)
    rest = plain(noise=noise, signal_to_noise=20.0)(tone(300)) - tone(300)
    assert 20 * np.log10(tone(300).std() / rest.std()) == pytest.approx(20, abs=0.1)


def test_those_of_many_speakers_differ_as_they_should():
    drawn = [Augmentation.of_speaker(f"a/{number}", 0) for number in range(200)]
    assert 0.06 < np.std([np.log(one.speed) for one in drawn]) < 0.1
    # In dB at 1 kHz: the microphone and a little of the echo.
    gains = [20 * np.log10(np.abs(np.fft.rfft(one.impulse_response, RATE)[1000])) for one in drawn]
    assert 2 < np.std(gains) < 8
    assert all(np.isfinite(one(tone(300, 0.1))).all() for one in drawn[:20])


def test_features_of_a_copy_are_its_own(features, corpus):
    first, second = features.copies(2)
    of_copies = [cache.load(corpus.utterances[:2])["speech_features"] for cache in (features, first, second)]
    assert len({tuple(of_copy[0, :5, 0].tolist()) for of_copy in of_copies}) == 3
    again = features.copies(1)[0]
    again._compute = lambda utterances: pytest.fail("they are kept")
    assert torch.equal(again.load(corpus.utterances[:2])["speech_features"], of_copies[1])


def test_the_same_clip_of_another_speaker_is_another_copy(features, corpus):
    utterance = corpus[0]
    other = dataclasses.replace(utterance, speaker_id="somebody/else")
    (copies,) = features.copies(1)
    one, another = (copies.load([of_speaker])["speech_features"] for of_speaker in (utterance, other))
    assert not torch.equal(one, another)
    alike = (features.load([of_speaker])["speech_features"] for of_speaker in (utterance, other))
    assert torch.equal(*alike)
