import hashlib
import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from emoicl.training.data.corpus import Corpus, Utterance, display_label, load_corpus


ROWS = [("joy", "x/1"), ("surprise_negative", "x/2"), ("anger", "x/1")]


@pytest.fixture
def clips(tmp_path: Path) -> list[str]:
    """Three different files, of which two have the same size; nothing here decodes them."""
    (tmp_path / "clips").mkdir()
    for name, content in [("a", b"aa"), ("b", b"bb"), ("c", b"ccc")]:
        (tmp_path / "clips" / f"{name}.wav").write_bytes(content)
    return ["clips/a.wav", "clips/b.wav", "clips/c.wav"]


def write_csv(path: Path, lines: list[str], header: str = "audio,emotion,speaker_id") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def write_parquet(path: Path, audio: list, emotions: list | None = None, speakers: list | None = None) -> Path:
    columns = {
        "audio": audio,
        "emotion": emotions or ["joy"] * len(audio),
        "speaker_id": speakers or ["x"] * len(audio),
    }
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def write_table(suffix: str, folder: Path, clips: list[str]) -> Path:
    emotions, speakers = map(list, zip(*ROWS, strict=True))
    rows = list(zip(clips, emotions, speakers, strict=True))
    path = folder / f"table{suffix}"
    if suffix == ".csv":
        return write_csv(path, [",".join(row) for row in rows])
    if suffix == ".jsonl":
        names = ("audio", "emotion", "speaker_id")
        path.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
        return path
    return write_parquet(path, clips, emotions, speakers)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_format_reads_alike(tmp_path, clips, suffix):
    corpus = load_corpus(write_table(suffix, tmp_path, clips))
    assert len(corpus) == 3
    assert corpus.labels == ["Joy", "Surprise negative", "Anger"]
    assert corpus.speaker_ids == ["x/1", "x/2", "x/1"]
    assert corpus.by_speaker == {"x/1": [0, 2], "x/2": [1]}
    assert [utterance.audio for utterance in corpus] == [tmp_path / clip for clip in clips]
    assert corpus[2].name == "clips/c.wav"
    assert corpus[2].audio_sha256 == hashlib.sha256(b"ccc").hexdigest()


def test_bytes_come_before_the_path(tmp_path, clips):
    audio = [{"bytes": b"inside", "path": "gone.ogg"}, {"bytes": None, "path": clips[0]}]
    corpus = load_corpus(write_parquet(tmp_path / "t.parquet", audio))
    assert [utterance.audio for utterance in corpus] == [b"inside", tmp_path / clips[0]]
    assert corpus[0].name == "gone.ogg"
    assert corpus[0].audio_sha256 == hashlib.sha256(b"inside").hexdigest()


def test_plain_bytes_are_named_by_their_row(tmp_path):
    corpus = load_corpus(write_parquet(tmp_path / "t.parquet", [b"one", b"two"]))
    assert [utterance.name for utterance in corpus] == ["row 1 of t.parquet", "row 2 of t.parquet"]


def test_audio_features_of_datasets_are_read_as_plain_columns(tmp_path):
    # What `datasets` writes for a Hub data set with an audio column; its own reader would decode with torchcodec.
    features = {"audio": {"_type": "Audio"}, "emotion": {"dtype": "string", "_type": "Value"}}
    table = pa.table({"audio": [{"bytes": b"one", "path": "a.wav"}], "emotion": ["joy"], "speaker_id": ["x"]})
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / "t.parquet")
    assert load_corpus(tmp_path / "t.parquet")[0].audio == b"one"


def test_several_tables_are_joined_each_with_its_own_folder(tmp_path, clips):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "d.wav").write_bytes(b"dddd")
    first = write_csv(tmp_path / "a.csv", [f"{clips[0]},joy,x"])
    second = write_csv(tmp_path / "other" / "b.csv", ["d.wav,joy,y"])
    corpus = load_corpus([first, str(second)])
    assert [utterance.audio for utterance in corpus] == [tmp_path / clips[0], tmp_path / "other" / "d.wav"]


