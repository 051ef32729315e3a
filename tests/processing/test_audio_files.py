"""Files as recorders, streams and editors leave them are read whole; what they claim costs nothing."""

import io
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from synthetic_speech import encoded, log_rms, tone

from emoicl.processing.audio_emoicl import decode_audio, stream_audio


SPEECH = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
NEEDS_FFMPEG = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


def wav(data_size, riff_size=None, in_front=b"", cut=0):
    """SPEECH with sizes of our own in its header."""
    content = bytearray(encoded(SPEECH))
    content[4:8] = struct.pack("<I", data_size + 36 if riff_size is None else riff_size)
    content[40:44] = struct.pack("<I", data_size)
    return in_front + bytes(content[: len(content) - cut])


def ffmpeg(waveform, *options):
    command = ["ffmpeg", "-v", "error", "-i", "-", *options, "-"]
    return subprocess.run(command, input=encoded(waveform), stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("extra", [44, 36, 8, 1, 0x7FFFF000 - 36 - 64000, 0x7FFF0000 - 64000, 2_000_000_000 - 64000])
def test_data_sizes_that_are_too_large(extra):
    np.testing.assert_allclose(decode_audio(wav(64000 + extra)), SPEECH, atol=1e-4)


@pytest.mark.parametrize("riff_size", [0, 36])
def test_a_data_size_that_was_never_filled_in(riff_size, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(0, riff_size))
    np.testing.assert_allclose(decode_audio(tmp_path / "a.wav"), SPEECH, atol=1e-4)
    with pytest.raises(ValueError, match="empty"):
        decode_audio(wav(0, 48, cut=64000) + b"LIST\x04\x00\x00\x00INFO")


def test_a_lost_last_byte_and_a_tag_in_front():
    assert len(decode_audio(wav(64000, cut=1))) == 31999
    assert len(decode_audio(wav(64000, in_front=b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)))) >= 31980


