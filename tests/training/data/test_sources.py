"""A corpus is the same, whatever its utterances were in."""

import json
import logging

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from tiny_corpus import tiny_corpus

from emoicl.processing import decode_audio
from emoicl.training.data import clips as clips_in_arrow
from emoicl.training.data.corpus import Corpus, Utterance, load_corpus
from emoicl.training.data.tables import Table
from emoicl.training.data.utterances import StoredUtterances


CLIPS = [b"one", b"two", b"three"]
EMOTIONS = ["joy", "surprise_negative", "anger"]
SPEAKERS = ["x/1", "x/2", "x/1"]


def rows(audio=CLIPS, emotions=EMOTIONS, speakers=SPEAKERS) -> list[dict]:
    return [
        {"audio": clip, "emotion": emotion, "speaker_id": speaker}
        for clip, emotion, speaker in zip(audio, emotions, speakers, strict=True)
    ]


def told(corpus: Corpus) -> list[tuple]:
    return [(u.audio, u.label, u.speaker_id, u.corpus, u.audio_sha256) for u in corpus]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOICL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "corpora"


EXPECTED = told(
    Corpus(
        Utterance(*row, name=str(row))
        for row in zip(CLIPS, ("Joy", "Surprise negative", "Anger"), SPEAKERS, strict=True)
    )
)


def test_rows_data_sets_and_tables_are_one_corpus(tmp_path):
    dataset = datasets.Dataset.from_list(rows())
    dataset.to_parquet(tmp_path / "t.parquet")
    loaded = datasets.load_dataset("parquet", data_files=str(tmp_path / "t.parquet"), cache_dir=str(tmp_path / "hf"))
    encoded = rows([{"bytes": clip, "path": "a.wav"} for clip in CLIPS])
    audio = datasets.Dataset.from_list(encoded).cast_column("audio", datasets.Audio())
    audio.to_parquet(tmp_path / "audio.parquet")
    sources = [
        rows(),
        encoded,
        dataset,
        loaded,
        loaded["train"],
        audio,
        tmp_path / "t.parquet",
        tmp_path / "audio.parquet",
    ]
    for source in sources:
        assert told(load_corpus(source)) == EXPECTED
    assert load_corpus(audio)[0].name == "a.wav"
    assert load_corpus(dataset)[1].name == "row 2 of the data set"


def test_what_a_data_set_has_selected_counts():
    dataset = datasets.Dataset.from_list(rows())
    corpus = load_corpus(dataset.select([2, 0]))
    assert told(corpus) == [EXPECTED[2], EXPECTED[0]]
    assert told(load_corpus(datasets.concatenate_datasets([dataset, dataset]).shuffle(seed=0))) != []


def test_columns_of_other_names_and_splits():
    renamed = datasets.DatasetDict(
        test=datasets.Dataset.from_list(rows()).rename_columns(  # pyright: ignore[reportCallIssue]
            {"audio": "file", "emotion": "label", "speaker_id": "who"}
        )
    )
    names = {"audio": "file", "emotion": "label", "speaker_id": "who"}
    assert told(load_corpus(renamed, column_names=names)) == EXPECTED
    assert told(load_corpus(renamed, split="test", labels=["joy"], column_names=names)) == EXPECTED[:1]
    with pytest.raises(ValueError, match=r"lacks the columns \['audio', 'emotion', 'speaker_id'\]; it has \['file'"):
        load_corpus(renamed)
    with pytest.raises(
        ValueError, match="the data set: has the splits test; give one, or name it as `split`: not 'train'"
    ):
        load_corpus(renamed, split="train")
    renamed["train"] = renamed["test"]
    with pytest.raises(ValueError, match="has the splits test, train; give one, or name it as `split`: none is"):
        load_corpus(renamed)
    with pytest.raises(ValueError, match=r"`column_names` says what audio, .* are called.* it has \['label'\]"):
        load_corpus(renamed["test"], column_names={"label": "emotion"})


def test_names_of_the_hub_tell_their_split(monkeypatch, tmp_path):
    splits = datasets.DatasetDict({name: datasets.Dataset.from_list(rows()) for name in ("train", "test")})

    def fetch(name, split):
        assert name == "someone/speech"
        return splits if split is None else splits[split].select([0])

    monkeypatch.setattr("datasets.load_dataset", fetch)
    assert told(load_corpus("someone/speech:test")) == EXPECTED[:1]
    assert told(load_corpus("someone/speech", split="test")) == EXPECTED[:1]
    splits["test"].select([1, 2]).to_parquet(tmp_path / "t.parquet")
    assert told(load_corpus(["someone/speech:test", tmp_path / "t.parquet"])) == EXPECTED
    with pytest.raises(ValueError, match="has the splits train, test; name one, as in someone/speech:test: none is"):
        load_corpus("someone/speech")


