"""The true layouts of RAVDESS, CREMA-D, EMO-DB, ESD, nEMO and EmoGator, with their odd cases."""

from collections import Counter
from itertools import product

import pyarrow.parquet
import pytest
from tiny_files import clip, write_clips

from emoicl.training.corpora.base import PAPER_LABELS, Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers import CORPORA, emodb, emogator, find_corpus
from emoicl.training.corpora.readers.cremad import CremaD
from emoicl.training.corpora.readers.emodb import EmoDb
from emoicl.training.corpora.readers.emogator import EmoGator
from emoicl.training.corpora.readers.esd import Esd
from emoicl.training.corpora.readers.nemo import Nemo
from emoicl.training.corpora.readers.ravdess import Ravdess
from emoicl.training.data.corpus import load_corpus


def by_id(reader) -> dict[str, Recording]:
    return {recording.source_id: recording for recording in reader.recordings()}


def prepared_rows(reader, output, **options) -> dict[str, dict]:
    prepare(reader, output, **options)
    rows = pyarrow.parquet.read_table(output / "data").to_pylist()
    assert len(load_corpus(sorted((output / "data").glob("*.parquet")))) == len(rows)
    return {row["source_id"]: row for row in rows}


@pytest.mark.parametrize("reader", CORPORA.values(), ids=CORPORA)
def test_what_is_stated_of_a_corpus(reader):
    assert reader.name == reader.name.lower() and " " not in reader.name
    assert reader.homepage.startswith("http") and reader.license_url.startswith("http")
    assert reader.citation.startswith("@") and reader.citation.count("{") == reader.citation.count("}")
    assert reader.elicitation in ("acted", "induced", "natural")
    assert reader.description.endswith(".") and reader.label_meaning.endswith(".")
    words = list(reader.label_map.values())
    assert len(set(words)) == len(words), "two native labels were folded into one"
    assert all(word == word.lower() for word in words)
    assert set(words) & set(PAPER_LABELS)


def test_unknown_corpus():
    with pytest.raises(ValueError, match="'ravdes'; there are .*ravdess.*generic"):
        find_corpus("ravdes")
    assert find_corpus("CREMA-D") is find_corpus("crema-d") is CremaD


def test_ravdess(tmp_path):
    write_clips(tmp_path, ["Actor_01/03-01-05-02-02-01-01.wav"])
    recordings = by_id(Ravdess(tmp_path))
    assert len(recordings) == 1440
    assert set(Counter(recording.speaker_id for recording in recordings.values()).values()) == {60}
    neutral = [recording for recording in recordings.values() if recording.native_label == "01"]
    assert len(neutral) == 24 * 4
    assert {recording.intensity for recording in neutral} == {"normal"}
    assert recordings["03-01-05-02-02-01-01"] == Recording(
        "Actor_01/03-01-05-02-02-01-01.wav",
        speaker_id="01",
        native_label="05",
        sentence_id="02",
        take="01",
        intensity="strong",
        gender="male",
        text="Dogs are sitting by the door.",
    )
    assert recordings["03-01-02-01-01-02-24"].gender == "female"
    assert Ravdess.label_map["02"] == "calm"


def test_ravdess_prepared(tmp_path):
    source = tmp_path / "ravdess"
    names = [f"Actor_01/{name}.wav" for name in ("03-01-03-01-02-01-01", "03-01-01-01-01-01-01")]
    write_clips(source, [*names, "Actor_01/03-02-01-01-01-01-01.wav", "Actor_01/03-01-01-02-01-01-01.wav"])
    (source / "Actor_01" / "03-01-03-01-02-02-01.wav").write_bytes((source / names[0]).read_bytes())
    rows = prepared_rows(Ravdess(source), tmp_path / "out", allow_missing=True)
    assert {row["emotion"] for row in rows.values()} == {"joy", "neutral"}
    assert rows["03-01-03-01-02-01-01"]["speaker_id"] == "ravdess/01"
    report = (tmp_path / "out" / "report.txt").read_text()
    for line in (
        "missing: 1437 (listed, but not in the folder)",
        "  Actor_24/03-01-08-02-02-02-24.wav",
        "  Actor_01/03-01-03-01-02-02-01.wav: the same as Actor_01/03-01-03-01-02-01-01.wav",
        "  Actor_01/03-02-01-01-01-01-01.wav: song, which is another part of RAVDESS",
        # Neutral has no strong intensity.
        "unlisted: 1 (audio in the folder that the corpus does not list)",
        "  Actor_01/03-01-01-02-01-01-01.wav",
    ):
        assert line in report.splitlines()