def test_speakers_that_look_like_numbers_or_nulls_stay_as_written(tmp_path, clips):
    path = write_csv(tmp_path / "t.csv", [f"{clips[0]},joy,007", f"{clips[1]},joy,NA", f"{clips[2]},joy, 1.0 "])
    assert load_corpus(path).speaker_ids == ["007", "NA", "1.0"]


def test_the_column_corpus_tells_the_corpus_of_a_speaker(tmp_path, clips):
    lines = [f"{clips[0]},joy,mine/ward3/p01,", f"{clips[1]},joy,p02,", f"{clips[2]},joy,p03,theirs"]
    corpus = load_corpus(write_csv(tmp_path / "t.csv", lines, header="audio,emotion,speaker_id,corpus"))
    assert corpus.corpus_of == {"mine/ward3/p01": "mine", "p02": "", "p03": "theirs"}
    assert [utterance.corpus for utterance in corpus] == ["mine", "", "theirs"]


def test_a_speaker_of_two_corpora_is_refused():
    utterances = [Utterance(name.encode(), "Joy", "p01", name, name) for name in ("one", "other")]
    with pytest.raises(ValueError, match="The speaker p01 is of the corpora 'one' and 'other'"):
        Corpus(utterances)


def test_numeric_speakers_of_jsonl_become_strings(tmp_path, clips):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"audio": clips[0], "emotion": "joy", "speaker_id": 7}))
    assert load_corpus(path).speaker_ids == ["7"]


@pytest.mark.parametrize(
    "emotion, label", [("joy", "Joy"), ("Joy", "Joy"), ("surprise_negative", "Surprise negative"), (" fear ", "Fear")]
)
def test_display_label(emotion, label):
    assert display_label(emotion) == label
    assert display_label(label) == label


def test_kept_labels_are_asked_for_and_the_others_counted(tmp_path, clips, caplog):
    path = write_table(".csv", tmp_path, clips)
    with caplog.at_level(logging.INFO):
        corpus = load_corpus(path, labels=["Joy", "anger", "Fear"])
    assert corpus.labels == ["Joy", "Anger"]
    assert "Left out 1 utterances of other labels: {'Surprise negative': 1}" in caplog.text
    assert "No utterance is labeled Fear" in caplog.text
    with pytest.raises(ValueError, match="No utterance is labeled Calm; the corpus has Anger, Joy, Surprise negative"):
        load_corpus(path, labels=["calm"])


def test_byte_identical_clips_are_left_out_and_counted(tmp_path, clips, caplog):
    (tmp_path / "copy.wav").write_bytes(b"bb")
    path = write_csv(tmp_path / "t.csv", [f"{clip},joy,x" for clip in [*clips, "copy.wav", clips[0]]])
    corpus = load_corpus(path)
    assert [utterance.name for utterance in corpus] == clips
    assert corpus.by_speaker == {"x": [0, 1, 2]}
    assert "Left out 2 clips that are byte-identical to an earlier one: copy.wav, clips/a.wav" in caplog.text


@pytest.mark.parametrize("emotion, speaker", [("Fear", "x"), ("Joy", "y")])
def test_one_clip_with_two_labels_or_speakers_is_refused(emotion, speaker):
    utterances = [Utterance(b"same", "Joy", "x", "a.wav"), Utterance(b"same", emotion, speaker, "b.wav")]
    with pytest.raises(ValueError, match="a.wav .* and b.wav .* are the same clip"):
        Corpus(utterances)


def test_clips_of_unique_size_are_not_read(tmp_path, clips, monkeypatch):
    read = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or path.name.encode())
    load_corpus(write_table(".csv", tmp_path, clips))
    assert read == ["a.wav", "b.wav"]


def test_missing_columns(tmp_path):
    path = write_csv(tmp_path / "t.csv", ["a.wav,joy,x"], header="audio,label,speaker")
    with pytest.raises(ValueError, match=r"t.csv: lacks the columns \['emotion', 'speaker_id'\]; it has .*'label'"):
        load_corpus(path)


