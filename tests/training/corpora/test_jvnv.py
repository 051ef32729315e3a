"""The folders of JVNV and its transcription."""

import pyarrow.parquet
import pytest
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.jvnv import Jvnv
from emoicl.training.data.corpus import load_corpus


CLIPS = [
    "F1/anger/regular/F1_anger_regular_01.wav",
    "F2/happy/free/F2_happy_free_02.wav",
    "M1/anger/regular/M1_anger_regular_01.wav",
    "M2/sad/free/M2_sad_free_10.wav",
]
TEXTS = "anger_regular_01|おい|おい、何だ。\nhappy_free_02|あはは|あはは、やった！\n"


@pytest.fixture
def source(tmp_path):
    write_clips(tmp_path / "jvnv_v1", CLIPS)
    (tmp_path / "jvnv_v1" / "transcription.csv").write_text(TEXTS, encoding="utf-8")
    return tmp_path / "jvnv_v1"


def test_recordings(source):
    recordings = list(Jvnv(source).recordings())
    assert [recording.path for recording in recordings] == CLIPS
    assert recordings[1] == Recording(
        CLIPS[1],
        speaker_id="F2",
        native_label="happy",
        sentence_id="happy_free_02",
        gender="female",
        text="あはは、やった！",
    )
    assert recordings[0].sentence_id == recordings[2].sentence_id == "anger_regular_01"
    assert (recordings[3].gender, recordings[3].text) == ("male", "")


def test_prepared(source, tmp_path):
    write_clips(source, ["F1/anger/regular/F1_sad_regular_01.wav", "F1/anger/regular/M1_anger_regular_02.wav"])
    report = prepare(Jvnv(source), tmp_path / "out", allow_missing=True)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert [row["emotion"] for row in rows] == ["anger", "joy", "anger", "sadness"]
    # In the folder of another emotion, and in that of another speaker.
    assert list(report.findings["unlisted"]) == [
        "F1/anger/regular/F1_sad_regular_01.wav",
        "F1/anger/regular/M1_anger_regular_02.wav",
    ]
    assert report.findings["miscounted"] == {"jvnv": "4 clips, where the owners state 1615"}
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 4


def test_refuses_a_transcription_of_another_kind(source):
    (source / "transcription.csv").write_text(TEXTS + "sad_free_10,うう\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 3 is 'sad_free_10,うう'"):
        list(Jvnv(source).recordings())
