import csv
import json
import subprocess
import sys
from collections import Counter

import pyarrow as pa
import pyarrow.parquet
import pytest
from datasets import load_dataset

from emoicl.training.corpora import split_tables
from emoicl.training.corpora.split_rules import age_group, read_speaker_lists
from emoicl.training.corpora.splits import PARTS, split_corpus
from emoicl.training.data.corpus import load_corpus
from emoicl.training.data.tables import AUDIO_TYPE
from emoicl.training.experiments.reproduction.splits import load_splits


EMOTIONS = ("anger", "fear", "joy")


def rows_of(speakers, sentences="123", **values):
    """A clip of each emotion and sentence by each speaker, `(name, gender, age)`. Nothing decodes them."""
    rows = []
    for speaker_id, gender, age in speakers:
        for emotion in EMOTIONS:
            for sentence in sentences:
                name = f"{speaker_id.replace('/', '_')}_{emotion}_{sentence}.wav"
                audio = {"bytes": f"RIFF {name}".encode(), "path": name}
                row = {"audio": audio, "speaker_id": speaker_id, "emotion": emotion, "gender": gender, "age": age}
                rows.append(row | {"sentence_id": sentence} | values)
    return rows


def people(corpus, count):
    """Half women, half men; half in their twenties, half in their forties."""
    return [(f"{corpus}/{n:02}", ("female", "male")[n % 2], ("23", "45")[n // 2 % 2]) for n in range(count)]


def write_table(rows, path, group=7):
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row.get(name) for row in rows] for name in rows[0]}
    columns["audio"] = pa.array(columns["audio"], AUDIO_TYPE)
    pyarrow.parquet.write_table(pa.table(columns), path, row_group_size=group)
    return path


def read(folder, part):
    return pyarrow.parquet.read_table(folder / f"{part}.parquet").to_pylist()


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def table(tmp_path):
    """Forty people, ten of each gender and age group."""
    return write_table(rows_of(people("acted", 40)), tmp_path / "corpus.parquet")


@pytest.fixture
def small(tmp_path):
    return write_table(rows_of(people("small", 6)), tmp_path / "small.parquet")


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_speakers_and_strata(table, tmp_path, seed):
    (report,) = split_corpus([table], tmp_path / "out", validation=0.1, test=0.2, seed=seed)
    assert {part: len(report.speakers[part]) for part in PARTS} == {"train": 28, "validation": 4, "test": 8}
    cells = {(row["split"], row["gender"], row["age"]): row["speakers"] for row in report.counts}
    for gender in ("female", "male"):
        for age in ("20-29", "40-49"):
            assert [cells[part, gender, age] for part in PARTS] == [7, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_few_speakers_leave_somebody_of_each_gender_to_train(tmp_path, seed):
    table = write_table(rows_of(people("few", 4)), tmp_path / "t.parquet")
    (report,) = split_corpus([table], tmp_path / "out", stratify=["gender"], seed=seed)
    genders = Counter((row["split"], row["gender"]) for row in report.counts)
    assert genders["train", "female"] and genders["train", "male"]


def test_rows_and_columns_are_those_of_the_table(table, tmp_path):
    (report,) = split_corpus([table], tmp_path / "out")
    rows = pyarrow.parquet.read_table(table).to_pylist()
    for part in PARTS:
        expected = [row for row in rows if row["speaker_id"] in report.speakers[part]]
        assert read(tmp_path / "out", part) == expected
    assert sum(len(read(tmp_path / "out", part)) for part in PARTS) == len(rows) == 360


def test_table_one(table, tmp_path):
    (report,) = split_corpus([table], tmp_path / "out", validation=0.1, test=0.1)
    lines = [line.split() for line in report.text().splitlines()]
    assert lines[0] == ["split", "gender", "age", "speakers", "clips", *EMOTIONS]
    assert ["train", "female", "20-29", "8", "72", "24", "24", "24"] in lines
    assert ["train", "all", "32", "288", "96", "96", "96"] in lines
    assert lines[-1] == ["all", "all", "40", "360", "120", "120", "120"]
    assert (tmp_path / "out" / "split.txt").read_text() == report.text()


def test_split_json(table, tmp_path):
    (report,) = split_corpus([table], tmp_path / "out", seed=3)
    saved = json.loads((tmp_path / "out" / "split.json").read_text())
    assert saved["speakers"] == report.speakers
    assert saved["settings"] == {
        "tables": ["corpus.parquet"],
        "test": 0.1,
        "validation": 0.1,
        "seed": 3,
        "stratify": ["gender", "age"],
        "sentence_disjoint": False,
    }
    assert saved["counts"][-1]["clips"] == 360


def test_other_seeds_draw_others_and_the_same_seed_the_same_bytes(table, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        split_corpus([table], tmp_path / name, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert (tmp_path / "a" / "test.parquet").read_bytes() != (tmp_path / "c" / "test.parquet").read_bytes()


def test_the_same_bytes_in_every_process(table, tmp_path):
    program = (
        "import sys; from emoicl.training.corpora.splits import split_corpus\n"
        "split_corpus([sys.argv[1]], sys.argv[2], num_folds=3, sentence_disjoint=True)"
    )
    command = [sys.executable, "-c", program, str(table), str(tmp_path / "there")]
    # This process has another hash seed.
    subprocess.run(command, env={"PYTHONHASHSEED": "1"}, check=True)
    split_corpus([table], tmp_path / "here", num_folds=3, sentence_disjoint=True)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_parts_have_about_as_many_clips_although_speakers_have_not(tmp_path):
    sizes = [100] * 5 + [10] * 45
    rows = [
        {"audio": {"bytes": b"%d %d" % (n, take), "path": None}, "speaker_id": f"s{n:02}", "emotion": "joy"}
        for n, size in enumerate(sizes)
        for take in range(size)
    ]
    table = write_table(rows, tmp_path / "t.parquet", group=200)
    for seed in range(4):
        (report,) = split_corpus([table], tmp_path / f"{seed}", test=0.2, validation=0, seed=seed)
        clips = {row["split"]: row["clips"] for row in report.counts}
        # A fifth of 950. By chance alone, more than half of all draws would be outside of this.
        assert 180 <= clips["test"] <= 200


def test_corpora_are_spread_and_their_columns_joined(tmp_path):
    acted = write_table(rows_of(people("acted", 30)), tmp_path / "acted" / "data" / "0.parquet")
    bare = [
        {name: row[name] for name in ("audio", "speaker_id", "emotion")} | {"votes": [1.0]}
        for row in rows_of([(f"bursts/{n}", "", "") for n in range(10)])
    ]
    write_table(bare, tmp_path / "bursts" / "1.parquet")
    (report,) = split_corpus([acted.parents[1], tmp_path / "bursts"], tmp_path / "out")
    sources = {part: Counter(s.partition("/")[0] for s in report.speakers[part]) for part in PARTS}
    assert sources["test"] == sources["validation"] == {"acted": 3, "bursts": 1}
    rows = read(tmp_path / "out", "test")
    assert {(row["speaker_id"].partition("/")[0], row["votes"] is None) for row in rows} == {
        ("acted", True),
        ("bursts", False),
    }
    assert ["bursts" in row["speaker_id"] for row in rows] == sorted("bursts" in row["speaker_id"] for row in rows)


def test_tables_of_files_become_tables_of_clips(tmp_path):
    names = [f"{speaker}_{take}.wav" for speaker in ("007", "NA", "3") for take in "12"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["audio", "emotion", "speaker_id", "sentence_id"])
        writer.writerows([name, "joy", name[:-6], "01"] for name in names)
    lines = [{"audio": name, "emotion": "joy", "speaker_id": name[:-6], "sentence_id": "01"} for name in names]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for suffix in ("csv", "jsonl"):
        split_corpus([tmp_path / f"mine.{suffix}"], tmp_path / suffix)
        rows = [row for part in PARTS for row in read(tmp_path / suffix, part)]
        assert sorted(row["audio"]["path"] for row in rows) == sorted(names)
        assert all(row["audio"]["bytes"] == row["audio"]["path"].encode() for row in rows)
        assert {(row["speaker_id"], row["sentence_id"]) for row in rows} == {("007", "01"), ("NA", "01"), ("3", "01")}


def test_what_reads_the_tables(table, tmp_path):
    (report,) = split_corpus([table], tmp_path / "out")
    for part in PARTS:
        assert sorted(load_corpus(tmp_path / "out" / f"{part}.parquet").by_speaker) == report.speakers[part]
    (split,) = load_splits([tmp_path / "out"], EMOTIONS)
    assert sorted(split.validation.by_speaker) == report.speakers["validation"]
    datasets = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {part: set(datasets[part]["speaker_id"]) for part in PARTS} == {
        part: set(names) for part, names in report.speakers.items()
    }


@pytest.mark.parametrize("num_folds", [4, "speakers"])
def test_folds_test_each_speaker_once(tmp_path, num_folds):
    table = write_table(rows_of(people("acted", 12), sentences="1"), tmp_path / "t.parquet")
    reports = split_corpus([table], tmp_path / "out", num_folds=num_folds, validation=0.25)
    names = [f"acted/{n:02}" for n in range(12)]
    assert sorted(name for report in reports for name in report.speakers["test"]) == names
    assert [len(report.speakers["test"]) for report in reports] == ([3] * 4 if num_folds == 4 else [1] * 12)
    for number, report in enumerate(reports):
        folder = tmp_path / "out" / f"fold_{number}"
        assert report.name == folder.name
        assert len(report.speakers["validation"]) == 3
        found = [row["speaker_id"] for part in PARTS for row in read(folder, part)]
        assert Counter(found) == dict.fromkeys(names, 3)
        assert {row["speaker_id"] for row in read(folder, "test")} == set(report.speakers["test"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(report.name for report in reports)
    if num_folds == "speakers":
        assert [report.speakers["test"] for report in reports] == [[name] for name in names]


def test_folds_are_stratified(table, tmp_path):
    for report in split_corpus([table], tmp_path / "out", num_folds=5):
        cells = {(row["gender"], row["age"]): row["speakers"] for row in report.counts if row["split"] == "test"}
        assert cells.pop(("all", "")) == 8
        assert list(cells.values()) == [2, 2, 2, 2]


LISTS = {"train": ["01", "small/02", "03", "00"], "validation": ["04"], "test": ["05"]}


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_given_lists(small, tmp_path, suffix):
    path = tmp_path / f"lists.{suffix}"
    lines = [f"{name},{part}" for part, names in LISTS.items() for name in names]
    path.write_text(json.dumps(LISTS) if suffix == "json" else "\n".join(["speaker_id,split", *lines]))
    (report,) = split_corpus([small], tmp_path / "out", speaker_lists=path)
    assert report.speakers == {
        "train": ["small/00", "small/01", "small/02", "small/03"],
        "validation": ["small/04"],
        "test": ["small/05"],
    }
    # What was written is such a list.
    split_corpus([small], tmp_path / "again", speaker_lists=tmp_path / "out" / "split.json")
    assert read(tmp_path / "again", "test") == read(tmp_path / "out", "test")


def test_a_part_that_nobody_is_in_has_no_table(small, tmp_path):
    (tmp_path / "l.json").write_text(json.dumps({"train": ["00", "01", "02", "03"], "test": ["04", "05"]}))
    split_corpus([small], tmp_path / "out", speaker_lists=tmp_path / "l.json")
    assert not (tmp_path / "out" / "validation.parquet").exists()


def test_speakers_who_are_not_in_both_are_left_out_if_allowed(small, tmp_path):
    (tmp_path / "l.json").write_text(json.dumps({"train": ["00", "01"], "validation": ["02"], "test": ["03", "09"]}))
    (report,) = split_corpus([small], tmp_path / "out", speaker_lists=tmp_path / "l.json", allow_missing=True)
    assert report.left_out == {
        "sentences": {"train": 0, "validation": 0, "test": 0},
        "speakers": ["small/04", "small/05"],
        "not_in_corpus": ["09"],
    }
    assert "Speakers left out: small/04, small/05." in report.text()
    assert "Listed, but not in the corpus: 09." in report.text()
    assert report.counts[-1]["speakers"] == 4


@pytest.mark.parametrize(
    "lists, message",
    [
        (LISTS | {"test": ["05", "01"]}, "the speaker 01 is in train and in test"),
        (LISTS | {"test": ["05", "small/01"]}, "The speaker small/01 is in train and in test"),
        (LISTS | {"test": ["05", "who"]}, "not in the corpus but in the list: who. .*--allow-missing"),
        (LISTS | {"test": []}, "in the corpus but not in the list: small/05. Correct"),
        (LISTS | {"dev": ["05"]}, "the parts are train, validation, test, not 'dev'"),
        ({"train": [f"0{n}" for n in range(6)]}, "has speakers for train; it takes train and one other"),
        (["01", "02"], "should be .*train"),
    ],
)
def test_lists_are_refused(small, tmp_path, lists, message):
    (tmp_path / "l.json").write_text(json.dumps(lists))
    with pytest.raises(ValueError, match=message):
        split_corpus([small], tmp_path / "out", speaker_lists=tmp_path / "l.json")
    assert not (tmp_path / "out").exists()


def test_a_name_that_fits_two_corpora_is_refused(tmp_path):
    table = write_table(rows_of([*people("a", 3), *people("b", 3)]), tmp_path / "t.parquet")
    (tmp_path / "l.json").write_text(json.dumps({"train": ["00"], "test": ["01"]}))
    with pytest.raises(ValueError, match="names 00, which may be a/00 or b/00"):
        split_corpus([table], tmp_path / "out", speaker_lists=tmp_path / "l.json", allow_missing=True)


def test_a_clip_in_two_parts_is_refused(tmp_path):
    rows = rows_of(people("small", 6))
    twin = next(row for row in rows if row["speaker_id"] == "small/05")
    twin["audio"] = {"bytes": rows[0]["audio"]["bytes"], "path": "twin.wav"}
    table = write_table(rows, tmp_path / "t.parquet")
    (tmp_path / "l.json").write_text(json.dumps(LISTS))
    message = (
        r"1 clips are byte-identical .* small_00_anger_1.wav \(speaker small/00, train\) and twin.wav "
        r"\(speaker small/05, test\)"
    )
    with pytest.raises(ValueError, match=message):
        split_corpus([table], tmp_path / "out", speaker_lists=tmp_path / "l.json")
    assert not (tmp_path / "out").exists()
    # Where both are on one side, nothing crosses.
    (tmp_path / "l.json").write_text(json.dumps(LISTS | {"train": ["00", "05", "01", "02"], "test": ["03"]}))
    split_corpus([table], tmp_path / "out", speaker_lists=tmp_path / "l.json")


def sentences(folder, *parts):
    return {row["sentence_id"] for part in parts for row in read(folder, part)}


def test_sentences_of_everybody_are_shared_out(tmp_path):
    table = write_table(rows_of(people("acted", 10), sentences="abcdefgh"), tmp_path / "t.parquet")
    (report,) = split_corpus([table], tmp_path / "out", sentence_disjoint=True)
    train, held_out = sentences(tmp_path / "out", "train"), sentences(tmp_path / "out", "validation", "test")
    assert not train & held_out
    assert (len(train), len(held_out)) == (4, 4)
    # Eight train, one validates, one tests: each says three emotions of eight sentences, and loses half.
    assert report.left_out["sentences"] == {"train": 96, "validation": 12, "test": 12}
    assert "sentences apart: 96 of train, 12 of validation, 12 of test" in report.text()


def test_training_gives_up_the_few_sentences_that_are_tested(tmp_path):
    (tmp_path / "l.json").write_text(json.dumps({"train": ["a", "b"], "test": ["c"]}))
    often = rows_of([("a", "", ""), ("b", "", "")], sentences="123456789")
    table = write_table([*often, *rows_of([("c", "", "")], sentences="9")], tmp_path / "t.parquet")
    (report,) = split_corpus([table], tmp_path / "out", speaker_lists=tmp_path / "l.json", sentence_disjoint=True)
    assert report.left_out["sentences"] == {"train": 6, "validation": 0, "test": 0}
    assert sentences(tmp_path / "out", "test") == {"9"}
    assert sentences(tmp_path / "out", "train") == set("12345678")


def test_no_emotion_is_lost_where_sentences_tell_it(tmp_path):
    rows = [
        row for row in rows_of(people("a", 10), sentences="123456789") if row["sentence_id"] in WORDS[row["emotion"]]
    ]
    table = write_table(rows, tmp_path / "t.parquet")
    (report,) = split_corpus([table], tmp_path / "out", sentence_disjoint=True)
    for row in report.counts:
        assert all(row["emotions"].values()), row


WORDS = {"anger": "123", "fear": "456", "joy": "789"}


def test_sentences_of_two_corpora_are_different(tmp_path):
    rows = [*rows_of(people("a", 3), sentences="1"), *rows_of(people("b", 1), sentences="1")]
    table = write_table(rows, tmp_path / "t.parquet")
    lists = {"train": ["a/00", "a/01", "a/02"], "test": ["b/00"]}
    (tmp_path / "l.json").write_text(json.dumps(lists))
    (report,) = split_corpus([table], tmp_path / "out", speaker_lists=tmp_path / "l.json", sentence_disjoint=True)
    assert not any(report.left_out["sentences"].values())


@pytest.mark.parametrize(
    "rows, message",
    [
        (rows_of(people("a", 10), sentences="1"), "nothing would be left of"),
        (rows_of(people("a", 10), sentence_id=""), "90 of 90 clips have no sentence_id .a_00_anger_1.wav"),
        (
            [{name: row[name] for name in ("audio", "emotion", "speaker_id")} for row in rows_of(people("a", 10))],
            r"lacks the columns \['sentence_id'\]; it has",
        ),
    ],
)
def test_sentences_that_cannot_be_kept_apart(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        split_corpus([write_table(rows, tmp_path / "t.parquet")], tmp_path / "out", sentence_disjoint=True)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"validation": 0.5, "test": 0.5}, "together below 1; they are 0.5 and 0.5"),
        ({"validation": 0, "test": 0}, "together below 1"),
        ({"validation": 0.45, "test": 0.5}, "6 speakers are too few: 3 test and 3 would validate"),
        ({"num_folds": 1}, "6 speakers make from 2 to 6 folds, not 1"),
        ({"num_folds": 7}, "6 speakers make from 2 to 6 folds, not 7"),
        ({"num_folds": 2, "validation": 0.5}, "nobody trains"),
        ({"num_folds": 2, "validation": 1}, "from 0 to below 1; it is 1"),
        ({"num_folds": 2, "speaker_lists": "l.json"}, "Either speakers are dealt to folds"),
        ({"stratify": ["dialect"]}, r"lacks the columns \['dialect'\]"),
    ],
)
def test_settings_are_refused(small, tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        split_corpus([small], tmp_path / "out", **fields)
    assert not (tmp_path / "out").exists()


def test_rows_are_refused(tmp_path):
    rows = rows_of(people("a", 10))
    rows[0]["speaker_id"] = " "
    rows[1]["emotion"] = None
    rows[2]["audio"] = None
    rows[3]["audio"] = {"bytes": None, "path": "gone.wav"}
    with pytest.raises(ValueError, match="4 rows are incomplete: .*_1.wav of .*no speaker_id.*no emotion.*gone.wav"):
        split_corpus([write_table(rows, tmp_path / "t.parquet")], tmp_path / "out")


def test_a_speaker_of_two_genders_is_refused(tmp_path):
    rows = rows_of(people("a", 10))
    rows[0]["gender"] = "male"
    with pytest.raises(ValueError, match="The speaker a/00 has more than one gender: female, male"):
        split_corpus([write_table(rows, tmp_path / "t.parquet")], tmp_path / "out")


def test_a_speaker_grows_older(tmp_path):
    rows = rows_of([("a", "female", "29"), ("b", "", ""), ("c", "", "")])
    rows[0]["age"] = "30"
    (report,) = split_corpus([write_table(rows, tmp_path / "t.parquet")], tmp_path / "out")
    assert {(row["gender"], row["age"]) for row in report.counts} == {
        ("female", "20-29"),
        ("unknown", "unknown"),
        ("all", ""),
    }


@pytest.mark.parametrize(
    "age, group",
    [("27", "20-29"), ("30.0", "30-39"), ("8", "0-9"), ("", "unknown"), ("18-25", "18-25"), ("young", "young")],
)
def test_age_groups(age, group):
    assert age_group(age) == group


def test_tables_are_refused(small, tmp_path):
    with pytest.raises(ValueError, match="none.parquet: there is no such file"):
        split_corpus([tmp_path / "none.parquet"], tmp_path / "out")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="bad.parquet: cannot be read as parquet"):
        split_corpus([tmp_path / "bad.parquet"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no table"):
        split_corpus([tmp_path / "empty"], tmp_path / "out")
    (tmp_path / "other.csv").write_text("audio,emotion\na.wav,joy\n")
    with pytest.raises(ValueError, match=r"holds .csv and .parquet files"):
        split_corpus([tmp_path], tmp_path / "out")
    with pytest.raises(ValueError, match=r"lacks the columns \['speaker_id'\]"):
        split_corpus([tmp_path / "other.csv"], tmp_path / "out")
    other = [row | {"sentence_id": 1} for row in rows_of(people("b", 2))]
    with pytest.raises(ValueError, match="should have the same types in all tables"):
        split_corpus([small, write_table(other, tmp_path / "b.parquet")], tmp_path / "out")


def test_a_folder_with_something_in_it_stays_as_it_is(small, tmp_path):
    (tmp_path / "out").mkdir()
    split_corpus([small], tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(ValueError, match="there is something already"):
        split_corpus([small], tmp_path / "out", seed=1)
    assert contents(tmp_path / "out") == before


def test_interrupted_it_leaves_nothing_that_looks_whole(small, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(split_tables, "read_clip", interrupted_after(60))
        with pytest.raises(KeyboardInterrupt):
            split_corpus([small], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    split_corpus([small], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "small.parquet"]


def interrupted_after(count):
    read_clip, calls = split_tables.read_clip, []

    def read(clip):
        calls.append(1)
        if len(calls) > count:
            raise KeyboardInterrupt
        return read_clip(clip)

    return read


def test_row_groups_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr(split_tables, "GROUP_SIZE", 10)
    table = write_table(rows_of(people("a", 20)), tmp_path / "t.parquet", group=1000)
    split_corpus([table], tmp_path / "out")
    file = pyarrow.parquet.ParquetFile(tmp_path / "out" / "train.parquet")
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert sizes == [10] * 14 + [4]


def test_ravdess(shared, tmp_path):
    (report,) = split_corpus([shared / "data" / "ravdess"], tmp_path / "out")
    cells = {(row["split"], row["gender"]): row["speakers"] for row in report.counts}
    assert [cells["train", gender] for gender in ("female", "male", "all")] == [8, 8, 16]
    for part in ("validation", "test"):
        assert [cells[part, gender] for gender in ("female", "male", "all")] == [1, 1, 2]
    # Of 60 clips of each of 20 actors, one is not in the tables.
    assert report.counts[-1]["clips"] == 1199
    assert report.text().splitlines()[-1].split() == "all all 20 1199 160 160 160 160 159 80 160 160".split()
    assert load_corpus(tmp_path / "out" / "test.parquet").by_speaker.keys() == set(report.speakers["test"])


def test_ravdess_without_shared_sentences(shared, tmp_path):
    # Every actor says the same two sentences: training keeps one, the others the other.
    reports = split_corpus([shared / "data" / "ravdess"], tmp_path / "out", num_folds=5, sentence_disjoint=True)
    for report in reports:
        train, test = (sentences(tmp_path / "out" / report.name, part) for part in ("train", "test"))
        assert len(train) == len(test) == 1 and train != test
        assert len(report.speakers["test"]) == 4
        assert report.left_out["sentences"]["test"] in (119, 120)


def test_a_list_of_speakers_of_a_spreadsheet(tmp_path):
    (tmp_path / "parts.CSV").write_bytes("speaker_id;split\nmine/ü ;train\nmine/b;test\n".encode("utf-16"))
    assert read_speaker_lists(tmp_path / "parts.CSV") == {"mine/ü": "train", "mine/b": "test"}
