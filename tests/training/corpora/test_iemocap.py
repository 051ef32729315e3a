"""The evaluations of IEMOCAP: labels, votes, speakers and words."""

import pyarrow.parquet
import pytest
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.iemocap import Iemocap
from emoicl.training.data.corpus import load_corpus


EVALUATION = """\
% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral;\t()
C-E4:\tFrustration; Anger; Frustration;\t(curious; "annoyed")
C-F1:\tSadness;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\texc\t[2.5000, 2.5000, 2.5000]
C-E2:\tExcited;\t()
C-E4:\tExcited; Happiness;
"""
SCRIPT = """\
[1.5 - 2.5]\tSes05M_script03_2b_FXX0\txxx\t[2.0, 2.0, 2.0]
C-E1:\tOther;\t(sarcastic)
C-E2:\tNeutral state;\t()
"""
TRANSCRIPT = """\
Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
M: (laughs)
Ses01F_impro01_M001 [010.0100-011.3925]: Yes: you\x92re next.
"""
CLIPS = [
    "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
    "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M001.wav",
    "Session5/sentences/wav/Ses05M_script03_2b/Ses05M_script03_2b_FXX0.wav",
]


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "iemocap"
    write_clips(source, [*CLIPS, "Session1/dialog/wav/Ses01F_impro01.wav"])
    for number in range(1, 6):
        (source / f"Session{number}/dialog/EmoEvaluation/Categorical").mkdir(parents=True)
    evaluations = source / "Session1/dialog/EmoEvaluation"
    (evaluations / "Ses01F_impro01.txt").write_text(EVALUATION)
    (evaluations / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16")
    (evaluations / "Categorical" / "Ses01F_impro01_e2_cat.txt").write_text("Ses01F_impro01_F000 :Neutral state; ()")
    (source / "Session5/dialog/EmoEvaluation/Ses05M_script03_2b.txt").write_text(SCRIPT.replace("\n", "\r\n"))
    (source / "Session1/dialog/transcriptions").mkdir()
    (source / "Session1/dialog/transcriptions/Ses01F_impro01.txt").write_bytes(TRANSCRIPT.encode("latin-1"))
    return source


def test_recordings(source):
    first, second, third = Iemocap(source).recordings()
    # The self-evaluation of the actress is no vote; an evaluator who names an emotion twice has voted once.
    assert first == Recording(
        CLIPS[0],
        speaker_id="Ses01F",
        native_label="neu",
        gender="female",
        text="Excuse me.",
        votes={"neu": 2, "fru": 1, "ang": 1},
    )
    assert second == Recording(
        CLIPS[1],
        speaker_id="Ses01M",
        native_label="exc",
        gender="male",
        text="Yes: you’re next.",
        votes={"exc": 2, "hap": 1},
    )
    assert third == Recording(
        CLIPS[2], speaker_id="Ses05F", native_label="xxx", gender="female", votes={"oth": 1, "neu": 1}
    )


def test_prepared(source, tmp_path):
    report = prepare(Iemocap(source), tmp_path / "out")
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert [row["emotion"] for row in rows] == ["neutral", "excitement", "no_agreement"]
    assert rows[1]["votes"] == [{"emotion": "excitement", "votes": 2.0}, {"emotion": "joy", "votes": 1.0}]
    assert list(report.findings["ignored"]) == ["Session1/dialog/wav/Ses01F_impro01.wav"]
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 3


def test_refuses(source):
    evaluation = source / "Session5/dialog/EmoEvaluation/Ses05M_script03_2b.txt"
    evaluation.write_text(SCRIPT.replace("Other", "Othr"))
    with pytest.raises(ValueError, match="Ses05M_script03_2b.txt: line 2: .'Othr'. is none of Anger"):
        list(Iemocap(source).recordings())
    evaluation.write_text(SCRIPT.replace("Ses05M", "Ses55M"))
    with pytest.raises(ValueError, match="'Ses55M_script03_2b_FXX0' is no name of a turn"):
        list(Iemocap(source).recordings())
    with pytest.raises(ValueError, match="lacks Session1/dialog/EmoEvaluation, .*Session5/dialog/EmoEvaluation"):
        Iemocap(source / "Session1")