DEMOGRAPHICS = """\
"ActorID","Age","Sex","Race","Ethnicity"
1001,51,"Male","Caucasian","Not Hispanic"
1002,21,"Female","Caucasian","Not Hispanic"
1076,25,"Female","Caucasian","Not Hispanic"
"""
VOTES = """\
"","A","D","F","H","N","S","fileName","numResponses"
"100001",0,0,0,1,10,0,"1001_IEO_NEU_XX",11
"200001",9,0,0,0,0,0,"1001_IEO_NEU_XX",9
"101234",2,0,0,6,2,0,"1002_IEO_HAP_HI",10
"""


@pytest.fixture
def cremad(tmp_path):
    source = tmp_path / "cremad"
    clips = ["1001_IEO_NEU_XX", "1002_IEO_HAP_HI", "1076_MTI_SAD_XX"]
    write_clips(source, [f"AudioWAV/{clip}.wav" for clip in clips] + ["AudioMP3/1001_IEO_NEU_XX.mp3"])
    lines = [f'{number},"{clip}"' for number, clip in enumerate(clips, start=1)]
    (source / "SentenceFilenames.csv").write_text('"Stimulus_Number","Filename"\n' + "\n".join(lines))
    (source / "VideoDemographics.csv").write_text(DEMOGRAPHICS)
    (source / "processedResults").mkdir()
    (source / "processedResults" / "tabulatedVotes.csv").write_text(VOTES)
    return source


def test_cremad(cremad):
    recordings = by_id(CremaD(cremad))
    assert len(recordings) == 3
    assert recordings["1002_IEO_HAP_HI"] == Recording(
        "AudioWAV/1002_IEO_HAP_HI.wav",
        speaker_id="1002",
        native_label="HAP",
        sentence_id="IEO",
        intensity="high",
        gender="female",
        age="21",
        text="It's eleven o'clock.",
        votes={"ANG": 2, "DIS": 0, "FEA": 0, "HAP": 6, "NEU": 2, "SAD": 0},
    )
    assert recordings["1001_IEO_NEU_XX"].intensity == ""
    voice_only = recordings["1001_IEO_NEU_XX"].votes
    assert voice_only is not None and (voice_only["NEU"], voice_only["ANG"]) == (10, 0)


def test_cremad_prepared(cremad, tmp_path):
    rows = prepared_rows(CremaD(cremad), tmp_path / "out")
    assert set(rows) == {"1001_IEO_NEU_XX", "1002_IEO_HAP_HI"}
    assert rows["1002_IEO_HAP_HI"]["votes"][3] == {"emotion": "joy", "votes": 6.0}
    report = (tmp_path / "out" / "report.txt").read_text()
    assert "  AudioWAV/1076_MTI_SAD_XX.wav: holds no sound" in report
    assert "  AudioMP3/1001_IEO_NEU_XX.mp3: the same clips as MP3" in report


def test_cremad_without_votes(cremad, tmp_path):
    (cremad / "processedResults" / "tabulatedVotes.csv").unlink()
    rows = prepared_rows(CremaD(cremad), tmp_path / "out")
    assert "votes" not in rows["1001_IEO_NEU_XX"]


def test_cremad_refuses_an_actor_who_is_not_known(cremad):
    table = cremad / "SentenceFilenames.csv"
    table.write_text(table.read_text().replace("1001_", "1099_"))
    with pytest.raises(ValueError, match="'1099_IEO_NEU_XX' is no clip of a known actor"):
        list(CremaD(cremad).recordings())


