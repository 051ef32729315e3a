"""The tables of MSP-Podcast: labels, votes, unknown speakers and the owners' partition."""

import json

import pyarrow.parquet
import pytest
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.msp_podcast import MspPodcast
from emoicl.training.corpora.split_rules import read_speaker_lists
from emoicl.training.data.corpus import load_corpus


CONSENSUS = """\
FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1
MSP-PODCAST_0001_0009.wav,X,3.8,3.6,3.8,30,Male,Test2
MSP-PODCAST_0002_0033.wav,H,3.8,3.6,3.8,127,Female,Train
MSP-PODCAST_0002_0039.wav,C,3.8,3.6,3.8,Unknown,Unknown,Train
MSP-PODCAST_0003_0001.wav,A,3.8,3.6,3.8,9,Unknown,Development
"""
MAJOR = """\
FileName,Workers,EmoClass_Major,EmoClass_Second
MSP-PODCAST_0001_0008.wav,WORKER1,Neutral,"Neutral,Other-Curious"
MSP-PODCAST_0001_0008.wav,WORKER2,Neutral,Neutral
MSP-PODCAST_0001_0008.wav,WORKER3,Other-Curious,Neutral
MSP-PODCAST_0001_0009.wav,WORKER2,Angry,Angry
"""
DETAIL = """\
FileName,EmoDetail
MSP-PODCAST_0001_0008.wav,"WORKER1; Neutral; Neutral,Other-Curious; A:2; V:4; D:3;"
MSP-PODCAST_0001_0008.wav,"WORKER2; Neutral; ; A:2; V:4; D:3;"
MSP-PODCAST_0001_0008.wav,WORKER3; Other-Curious; Neutral; A:2; V:4; D:3;
MSP-PODCAST_0001_0009.wav,WORKER2; Angry; Angry; A:2; V:4; D:3;
"""


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "msp"
    clips = [line.split(",")[0] for line in CONSENSUS.splitlines()[1:]]
    write_clips(source, [f"Audios/{clip}" for clip in [*clips, "MSP-PODCAST_test3_0001.wav"]])
    (source / "Labels").mkdir()
    (source / "Labels" / "labels_consensus.csv").write_text(CONSENSUS)
    (source / "Transcripts").mkdir()
    (source / "Transcripts" / "MSP-PODCAST_0001_0008.txt").write_text("and so on\n")
    return source


@pytest.mark.parametrize("table", [MAJOR, DETAIL])
def test_recordings(source, table):
    (source / "Labels" / "labels_detailed.csv").write_text(table)
    recordings = {recording.source_id: recording for recording in MspPodcast(source).recordings()}
    assert len(recordings) == 5
    assert recordings["MSP-PODCAST_0001_0008"] == Recording(
        "Audios/MSP-PODCAST_0001_0008.wav",
        speaker_id="30",
        native_label="N",
        gender="male",
        text="and so on",
        votes={"N": 2, "O": 1},
    )
    assert recordings["MSP-PODCAST_0001_0009"].votes == {"A": 1}
    assert recordings["MSP-PODCAST_0002_0033"].votes is None
    assert recordings["MSP-PODCAST_0003_0001"].gender == ""


def test_prepared(source, tmp_path):
    report = prepare(MspPodcast(source), tmp_path / "out")
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert [row["emotion"] for row in rows] == ["neutral", "no_agreement", "joy", "anger"]
    assert "votes" not in rows[0]
    # Clips of an unknown speaker are not those of one speaker who is called so.
    assert {row["speaker_id"] for row in rows} == {"msp-podcast/30", "msp-podcast/127", "msp-podcast/9"}
    assert report.findings["flawed"] == {
        "Audios/MSP-PODCAST_0002_0039.wav": "the owners do not know who speaks",
    }
    assert list(report.findings["ignored"]) == ["Audios/MSP-PODCAST_test3_0001.wav"]
    assert json.loads((tmp_path / "out" / "speakers.json").read_text()) == MspPodcast(source).speaker_lists()
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 4


def test_other_names_of_earlier_releases(source):
    (source / "Labels" / "labels_consensus.csv").rename(source / "Labels" / "labels_concensus.csv")
    (source / "Audios").rename(source / "Audio")
    assert next(MspPodcast(source).recordings()).path == "Audio/MSP-PODCAST_0001_0008.wav"


def test_speaker_lists_are_those_that_a_split_takes(source, tmp_path):
    lists = MspPodcast(source).speaker_lists()
    assert lists == {"train": ["msp-podcast/127"], "validation": ["msp-podcast/9"], "test": ["msp-podcast/30"]}
    (tmp_path / "official.json").write_text(json.dumps(lists))
    parts = read_speaker_lists(tmp_path / "official.json")
    assert parts == {"msp-podcast/127": "train", "msp-podcast/9": "validation", "msp-podcast/30": "test"}


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("30,Male,Test2", "30,Male,Train", "speaker msp-podcast/30 is in test and in train"),
        ("Test2", "Test9", "MSP-PODCAST_0001_0009.wav is in the set 'Test9'"),
    ],
)
def test_refuses_a_contradicting_partition(source, old, new, message):
    (source / "Labels" / "labels_consensus.csv").write_text(CONSENSUS.replace(old, new))
    with pytest.raises(ValueError, match=message):
        MspPodcast(source).speaker_lists()


@pytest.mark.parametrize(
    "table, message",
    [
        ("FileName,Emotion\na.wav,Happy\n", "lacks FileName, or both"),
        ("FileName,EmoDetail\na.wav,WORKER1\n", "row 1, a.wav, has no emotion"),
        ("FileName,EmoClass_Major\na.wav,Happy\na.wav,\n", "row 2, a.wav, has no emotion"),
    ],
)
def test_refuses_votes_that_are_none(source, table, message):
    (source / "Labels" / "labels_detailed.csv").write_text(table)
    with pytest.raises(ValueError, match=message):
        list(MspPodcast(source).recordings())
