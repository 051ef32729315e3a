import shutil
from collections import Counter

import pytest
from tone_tables import LABELS, SPLITS, speakers, write_table

from emoicl.training.experiments.reproduction.splits import load_folds, load_splits, thin


def test_the_split_of_the_tables(folder):
    (split,) = load_splits([folder], LABELS)
    assert [len(corpus.by_speaker) for corpus in (split.train, split.validation, split.test["tones"])] == [4, 1, 1]
    assert list(split.test) == ["tones"]


@pytest.fixture
def two_corpora(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "tones")
    for split, numbers in SPLITS.items():
        write_table(speakers(*numbers, corpus="hums"), tmp_path / "hums" / f"{split}.parquet")
    return [tmp_path / "tones", tmp_path / "hums"]


def test_folds_test_each_speaker_once(two_corpora):
    splits = load_splits(two_corpora, LABELS, num_folds=2)
    assert [split.name for split in splits] == ["fold 0", "fold 1"]
    tested = Counter()
    for split in splits:
        of_split = [set(split.train.by_speaker), set(split.validation.by_speaker)]
        of_split += [set(corpus.by_speaker) for corpus in split.test.values()]
        assert sum(map(len, of_split)) == len(set.union(*of_split)) == 12
        for name, corpus in split.test.items():
            assert {speaker_id.partition("/")[0] for speaker_id in corpus.by_speaker} == {name}
            tested.update(corpus.by_speaker.keys())
    assert len(tested) == 12
    assert set(tested.values()) == {1}


def test_folds_that_were_written_before(folder, tmp_path):
    for number, parts in enumerate([{"train": (0, 1), "validation": (2,), "test": (3,)},
                                    {"train": (2, 3), "validation": (1,), "test": (0,)}]):  # fmt: skip
        for part, numbers in parts.items():
            write_table(speakers(*numbers, corpus="hums"), tmp_path / f"fold_{number}" / f"{part}.parquet")
    first, second = load_folds(tmp_path, [folder], LABELS)
    assert (first.name, second.name) == ("fold 0", "fold 1")
    # A corpus with a split of its own comes first in training, and is tested once.
    assert [len(corpus.by_speaker) for corpus in (first.train, first.validation)] == [6, 2]
    assert first.train.speaker_ids[0].startswith("tones/")
    assert {name: list(corpus.by_speaker) for name, corpus in first.test.items()} == {
        "hums": ["hums/dee"], "tones": ["tones/fay"],
    }  # fmt: skip
    assert list(second.test) == ["hums"]
    with pytest.raises(ValueError, match="has no fold_0"):
        load_folds(folder, [], LABELS)


def test_a_speaker_in_two_tables_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "tones")
    write_table(speakers(1, 5), tmp_path / "tones" / "test.parquet")
    with pytest.raises(ValueError, match="speaker tones/bob is in tones/train and in tones/test"):
        load_splits([tmp_path / "tones"], LABELS)


def test_a_corpus_that_lacks_a_table(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "tones")
    (tmp_path / "tones" / "validation.parquet").unlink()
    with pytest.raises(ValueError, match="lacks validation.parquet"):
        load_splits([tmp_path / "tones"], LABELS)


def test_corpora_of_the_same_name(folder):
    with pytest.raises(ValueError, match="must have different names"):
        load_splits([folder, folder], LABELS)


def test_fewer_utterances_of_a_speaker():
    corpus = speakers(0, 1)
    thinned = thin(corpus, per_speaker=6, seed=0)
    for indices in thinned.by_speaker.values():
        assert Counter(thinned.labels[index] for index in indices) == dict.fromkeys(LABELS, 2)
    names = [utterance.name for utterance in corpus]
    kept = [names.index(utterance.name) for utterance in thinned]
    assert kept == sorted(kept)
    assert [u.name for u in thin(corpus, 6, seed=0)] == [u.name for u in thinned]
    assert [u.name for u in thin(corpus, 6, seed=1)] != [u.name for u in thinned]
    assert thin(corpus, None, seed=0) is corpus
    assert len(thin(corpus, 100, seed=0)) == len(corpus)
