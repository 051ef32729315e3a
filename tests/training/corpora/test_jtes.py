"""The complete design of JTES."""

from collections import Counter

import pyarrow.parquet
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.jtes import Jtes
from emoicl.training.data.corpus import load_corpus


def test_design(tmp_path):
    (tmp_path / "wav").mkdir()
    recordings = {recording.source_id: recording for recording in Jtes(tmp_path).recordings()}
    assert len(recordings) == 20000
    assert set(Counter((r.speaker_id, r.native_label) for r in recordings.values()).values()) == {50}
    assert Counter(recording.gender for recording in recordings.values()) == {"female": 10000, "male": 10000}
    assert recordings["m50_sad_07"] == Recording(
        "wav/m50/sad/m50_sad_07.wav", speaker_id="m50", native_label="sad", sentence_id="sad-07", gender="male"
    )
    # The seventh sentence of another emotion is another sentence.
    assert recordings["f01_joy_07"].sentence_id == "joy-07"


def test_prepared(tmp_path):
    names = ["f01/ang/f01_ang_01", "m02/neu/m02_neu_50", "m02/neu/m02_neu_51"]
    write_clips(tmp_path / "jtes", [f"wav/{name}.wav" for name in names])
    report = prepare(Jtes(tmp_path / "jtes"), tmp_path / "out", allow_missing=True)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert {row["source_id"]: row["emotion"] for row in rows} == {"f01_ang_01": "anger", "m02_neu_50": "neutral"}
    assert list(report.findings["unlisted"]) == ["wav/m02/neu/m02_neu_51.wav"]
    assert len(report.findings["missing"]) == 19998
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 2
