"""The tables of Emozionalmente: clips, people and votes."""

import pyarrow.parquet
import pytest
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.emozionalmente import Emozionalmente
from emoicl.training.data.corpus import load_corpus


SAMPLES = """\
file_name,sentence,sentence_language,actor,emotion_expressed
1612872848291.wav,"Domani, al mattino, parto.",it,anna1,joy
1612872848292.wav,La cascata fa molto rumore.,it,bruno2,neutrality
"""
USERS = """\
username,gender,age,mother_tongue
anna1,female,34,it
bruno2,Male,27,it
listener3,other,50,it
"""
EVALUATIONS = """\
file_name,evaluator,audio_quality,emotion_recognized
1612872848291.wav,bruno2,good,joy
1612872848291.wav,listener3,bad,surprise
1612872848291.wav,listener4,good,joy
"""


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "emozionalmente"
    write_clips(folder, ["audio/1612872848291.wav", "audio/1612872848292.wav"])
    (folder / "metadata").mkdir()
    for name, text in (("samples", SAMPLES), ("users", USERS), ("evaluations", EVALUATIONS)):
        (folder / "metadata" / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def test_tables(source):
    first, second = Emozionalmente(source).recordings()
    assert first == Recording(
        "audio/1612872848291.wav",
        speaker_id="anna1",
        native_label="joy",
        sentence_id="Domani, al mattino, parto.",
        gender="female",
        age="34",
        text="Domani, al mattino, parto.",
        votes={"anger": 0, "disgust": 0, "fear": 0, "joy": 2, "neutrality": 0, "sadness": 0, "surprise": 1},
    )
    assert (second.gender, second.votes) == ("male", None)


def test_prepared(source, tmp_path):
    prepare(Emozionalmente(source), tmp_path / "out")
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    joyful, neutral = sorted(rows, key=lambda row: row["source_id"])
    assert (joyful["emotion"], neutral["emotion"]) == ("joy", "neutral")
    votes = {vote["emotion"]: vote["votes"] for vote in joyful["votes"]}
    assert (votes["joy"], votes["surprise"], votes["neutral"]) == (2, 1, 0)
    assert neutral["votes"] == []
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 2


def test_a_clip_that_the_table_lists_is_missing(source, tmp_path):
    (source / "audio" / "1612872848292.wav").unlink()
    with pytest.raises(ValueError, match="1 missing .audio/1612872848292.wav."):
        prepare(Emozionalmente(source), tmp_path / "out")


def test_refuses_an_actor_who_is_not_known(source):
    table = source / "metadata" / "samples.csv"
    table.write_text(SAMPLES.replace("bruno2", "carla5"), encoding="utf-8")
    with pytest.raises(ValueError, match="row 2, actor 'carla5' is not in metadata/users.csv"):
        list(Emozionalmente(source).recordings())