def test_emodb(tmp_path):
    names = [f"wav/{name}.wav" for name in ("03a01Fa", "16b10Lb", "03a01Nc", "03a03Fa", "04a01Fa", "03a01Xa")]
    write_clips(tmp_path, names)
    recordings = by_id(EmoDb(tmp_path))
    # There is no text a03, no speaker 04 and no emotion X.
    assert sorted(recordings) == ["03a01Fa", "03a01Nc", "16b10Lb"]
    assert recordings["16b10Lb"] == Recording(
        "wav/16b10Lb.wav",
        speaker_id="16",
        native_label="L",
        sentence_id="b10",
        take="b",
        gender="female",
        age="31",
        text="Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
    )
    assert EmoDb.label_map["L"] == "boredom"


def test_emodb_prepared(tmp_path):
    write_clips(tmp_path / "emodb", ["wav/03a01Fa.wav", "wav/03a03Fa.wav"])
    with pytest.raises(ValueError, match="1 unlisted .wav/03a03Fa.wav., 1 miscounted"):
        prepare(EmoDb(tmp_path / "emodb"), tmp_path / "out")
    rows = prepared_rows(EmoDb(tmp_path / "emodb"), tmp_path / "out", allow_missing=True)
    assert rows["03a01Fa"]["emotion"] == "joy"
    assert "1 clips, where the owners state 535" in (tmp_path / "out" / "report.txt").read_text()


def test_emodb_has_ten_speakers_and_texts():
    assert len(emodb.SPEAKERS) == len(emodb.TEXTS) == 10
    assert Counter(gender for gender, _ in emodb.SPEAKERS.values()) == {"female": 5, "male": 5}


@pytest.fixture
def esd(tmp_path):
    source = tmp_path / "esd"
    clips = ["0003/Neutral/train/0003_000051.wav", "0011/Neutral/0011_000001.wav", "0011/Happy/0011_000701.wav"]
    write_clips(source, [*clips, "0016/Angry/0016_000352.wav", "0011/Sad/0011_000002.wav"])
    transcripts = {
        "0003": ("0003_000051\t打远一看，它们的确很是美丽，\t中立\r\n", "utf-16"),
        "0011": (
            "0011_000001\tThe nine the eggs, I keep.\tNeutral\n\n"
            "0011_000701\tThe nine the eggs, I keep.\tHappy\n"
            "0011_000003 I say neither yea nor nay. Neutral\n",
            "utf-8",
        ),
        "0016": ("0016_000352\tTom’s café.\tAngry\n", "cp1252"),
        "0004": ("0004_000001\t打远一看\t中立\n", "gb2312"),
    }
    for speaker, (text, encoding) in transcripts.items():
        (source / speaker).mkdir(exist_ok=True)
        (source / speaker / f"{speaker}.txt").write_bytes(text.encode(encoding))
    return source


def test_esd(esd):
    recordings = by_id(Esd(esd))
    assert len(recordings) == 20 * 1750
    assert recordings["0003_000051"] == Recording(
        "0003/Neutral/train/0003_000051.wav",
        speaker_id="0003",
        native_label="Neutral",
        sentence_id="zh-051",
        gender="female",
        text="打远一看，它们的确很是美丽，",
    )
    assert recordings["0011_000701"] == Recording(
        "0011/Happy/0011_000701.wav",
        speaker_id="0011",
        native_label="Happy",
        sentence_id="en-001",
        gender="male",
        text="The nine the eggs, I keep.",
    )
    assert recordings["0011_000001"].sentence_id == "en-001"
    assert recordings["0016_000352"].text == "Tom’s café."
    assert recordings["0004_000001"].text == "打远一看"
    # Some lines have blanks in place of tabs.
    assert recordings["0011_000003"].text == "I say neither yea nor nay."
    assert recordings["0020_001750"].path == "0020/Surprise/0020_001750.wav"