def test_class_labels_are_their_names(tmp_path):
    numbers = datasets.Dataset.from_list(rows(emotions=[1, 0, 2], speakers=[0, 1, 0]))
    numbers = numbers.cast_column("emotion", datasets.ClassLabel(names=["surprise_negative", "joy", "anger"]))
    numbers = numbers.cast_column("speaker_id", datasets.ClassLabel(names=["x/1", "x/2"]))
    numbers.to_parquet(tmp_path / "t.parquet")
    for source in (numbers, tmp_path / "t.parquet"):
        assert told(load_corpus(source)) == EXPECTED
    features = {"emotion": {"_type": "ClassLabel", "names": ["joy"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    few = pa.table({"audio": CLIPS, "emotion": [0, 1, 0], "speaker_id": SPEAKERS}).replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(few, tmp_path / "few.parquet")
    with pytest.raises(ValueError, match="few.parquet: emotion is 1 in a row, and a `ClassLabel` of 1 names"):
        load_corpus(tmp_path / "few.parquet")
    unknown = numbers.map(lambda row: {"emotion": -1 if row["emotion"] == 2 else row["emotion"]})
    with pytest.raises(ValueError, match=r"the data set: 1 of 3 rows have no emotion: 3 \(row 3 of the data set\)"):
        load_corpus(unknown)


@pytest.mark.parametrize("column, values", [("speaker_id", [1, 2, 1]), ("emotion", [0.5, 1.5, 2.0])])
def test_numbers_are_no_text(tmp_path, column, values):
    table = [{**row, column: value} for row, value in zip(rows(), values, strict=True)]
    dataset = datasets.Dataset.from_list(table)
    dataset.to_parquet(tmp_path / "t.parquet")
    for source in (dataset, table, tmp_path / "t.parquet"):
        with pytest.raises(ValueError, match=f"{column} is of type (int|double|float).*; it should be text"):
            load_corpus(source)
    with pytest.raises(ValueError, match=f"t.parquet: {column} is of type .*; it should be text"):
        list(Table(tmp_path / "t.parquet").rows([column]))


def test_other_bad_data_sets(monkeypatch):
    dataset = datasets.Dataset.from_list(rows())
    with pytest.raises(ValueError, match="the data set: has no rows"):
        load_corpus(dataset.select([]))
    with pytest.raises(ValueError, match="the data set: has no splits"):
        load_corpus(datasets.DatasetDict())
    with pytest.raises(ValueError, match="is streamed; enrollments need all of it"):
        load_corpus(dataset.to_iterable_dataset())  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="audio is of type list<.*double>; it should be bytes, a path"):
        load_corpus(datasets.Dataset.from_list(rows([[0.5], [0.1], [0.2]])))
    with pytest.raises(ValueError, match="the rows: row 2: audio is a int; give bytes"):
        load_corpus(rows([b"one", 3, b"two"]))
    with pytest.raises(ValueError, match="1 of 3 rows have an audio path where there is no file: 2 .gone.wav"):
        load_corpus(rows([b"one", "gone.wav", b"two"]))
    with pytest.raises(ValueError, match="from tables, a `Dataset` or a list of rows, not from 'int'"):
        load_corpus(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="from tables, a `Dataset` or a list of rows, not from 'Table'"):
        load_corpus(dataset.data.table)
    with pytest.raises(ValueError, match="A list is of paths of tables, or of rows.* one item is of type 'Dataset'"):
        load_corpus([dataset, dataset])
    with pytest.raises(ValueError, match="the rows: row 3 is of type 'int'; it should be a dictionary"):
        load_corpus([*rows()[:2], 3])
    with pytest.raises(ValueError, match=r"`column_names` is a dictionary, as in .*; got \['emotion'\]"):
        load_corpus(dataset, column_names=["emotion"])  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="nobody/nothing: there is no such table or folder, and .* Hub"):
        load_corpus("nobody/nothing")


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
def test_samples_are_kept_as_they_are(kind):
    scale = 1 if np.issubdtype(kind, np.floating) else 30000
    samples = [(scale * np.sin(np.arange(8000) / step)).astype(kind) for step in (5, 6, 7)]
    corpus = load_corpus(rows([{"array": waveform, "sampling_rate": 16000} for waveform in samples]))
    for utterance, waveform in zip(corpus, samples, strict=True):
        np.testing.assert_array_equal(decode_audio(utterance.audio), decode_audio(waveform))
    again = load_corpus(rows([{"array": waveform, "sampling_rate": 16000} for waveform in samples]))
    assert told(corpus) == told(again)


def test_decoded_columns(cache, monkeypatch):
    monkeypatch.setattr(clips_in_arrow, "LARGE", 0)
    samples = [np.sin(np.arange(4000) / step).astype(np.float32) for step in (5, 6, 7)]
    stereo = {"array": np.stack(samples[:2]), "sampling_rate": 8000}
    decoded = [{"array": waveform, "sampling_rate": 16000} for waveform in samples]
    dataset = datasets.Dataset.from_list(rows(decoded)).select([1, 0, 2])
    for _ in range(2):
        corpus = load_corpus(dataset)
        np.testing.assert_array_equal(decode_audio(corpus[0].audio), decode_audio(samples[1]))
    assert len(list(cache.iterdir())) == 1
    [utterance] = load_corpus(rows([stereo], ["joy"], ["x"]))
    np.testing.assert_array_equal(decode_audio(utterance.audio), decode_audio(stereo))
    with pytest.raises(ValueError, match='row 1: "sampling_rate" must say the rate of "array" in Hz'):
        load_corpus(rows([{"array": samples[0]}], ["joy"], ["x"]))
    for array, rate in (([0.1], 0), ([[[0.1]]], 16000)):
        with pytest.raises(ValueError, match=f"row 1: samples of shape .* at {rate} Hz are no audio"):
            load_corpus(rows([{"array": array, "sampling_rate": rate}], ["joy"], ["x"]))
    with pytest.raises(ValueError, match="row 1: samples of type int64; give floats"):
        load_corpus(rows([{"array": [1, 2], "sampling_rate": 16000}], ["joy"], ["x"]))


def test_large_tables_are_read_once(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(clips_in_arrow, "LARGE", 0)
    path = tmp_path / "t.parquet"
    table = {"audio": CLIPS, "emotion": EMOTIONS, "speaker_id": SPEAKERS}
    pyarrow.parquet.write_table(pa.table(table), path)
    assert told(load_corpus(path)) == EXPECTED
    [stored] = cache.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(clips_in_arrow.hashlib, "sha256", clips_in_arrow.hashlib.sha256)
        patch.setattr("emoicl.training.data.sources.digest", lambda clips: pytest.fail("was computed again"))
        assert told(load_corpus(path)) == EXPECTED
    stored.write_bytes(stored.read_bytes()[:-20])
    assert told(load_corpus(path)) == EXPECTED
    # Another table at the same place is another one.
    pyarrow.parquet.write_table(pa.table(table | {"audio": [b"1", b"22", b"333"]}), path)
    assert [utterance.audio for utterance in load_corpus(path)] == [b"1", b"22", b"333"]


def test_many_small_tables_are_a_large_one(tmp_path, cache, monkeypatch):
    paths = [tmp_path / f"{number}.parquet" for number in range(2)]
    for path, clips in zip(paths, (CLIPS, [b"1", b"22", b"333"]), strict=True):
        pyarrow.parquet.write_table(pa.table({"audio": clips, "emotion": EMOTIONS, "speaker_id": SPEAKERS}), path)
    monkeypatch.setattr(clips_in_arrow, "LARGE", 1.5 * paths[0].stat().st_size)
    assert told(load_corpus(paths[0])) == EXPECTED
    assert not cache.exists()
    assert told(load_corpus(paths))[:3] == EXPECTED
    assert len(list(cache.iterdir())) == 2


def test_files_that_seem_copies_are_read_once(tmp_path, cache, monkeypatch, caplog):
    monkeypatch.setattr(clips_in_arrow, "LARGE", 0)
    for name, content in (("a", b"same"), ("b", b"same"), ("c", b"size")):
        (tmp_path / f"{name}.wav").write_bytes(content)
    audio = [str(tmp_path / f"{name}.wav") for name in "abc"]
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            corpus = load_corpus(rows(audio, ["joy"] * 3, ["x"] * 3))
        assert [utterance.name for utterance in corpus] == [audio[0], audio[2]]
        assert "Left out 1 clips that are byte-identical" in caplog.text
    assert len(list(cache.iterdir())) == 1


def test_clips_are_not_copied_by_parts_of_a_corpus():
    corpus = load_corpus(rows())
    part = Corpus(utterance for utterance in corpus if utterance.speaker_id == "x/1")
    both = Corpus([*part, Utterance(b"four", "Joy", "y", "four.wav"), corpus[1]])
    assert [utterance.audio for utterance in both] == [b"one", b"three", b"four", b"two"]
    assert [utterance.name for utterance in both.utterances[1:3]] == ["row 3 of the rows", "four.wav"]
    stores = [corpus.utterances for corpus in (corpus, part, both)]
    places = {store.clips.chunk(0).buffers()[2].address for store in stores if isinstance(store, StoredUtterances)}
    assert len(places) == 1
    assert not any("audio" in vars(utterance) for utterance in corpus)


def test_indices_by_label():
    corpus = tiny_corpus(2, 2)
    for speaker_id, by_label in corpus.by_label.items():
        pairs = [(label, i) for label, indices in by_label.items() for i in indices.tolist()]
        assert sorted(pairs) == sorted((corpus.labels[i], i) for i in corpus.by_speaker[speaker_id])
        assert all(np.all(np.diff(indices) > 0) for indices in by_label.values())
