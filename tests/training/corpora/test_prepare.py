import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest
from datasets import Audio, load_dataset
from tiny_files import clip, write_clips

from emoicl.training.corpora import prepare as prepare_module
from emoicl.training.corpora.base import CorpusReader, Recording
from emoicl.training.corpora.generic import OwnTable, SpeakerFolders
from emoicl.training.corpora.prepare import prepare, read_part
from emoicl.training.data.corpus import load_corpus
from emoicl.training.data.writing import LOCK_NAME, sole_writer


SPEAKERS = {"ann": "female", "bob": "male"}
EMOTIONS = {"A": "anger", "B": "boredom", "N": "neutral"}


class Letters(CorpusReader):
    """A corpus with a complete design: `ann/A1.wav`."""

    name = "letters"
    pretty_name = "Letters"
    license = "CC-BY-4.0"
    license_url = "https://creativecommons.org/licenses/by/4.0/"
    homepage = "https://example.org"
    citation = "@misc{letters}"
    languages = ("en",)
    elicitation = "acted"
    description = "Two people."
    label_meaning = "What they were asked for."
    label_map = EMOTIONS
    layout = "ann/A1.wav and so on"
    required = ("ann",)
    ignored = {"song/*": "song"}
    flawed = {"bob_N3": "a door slams"}
    has_votes = True

    def recordings(self):
        for speaker, gender in SPEAKERS.items():
            for emotion in EMOTIONS:
                for take in "123":
                    yield Recording(
                        f"{speaker}/{emotion}{take}.wav",
                        speaker,
                        emotion,
                        take=take,
                        gender=gender,
                        votes={"A": 1, "N": 2},
                        source_id=f"{speaker}_{emotion}{take}",
                    )


PATHS = [f"{speaker}/{emotion}{take}.wav" for speaker in SPEAKERS for emotion in EMOTIONS for take in "123"]


@pytest.fixture
def source(tmp_path):
    write_clips(tmp_path / "source", PATHS)
    return tmp_path / "source"


