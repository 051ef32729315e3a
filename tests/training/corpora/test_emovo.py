"""The complete design of EMOVO."""

from collections import Counter

import pyarrow.parquet
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.emovo import Emovo
from emoicl.training.data.corpus import load_corpus


def test_design(tmp_path):
    write_clips(tmp_path, ["f1/dis-f1-b1.wav"])
    recordings = {recording.source_id: recording for recording in Emovo(tmp_path).recordings()}
    assert len(recordings) == 588
    assert set(Counter((r.speaker_id, r.native_label) for r in recordings.values()).values()) == {14}
    assert recordings["rab-m3-n4"] == Recording(
        "m3/rab-m3-n4.wav",
        speaker_id="m3",
        native_label="rab",
        sentence_id="n4",
        gender="male",
        text="Insalata pastasciutta coscia d'agnello limoncello.",
    )
    assert recordings["dis-f1-b1"].gender == "female"


def test_prepared(tmp_path):
    write_clips(tmp_path / "emovo", ["f1/gio-f1-b1.wav", "m2/pau-m2-d2.wav", "m2/pau-m2-d3.wav"])
    report = prepare(Emovo(tmp_path / "emovo"), tmp_path / "out", allow_missing=True)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert {row["source_id"]: row["emotion"] for row in rows} == {"gio-f1-b1": "joy", "pau-m2-d2": "fear"}
    # There is no third question.
    assert list(report.findings["unlisted"]) == ["m2/pau-m2-d3.wav"]
    assert len(report.findings["missing"]) == 586
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 2
