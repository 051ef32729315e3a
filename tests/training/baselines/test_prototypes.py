import copy
from dataclasses import replace

import numpy as np
import pytest
from synthetic_voices import ManyVoices, episodes_of, renamed, voices
from tiny import LABELS

from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.prototypes import LinearProbe, PrototypeBaseline
from emoicl.training.baselines.speaker_statistics import evidence_parts, label_evidence
from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.evaluation.evaluate import evaluate
from emoicl.training.systems.composition import compose


@pytest.fixture(scope="module")
def corpora():
    """Training, validation and test speakers, and their features."""
    parts = [renamed(60, "train", 1), renamed(20, "validation", 2), renamed(60, "test", 3)]
    return *(corpus for corpus, _ in parts), PooledFeatures(ManyVoices(*parts))


@pytest.fixture(scope="module")
def floor(corpora):
    train, validation, _, pooled = corpora
    return PrototypeBaseline(train, pooled, LABELS, validation)


@pytest.fixture(scope="module")
def probe(corpora):
    train, _, _, pooled = corpora
    return LinearProbe(train, pooled, LABELS)


def evidence(floor, corpora, *episodes):
    return label_evidence(floor.adaptation, floor.pooled(corpora[2]), episodes)


def test_the_enrollment_helps_and_controls_hurt(floor, corpora):
    report = evaluate(floor, corpora[2], shots=range(4), seeds=[0])
    assert report.accuracy(3).ua_spk > report.accuracy(0).ua_spk + 0.08
    for control in ("rotated", "other_speaker"):
        assert report.accuracy(3, control).ua_spk < report.accuracy(3).ua_spk - 0.08
    for shots in (1, 2):
        assert report.accuracy(shots).ua_spk > report.accuracy(0).ua_spk - 0.02


def test_without_enrollment_it_is_the_linear_probe(floor, probe, corpora):
    episodes = episodes_of(corpora[2], 0)
    assert floor.weight > 0
    np.testing.assert_allclose(floor.score(corpora[2], episodes), probe.score(corpora[2], episodes), rtol=1e-4)


def test_the_probe_passes_over_the_enrollment_and_the_floor_reads_it(floor, probe, corpora):
    test = corpora[2]
    without, enrolled = episodes_of(test, 0), episodes_of(test, 2)
    np.testing.assert_array_equal(probe.score(test, without), probe.score(test, enrolled))
    assert abs(floor.score(test, without) - floor.score(test, enrolled)).max() > 0.1


def test_the_probe_tells_emotions_of_new_speakers(probe, corpora):
    report = evaluate(probe, corpora[2], shots=[0], controls=[])
    assert report.accuracy(0).ua_spk > 1 / len(LABELS) + 0.1


def test_probabilities_follow_the_order_of_the_candidates(corpora):
    train, _, test, pooled = corpora
    episodes = episodes_of(test, 2)
    scores = [
        PrototypeBaseline(train, pooled, labels, weight=0.1).score(test, episodes) for labels in (LABELS, LABELS[::-1])
    ]
    assert scores[0].dtype == np.float64
    np.testing.assert_allclose(scores[0].sum(1), 1)
    np.testing.assert_allclose(scores[0], scores[1][:, ::-1], atol=1e-4)


def test_only_enrolled_labels_have_evidence(floor, corpora):
    test = corpora[2]
    episodes = episodes_of(test, 3, "TU+LO")
    _, prototypes = evidence_parts(copy.deepcopy(floor.adaptation), floor.pooled(test), episodes)
    enrolled = np.array([[label in episode.enrollment_labels for label in LABELS] for episode in episodes])
    assert abs(prototypes[~enrolled]).max() < 1e-4
    assert abs(prototypes[enrolled]).min() > 1e-4


def test_many_shots_of_one_label_count_as_that_label(floor, corpora):
    """The centre is balanced over labels: copies of a shot hardly move it, beyond what they tell of their label."""
    first = episodes_of(corpora[2], 3)[0]
    crowded = replace(
        first,
        enrollment=[first.enrollment[0]] * 50 + first.enrollment[1:],
        enrollment_labels=[first.enrollment_labels[0]] * 50 + list(first.enrollment_labels[1:]),
    )
    one = replace(first, enrollment=first.enrollment[:1], enrollment_labels=first.enrollment_labels[:1])
    target, alone, balanced = evidence(floor, corpora, crowded, one, first)
    assert abs(target - balanced).max() < abs(target - alone).max()