def test_esd_prepared(esd, tmp_path):
    rows = prepared_rows(Esd(esd), tmp_path / "out", allow_missing=True)
    assert sorted(rows) == ["0003_000051", "0011_000001", "0011_000701", "0016_000352"]
    report = (tmp_path / "out" / "report.txt").read_text().splitlines()
    # A neutral clip in the folder of sad ones.
    unlisted = report.index("unlisted: 1 (audio in the folder that the corpus does not list)")
    assert report[unlisted + 1] == "  0011/Sad/0011_000002.wav"
    assert "  0011/Neutral/0011_000002.wav" in report


def test_esd_without_transcripts_in_an_outer_folder(tmp_path):
    names = [f"Emotion Speech Dataset/{name}.wav" for name in ("0011/Angry/0011_000351", "0011/Sad/0011_001051")]
    write_clips(tmp_path / "esd", names)
    rows = prepared_rows(Esd(tmp_path / "esd"), tmp_path / "out", allow_missing=True)
    assert {name: (row["emotion"], row["text"]) for name, row in rows.items()} == {
        "0011_000351": ("anger", ""),
        "0011_001051": ("sadness", ""),
    }
    report = (tmp_path / "out" / "report.txt").read_text()
    assert "missing: 34999" in report and "  0011.txt: texts are unknown" in report


def test_cremad_without_its_tables(tmp_path):
    names = ["1001_IEO_ANG_HI", "1002_TIE_SAD_XX", "1002_QQQ_SAD_XX"]
    write_clips(tmp_path / "cremad", [f"AudioWAV/{name}.wav" for name in names])
    with pytest.raises(ValueError, match="2 missing .SentenceFilenames.csv, VideoDemographics.csv., 1 unlisted"):
        prepare(CremaD(tmp_path / "cremad"), tmp_path / "out")
    rows = prepared_rows(CremaD(tmp_path / "cremad" / "AudioWAV"), tmp_path / "out", allow_missing=True)
    assert {name: (row["emotion"], row["gender"], row["intensity"]) for name, row in rows.items()} == {
        "1001_IEO_ANG_HI": ("anger", "", "high"),
        "1002_TIE_SAD_XX": ("sadness", "", ""),
    }
    report = (tmp_path / "out" / "report.txt").read_text()
    assert "2 clips, where the owners state 7442" in report
    assert "  VideoDemographics.csv: gender and age are unknown" in report


def test_cremad_in_an_outer_folder(cremad, tmp_path):
    (tmp_path / "outer").mkdir()
    cremad.rename(tmp_path / "outer" / "CREMA-D")
    rows = prepared_rows(CremaD(tmp_path / "outer"), tmp_path / "out")
    assert rows["1002_IEO_HAP_HI"]["gender"] == "female"


@pytest.mark.parametrize("folder", ["", "Actor_05/", "audio_speech_actors_01-24/Actor_05/"])
def test_ravdess_of_one_actor(tmp_path, folder):
    names = ["03-01-01-01-01-01-05", "03-01-03-02-01-01-05"]
    write_clips(tmp_path / "ravdess", [f"{folder}{name}.wav" for name in [*names, "03-02-03-01-01-01-05"]])
    rows = prepared_rows(Ravdess(tmp_path / "ravdess"), tmp_path / "out", allow_missing=True)
    assert {row["audio"]["path"] for row in rows.values()} == {f"{name}.wav" for name in names}
    report = (tmp_path / "out" / "report.txt").read_text()
    assert "missing: 1438" in report and "unlisted: 0" in report and "ignored: 1" in report


def test_ravdess_twice_in_one_folder(tmp_path):
    source = tmp_path / "ravdess"
    names = ["Actor_05/03-01-01-01-01-01-05.wav", "Actor_05/03-01-03-01-01-01-05.wav"]
    write_clips(source, names)
    write_clips(source / "audio_speech_actors_01-24", names)
    (source / "audio_speech_actors_01-24" / names[1]).write_bytes(clip("another"))
    report = prepare(Ravdess(source), tmp_path / "out", allow_missing=True)
    assert report.num_prepared == 2
    same, other = (f"audio_speech_actors_01-24/{name}" for name in names)
    assert report.findings["duplicate"] == {same: f"the same as {names[0]}"}
    assert report.findings["unlisted"] == {other: f"another file than {names[1]}"}


