"""The complete design of the JL-corpus, and its sentences."""

from collections import Counter

import pyarrow.parquet
import pytest
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.jl import FOLDER, Jl
from emoicl.training.data.corpus import load_corpus


TEXTS = {
    "female1_excited_4a_2": b"Taylor likes stewed Asian food.",
    "female1_anxious_4a_2": b"Taylor likes stewed asian food.\n",
    "male2_encouraging_14a_2": b"Thank you for your help!\n",
    "male2_sad_14a_2": b"They can\x92t talk.",
}


@pytest.fixture
def source(tmp_path):
    write_clips(tmp_path / "jl", [f"{FOLDER}/{clip}.wav" for clip in TEXTS])
    for clip, text in TEXTS.items():
        (tmp_path / "jl" / FOLDER / f"{clip}.txt").write_bytes(text)
    return tmp_path / "jl"


def test_design(source):
    recordings = {recording.source_id: recording for recording in Jl(source).recordings()}
    assert len(recordings) == 2400
    assert set(Counter((r.speaker_id, r.native_label) for r in recordings.values()).values()) == {60}
    assert recordings["female1_excited_4a_2"] == Recording(
        f"{FOLDER}/female1_excited_4a_2.wav",
        speaker_id="female1",
        native_label="excited",
        sentence_id="taylor likes stewed asian food",
        take="2",
        gender="female",
        text="Taylor likes stewed Asian food.",
    )
    assert recordings["male2_sad_14a_2"].text == "They can’t talk."
    assert recordings["male1_happy_15b_1"].gender == "male"
    assert recordings["male1_happy_15b_1"].sentence_id == ""


def test_a_sentence_is_its_words_and_not_its_number(source):
    sentences = {recording.source_id: recording.sentence_id for recording in Jl(source).recordings()}
    assert sentences["female1_excited_4a_2"] == sentences["female1_anxious_4a_2"]
    assert sentences["male2_encouraging_14a_2"] != sentences["male2_sad_14a_2"]


def test_prepared(source, tmp_path):
    material = FOLDER.replace("JL(wav+txt)", "Perception test material on Qualtrics/main_training/cleaned")
    write_clips(source, [f"{material}/female1_angry_14a_2.mp3", f"{FOLDER}/female3_sad_1a_1.wav"])
    report = prepare(Jl(source), tmp_path / "out", allow_missing=True)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert [row["emotion"] for row in rows] == ["excitement", "anxiety", "sadness", "encouraging"]
    assert list(report.findings["ignored"]) == [f"{material}/female1_angry_14a_2.mp3"]
    assert list(report.findings["unlisted"]) == [f"{FOLDER}/female3_sad_1a_1.wav"]
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 4