def tables(output: Path) -> list[Path]:
    return sorted((output / "data").glob("*.parquet")) or sorted((output / "data").glob("*.jsonl"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows(source, tmp_path):
    report = prepare(Letters(source), tmp_path / "out")
    rows = pyarrow.parquet.read_table(tables(tmp_path / "out")[0]).to_pylist()
    assert [row["source_id"] for row in rows] == [
        path[:-4].replace("/", "_") for path in PATHS if path != "bob/N3.wav"
    ]
    assert rows[3] == {
        "audio": {"bytes": (source / "ann/B1.wav").read_bytes(), "path": "ann_B1.wav"},
        "speaker_id": "letters/ann",
        "emotion": "boredom",
        "duration": 0.1,
        "corpus": "letters",
        "source_id": "ann_B1",
        "native_label": "B",
        "sentence_id": "",
        "take": "1",
        "intensity": "",
        "gender": "female",
        "age": "",
        "text": "",
        "votes": [{"emotion": "anger", "votes": 1.0}, {"emotion": "neutral", "votes": 2.0}],
    }
    assert (report.num_listed, report.num_prepared, report.num_speakers) == (18, 17, 2)
    assert report.labels == {"anger": {"A": 6}, "boredom": {"B": 6}, "neutral": {"N": 5}}
    assert report.findings["flawed"] == {"bob/N3.wav": "a door slams"}


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_load_corpus_and_datasets_read_the_tables(source, tmp_path, format):
    prepare(Letters(source), tmp_path / "out", format, shard_size=7)
    paths = tables(tmp_path / "out")
    assert [path.name for path in paths] == [f"0000{number}-of-00003.{format}" for number in range(3)]
    corpus = load_corpus(paths)
    assert len(corpus) == 17
    assert sorted(corpus.by_speaker) == ["letters/ann", "letters/bob"]
    clips = [utterance.audio for utterance in corpus]
    sounds = {audio if isinstance(audio, bytes) else audio.read_bytes() for audio in clips}
    assert sounds == {(source / path).read_bytes() for path in PATHS if path != "bob/N3.wav"}
    dataset = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert dataset["emotion"] == [utterance.label.lower() for utterance in corpus]
    if format == "parquet":
        assert isinstance(dataset.features["audio"], Audio)
        assert [vars(u) | {"_stored": 0} for u in load_corpus(dataset)] == [vars(u) | {"_stored": 0} for u in corpus]
        dataset = dataset.cast_column("audio", Audio(decode=False))
        assert dataset[0]["audio"]["bytes"] == (source / PATHS[0]).read_bytes()


def test_card(source, tmp_path):
    prepare(Letters(source), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for line in ("license: cc-by-4.0", "- en", "- audio-classification", "| boredom | B | 6 |", "* flawed: 1"):
        assert line in card.splitlines() or f"  {line}" in card.splitlines(), line
    assert "@misc{letters}" in card
    assert "1 female, 1 male" in card
    Letters.license = "Letters terms"
    try:
        prepare(Letters(source), tmp_path / "out")
    finally:
        Letters.license = "CC-BY-4.0"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: other\n" in card and "license_name: letters-terms\n" in card


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_prepared_twice_is_byte_identical(source, tmp_path, format):
    prepare(Letters(source), tmp_path / "once", format, workers=1, shard_size=5)
    shutil.copytree(source, tmp_path / "elsewhere")
    prepare(Letters(tmp_path / "elsewhere"), tmp_path / "twice", format, workers=4, shard_size=5)
    prepare(Letters(source), tmp_path / "once", format, shard_size=5)
    assert contents(tmp_path / "once") == contents(tmp_path / "twice")
    assert any(name.endswith("README.md") for name in contents(tmp_path / "once"))


@pytest.mark.parametrize("num_reads", [5, 17, 25, 30])
def test_interrupted_and_resumed_is_as_uninterrupted(source, tmp_path, num_reads, monkeypatch):
    monkeypatch.setattr(prepare_module, "GROUP_SIZE", 2)
    prepare(Letters(source), tmp_path / "whole", shard_size=3)
    reads = []

    class Interrupted(Letters):
        def read_audio(self, recording):
            if len(reads) == num_reads:
                raise KeyboardInterrupt
            reads.append(recording.path)
            return super().read_audio(recording)

    with pytest.raises(KeyboardInterrupt):
        prepare(Interrupted(source), tmp_path / "out", shard_size=3)
    assert len(reads) == num_reads
    resumed = []

    class Resumed(Letters):
        def read_audio(self, recording):
            resumed.append(recording.path)
            return super().read_audio(recording)

    prepare(Resumed(source), tmp_path / "out", shard_size=3)
    # Each clip is read once to be checked and once to be written; what was finished is not read again.
    assert len(resumed) < 2 * 17 - num_reads + 5
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_parts_are_read_by_machines_of_their_own(source, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "GROUP_SIZE", 2)
    prepare(Letters(source), tmp_path / "whole", shard_size=5)
    num_read = [read_part(Letters(source), tmp_path / "out", shard, 3, shard_size=5) for shard in (2, 0)]
    read = []

    class Rest(Letters):
        def read_audio(self, recording):
            read.append(recording.path)
            return super().read_audio(recording)

    report = prepare(Rest(source), tmp_path / "out", shard_size=5)
    # What no part has read, and all to be written.
    assert len(read) == report.num_listed - sum(num_read) + report.num_prepared
    assert all(num_read) and contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_second_preparation_in_the_same_folder_is_refused(source, tmp_path):
    output = tmp_path / "out"
    with sole_writer(output), pytest.raises(ValueError, match="out: another run is writing there now"):
        prepare(Letters(source), output, allow_missing=True)
    # As a killed one leaves it.
    (output / LOCK_NAME).touch()
    prepare(Letters(source), output, allow_missing=True)
    assert not (output / LOCK_NAME).exists()


def test_a_changed_clip_is_read_again(source, tmp_path):
    with pytest.raises(ValueError):
        (source / "ann" / "A1.wav").write_bytes(b"nonsense")
        prepare(Letters(source), tmp_path / "out")
    (source / "ann" / "A1.wav").write_bytes(clip("new", 0.3))
    prepare(Letters(source), tmp_path / "out")
    assert pyarrow.parquet.read_table(tables(tmp_path / "out")[0])["duration"][0].as_py() == 0.3


def damage(source):
    (source / "ann/A2.wav").unlink()
    (source / "ann/A3.wav").write_bytes(b"nonsense")
    (source / "ann/B2.wav").write_bytes(b"")
    (source / "ann/B3.wav").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (source / "ann/N1.wav").write_bytes(clip("empty", 0))
    shutil.copy(source / "ann/N2.wav", source / "ann/N3.wav")
    shutil.copy(source / "bob/A1.wav", source / "bob/B1.wav")
    write_clips(source, ["bob/what.wav", "song/la.wav"])
    (source / "notes.txt").write_text("not audio")
    (source / "bob/._A1.wav").write_bytes(b"what a Mac leaves in a zip file")


FOUND = {
    "missing": ["ann/A2.wav"],
    "unreadable": ["ann/A3.wav", "ann/B2.wav", "ann/B3.wav", "ann/N1.wav"],
    "unlisted": ["bob/what.wav"],
    "contradictory": ["bob/A1.wav", "bob/B1.wav"],
    "miscounted": [],
    "duplicate": ["ann/N3.wav"],
    "flawed": ["bob/N3.wav"],
    "ignored": ["song/la.wav"],
}


def test_whatever_is_wrong_is_named_and_stops_the_preparation(source, tmp_path):
    damage(source)
    with pytest.raises(ValueError) as error:
        prepare(Letters(source), tmp_path / "out")
    message = str(error.value)
    assert "1 missing (ann/A2.wav), 4 unreadable (ann/A3.wav, ann/B2.wav, ann/B3.wav and 1 more)" in message
    assert "--allow-missing" in message
    assert not (tmp_path / "out" / "data").exists()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {kind: list(files) for kind, files in report["findings"].items()} == FOUND
    assert report["counts"] == {kind: len(files) for kind, files in FOUND.items()}
    assert "git lfs pull" in report["findings"]["unreadable"]["ann/B3.wav"]
    assert report["findings"]["unreadable"]["ann/N1.wav"] == "holds no samples"
    assert report["findings"]["duplicate"]["ann/N3.wav"] == "the same as ann/N2.wav"
    text = (tmp_path / "out" / "report.txt").read_text()
    assert all(f"  {path}" in text for files in FOUND.values() for path in files)


def test_a_link_that_leads_to_itself_is_named(source, tmp_path):
    (source / "ann/A2.wav").unlink()
    (source / "ann/A2.wav").symlink_to("A2.wav")
    report = prepare(Letters(source), tmp_path / "out", allow_missing=True)
    assert list(report.findings["unreadable"]) == ["ann/A2.wav"]


def test_what_there_is_is_prepared_if_that_is_allowed(source, tmp_path):
    damage(source)
    report = prepare(Letters(source), tmp_path / "out", allow_missing=True)
    left_out = [path for kind in FOUND for path in FOUND[kind]]
    corpus = load_corpus(tables(tmp_path / "out"))
    assert report.num_prepared == len(corpus) == len([path for path in PATHS if path not in left_out]) == 9
    assert "missing: 1 (" in (tmp_path / "out" / "report.txt").read_text()
    told = report.text(with_names=False)
    assert "missing: 1 (" in told and not any(path in told for path in left_out)


def test_another_number_than_the_owners_state_is_a_problem(source, tmp_path, monkeypatch):
    monkeypatch.setattr(Letters, "num_recordings", 20)
    with pytest.raises(ValueError, match="1 miscounted"):
        prepare(Letters(source), tmp_path / "out")
    assert "18 clips, where the owners state 20" in (tmp_path / "out" / "report.txt").read_text()


def test_refuses(source, tmp_path):
    with pytest.raises(ValueError, match="no such folder.*example.org"):
        Letters(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="lacks ann.*ann/A1.wav and so on"):
        Letters(source / "ann")
    with pytest.raises(ValueError, match="the corpus's own folder"):
        prepare(Letters(source), source / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(ValueError, match="no prepared corpus"):
        prepare(Letters(source), tmp_path / "mine")
    shutil.rmtree(source)
    (source / "ann").mkdir(parents=True)
    with pytest.raises(ValueError, match="not one clip"):
        prepare(Letters(source), tmp_path / "out", allow_missing=True)


def test_a_folder_that_was_packed_into_another(source, tmp_path):
    assert Letters(tmp_path).source == source
    shutil.copytree(source, tmp_path / "again" / "source")
    with pytest.raises(ValueError, match="holds Letters more than once, in .*source, .*again/source; name one"):
        Letters(tmp_path)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"native_label": "Z"}, "has no label 'Z'; it has A, B, N"),
        ({"source_id": "ann_A1"}, "lists ann_A1 more than once"),
        ({"speaker_id": ""}, "a speaker and a label"),
        ({"gender": "F"}, "not 'F'"),
    ],
)
def test_refuses_a_wrong_reader(source, tmp_path, fields, message):
    class Wrong(Letters):
        def recordings(self):
            yield from super().recordings()
            yield Recording(**{"path": "ann/A1.wav", "speaker_id": "ann", "native_label": "A"} | fields)

    with pytest.raises(ValueError, match=message):
        prepare(Wrong(source), tmp_path / "out")


