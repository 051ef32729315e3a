"""The names of TESS, in whatever folders, and the one that lacks a letter."""

import shutil

import pyarrow.parquet
import pytest
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.tess import Tess
from emoicl.training.data.corpus import load_corpus


def test_names(tmp_path):
    names = ["YAF_pleasant_surprised/YAF_back_ps.wav", "OAF_neutral/OA_bite_neutral.wav", "OAF_mop_fear.wav"]
    write_clips(tmp_path, [*names, "OAF_Sad/OAF_back_sadness.wav"])
    recordings = {recording.source_id: recording for recording in Tess(tmp_path).recordings()}
    assert recordings["YAF_back_ps"] == Recording(
        "YAF_pleasant_surprised/YAF_back_ps.wav",
        speaker_id="YAF",
        native_label="ps",
        sentence_id="back",
        gender="female",
        age="26",
        text="Say the word back.",
    )
    misnamed = recordings["OA_bite_neutral"]
    assert (misnamed.speaker_id, misnamed.age, misnamed.sentence_id) == ("OAF", "64", "bite")
    assert sorted(recordings) == ["OAF_mop_fear", "OA_bite_neutral", "YAF_back_ps"]


def test_prepared(tmp_path):
    write_clips(tmp_path / "tess", ["OAF_Fear/OAF_back_fear.wav", "YAF_pleasant_surprised/YAF_back_ps.wav"])
    with pytest.raises(ValueError, match="miscounted"):
        prepare(Tess(tmp_path / "tess"), tmp_path / "out")
    prepare(Tess(tmp_path / "tess"), tmp_path / "out", allow_missing=True)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert {row["speaker_id"]: row["emotion"] for row in rows} == {"tess/OAF": "fear", "tess/YAF": "surprise"}
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 2


def test_a_folder_within_itself(tmp_path):
    names = ["OAF_Fear/OAF_back_fear.wav", "YAF_pleasant_surprised/YAF_back_ps.wav"]
    write_clips(tmp_path / "tess", names)
    shutil.copytree(tmp_path / "tess", tmp_path / "copy")
    shutil.move(tmp_path / "copy", tmp_path / "tess" / "TESS Toronto emotional speech set data")
    report = prepare(Tess(tmp_path / "tess"), tmp_path / "out", allow_missing=True)
    assert (report.num_listed, report.num_prepared) == (2, 2)
    copies = {f"TESS Toronto emotional speech set data/{name}": f"the same as {name}" for name in names}
    assert report.findings["duplicate"] == copies
    assert report.findings["unlisted"] == {}