@pytest.mark.parametrize("format", ["WAV", "WAVEX", "RF64", "W64", "AU", "AIFF", "CAF", "SVX"])
def test_truncated_files_of_every_kind_are_refused(format):
    content = encoded(SPEECH, format=format)
    assert len(decode_audio(content)) == 32000
    with pytest.raises(ValueError, match="truncated|damaged"):
        decode_audio(content[: len(content) * 6 // 10])


def test_codecs_that_cannot_seek():
    content = encoded(tone(sampling_rate=8000, seconds=1.0), 8000, subtype="GSM610")
    # Its frames have 320 samples.
    assert len(decode_audio(content)) == pytest.approx(16000, abs=640)


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_an_ogg_without_an_end_mark_is_read_with_a_word(subtype):
    content = bytearray(encoded(SPEECH, format="OGG", subtype=subtype))
    page = content.rfind(b"OggS")
    content[page + 5] &= ~4
    content[page + 22 : page + 26] = bytes(4)
    with pytest.warns(UserWarning, match="^a.ogg: has no end mark"):
        assert len(decode_audio({"bytes": bytes(content), "path": "a.ogg"})) == 32000


def test_a_flac_of_unknown_length():
    content = bytearray(encoded(SPEECH, format="FLAC"))
    # 36 bits, the lower half of byte 21 and four more: the number of samples.
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    np.testing.assert_allclose(decode_audio(bytes(content)), SPEECH, atol=1e-4)


def test_joined_mp3_files():
    parts = [encoded(tone(hertz, 1.0), format="MP3", subtype="MPEG_LAYER_III") for hertz in (440, 880)]
    waveform = decode_audio(b"".join(parts))
    assert len(waveform) == 32000
    assert [np.abs(np.fft.rfft(half)).argmax() for half in np.split(waveform, 2)] == [440, 880]


@NEEDS_FFMPEG
def test_an_mp3_that_does_not_tell_its_length():
    quiet_first = np.concatenate([1e-3 * SPEECH, SPEECH, SPEECH])
    content = ffmpeg(quiet_first, "-c:a", "libmp3lame", "-q:a", "5", "-write_xing", "0", "-f", "mp3")
    assert len(decode_audio(content)) == pytest.approx(96000, abs=2500)


@NEEDS_FFMPEG
def test_a_flac_from_a_pipe():
    assert len(decode_audio(ffmpeg(SPEECH, "-f", "flac"))) == 32000


@pytest.mark.parametrize("sampling_rate", [11025, 16001, 44101, 22049, 191999, 655350])
def test_any_rate_gives_what_16_khz_would(sampling_rate):
    waveform = decode_audio({"array": tone(1000, 0.5, sampling_rate), "sampling_rate": sampling_rate})
    assert len(waveform) == pytest.approx(8000, abs=2)
    shorter = min(len(waveform), 8000) - 400
    assert log_rms(waveform[400:shorter] - tone(1000)[400:shorter]) < log_rms(tone()) - 15


@pytest.mark.parametrize("sampling_rate", [8000, 44100, 16001])
def test_blocks_are_resampled_as_the_whole(sampling_rate, monkeypatch):
    samples = np.random.default_rng(1).normal(0, 0.1, 3 * sampling_rate).astype(np.float32)
    audio = {"array": samples, "sampling_rate": sampling_rate}
    whole = decode_audio(audio)
    monkeypatch.setattr("emoicl.processing.audio_emoicl.BLOCK_SIZE", 7001)
    blocks = list(stream_audio(audio))
    assert len(blocks) > 2
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)


@pytest.mark.parametrize("rate", [1, 999, 1_000_001])
def test_rates_that_no_recorder_has_are_refused(rate):
    with pytest.raises(ValueError, match=f"1000 to 1000000; got {rate}"):
        decode_audio({"array": SPEECH, "sampling_rate": rate})
    with pytest.raises(ValueError, match=f"its header has a sampling rate of {rate} Hz; 1000 to 1000000 are taken"):
        decode_audio(encoded(SPEECH[:10], rate))


def test_memory_is_that_of_an_utterance():
    """An hour of silence in 250 kB, and a second at 44101 Hz, which took gigabytes."""
    script = """
import io, resource, numpy as np, soundfile
from emoicl.processing.audio_emoicl import decode_audio, stream_audio
decode_audio({"array": np.ones(4410, "f4"), "sampling_rate": 44100})
hour, odd = io.BytesIO(), io.BytesIO()
with soundfile.SoundFile(hour, "w", samplerate=16000, channels=2, format="FLAC", subtype="PCM_16") as file:
    for _ in range(60):
        file.write(np.zeros((16000 * 60, 2), "f4"))
soundfile.write(odd, np.random.default_rng(0).normal(0, 0.1, 44101), 44101, format="WAV")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_audio(hour.getvalue())
except ValueError as error:
    assert "too long: 3600.0 s" in str(error)
assert sum(map(len, stream_audio(hour.getvalue()))) == 3600 * 16000
assert abs(len(decode_audio(odd.getvalue())) - 16000) < 3
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(process.stdout) < 150  # MB


def test_damage_anywhere_is_a_message_with_the_name():
    rng = np.random.default_rng(0)
    for format, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
        content = encoded(SPEECH, format=format, subtype=subtype)
        for _ in range(25):
            damaged = bytearray(content)
            for place in rng.integers(0, 200, 4):
                damaged[place] = rng.integers(256)
            try:
                waveform = decode_audio({"bytes": bytes(damaged), "path": "a.bin"})
                assert waveform.dtype == np.float32
            except ValueError as error:
                assert str(error).startswith("a.bin: ")


def test_too_many_channels_in_a_file():
    file = io.BytesIO()
    soundfile.write(file, np.zeros((800, 200), np.float32), 16000, format="WAV")
    with pytest.raises(ValueError, match="200 channels at 16000 Hz; at most 8"):
        decode_audio(file.getvalue())


def test_a_place_that_there_is_not_prints_nothing(tmp_path, capfd):
    path = tmp_path / "a.aiff"
    path.write_bytes(encoded(SPEECH, 8000, format="AIFF", subtype="ALAW").replace(b"SSND", b"SSNR$"))
    with pytest.raises(ValueError, match="a.aiff: "):
        decode_audio(path)
    assert "Traceback" not in capfd.readouterr().err


def test_samples_that_a_decoder_makes_up_end(tmp_path):
    content = bytearray(encoded(SPEECH, 8000, format="W64", subtype="GSM610"))
    # No file is as large.
    place = content.index(b"data") + 22
    content[place : place + 2] = b"\x6a\x89"
    (tmp_path / "a.w64").write_bytes(content)
    with pytest.raises(ValueError, match="the file is damaged"):
        list(stream_audio(tmp_path / "a.w64"))
