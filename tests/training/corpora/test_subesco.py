"""The names of SUBESCO, one of which has a bracket too many."""

import pyarrow.parquet
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.subesco import Subesco
from emoicl.training.data.corpus import load_corpus


NAMES = ["F_01_OISHI_S_10_ANGRY_1.wav", "M_01_SOMEONE_S_1_SAD_5.wav", "F_02_MONIKA_S_2_SURPRISE_3].wav"]


def test_names(tmp_path):
    write_clips(tmp_path, [*NAMES, "F_01_OISHI_S_10_BORED_1.wav"])
    recordings = {recording.source_id: recording for recording in Subesco(tmp_path).recordings()}
    assert len(recordings) == 3
    assert recordings["F_01_OISHI_S_10_ANGRY_1"] == Recording(
        "F_01_OISHI_S_10_ANGRY_1.wav",
        speaker_id="F_01",
        native_label="ANGRY",
        sentence_id="10",
        take="1",
        gender="female",
    )
    # The first man is not the first woman.
    assert recordings["M_01_SOMEONE_S_1_SAD_5"].speaker_id == "M_01"
    assert recordings["F_02_MONIKA_S_2_SURPRISE_3]"].take == "3"


def test_prepared(tmp_path):
    write_clips(tmp_path / "subesco", [f"SUBESCO/{name}" for name in NAMES])
    report = prepare(Subesco(tmp_path / "subesco"), tmp_path / "out", allow_missing=True)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert {row["emotion"] for row in rows} == {"anger", "sadness", "surprise"}
    assert report.findings["miscounted"] == {"subesco": "3 clips, where the owners state 7000"}
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 3
