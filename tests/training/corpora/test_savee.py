"""The complete design of SAVEE, whose file names repeat from speaker to speaker."""

from collections import Counter

import pyarrow.parquet
import pytest
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.savee import Savee
from emoicl.training.data.corpus import load_corpus


def test_design(tmp_path):
    write_clips(tmp_path, ["AudioData/DC/a01.wav"])
    recordings = {recording.source_id: recording for recording in Savee(tmp_path).recordings()}
    assert len(recordings) == 480
    counts = Counter((recording.speaker_id, recording.native_label) for recording in recordings.values())
    assert {counts["DC", "n"], counts["KL", "n"]} == {30}
    assert {counts["JE", label] for label in ("a", "d", "f", "h", "sa", "su")} == {15}
    assert recordings["JK_sa04"] == Recording(
        "AudioData/JK/sa04.wav",
        speaker_id="JK",
        native_label="sa",
        sentence_id="sa04",
        gender="male",
        source_id="JK_sa04",
    )


def test_prepared(tmp_path):
    source = tmp_path / "savee"
    write_clips(source, ["AudioData/DC/h01.wav", "AudioData/KL/h01.wav", "AudioData/KL/su15.wav"])
    prepare(Savee(source), tmp_path / "out", allow_missing=True)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert {row["source_id"]: row["emotion"] for row in rows} == {
        "DC_h01": "joy",
        "KL_h01": "joy",
        "KL_su15": "surprise",
    }
    assert {row["audio"]["path"] for row in rows} == {"DC_h01.wav", "KL_h01.wav", "KL_su15.wav"}
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 3


@pytest.mark.parametrize("names", [("ALL/DC_a01", "ALL/JE_sa02"), ("DC/a01", "JE/sa02"), ("DC_a01", "JE_sa02")])
def test_copies(tmp_path, names):
    write_clips(tmp_path / "savee", [f"{name}.wav" for name in names])
    report = prepare(Savee(tmp_path / "savee"), tmp_path / "out", allow_missing=True)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert [(row["source_id"], row["emotion"]) for row in rows] == [("DC_a01", "anger"), ("JE_sa02", "sadness")]
    assert len(report.findings["missing"]) == 478


def test_a_folder_without_a_clip_of_it_is_refused(tmp_path):
    write_clips(tmp_path, ["DC/x01.wav"])
    with pytest.raises(ValueError, match="no audio file here or below has a name of SAVEE, which holds AudioData/DC"):
        Savee(tmp_path)
