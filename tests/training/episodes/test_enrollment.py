import subprocess
import sys
from collections import Counter
from itertools import permutations

import pytest
from scipy.stats import chisquare

from emoicl.training.data.corpus import Corpus, Utterance, load_corpus
from emoicl.training.episodes.enrollment import (
    SETTINGS,
    EnrollmentError,
    EnrollmentSetting,
    max_shots,
    select_enrollment,
    speaker_max_shots,
)


EMOTIONS = ["Neutral", "Surprise", "Sadness", "Joy", "Fear", "Disgust", "Anger"]


def make_corpus(**speakers: dict[str, int]) -> Corpus:
    """A corpus with so many utterances of each label for each speaker."""
    names = [
        (label, speaker, f"{speaker}-{label}-{take}.wav")
        for speaker, counts in speakers.items()
        for label, count in counts.items()
        for take in range(count)
    ]
    return Corpus(Utterance(name.encode(), label, speaker, name) for label, speaker, name in names)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Two speakers with seven emotions, eight utterances each."""
    return make_corpus(a=dict.fromkeys(EMOTIONS, 8), b=dict.fromkeys(EMOTIONS, 8))


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("k", range(8))
def test_every_setting_keeps_its_promise(corpus, setting, k):
    if str(setting) == "TE+LD":
        k = min(k, 6)  # seven emotions less the target's
    for target in range(0, len(corpus), 5):
        enrollment = select_enrollment(corpus, target, k, setting, seed=(0, 0, target))
        labels = [corpus.labels[index] for index in enrollment]
        assert len(enrollment) == len(set(enrollment)) == k
        assert target not in enrollment
        assert all(corpus.speaker_ids[index] == corpus.speaker_ids[target] for index in enrollment)
        if k and setting.target != "TU":
            assert (corpus.labels[target] in labels) == (setting.target == "TO")
        if k and setting.label != "LU":
            assert len(set(labels)) == (k if setting.label == "LD" else 1)


def test_there_are_nine_settings_and_they_read_as_they_are_written():
    assert [str(setting) for setting in SETTINGS] == ("TU+LU TU+LO TU+LD TO+LU TO+LO TO+LD TE+LU TE+LO TE+LD".split())
    assert all(EnrollmentSetting.parse(str(setting)) == setting for setting in SETTINGS)
    assert EnrollmentSetting.parse(SETTINGS[0]) is SETTINGS[0]


@pytest.mark.parametrize("setting", ["", "TU", "LU+TU", "tu+lu", "TU+LX", "TU+LU+LD"])
def test_unknown_settings(setting):
    with pytest.raises(ValueError, match=r"no enrollment setting; choose from TU\+LU, .*TE\+LD"):
        EnrollmentSetting.parse(setting)


# Every enrollment that the documented distribution allows, with its relative weight, for a target with the emotion "A"
# of a speaker who otherwise has A: 1, B: 2, C: 3 utterances (indices 1 | 2 3 | 4 5 6), at k = 2.
SMALL = {"A": 2, "B": 2, "C": 3}
OTHERS = {"A": 1, "B": 2, "C": 3}
LABELS = "AABBCCC"


def expected_distribution(setting: str) -> dict[tuple[int, ...], float]:
    own, control = setting.split("+")
    indices = [index for index in range(1, 7) if own != "TE" or LABELS[index] != "A"]
    weights = {}
    for pair in permutations(indices, 2):
        labels = [LABELS[index] for index in pair]
        if control == "LO" and labels[0] == labels[1]:
            weights[pair] = 1 / {"B": 2, "C": 6}[labels[0]]  # a label, then one of its ordered pairs
        elif control == "LD" and labels[0] != labels[1]:
            weights[pair] = 1 / (OTHERS[labels[0]] * OTHERS[labels[1]])
        elif control == "LU":
            weights[pair] = 1.0
    if own == "TO":
        weights = {pair: weight for pair, weight in weights.items() if 1 in pair}
    return weights


@pytest.mark.parametrize("setting", [str(setting) for setting in SETTINGS if str(setting) != "TO+LO"])
def test_draws_follow_the_documented_distribution(setting):
    corpus, draws = make_corpus(a=SMALL), 4000
    counts = Counter(tuple(select_enrollment(corpus, 0, 2, setting, seed=(7, 0, draw))) for draw in range(draws))
    expected = expected_distribution(setting)
    assert set(counts) == set(expected)
    total = sum(expected.values())
    statistic = chisquare([counts[pair] for pair in expected], [draws * w / total for w in expected.values()])
    assert statistic.pvalue > 0.001


def test_target_overlap_label_overlap_enrolls_the_target_emotion_only(corpus):
    target = corpus.labels.index("Fear")
    drawn = {index for seed in range(50) for index in select_enrollment(corpus, target, 3, "TO+LO", seed=(seed,))}
    assert drawn == {i for i in corpus.by_speaker["a"] if corpus.labels[i] == "Fear"} - {target}


@pytest.mark.parametrize("label", EMOTIONS)
def test_one_emotion_can_be_fixed(corpus, label):
    enrollment = select_enrollment(corpus, 0, 7, "TU+LO", seed=(1, 2, 3), label=label)
    assert [corpus.labels[index] for index in enrollment] == [label] * 7
    assert 0 not in enrollment


def test_a_fixed_emotion_needs_the_setting_it_is_for(corpus):
    for setting in ("TU+LD", "TU+LU", "TO+LO", "TE+LO"):
        with pytest.raises(ValueError, match="label='Joy' fixes the one emotion of TU.LO"):
            select_enrollment(corpus, 0, 1, setting, label="Joy")


def test_another_speaker_can_be_enrolled(corpus):
    enrollment = select_enrollment(corpus, 0, 7, "TU+LD", seed=(0, 0, 0), speaker_id="b")
    assert {corpus.speaker_ids[index] for index in enrollment} == {"b"}
    # The condition still is about the target's emotion.
    enrollment = select_enrollment(corpus, 0, 1, "TO+LU", seed=(0, 0, 0), speaker_id="b")
    assert corpus.labels[enrollment[0]] == corpus.labels[0]
    with pytest.raises(EnrollmentError, match="no speaker 'z'"):
        select_enrollment(corpus, 0, 1, speaker_id="z")


@pytest.mark.parametrize("setting", ["TU+LU", "TU+LD", "TE+LU", "TE+LD"])
def test_fewer_shots_are_the_beginning_of_more(corpus, setting):
    enrollments = [select_enrollment(corpus, 3, k, setting, seed=(0, 1, 3)) for k in range(7)]
    assert all(enrollments[k] == enrollments[6][:k] for k in range(7))


def test_seed_epoch_and_item_each_change_the_draw(corpus):
    seeds = [(0, 0, 3), (1, 0, 3), (0, 1, 3), (0, 0, 4)]
    draws = [select_enrollment(corpus, 3, 7, "TU+LU", seed=seed) for seed in seeds]
    assert len({tuple(draw) for draw in draws}) == len(seeds)
    assert draws[0] == select_enrollment(corpus, 3, 7, "TU+LU", seed=(0, 0, 3))


# For target 24, the first utterance of Joy; utterances 24 to 31 are of Joy.
GOLDEN = {
    "TU+LU": [29, 31, 41, 12],
    "TU+LO": [9, 8, 15, 10],
    "TU+LD": [11, 35, 16, 3],
    "TO+LU": [29, 31, 41, 12],
    "TO+LO": [26, 29, 27, 25],
    "TO+LD": [9, 28, 44, 18],
    "TE+LU": [45, 9, 2, 32],
    "TE+LO": [9, 8, 15, 10],
    "TE+LD": [11, 43, 16, 3],
}


def test_draws_never_change(corpus):
    assert {str(s): select_enrollment(corpus, 24, 4, s, seed=(42, 1, 24)) for s in SETTINGS} == GOLDEN


def test_another_process_with_another_hash_seed_draws_the_same():
    code = (
        "from emoicl.training.data.corpus import Corpus, Utterance\n"
        "from emoicl.training.episodes.enrollment import select_enrollment\n"
        "c = Corpus(Utterance(bytes([i]), 'ABCD'[i % 4], 's', str(i)) for i in range(20))\n"
        "print([select_enrollment(c, 0, 4, setting, seed=(3, 2, 1)) for setting in ('TU+LD', 'TO+LU')])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


# Target: the first "A". Speaker a has 2 A, 2 B, 3 C; so without the target 1 A, 2 B, 3 C.
LIMITS = {
    "TU+LU": (6, "needs 7 other utterances; speaker a has 6"),
    "TU+LO": (3, "needs 4 other utterances of one emotion; speaker a has 3"),
    "TU+LD": (3, "needs 4 emotions among the other utterances; speaker a has 3"),
    "TO+LU": (6, "needs 7 other utterances, at least one of them A; speaker a has 6"),
    "TO+LO": (1, "needs 2 other utterances of A; speaker a has 1"),
    "TO+LD": (3, "needs 4 emotions among the other utterances, one of them A; speaker a has 3"),
    "TE+LU": (5, "needs 6 utterances of emotions other than A; speaker a has 5"),
    "TE+LO": (3, "needs 4 utterances of one emotion other than A; speaker a has 3"),
    "TE+LD": (2, "needs 3 emotions other than A; speaker a has 2"),
}


@pytest.mark.parametrize("setting", LIMITS)
def test_limits_are_exact_and_the_error_says_what_is_missing(setting):
    corpus, (limit, message) = make_corpus(a=SMALL, b={"A": 9}), LIMITS[setting]
    assert max_shots(corpus, 0, setting) == limit
    for k in range(limit + 1):
        assert len(select_enrollment(corpus, 0, k, setting)) == k
    with pytest.raises(EnrollmentError) as error:
        select_enrollment(corpus, 0, limit + 1, setting)
    assert str(error.value) == f"a-A-0.wav: {setting} with k={limit + 1} {message}."


def test_the_target_was_the_only_utterance_of_its_emotion():
    corpus = make_corpus(a={"A": 1, "B": 4})
    for setting in ("TO+LU", "TO+LO", "TO+LD"):
        assert max_shots(corpus, 0, setting) == 0
        assert select_enrollment(corpus, 0, 0, setting) == []
        with pytest.raises(EnrollmentError, match="speaker a has no other utterance of A"):
            select_enrollment(corpus, 0, 1, setting)


def test_limits_of_a_fixed_emotion():
    corpus = make_corpus(a=SMALL)
    assert [max_shots(corpus, 0, "TU+LO", label=label) for label in "ABCD"] == [1, 2, 3, 0]
    with pytest.raises(EnrollmentError, match="needs 3 other utterances of B; speaker a has 2"):
        select_enrollment(corpus, 0, 3, "TU+LO", label="B")


def test_a_speaker_with_one_utterance_can_only_go_without_enrollment():
    corpus = make_corpus(a={"A": 1})
    assert speaker_max_shots(corpus, "a") == {str(setting): 0 for setting in SETTINGS}
    assert all(select_enrollment(corpus, 0, 0, setting) == [] for setting in SETTINGS)


def test_speaker_limits_hold_for_every_target():
    # A target "B" leaves 2 A, 1 B, 3 C; a target "C" leaves 2 A, 2 B, 2 C.
    limits = speaker_max_shots(make_corpus(a=SMALL), "a")
    assert limits == {
        "TU+LU": 6,
        "TU+LO": 2,
        "TU+LD": 3,
        "TO+LU": 6,
        "TO+LO": 1,
        "TO+LD": 3,
        "TE+LU": 4,
        "TE+LO": 2,
        "TE+LD": 2,
    }


def test_negative_shots_and_targets(corpus):
    with pytest.raises(ValueError, match="count from 0, but are -1 and 3"):
        select_enrollment(corpus, 3, -1)
    with pytest.raises(ValueError, match="count from 0, but are 1 and -1"):
        select_enrollment(corpus, -1, 1)  # would not know its own index in the speaker's list


@pytest.mark.parametrize("name", ["emogator", "ravdess", "nemo"])
def test_real_speakers(shared, name):
    corpus = load_corpus(shared / "data" / name / "test.parquet", labels=EMOTIONS)
    speaker_id, indices = next(iter(corpus.by_speaker.items()))
    limits = speaker_max_shots(corpus, speaker_id)
    assert limits["TU+LD"] == len({corpus.labels[index] for index in indices})
    for target in indices[:: max(1, len(indices) // 20)]:
        for setting in SETTINGS:
            k = min(limits[str(setting)], 7)
            enrollment = select_enrollment(corpus, target, k, setting, seed=(0, 0, target))
            clips = {corpus[index].audio_sha256 for index in enrollment}
            assert len(clips) == k and corpus[target].audio_sha256 not in clips
