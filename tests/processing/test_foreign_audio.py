import functools
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile
from synthetic_speech import tone

from emoicl.processing.audio_emoicl import decode_audio, stream_audio
from emoicl.processing.foreign_audio_emoicl import container_of


needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="makes its files with FFmpeg")


@pytest.fixture
def wav(tmp_path):
    soundfile.write(tmp_path / "clip.wav", tone(220, 2.0), 16000)
    return tmp_path / "clip.wav"


def convert(wav, suffix):
    path = wav.with_suffix(suffix)
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", wav, path], check=True)
    return path


@needs_ffmpeg
@pytest.mark.parametrize("suffix, container", [(".m4a", "mov"), (".aac", "aac"), (".webm", "matroska")])
def test_ffmpeg_reads_what_libsndfile_does_not(wav, suffix, container):
    path = convert(wav, suffix)
    assert container_of(path) == container_of(path.read_bytes()) == container
    waveform = decode_audio(path)
    # Codecs add some samples at either end.
    assert len(waveform) == pytest.approx(32000, abs=2400)
    assert np.abs(np.fft.rfft(waveform)).argmax() * 16000 / len(waveform) == pytest.approx(220, abs=1)
    np.testing.assert_array_equal(decode_audio(path.read_bytes()), waveform)
    with pytest.raises(ValueError, match="too long: more than 1 s"):
        decode_audio(path, max_duration=1.0)
    assert len(np.concatenate(list(stream_audio(path)))) == len(waveform)


@needs_ffmpeg
def test_a_part_of_a_file_is_refused(wav):
    path = convert(wav, ".m4a")
    content = path.read_bytes()
    for part in (content[: len(content) // 2], content[:40] + content[200:]):
        with pytest.raises(ValueError, match="^audio: FFmpeg cannot read it, or not to its end: "):
            decode_audio(part)


def test_where_nothing_reads_it_the_message_says_what_would(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    path = tmp_path / "clip.webm"
    path.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(100))
    with pytest.raises(ValueError, match="clip.webm: 104 bytes .* webm where FFmpeg or torchcodec is"):
        decode_audio(path)


@pytest.fixture
def server(wav):
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(wav.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_url_is_fetched(wav, server):
    np.testing.assert_array_equal(decode_audio(f"{server}/clip.wav"), decode_audio(wav))
    with pytest.raises(ValueError, match=r"gone.wav: cannot be fetched: HTTP Error 404"):
        decode_audio(f"{server}/gone.wav")
