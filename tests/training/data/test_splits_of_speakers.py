import subprocess
import sys
from itertools import combinations

import pytest

from emoicl.training.data.corpus import Corpus, Utterance, load_corpus
from emoicl.training.data.speaker_splits import PARTS, divide, speakers_of, split_by_lists, split_into_folds


def corpus_of(speakers):
    """A corpus with so many utterances of each speaker. Nothing decodes its clips."""
    names = [f"{speaker_id} {take}" for speaker_id, takes in speakers.items() for take in range(takes)]
    return Corpus(Utterance(name.encode(), "Joy", name.split()[0], name) for name in names)


def speaker_folds(corpus, num_folds, seed=0, validation=0.15):
    folds = split_into_folds(speakers_of(corpus), num_folds, validation, seed)
    return [divide(corpus, part_of) for part_of in folds]


@pytest.fixture(scope="module")
def corpus():
    """Three source corpora, of 11, 5 and 8 speakers of different sizes."""
    sources = {"acted": (11, 20), "polish": (5, 90), "bursts": (8, 6)}
    return corpus_of({f"{source}/{i:02}": size + i for source, (count, size) in sources.items() for i in range(count)})


def test_each_speaker_is_tested_once_and_never_shared(corpus):
    folds = speaker_folds(corpus, 5)
    tested = [speaker_id for fold in folds for speaker_id in fold["test"].by_speaker]
    assert sorted(tested) == sorted(corpus.by_speaker)
    for fold in folds:
        assert all(not first.by_speaker.keys() & second.by_speaker for first, second in combinations(fold.values(), 2))
        assert sum(map(len, fold.values())) == len(corpus)


def test_folds_have_about_as_many_speakers_and_utterances_of_each_source(corpus):
    folds = speaker_folds(corpus, 5)
    for source in ("acted", "polish", "bursts"):
        counts = [sum(speaker_id.startswith(source) for speaker_id in fold["test"].by_speaker) for fold in folds]
        assert max(counts) - min(counts) <= 1
        for fold in folds:
            train, validation = ([s.startswith(source) for s in fold[part].by_speaker] for part in PARTS[:2])
            share = len(validation) / (len(train) + len(validation))
            assert abs(sum(validation) - share * (sum(train) + sum(validation))) < 1
    counts = [len(fold["test"].by_speaker) for fold in folds]
    assert max(counts) - min(counts) <= 1
    sizes = [len(fold["test"]) for fold in folds]
    assert max(sizes) < 1.3 * min(sizes)


def test_sizes_are_balanced_within_a_source():
    sizes = [len(fold["test"]) for fold in speaker_folds(corpus_of({f"{i:02}": 5 * i + 1 for i in range(12)}), 3)]
    assert max(sizes) - min(sizes) <= 30


def test_the_share_of_validation_speakers(corpus):
    alone = corpus_of({f"{i:02}": 3 for i in range(20)})
    assert [len(fold["validation"].by_speaker) for fold in speaker_folds(alone, 5, validation=0.2)] == [4] * 5
    assert [len(fold["validation"].by_speaker) for fold in speaker_folds(alone, 5, validation=0.01)] == [1] * 5


def test_utterances_keep_their_order(corpus):
    fold = speaker_folds(corpus, 5)[0]
    names = [utterance.name for utterance in corpus]
    places = [names.index(utterance.name) for utterance in fold["train"]]
    assert places == sorted(places)


def test_leave_one_speaker_out():
    folds = speaker_folds(corpus_of({f"{i}": 2 for i in range(6)}), 6)
    assert [len(fold["test"].by_speaker) for fold in folds] == [1] * 6


def test_other_seeds_make_other_folds(corpus):
    parts = [[list(fold["test"].by_speaker) for fold in speaker_folds(corpus, 4, seed)] for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


def test_the_same_folds_in_every_process():
    program = (
        "from emoicl.training.data.speaker_splits import Speaker, split_into_folds\n"
        "print(split_into_folds({f'a/{s}': Speaker(f'a/{s}', 'a', 1) for s in range(9)}, 3))"
    )
    # This process has another hash seed.
    other = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    )
    here = split_into_folds(speakers_of(corpus_of({f"a/{s}": 1 for s in range(9)})), 3)
    assert other.stdout.strip() == str(here)


def test_speakers_are_spread_by_the_corpus_that_their_table_names():
    utterances = [
        Utterance(f"{corpus} {number}".encode(), "Joy", f"{corpus}{number}", "", corpus)
        for corpus in ("acted", "polish")
        for number in range(4)
    ]
    for fold in speaker_folds(Corpus(utterances), 4, validation=0):
        assert sorted(fold["test"].corpus_of.values()) == ["acted", "polish"]


def test_a_listed_name_is_all_behind_the_corpus():
    speakers = speakers_of(corpus_of({"mine/ward3/p01": 1, "mine/ward4/p01": 1}))
    parts, _ = split_by_lists(speakers, {"ward3/p01": "train", "mine/ward4/p01": "test"})
    assert parts == {"mine/ward3/p01": "train", "mine/ward4/p01": "test"}


@pytest.mark.parametrize("num_folds", [1, 4])
def test_a_number_of_folds_that_cannot_be(num_folds):
    with pytest.raises(ValueError, match=f"3 speakers make from 2 to 3 folds, not {num_folds}"):
        speaker_folds(corpus_of({"ann": 2, "bob": 2, "cy": 2}), num_folds)


def test_too_few_speakers_to_train_and_validate():
    with pytest.raises(ValueError, match="2 speakers are too few: 1 test and 1 would validate, so that nobody trains"):
        speaker_folds(corpus_of({"ann": 2, "bob": 2}), 2)


def test_a_share_that_is_none():
    with pytest.raises(ValueError, match="The share of validation is from 0 to below 1; it is 2"):
        speaker_folds(corpus_of({"ann": 2, "bob": 2, "cy": 2}), 3, validation=2)


def test_real_corpora_together(shared):
    data = shared / "data"
    tables = [data / name / f"{split}.parquet" for name in ("ravdess", "nemo") for split in ("train", "validation")]
    corpus = load_corpus([*tables, data / "ravdess" / "test.parquet"])
    for fold in speaker_folds(corpus, 4):
        assert [sum(s.startswith(name) for s in fold["test"].by_speaker) for name in ("ravdess", "nemo")] == [5, 1]
        assert list(fold) == list(PARTS)
        assert any(s.startswith("nemo") for s in fold["train"].by_speaker)
