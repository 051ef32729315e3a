"""The layout of ASED, and which of its sentences tell the emotion."""

import pyarrow.parquet
import pytest
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.ased import Ased
from emoicl.training.data.corpus import load_corpus


@pytest.fixture
def source(tmp_path):
    names = ["01Neutral/n1-01-02-01-07", "04Sad/S4-04-02-01-29", "05Angry/a5-01-01-02-50", "05Angry/a5-03-01-02-50"]
    write_clips(tmp_path / "ased", [f"{name}.wav" for name in names])
    return tmp_path / "ased"


def test_names(source):
    recordings = {recording.source_id: recording for recording in Ased(source).recordings()}
    assert recordings["a5-03-01-02-50"] == Recording(
        "05Angry/a5-03-01-02-50.wav",
        speaker_id="50",
        native_label="a",
        sentence_id="a03",
        take="01",
        gender="male",
    )
    assert recordings["n1-01-02-01-07"].gender == "female"
    # A capital letter in place of a small one.
    assert (recordings["S4-04-02-01-29"].native_label, recordings["S4-04-02-01-29"].sentence_id) == ("s", "s04")


def test_only_the_common_sentences_are_the_same_in_two_emotions(source):
    sentences = {recording.source_id: recording.sentence_id for recording in Ased(source).recordings()}
    assert sentences["n1-01-02-01-07"] == sentences["a5-01-01-02-50"] == "01"


def test_prepared(source, tmp_path):
    write_clips(source, ["05Angry/a5-08-01-02-50.wav"])
    with pytest.raises(ValueError, match="1 unlisted .05Angry/a5-08-01-02-50.wav., 1 miscounted"):
        prepare(Ased(source), tmp_path / "out")
    prepare(Ased(source), tmp_path / "out", allow_missing=True)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert sorted(row["emotion"] for row in rows) == ["anger", "anger", "neutral", "sadness"]
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 4


def test_wants_its_folders(tmp_path):
    with pytest.raises(ValueError, match="lacks 01Neutral, 05Angry"):
        Ased(tmp_path)