def test_a_file_for_each_clip(tmp_path):
    names = ["x/1", "x_1", "X_1", "x_1_2", "é" * 150 + "a", "é" * 150 + "b"]
    write_clips(tmp_path, [f"{number}.wav" for number in range(len(names))])
    rows = "".join(f"{number}.wav,joy,a,{name}\n" for number, name in enumerate(names))
    (tmp_path / "t.csv").write_text("audio,emotion,speaker_id,source_id\n" + rows, encoding="utf-8")
    prepare(OwnTable(tmp_path / "t.csv", "mine"), tmp_path / "out", "jsonl")
    lines = [json.loads(line) for line in tables(tmp_path / "out")[0].read_text(encoding="utf-8").splitlines()]
    assert [line["source_id"] for line in lines] == names
    assert [line["audio"] for line in lines[:4]] == [f"audio/{n}.wav" for n in ("x_1", "x_1_2", "X_1_3", "x_1_2_2")]
    assert len({line["audio"].lower() for line in lines}) == len(names)
    for number, line in enumerate(lines):
        assert (tmp_path / "out" / "data" / line["audio"]).read_bytes() == (tmp_path / f"{number}.wav").read_bytes()


def test_duration_and_damage_are_of_what_is_decoded(tmp_path):
    piped = bytearray(clip("piped", 0.3, ".flac"))
    # A program that writes into a pipe does not come back to fill in the number of samples, which has 36 bits.
    piped[21] &= 0xF0
    piped[22:26] = bytes(4)
    (tmp_path / "piped.flac").write_bytes(piped)
    (tmp_path / "cut.wav").write_bytes(clip("cut", 0.5)[:9000])
    (tmp_path / "t.csv").write_text("audio,emotion,speaker_id\npiped.flac,joy,a\ncut.wav,joy,a\n")
    report = prepare(OwnTable(tmp_path / "t.csv", "mine"), tmp_path / "out", allow_missing=True)
    assert pyarrow.parquet.read_table(tables(tmp_path / "out")[0])["duration"].to_pylist() == [0.3]
    assert "truncated" in report.findings["unreadable"]["cut.wav"]


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_file_names_that_are_not_utf8(tmp_path, format):
    source = tmp_path / "rec"
    (source / "ann" / "joy").mkdir(parents=True)
    for name in (b"\xdcbung.wav", b"loose.wav"):
        folder = os.fsencode(source / "ann" / "joy") if name[:1] == b"\xdc" else os.fsencode(source)
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(clip(str(name)))
    Path(os.fsdecode(os.fsencode(source) + b"/\xdc.wav")).write_bytes(clip("loose too"))
    report = prepare(SpeakerFolders(source, "rec"), tmp_path / "out", format, allow_missing=True)
    assert list(report.findings["unlisted"]) == ["loose.wav", r"\xdc.wav"]
    (utterance,) = load_corpus(tables(tmp_path / "out"))
    assert utterance.audio is not None
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["source_id"] == [r"\xdcbung"]
