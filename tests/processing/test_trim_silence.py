"""What is faint at the ends of an utterance is cut, and nothing within it."""

import numpy as np
import pytest
import torch
from synthetic_speech import tone

from emoicl.processing import EmoIclFeatureExtractor
from emoicl.processing.audio_emoicl import trim_silence


RATE = 16000
# Samples of 25 ms, and of the 100 ms that are kept at either end.
FRAME, KEPT = 400, 1600
DB = 35.0


def loud(seconds: float = 0.5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def silence(num_samples: int, level: float = 0.0) -> np.ndarray:
    return (level * np.random.default_rng(1).standard_normal(num_samples)).astype(np.float32)


def trimmed(*parts: np.ndarray) -> np.ndarray:
    return trim_silence(np.concatenate(parts), RATE, DB)


@pytest.mark.parametrize("before", [KEPT, KEPT + FRAME, RATE, 5 * RATE])
@pytest.mark.parametrize("after", [KEPT, KEPT + 1, RATE + 123, 5 * RATE])
def test_digital_silence_of_any_length_leaves_the_same_part(before, after):
    speech = loud()
    expected = np.concatenate([silence(KEPT), speech, silence(KEPT)])
    assert np.array_equal(trimmed(silence(before), speech, silence(after)), expected)


@pytest.mark.parametrize("before", [1, 399, 401, KEPT + 77, RATE + 200])
def test_frames_need_not_begin_where_the_utterance_does(before):
    """What is kept is whole frames from the start of the recording: less than one more of the silence."""
    speech = loud()
    found = trimmed(silence(before), speech, silence(RATE))
    start = np.flatnonzero(found)[0]
    assert min(before, KEPT) <= start < KEPT + FRAME
    assert np.array_equal(found[start : start + len(speech)], speech)
    assert not found[start + len(speech) :].any() and len(found) - start - len(speech) < KEPT + FRAME


def test_features_do_not_tell_how_long_a_silence_was():
    extractor = EmoIclFeatureExtractor(trim_silence=DB)
    speech = loud()
    features = [
        extractor(np.concatenate([silence(before), speech, silence(after)]))["input_features"]
        for before, after in ((KEPT, KEPT), (8 * FRAME, RATE), (RATE, 12345), (3 * RATE, 2 * RATE))
    ]
    assert features[0].shape == (1, 80, 70)
    assert all(torch.equal(of_other, features[0]) for of_other in features[1:])
    plain = EmoIclFeatureExtractor()
    assert plain(np.concatenate([silence(RATE), speech]))["input_features"].shape == (1, 80, 150)


@pytest.mark.parametrize("waveform", [loud(), loud(0.1), tone(), loud(2.03)])
def test_a_clip_that_is_loud_throughout_stays(waveform):
    assert np.array_equal(trim_silence(waveform, RATE, DB), waveform)
    extractors = EmoIclFeatureExtractor(trim_silence=DB), EmoIclFeatureExtractor()
    one, other = (extractor(waveform)["input_features"] for extractor in extractors)
    assert torch.equal(one, other)


def test_pauses_within_an_utterance_stay():
    parts = [loud(0.2), silence(2 * RATE), loud(0.2, seed=2)]
    assert np.array_equal(trimmed(*parts), np.concatenate(parts))


def test_what_is_faint_is_by_the_loudest_frame():
    speech = loud()
    for level, gain in ((1e-4, 1.0), (1e-4, 0.1), (0.05, 1.0)):
        noise = silence(RATE, level)
        found = trim_silence(gain * np.concatenate([noise, speech, noise]), RATE, DB)
        is_faint = 20 * np.log10(0.1 / level) > DB
        assert len(found) == (len(speech) + 2 * KEPT if is_faint else len(speech) + 2 * RATE)
    # 20 dB below it is faint for a threshold of 10 dB.
    noise = silence(RATE, 0.01)
    assert len(trim_silence(np.concatenate([noise, speech]), RATE, 10)) == len(speech) + KEPT


def test_twice_is_once():
    once = trimmed(silence(RATE + 123, 1e-4), loud(), silence(777, 1e-4))
    assert np.array_equal(trim_silence(once, RATE, DB), once)


@pytest.mark.parametrize("num_samples", [1, 399, 400, 401, 1600])
def test_short_clips_stay(num_samples):
    waveform = loud()[:num_samples]
    assert np.array_equal(trim_silence(waveform, RATE, DB), waveform)
    assert np.array_equal(trim_silence(np.zeros(num_samples, np.float32), RATE, DB), np.zeros(num_samples))


def test_no_utterance_becomes_too_short():
    """The shortest that is accepted has 0.1 s, as much as is kept at one end."""
    extractor = EmoIclFeatureExtractor(trim_silence=DB)
    for place in (0, 3000, 7999):
        click = silence(8000)
        click[place] = 0.5
        assert extractor(click)["input_features"].shape[-1] >= 10


@pytest.mark.parametrize("rate", [8000, 44100])
def test_other_sampling_rates(rate):
    speech, quiet = np.ones(rate, np.float32), np.zeros(rate, np.float32)
    found = trim_silence(np.concatenate([quiet, speech, quiet]), rate, DB)
    assert rate * 1.2 <= len(found) <= rate * (1.2 + 2 / 40)


def test_in_a_batch_each_is_trimmed_for_itself():
    extractor = EmoIclFeatureExtractor(trim_silence=DB, padding_value=-7.0)
    waveforms = [loud(0.3), np.concatenate([silence(RATE), loud(0.5), silence(RATE)]), tone()]
    batch = extractor(waveforms)
    assert batch["input_features_mask"].sum(1).tolist() == [30, 70, 50]
    for row, mask, waveform in zip(batch["input_features"], batch["input_features_mask"], waveforms, strict=True):
        assert torch.equal(row[:, mask.bool()], extractor(waveform)["input_features"][0])
        assert (row[:, ~mask.bool()] == -7.0).all()


@pytest.mark.parametrize("input_type, feature_size", [("waveform", 1), ("filterbank", 160)])
def test_of_every_type_of_features(input_type, feature_size):
    extractor = EmoIclFeatureExtractor(feature_size, input_type=input_type, trim_silence=DB)
    plain = EmoIclFeatureExtractor(feature_size, input_type=input_type)
    speech = np.concatenate([silence(KEPT), loud(), silence(KEPT)])
    found = extractor(np.concatenate([silence(RATE), speech, silence(RATE)]))["input_features"]
    assert torch.equal(found, plain(speech)["input_features"])


@pytest.mark.parametrize("value", [0, -35.0, float("nan"), "35", True])
def test_what_is_no_threshold_is_refused(value):
    with pytest.raises(ValueError, match="`trim_silence` is a number of dB above 0, or None; got"):
        EmoIclFeatureExtractor(trim_silence=value)


@pytest.mark.parametrize("value", [None, 35.0])
def test_it_is_saved_and_loaded(value, tmp_path):
    extractor = EmoIclFeatureExtractor(trim_silence=value)
    extractor.save_pretrained(tmp_path)
    loaded = EmoIclFeatureExtractor.from_pretrained(tmp_path)
    assert loaded.trim_silence == value
    waveform = np.concatenate([silence(RATE), loud()])
    assert torch.equal(loaded(waveform)["input_features"], extractor(waveform)["input_features"])
