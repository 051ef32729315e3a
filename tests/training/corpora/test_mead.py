"""The folders of MEAD, with clips that were converted and clips that were not."""

import pyarrow.parquet
import pytest
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.mead import Mead
from emoicl.training.data.corpus import load_corpus


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "mead"
    write_clips(source, ["M003/audio/angry/level_2/001.wav", "W009/audio/neutral/level_1/012.flac"])
    for name in ("M003/audio/angry/level_2/001.m4a", "M003/video/front/angry/level_2/001.mp4"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"not looked at")
    return source


def test_recordings(source):
    assert list(Mead(source).recordings()) == [
        Recording(
            "M003/audio/angry/level_2/001.wav",
            speaker_id="M003",
            native_label="angry",
            intensity="medium",
            gender="male",
            source_id="M003_angry_2_001",
        ),
        Recording(
            "W009/audio/neutral/level_1/012.flac",
            speaker_id="W009",
            native_label="neutral",
            gender="female",
            source_id="W009_neutral_1_012",
        ),
    ]


def test_prepared(source, tmp_path):
    write_clips(source, ["M003/audio/bored/level_1/001.wav"])
    report = prepare(Mead(source), tmp_path / "out", allow_missing=True)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert {row["source_id"]: row["emotion"] for row in rows} == {
        "M003_angry_2_001": "anger",
        "W009_neutral_1_012": "neutral",
    }
    assert list(report.findings["unlisted"]) == ["M003/audio/bored/level_1/001.wav"]
    assert report.findings["ignored"] == {
        "M003/audio/angry/level_2/001.m4a": "converted to another format beside it",
        "M003/video/front/angry/level_2/001.mp4": "video",
    }
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 2


def test_m4a_is_named_with_what_to_do(source, tmp_path):
    (source / "M003/audio/angry/level_2/001.wav").unlink()
    with pytest.raises(ValueError, match="1 unreadable .M003/audio/angry/level_2/001.m4a."):
        prepare(Mead(source), tmp_path / "out")
    assert "001.m4a: m4a is not read here: convert it to wav or flac" in (tmp_path / "out/report.txt").read_text()
