"""The names of ShEMO, where F is a woman or fear."""

import pyarrow.parquet
import pytest
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.shemo import ShEmo
from emoicl.training.data.corpus import load_corpus


def test_names(tmp_path):
    write_clips(tmp_path, ["female/F21N05.wav", "male/M02F01.wav", "male/M02B01.wav"])
    recordings = {recording.source_id: recording for recording in ShEmo(tmp_path).recordings()}
    assert sorted(recordings) == ["F21N05", "M02F01"]
    assert recordings["F21N05"] == Recording("female/F21N05.wav", speaker_id="F21", native_label="N", gender="female")
    fearful = recordings["M02F01"]
    assert (fearful.speaker_id, fearful.gender, ShEmo.label_map[fearful.native_label]) == ("M02", "male", "fear")


def test_prepared(tmp_path):
    write_clips(tmp_path / "shemo", ["female/F21W05.wav", "male/M02A01.wav"])
    with pytest.raises(ValueError, match="miscounted"):
        prepare(ShEmo(tmp_path / "shemo"), tmp_path / "out")
    prepare(ShEmo(tmp_path / "shemo"), tmp_path / "out", allow_missing=True)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert {row["speaker_id"]: row["emotion"] for row in rows} == {"shemo/F21": "surprise", "shemo/M02": "anger"}
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 2


def test_wants_both_folders(tmp_path):
    write_clips(tmp_path, ["female/F21N05.wav"])
    with pytest.raises(ValueError, match="lacks male"):
        ShEmo(tmp_path)
