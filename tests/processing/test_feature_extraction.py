"""The features are those that the encoders were trained on, at the real length, and the same alone as in a batch."""

import io

import numpy as np
import pytest
import torch
from synthetic_speech import encoded, tone
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from emoicl.processing import EmoIclFeatureExtractor


UTTERANCES = [
    np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32) for length in (1600, 16000, 7999, 23456)
]


@pytest.mark.parametrize("feature_size", [80, 128])
@pytest.mark.parametrize("waveform", UTTERANCES)
def test_features_are_those_of_whisper_without_its_padding(waveform, feature_size):
    expected = WhisperFeatureExtractor(feature_size=feature_size)(
        waveform, sampling_rate=16000, padding="do_not_pad", truncation=False, return_tensors="pt"
    )
    output = EmoIclFeatureExtractor(feature_size=feature_size)(waveform)
    assert output["input_features"].shape == (1, feature_size, len(waveform) // 160)
    torch.testing.assert_close(output["input_features"], expected["input_features"], rtol=0, atol=1e-6)
    assert output["input_features_mask"].all()


def test_alone_is_the_same_as_in_a_batch_to_the_bit():
    extractor = EmoIclFeatureExtractor(padding_value=-7.0)
    batch = extractor(UTTERANCES)
    assert batch["input_features"].shape == (4, 80, 146) and batch["input_features"].dtype == torch.float32
    assert batch["input_features_mask"].shape == (4, 146) and batch["input_features_mask"].dtype == torch.int64
    for row, mask, waveform in zip(batch["input_features"], batch["input_features_mask"], UTTERANCES, strict=True):
        alone = extractor(waveform)["input_features"][0]
        assert mask.tolist() == [1] * alone.shape[1] + [0] * (146 - alone.shape[1])
        assert torch.equal(row[:, mask.bool()], alone)
        assert (row[:, ~mask.bool()] == -7.0).all()


def test_the_rate_of_bare_arrays_can_be_given():
    extractor = EmoIclFeatureExtractor()
    samples = tone(sampling_rate=48000)
    expected = extractor({"array": samples, "sampling_rate": 48000})["input_features"]
    assert expected.shape == (1, 80, 50)
    assert torch.equal(extractor(samples, sampling_rate=48000)["input_features"], expected)
    assert torch.equal(extractor([torch.from_numpy(samples)], sampling_rate=48000)["input_features"], expected)
    # A file says its own.
    file = encoded(tone())
    assert torch.equal(extractor(file, sampling_rate=48000)["input_features"], extractor(file)["input_features"])


def test_numpy_output():
    output = EmoIclFeatureExtractor()(tone(), return_tensors="np")
    assert isinstance(output["input_features"], np.ndarray) and output["input_features"].dtype == np.float32


def test_errors_name_the_item_of_the_list():
    with pytest.raises(ValueError, match=r"^audio\[1\]: too short"):
        EmoIclFeatureExtractor()([tone(), tone(seconds=0.01)])
    with pytest.raises(ValueError, match="the list is empty"):
        EmoIclFeatureExtractor()([])


def test_the_limits_of_duration_are_fields():
    with pytest.raises(ValueError, match=r"at least 0\.6 s"):
        EmoIclFeatureExtractor(min_duration=0.6)(tone())
    with pytest.raises(ValueError, match=r"at most 0\.4 s"):
        EmoIclFeatureExtractor(max_duration=0.4)(tone())


def test_save_and_load(tmp_path):
    fields = {
        "feature_size": 64,
        "sampling_rate": 8000,
        "hop_length": 80,
        "n_fft": 200,
        "padding_value": 1.0,
        "min_duration": 0.2,
        "max_duration": 9.0,
    }
    extractor = EmoIclFeatureExtractor(**fields)
    extractor.save_pretrained(tmp_path)
    loaded = EmoIclFeatureExtractor.from_pretrained(tmp_path)
    assert {name: getattr(loaded, name) for name in fields} == fields
    assert "mel_filters" not in loaded.to_dict()
    assert torch.equal(loaded(tone())["input_features"], extractor(tone())["input_features"])


def test_real_speech(shared):
    """The features of real clips are Whisper's too."""
    import pyarrow.parquet as pq
    import soundfile

    clips = pq.read_table(shared / "data" / "emogator" / "test.parquet", columns=["audio"]).slice(0, 5).to_pylist()
    batch = EmoIclFeatureExtractor()([clip["audio"] for clip in clips])
    for clip, row, mask in zip(clips, batch["input_features"], batch["input_features_mask"], strict=True):
        samples, rate = soundfile.read(io.BytesIO(clip["audio"]["bytes"]), dtype="float32")
        expected = WhisperFeatureExtractor()(
            samples, sampling_rate=rate, padding="do_not_pad", truncation=False, return_tensors="pt"
        )
        torch.testing.assert_close(row[:, mask.bool()], expected["input_features"][0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("do_normalize", [True, False])
def test_waveforms_are_those_of_wav2vec2(do_normalize):
    extractor = EmoIclFeatureExtractor(feature_size=1, input_type="waveform", do_normalize=do_normalize)
    batch = extractor(UTTERANCES)
    assert batch["input_features"].shape == (4, 1, 23456) and batch["input_features"].dtype == torch.float32
    for row, mask, waveform in zip(batch["input_features"], batch["input_features_mask"], UTTERANCES, strict=True):
        expected = Wav2Vec2FeatureExtractor(do_normalize=do_normalize)(waveform, sampling_rate=16000)["input_values"]
        assert mask.tolist() == [1] * len(waveform) + [0] * (23456 - len(waveform))
        torch.testing.assert_close(row[0, mask.bool()], torch.tensor(expected[0]), rtol=0, atol=1e-6)
        assert torch.equal(row[:, mask.bool()], extractor(waveform)["input_features"][0])
        assert not row[:, ~mask.bool()].any()


@pytest.mark.parametrize("num_mel_bins", [80, 40])
def test_filterbanks_are_those_of_seamless_m4t(num_mel_bins):
    extractor = EmoIclFeatureExtractor(feature_size=2 * num_mel_bins, input_type="filterbank")
    reference = SeamlessM4TFeatureExtractor(feature_size=num_mel_bins, num_mel_bins=num_mel_bins)
    expected = reference(UTTERANCES, sampling_rate=16000, return_tensors="pt")
    batch = extractor(UTTERANCES)
    assert batch["input_features"].shape == (4, 2 * num_mel_bins, 72)
    # The reference pads to an even number of frames, and then counts the last one as padding.
    assert torch.equal(batch["input_features_mask"], expected["attention_mask"][:, :72].long())
    rows = zip(batch["input_features"], expected["input_features"], batch["input_features_mask"].bool(), strict=True)
    for row, of_reference, mask in rows:
        torch.testing.assert_close(row.T[mask], of_reference[:72][mask], rtol=0, atol=1e-5)
    alone = extractor(UTTERANCES[0])["input_features"][0]
    assert torch.equal(batch["input_features"][0, :, : alone.shape[1]], alone)


@pytest.mark.parametrize(("input_type", "feature_size"), [("waveform", 1), ("filterbank", 160)])
def test_other_input_types_are_saved_and_loaded(input_type, feature_size, tmp_path):
    extractor = EmoIclFeatureExtractor(feature_size=feature_size, input_type=input_type, do_normalize=False)
    extractor.save_pretrained(tmp_path)
    loaded = EmoIclFeatureExtractor.from_pretrained(tmp_path)
    assert (loaded.input_type, loaded.feature_size, loaded.do_normalize) == (input_type, feature_size, False)
    assert torch.equal(loaded(tone())["input_features"], extractor(tone())["input_features"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_type": "mfcc"}, "one of log_mel, waveform, filterbank; got 'mfcc'"),
        ({"input_type": "waveform"}, "`feature_size` must be 1; got 80"),
        ({"input_type": "filterbank", "feature_size": 81}, "`feature_size` must be even; got 81"),
        ({"do_normalize": "no"}, "`do_normalize` is true or false; got 'no'"),
        ({"min_duration": 0}, "above 0 and the second not less; got 0 and 30.0"),
        ({"min_duration": float("nan")}, "got nan and 30.0"),
        ({"max_duration": "30"}, "numbers of seconds, .* got 0.1 and '30'"),
        ({"max_duration": 0.05}, "got 0.1 and 0.05"),
    ],
)
def test_fields_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        EmoIclFeatureExtractor(**fields)