def test_the_order_of_the_shots_does_not_matter(floor, corpora):
    test = corpora[2]
    episodes = episodes_of(test, 3)
    turned = [replace(e, enrollment=e.enrollment[::-1], enrollment_labels=e.enrollment_labels[::-1]) for e in episodes]
    np.testing.assert_allclose(floor.score(test, episodes), floor.score(test, turned), atol=1e-5)


def test_the_weight_is_chosen_on_held_out_training_speakers_without_a_validation_corpus(corpora):
    train, _, _, pooled = corpora
    floors = [PrototypeBaseline(train, pooled, LABELS) for _ in range(2)]
    assert floors[0].weight == floors[1].weight > 0


def test_prototypes_have_no_weight_where_labels_tell_nothing(corpora):
    train, validation, _, pooled = corpora
    turned = dict(zip(LABELS, [*LABELS[1:], LABELS[0]], strict=True))
    # A speaker's utterances are labeled at odds with each other: every other one is wrong.
    mislabeled = Corpus(
        replace(u, label=turned[u.label], audio=u.audio + b"!", name=u.name) if place % 2 else u
        for place, u in enumerate(validation)
    )
    right = PrototypeBaseline(train, pooled, LABELS, validation)
    wrong = PrototypeBaseline(train, pooled, LABELS, mislabeled)
    assert wrong.weight < right.weight


def test_features_are_pooled_once_for_each_corpus():
    corpus, features = voices(4)
    pooled = PooledFeatures(features)
    first = pooled(corpus)
    features.frames.clear()
    assert pooled(corpus) is first


def test_shots_that_are_no_candidates_tell_of_the_speaker_alone(floor, corpora):
    episodes = episodes_of(corpora[2], 2)
    named = [replace(episode, enrollment_labels=["Awe", "Joy"]) for episode in episodes[:3]]
    others = [replace(episode, enrollment_labels=["Envy", "Joy"]) for episode in episodes[:3]]
    scores = floor.score(corpora[2], named)
    assert scores.shape == (3, len(LABELS)) and not np.allclose(scores, floor.score(corpora[2], episodes[:3]))
    np.testing.assert_allclose(scores, floor.score(corpora[2], [*others, *named])[:3], atol=1e-6)


def test_labels_that_are_not_the_candidates(corpora):
    train, _, _, pooled = corpora
    with pytest.raises(ValueError, match="Fear of the candidates have no utterance, and none of the labels"):
        LinearProbe(train, pooled, [*LABELS, "Fear"])
    with pytest.raises(ValueError, match="none of the candidates have no utterance, and Anger of the labels"):
        LinearProbe(train, pooled, LABELS[:2])


@pytest.mark.parametrize("num_speakers, takes", [(8, 1), (3, 4)])
def test_too_few_utterances_for_the_variances(num_speakers, takes):
    corpus, features = voices(num_speakers, takes)
    with pytest.raises(ValueError, match=f"at least four speakers.* the corpus has {num_speakers} speakers"):
        PrototypeBaseline(corpus, PooledFeatures(features), LABELS)


def test_real_voices(shared, tmp_path):
    """Of bursts that were fitted to two dozen people, new people's are told apart, better after one of each."""
    data = shared / "data" / "emogator"
    labels = ["Neutral", "Joy", "Anger"]
    train, test = (load_corpus(data / f"{split}.parquet", labels) for split in ("train", "test"))
    train = Corpus(train[index] for ids in list(train.by_speaker.values())[:24] for index in ids)
    test = Corpus(test[index] for ids in list(test.by_speaker.values())[:12] for index in ids)
    encoder = shared / "models" / "whisper-tiny.en-encoder"
    model, processor = compose(str(encoder), labels, speech_layer=2)
    pooled = PooledFeatures(FeatureCache(model, processor.feature_extractor, tmp_path))
    floor = PrototypeBaseline(train, pooled, labels, weight=0.1)
    report = evaluate(floor, test, shots=(0, 3), seeds=[0, 1])
    assert report.accuracy(0).ua_spk > 0.55
    assert report.accuracy(3).ua_spk > report.accuracy(0).ua_spk
    assert report.accuracy(3, "rotated").ua_spk < report.accuracy(3).ua_spk
