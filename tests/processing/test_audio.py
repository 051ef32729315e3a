"""Every form of audio comes in as the same waveform; what is no audio is refused by name, with the remedy."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_speech import encoded, log_rms, tone
from transformers.dynamic_module_utils import get_imports

import emoicl.processing
from emoicl.processing import decode_audio


@pytest.mark.parametrize("format, subtype", [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")])
def test_path_bytes_and_dictionaries_give_the_same_waveform(tmp_path, format, subtype):
    content = encoded(tone(), format=format, subtype=subtype)
    path = tmp_path / "speech"
    path.write_bytes(content)
    forms = [path, str(path), content, {"bytes": content, "path": "elsewhere"}, {"bytes": None, "path": str(path)}]
    for form in forms:
        waveform = decode_audio(form)
        assert waveform.dtype == np.float32 and waveform.shape == (8000,)
        np.testing.assert_allclose(waveform, tone(), atol=1 / 32768)


@pytest.mark.parametrize("format, subtype", [("OGG", "OPUS"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_lossy_formats_are_read(format, subtype):
    waveform = decode_audio(encoded(tone(seconds=1.0), format=format, subtype=subtype))
    assert waveform.shape == (16000,)
    spectrum = np.abs(np.fft.rfft(waveform))
    assert np.argmax(spectrum) == 440


@pytest.mark.parametrize("key", ["array", "raw"])
def test_arrays_carry_their_rate_in_a_dictionary(key):
    np.testing.assert_array_equal(decode_audio({key: tone(), "sampling_rate": 16000}), tone())
    np.testing.assert_array_equal(decode_audio({key: tone().tolist(), "sampling_rate": 16000.0}), tone())


@pytest.mark.parametrize("dtype", [np.float64, np.int16, np.int32])
def test_sample_types(dtype):
    scale = 1 if dtype == np.float64 else -float(np.iinfo(dtype).min)
    samples = (tone().astype(np.float64) * scale).astype(dtype)
    np.testing.assert_allclose(decode_audio(samples), tone(), atol=1 / 32768)
    np.testing.assert_array_equal(decode_audio(torch.from_numpy(samples)), decode_audio(samples))


def test_bfloat16_tensor():
    np.testing.assert_allclose(decode_audio(torch.from_numpy(tone()).bfloat16()), tone(), atol=2e-3)


def test_the_waveform_is_a_copy():
    samples = tone()
    decode_audio(samples)[:] = 0
    np.testing.assert_array_equal(samples, tone())


def test_stereo_is_averaged():
    left, right = tone(440), tone(700)
    expected = (left + right) / 2
    for stereo in (np.stack([left, right]), np.stack([left, right], axis=1)):
        np.testing.assert_allclose(decode_audio(stereo), expected, atol=1e-7)
    file = encoded(np.stack([left, right], axis=1), subtype="FLOAT")
    np.testing.assert_allclose(decode_audio(file), expected, atol=1e-7)


@pytest.mark.parametrize("sampling_rate", [8000, 44100, 48000])
def test_other_rates_give_what_16_khz_would(sampling_rate):
    samples = tone(sampling_rate=sampling_rate)
    for audio in ({"array": samples, "sampling_rate": sampling_rate}, encoded(samples, sampling_rate)):
        waveform = decode_audio(audio)
        assert waveform.shape == (8000,)
        # The filter rings at both ends, where the tone starts and stops.
        np.testing.assert_allclose(waveform[200:-200], tone()[200:-200], atol=2e-3)


@pytest.mark.parametrize("sampling_rate", [44100, 48000])
def test_what_16_khz_cannot_hold_is_filtered_out_not_folded_back(sampling_rate):
    """Without a low-pass filter, a tone of 10 kHz comes back as loud, as one of 6 kHz; with a short one, a little."""
    for too_high in (9000, 10000, 15000):
        samples = tone(too_high, sampling_rate=sampling_rate) + tone(1000, sampling_rate=sampling_rate)
        waveform = decode_audio({"array": samples, "sampling_rate": sampling_rate})[400:-400]
        assert log_rms(waveform - tone(1000)[400:-400]) < log_rms(tone()) - 60  # dB


def test_a_tone_above_8_khz_alone_is_silence():
    with pytest.raises(ValueError, match="silent"):
        # Faded in and out: a tone cut off sharply is heard as a click.
        decode_audio({"array": tone(10000, 0.5, 48000, 0.05) * np.hanning(24000), "sampling_rate": 48000})


NOT_FINITE = tone()
NOT_FINITE[7] = np.nan
INFINITE = tone()
INFINITE[7] = -np.inf


@pytest.mark.parametrize(
    "audio, message",
    [
        (np.zeros(0, np.float32), "empty"),
        (np.zeros((2, 0), np.float32), "empty"),
        (encoded(np.zeros(0, np.float32)), "empty"),
        (np.full(1, 0.5, np.float32), r"too short: 0\.0001 s; at least 0\.1 s"),
        (encoded(np.full(1, 0.5, np.float32)), "too short"),
        (tone(seconds=31), r"too long: 31\.0 s; at most 30 s"),
        (np.zeros(8000, np.float32), "silent"),
        (np.full(8000, 9e-5, np.float32), "silent"),
        (encoded(np.zeros(8000, np.int16)), "silent"),
        (NOT_FINITE, "sample 7 is nan"),
        (INFINITE, "sample 7 is -inf"),
        (encoded(NOT_FINITE, subtype="FLOAT"), "sample 7 is nan"),
        ({"array": NOT_FINITE, "sampling_rate": 48000}, "sample 7 is nan"),
        (tone() * 32768, "scale them to"),
        (np.ones(8000, np.uint8), "uint8"),
        (np.ones(8000, np.complex64), "complex64"),
        (np.ones((9, 8000), np.float32), r"shape \(9, 8000\)"),
        (np.ones((2, 2), np.float32), r"shape \(2, 2\)"),
        (np.ones((1, 2, 8000), np.float32), r"shape \(1, 2, 8000\)"),
        (np.asarray(0.5), r"shape \(\)"),
        (np.full(8000, 0.5, object), "samples of type object; give floats"),
        (b"", "wav, flac, ogg"),
        (b"this is no audio, it is text" * 99, "wav, flac, ogg.*FFmpeg or torchcodec"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(4000), "FFmpeg"),
        ({"array": tone()}, "sampling_rate.*None"),
        ({"array": tone(), "sampling_rate": 0}, "got 0"),
        ({"array": tone(), "sampling_rate": 16000.5}, r"16000\.5"),
        ({"array": tone(), "sampling_rate": "16k"}, "16k"),
        ({"bytes": None, "path": None}, "NoneType"),
        (None, "NoneType"),
        ([0.1, 0.2], "'list'"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(audio, message):
    with pytest.raises(ValueError, match=f"(?s)^clip 12: .*{message}"):
        decode_audio(audio, name="clip 12")


@pytest.mark.parametrize("fraction", [0.95, 0.5, 0.1])
@pytest.mark.parametrize(
    "format, subtype",
    [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("AIFF", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "OPUS"),
        ("OGG", "VORBIS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_truncated_files_are_refused(format, subtype, fraction):
    """libsndfile reads what is left of most of them without an error."""
    noise = np.random.default_rng(0).normal(0, 0.1, 64000).astype(np.float32)
    content = encoded(noise, format=format, subtype=subtype)
    assert len(decode_audio(content)) == 64000
    with pytest.raises(ValueError, match="^a.wav: .*(truncated|damaged)"):
        decode_audio({"bytes": content[: int(fraction * len(content))], "path": "a.wav"})


def test_a_streamed_wav_that_does_not_know_its_length_is_read():
    """What `ffmpeg -f wav pipe:` and `sox -t wav -` write: the sizes were not known when the header went out."""
    content = bytearray(encoded(tone()))
    content[4:8] = content[40:44] = b"\xff" * 4
    assert len(decode_audio(bytes(content))) == 8000


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="gone.wav: cannot open the file: No such file"):
        decode_audio(tmp_path / "gone.wav")
    with pytest.raises(ValueError, match=r"^target \(.*\): cannot open the file: Is a directory"):
        decode_audio(str(tmp_path), name="target")


def test_the_limits_of_duration_are_arguments():
    assert len(decode_audio(tone(seconds=0.05), min_duration=0.05)) == 800
    assert len(decode_audio(tone(seconds=31), max_duration=31)) == 31 * 16000


@pytest.mark.parametrize("other", [-1.0, -0.97])
def test_channels_out_of_phase(other):
    """Their mean would be silence, or 36 dB too low."""
    left = tone()
    for stereo in (np.stack([left, other * left]), encoded(np.stack([left, other * left], axis=1), subtype="FLOAT")):
        with pytest.warns(UserWarning, match="^clip 12: the channels are out of phase and cancel each other"):
            np.testing.assert_array_equal(decode_audio(stereo, name="clip 12"), left)


@pytest.mark.filterwarnings("error")
def test_channels_that_do_not_cancel_are_averaged():
    rng = np.random.default_rng(0)
    for right in (np.zeros(8000), -0.3 * tone(), rng.normal(0, 0.1, 8000), tone(450)):
        stereo = np.stack([tone(), right.astype(np.float32)])
        np.testing.assert_allclose(decode_audio(stereo), stereo.mean(axis=0), atol=1e-7)


def test_resampling_keeps_the_level():
    for sampling_rate in (8000, 22050, 44100, 48000):
        level = log_rms(decode_audio({"array": tone(sampling_rate=sampling_rate), "sampling_rate": sampling_rate}))
        assert abs(level - log_rms(tone())) < 0.1  # dB


def test_what_the_hub_export_demands_of_its_users():
    """`from_pretrained` imports whatever these files import outside of a `try`, and fails where it is missing. What
    transformers itself imports is there.
    """
    for path in Path(emoicl.processing.__file__).parent.glob("*_emoicl.py"):
        imports = set(get_imports(path)) - set(sys.stdlib_module_names)
        assert imports <= {"numpy", "safetensors", "torch", "transformers"}