def test_emodb_flat(tmp_path):
    write_clips(tmp_path / "emodb", ["03a01Fa.wav", "08b01Wb.wav"])
    rows = prepared_rows(EmoDb(tmp_path / "emodb"), tmp_path / "out", allow_missing=True)
    assert {name: row["emotion"] for name, row in rows.items()} == {"03a01Fa": "joy", "08b01Wb": "anger"}


@pytest.mark.parametrize("reader", [Ravdess, CremaD, EmoDb, Esd])
def test_a_folder_without_a_clip_of_the_corpus_is_refused(reader, tmp_path):
    write_clips(tmp_path, ["a.wav"])
    with pytest.raises(ValueError, match="no audio file here or below has a name of .*, which holds"):
        reader(tmp_path)


NEMO = """\
file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage
WR0_surprised_64.wav\tsurprised\tUcho wykrywa dźwięki o różnej częstotliwości.\tucho wykrywa\t        WR0\tmale\t23
EB0_neutral_13.wav\tneutral\t"Ród smoka to serial.\tród smoka to serial\t        EB0\tfemale\t27
"""


@pytest.fixture
def nemo(tmp_path):
    source = tmp_path / "nemo"
    write_clips(source, ["samples/WR0_surprised_64.wav"])
    (source / "data.tsv").write_text(NEMO, encoding="utf-8")
    return source


def test_nemo(nemo):
    recordings = by_id(Nemo(nemo))
    assert recordings["WR0_surprised_64"] == Recording(
        "samples/WR0_surprised_64.wav",
        speaker_id="WR0",
        native_label="surprised",
        sentence_id="64",
        gender="male",
        age="23",
        text="Ucho wykrywa dźwięki o różnej częstotliwości.",
    )
    # A quotation mark is part of what was said.
    assert recordings["EB0_neutral_13"].text == '"Ród smoka to serial.'


def test_nemo_prepared(nemo, tmp_path):
    with pytest.raises(ValueError, match="1 missing .samples/EB0_neutral_13.wav."):
        prepare(Nemo(nemo), tmp_path / "out")
    write_clips(nemo, ["samples/EB0_neutral_13.wav"])
    rows = prepared_rows(Nemo(nemo), tmp_path / "out")
    assert {row["emotion"] for row in rows.values()} == {"surprise", "neutral"}


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("EB0_neutral_13.wav\tneutral", "EB0_neutral_13.wav\tanger", "row 2, EB0_neutral_13, .*name says otherwise"),
        ("\tfemale\t27", "\tfemale", "row 2 has another number of values"),
        ("file_id", "file", "lacks the columns .'file_id'."),
    ],
)
def test_nemo_refuses_a_broken_table(nemo, old, new, message):
    (nemo / "data.tsv").write_text(NEMO.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        list(Nemo(nemo).recordings())


def test_emogator(tmp_path):
    (tmp_path / "data" / "mp3").mkdir(parents=True)
    recordings = by_id(EmoGator(tmp_path))
    assert len(recordings) == 357 * 90
    assert recordings["000357-30-3"] == Recording(
        "data/mp3/000357-30-3.mp3", speaker_id="000357", native_label="30", take="3"
    )
    words = {"02": "amusement", "15": "fear", "18": "neutral", "27": "surprise_negative", "28": "surprise"}
    assert {code: EmoGator.label_map[code] for code in words} == words


def test_emogator_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(emogator, "NUM_CONTRIBUTORS", 2)
    source = tmp_path / "emogator"
    write_clips(source, [f"data/mp3/000001-{code}-{take}.mp3" for code, take in product(("03", "28"), "12")])
    rows = prepared_rows(EmoGator(source), tmp_path / "out", allow_missing=True)
    assert {row["emotion"] for row in rows.values()} == {"anger", "surprise"}
    assert rows["000001-28-2"]["audio"]["path"] == "000001-28-2.mp3"
    # An encoder of mp3 adds some silence.
    assert 0.1 <= rows["000001-28-2"]["duration"] < 0.3
    assert clip("x", suffix=".mp3") != clip("y", suffix=".mp3")