def test_missing_files_are_all_counted_and_the_first_named(tmp_path, clips):
    lines = [f"{clips[0]},joy,x", *(f"gone{number}.wav,joy,x" for number in range(2, 10))]
    path = write_csv(tmp_path / "t.csv", lines)
    with pytest.raises(ValueError, match="t.csv: 8 of 9 rows have an audio path .* where there is no file") as error:
        load_corpus(path)
    assert "2 (gone2.wav)" in str(error.value)
    assert "6 (gone6.wav) and 3 more" in str(error.value)


def test_all_kinds_of_incomplete_rows_are_reported_together(tmp_path, clips):
    path = write_csv(tmp_path / "t.csv", [f"{clips[0]},,x", f"{clips[1]},joy, ", ",joy,x", f"{clips[2]},joy,x"])
    with pytest.raises(ValueError) as error:
        load_corpus(path)
    assert "1 of 4 rows have no emotion: 1 (clips/a.wav)" in str(error.value)
    assert "1 of 4 rows have no speaker_id: 2 (clips/b.wav)" in str(error.value)
    assert "1 of 4 rows have no audio, neither bytes nor a path: 3 (row 3 of t.csv)" in str(error.value)


def test_nulls_are_incomplete(tmp_path):
    path = write_parquet(tmp_path / "t.parquet", [b"one", None], ["joy", None], [None, "x"])
    with pytest.raises(ValueError, match="no emotion: 2 .*no speaker_id: 1 .*no audio.*: 2 "):
        load_corpus(path)


def test_decoded_audio_is_refused(tmp_path):
    with pytest.raises(ValueError, match="audio is of type list<.*double>; it should be bytes, a path"):
        load_corpus(write_parquet(tmp_path / "t.parquet", [[0.0, 0.1]]))


def test_a_table_without_rows(tmp_path):
    with pytest.raises(ValueError, match="t.csv: the table has no rows"):
        load_corpus(write_csv(tmp_path / "t.csv", []))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe{not a table"])
def test_unreadable_tables(tmp_path, suffix, content):
    (tmp_path / f"t{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=f"t{suffix}: (cannot be read as|lacks the columns|the table has no rows)"):
        load_corpus(tmp_path / f"t{suffix}")


def test_unknown_extension_and_missing_table(tmp_path):
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(ValueError, match=r"t.xlsx: a table is a .parquet, .jsonl, .csv, .tsv, .json file"):
        load_corpus(tmp_path / "t.xlsx")
    with pytest.raises(ValueError, match=r"t.csv: there is no such file"):
        load_corpus(tmp_path / "t.csv")


def test_what_is_wrong_with_several_rows_names_the_table(tmp_path, clips):
    path = write_csv(tmp_path / "t.csv", [f"{clips[0]},joy,007", f"{clips[0]},sad,007"])
    with pytest.raises(ValueError, match="t.csv: .*are the same clip"):
        load_corpus(path)
    path.write_text('audio,emotion,speaker_id\n"a\nb.wav",joy,1\n')
    with pytest.raises(ValueError, match="no file: 1 .a b.wav."):
        load_corpus(path)


def test_no_tables():
    with pytest.raises(ValueError, match="holds no utterances"):
        load_corpus([])


@pytest.mark.parametrize(
    "name, utterances, speakers, labels", [("emogator", 1079, 40, 9), ("ravdess", 240, 4, 8), ("nemo", 539, 1, 6)]
)
def test_real_corpora(shared, name, utterances, speakers, labels):
    corpus = load_corpus(shared / "data" / name / "test.parquet")
    assert (len(corpus), len(corpus.by_speaker), len(set(corpus.labels))) == (utterances, speakers, labels)
    assert len({utterance.audio_sha256 for utterance in corpus}) == utterances
    assert all(isinstance(utterance.audio, bytes) and utterance.audio[:4] == b"OggS" for utterance in corpus)


def test_seven_labels_of_two_real_corpora(shared):
    seven = ["Neutral", "Surprise", "Sadness", "Joy", "Fear", "Disgust", "Anger"]
    paths = [shared / "data" / name / "test.parquet" for name in ("ravdess", "nemo")]
    corpus = load_corpus(paths, labels=seven)
    assert set(corpus.labels) == set(seven)
    assert len(corpus) == 240 - 32 + 539  # without RAVDESS's calm
