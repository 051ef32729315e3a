import csv
import json

import pyarrow as pa
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, load_dataset
from tiny_files import clip, write_clips

from emoicl.training.corpora.generic import HubDataset, OwnTable, SpeakerFolders
from emoicl.training.corpora.prepare import TEXT_COLUMNS, prepare
from emoicl.training.data.corpus import load_corpus


def rows_of(reader, output, **options):
    prepare(reader, output, **options)
    rows = pyarrow.parquet.read_table(output / "data").to_pylist()
    assert len(load_corpus(sorted((output / "data").glob("*.parquet")))) == len(rows)
    return rows


def write_csv(path, header, *rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def table(tmp_path):
    write_clips(tmp_path, ["a/1.wav", "b/1.wav"])
    return write_csv(
        tmp_path / "mine.csv",
        ["file", "mood", "who", "gender", "age", "text"],
        ["a/1.wav", "Happy", "007", "F", "31", "Hi, there"],
        ["b/1.wav", "Melancholy", "NA", "", "", ""],
    )


COLUMNS = {"audio": "file", "emotion": "mood", "speaker_id": "who"}


def test_csv(table, tmp_path):
    reader = OwnTable(table, "mine", columns=COLUMNS, labels={"happy": "Joy"}, license="CC0-1.0", languages=["en"])
    first, second = rows_of(reader, tmp_path / "out")
    assert first == {
        "audio": {"bytes": clip("a/1.wav"), "path": "a_1.wav"},
        "speaker_id": "mine/007",
        "emotion": "joy",
        "duration": 0.1,
        "corpus": "mine",
        "source_id": "a_1",
        "native_label": "Happy",
        "sentence_id": "",
        "take": "",
        "intensity": "",
        "gender": "female",
        "age": "31",
        "text": "Hi, there",
    }
    # A speaker NA is not a missing one, and melancholy is not folded into sadness.
    assert (second["speaker_id"], second["emotion"]) == ("mine/NA", "melancholy")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: cc0-1.0" in card
    # A corpus of one's own has neither a homepage nor a citation.
    assert "Homepage" not in card and "Citation" not in card and "()" not in card


def test_jsonl(tmp_path):
    write_clips(tmp_path, ["x.flac", "y.ogg"])
    rows = [
        {"audio": "x.flac", "emotion": "joy", "speaker_id": 1, "take": None},
        {"audio": "y.ogg", "emotion": "fear", "speaker_id": 2, "take": "b"},
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first, second = rows_of(OwnTable(tmp_path / "mine.jsonl", "mine"), tmp_path / "out")
    assert (first["speaker_id"], first["take"], first["source_id"]) == ("mine/1", "", "x")
    assert second["audio"]["path"] == "y.ogg"


def test_missing_files_of_a_table_are_named(table, tmp_path):
    (tmp_path / "b/1.wav").unlink()
    with pytest.raises(ValueError, match="1 missing .b/1.wav."):
        prepare(OwnTable(table, "mine", columns=COLUMNS), tmp_path / "out")


@pytest.mark.parametrize(
    "fields, message",
    [
        ({}, r"lacks the columns \['audio', 'emotion', 'speaker_id'\]; it has \['file', 'mood'.*`columns`"),
        ({"columns": COLUMNS | {"mode": "x"}}, r"no columns \['mode'\] to fill"),
        ({"columns": COLUMNS | {"take": "x"}}, r"lacks the columns \['x'\]"),
        ({"columns": COLUMNS | {"speaker_id": "gender"}}, "1 of 2 rows have no speaker_id: 2"),
        ({"columns": COLUMNS | {"native_label": "gender"}, "labels": {"sad": "sadness"}}, "has no label sad to map"),
    ],
)
def test_tables_are_refused(table, fields, message):
    with pytest.raises(ValueError, match=message):
        OwnTable(table, "mine", **fields)


def test_a_native_label_stands_for_one_emotion(tmp_path):
    write_clips(tmp_path, ["1.wav", "2.wav"])
    header = ["audio", "emotion", "speaker_id", "native_label"]
    table = write_csv(tmp_path / "t.csv", header, ["1.wav", "joy", "a", "X"], ["2.wav", "fear", "a", "X"])
    with pytest.raises(ValueError, match=r"'X' stands for \['fear', 'joy'\]"):
        OwnTable(table, "mine")


def test_one_clip_in_two_rows_is_refused(tmp_path):
    table = write_csv(
        tmp_path / "t.csv", ["audio", "emotion", "speaker_id"], ["1.wav", "joy", "a"], ["1.wav", "joy", "b"]
    )
    with pytest.raises(ValueError, match="more than one row has the audio 1.wav"):
        OwnTable(table, "mine")


@pytest.mark.parametrize("name", ["nothing.csv", "table.xlsx"])
def test_no_table(tmp_path, name):
    with pytest.raises(ValueError, match=name):
        OwnTable(tmp_path / name, "mine")


def test_parquet_with_bytes_without_paths(tmp_path):
    clips = [clip(str(number)) for number in range(5)]
    columns = {"audio": clips, "emotion": ["joy", "fear"] * 2 + ["joy"], "speaker_id": list("aabbb")}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=2)
    rows = rows_of(OwnTable(tmp_path / "t.parquet", "mine"), tmp_path / "out", workers=2, shard_size=2)
    assert [row["audio"]["bytes"] for row in rows] == clips
    assert [row["source_id"] for row in rows] == [f"row_{number:06}" for number in range(1, 6)]


def test_parquet_whose_paths_repeat(tmp_path):
    write_clips(tmp_path, ["beside.wav"])
    audio = [{"bytes": clip("1"), "path": "a.wav"}, {"bytes": clip("2"), "path": "a.wav"}]
    audio.append({"bytes": None, "path": "beside.wav"})
    columns = {"audio": audio, "emotion": ["joy"] * 3, "speaker_id": ["x"] * 3}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    rows = rows_of(OwnTable(tmp_path / "t.parquet", "mine"), tmp_path / "out")
    assert [row["audio"]["bytes"] for row in rows] == [clip("1"), clip("2"), clip("beside.wav")]
    assert [row["source_id"] for row in rows] == ["row_000001_a", "row_000002_a", "beside"]


def test_folders(tmp_path):
    source = tmp_path / "rec"
    write_clips(source, ["ann/Joy/1.wav", "ann/Joy/2.wav", "bob/Sad/1.wav", "bob/loose.wav"])
    with pytest.raises(ValueError, match="1 unlisted .bob/loose.wav."):
        prepare(SpeakerFolders(source, "rec"), tmp_path / "out")
    rows = rows_of(SpeakerFolders(source, "rec", labels={"sad": "sadness"}), tmp_path / "out", allow_missing=True)
    values = [(row["speaker_id"], row["emotion"], row["native_label"], row["source_id"]) for row in rows]
    assert values == [
        ("rec/ann", "joy", "Joy", "ann_Joy_1"),
        ("rec/ann", "joy", "Joy", "ann_Joy_2"),
        ("rec/bob", "sadness", "Sad", "bob_Sad_1"),
    ]


def test_folders_with_a_pattern(tmp_path):
    write_clips(tmp_path / "rec", ["ann/joy_s1_02.wav", "bob/fear_s2_01.wav"])
    reader = SpeakerFolders(tmp_path / "rec", "rec", pattern="{speaker_id}/{emotion}_{sentence_id}_{take}")
    rows = rows_of(reader, tmp_path / "out")
    assert [(row["emotion"], row["sentence_id"], row["take"]) for row in rows] == [
        ("joy", "s1", "02"),
        ("fear", "s2", "01"),
    ]


@pytest.mark.parametrize(
    "pattern, message",
    [
        ("{speaker_id}/*", "has {speaker_id} and {emotion} once"),
        ("{speaker_id}/{emotion}/x", "of 1 audio files, none"),
    ],
)
def test_patterns_are_refused(tmp_path, pattern, message):
    write_clips(tmp_path, ["ann/joy/1.wav"])
    with pytest.raises(ValueError, match=message):
        SpeakerFolders(tmp_path, "rec", pattern=pattern)


@pytest.mark.parametrize(
    "names, pattern, message",
    [
        (["DC/sa01", "DC/su02"], "{speaker_id}/{emotion}{take}", "DC/sa01: by .* its emotion is 's' as well as 'sa0'"),
        (["a/very_sad_1"], "{speaker_id}/{emotion}_{take}", "its emotion is 'very' as well as 'very_sad'"),
        (["ann_lee_joy_1"], "{speaker_id}_{emotion}_{take}", "its speaker_id is 'ann' as well as 'ann_lee'"),
        (["x/y/ann/joy/1"], "*/{speaker_id}/{emotion}/*", "its speaker_id is 'y' as well as 'ann'"),
    ],
)
def test_patterns_that_can_be_read_in_two_ways_are_refused(tmp_path, names, pattern, message):
    write_clips(tmp_path, [f"{name}.wav" for name in names])
    with pytest.raises(ValueError, match=message):
        SpeakerFolders(tmp_path, "rec", pattern=pattern)


def test_an_ambiguity_beside_speaker_and_emotion_does_not_matter(tmp_path):
    write_clips(tmp_path, ["ann/joy/a_b_c.wav", "ann/joy/more/1.wav"])
    assert len(list(SpeakerFolders(tmp_path, "rec").recordings())) == 2
    (recording,) = SpeakerFolders(tmp_path, "rec", pattern="{speaker_id}/{emotion}/{sentence_id}_{take}").recordings()
    assert (recording.native_label, recording.sentence_id, recording.take) == ("joy", "a", "b_c")


def test_hub_dataset_with_encoded_audio(tmp_path):
    clips = [clip(str(number)) for number in range(3)]
    columns = {
        "sound": [{"bytes": content, "path": f"{number}.wav"} for number, content in enumerate(clips)],
        "label": ["Joy", "Fear", "Joy"],
        "who": ["1", "2", "2"],
    }
    path = tmp_path / "train.parquet"
    Dataset.from_dict(columns).to_parquet(path)
    dataset = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    mapping = {"audio": "sound", "emotion": "label", "speaker_id": "who"}
    rows = rows_of(HubDataset(dataset, "theirs", columns=mapping), tmp_path / "out", workers=2)
    assert [row["audio"]["bytes"] for row in rows] == clips
    assert [row["emotion"] for row in rows] == ["joy", "fear", "joy"]
    assert [row["speaker_id"] for row in rows] == ["theirs/1", "theirs/2", "theirs/2"]


def test_hub_dataset_with_audio_and_class_labels(tmp_path):
    content = clip("a")
    audio = [{"bytes": content, "path": None}, {"bytes": clip("b"), "path": None}]
    table = pa.table({"audio": audio, "emotion": [1, 0], "speaker_id": ["x", "y"]})
    features = {"audio": {"_type": "Audio"}, "emotion": {"names": ["fear", "joy"], "_type": "ClassLabel"}}
    features["speaker_id"] = {"dtype": "string", "_type": "Value"}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    dataset = load_dataset(
        "parquet", data_files=str(tmp_path / "t.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(dataset.features["emotion"], ClassLabel)
    rows = rows_of(HubDataset(dataset, "theirs"), tmp_path / "out")
    assert rows[0]["audio"]["bytes"] == content
    assert [row["emotion"] for row in rows] == ["joy", "fear"]
    rows = rows_of(OwnTable(tmp_path / "t.parquet", "theirs"), tmp_path / "own")
    assert [row["emotion"] for row in rows] == ["joy", "fear"]
    unknown = dataset.map(lambda row: {"emotion": -1 if row["emotion"] else 0})
    with pytest.raises(ValueError, match="1 of 2 rows have no emotion: 1"):
        HubDataset(unknown, "theirs")


@pytest.mark.parametrize(
    "column, value", [("mood", 1), ("mood", 0.5), ("mood", True), ("speaker_id", 3), ("native_label", 2)]
)
def test_numbers_name_nothing(tmp_path, column, value):
    row = {"audio": {"bytes": b"one", "path": None}, "mood": "joy", "speaker_id": "x", "native_label": "Joy"}
    dataset = Dataset.from_list([row | {column: value, "age": 30}])
    dataset.to_parquet(tmp_path / "t.parquet")
    for make in (OwnTable, lambda *_, **columns: HubDataset(dataset, "theirs", **columns)):
        with pytest.raises(ValueError, match=f"(t.parquet|theirs): {column} is of type .*; it should be text, or"):
            make(tmp_path / "t.parquet", "theirs", columns={"emotion": "mood"})


def test_samples_are_no_files(tmp_path):
    rows = [{"audio": {"array": [0.5], "sampling_rate": 16000}, "emotion": "joy", "speaker_id": "x"}]
    Dataset.from_list(rows).to_parquet(tmp_path / "t.parquet")
    for make in (OwnTable, lambda *_: HubDataset(Dataset.from_list(rows), "theirs")):
        with pytest.raises(ValueError, match="(t.parquet|theirs): audio is .* struct<array.*; it should be bytes"):
            make(tmp_path / "t.parquet", "theirs")


@pytest.mark.parametrize("corpus", ["ravdess", "nemo", "emogator"])
def test_real_tables(shared, tmp_path, corpus):
    path = shared / "data" / corpus / "validation.parquet"
    reader = OwnTable(path, corpus)
    rows = rows_of(reader, tmp_path / "out", workers=2)
    expected = pyarrow.parquet.read_table(path).to_pylist()
    assert len(rows) == len(expected)
    for row, original in zip(rows, expected, strict=True):
        assert row["audio"]["bytes"] == original["audio"]["bytes"]
        same = ("speaker_id", "emotion", "corpus", "source_id", "native_label", *TEXT_COLUMNS)
        assert [row[name] for name in same] == [original[name] for name in same]
        assert row["duration"] == pytest.approx(original["duration"], abs=0.02)
