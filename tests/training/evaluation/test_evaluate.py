import logging

import numpy as np
import pytest
from bundled_models import needs_bundled
from tiny import LABELS

from emoicl.bundled import BURSTS_MODEL
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.enrollment import EnrollmentError, select_enrollment
from emoicl.training.evaluation.evaluate import evaluate
from emoicl.training.evaluation.recognition import SpeechLmRecognizer


class NearestShot:
    """A recognizer that answers with the label of the nearest shot, or the first candidate without shots. What it
    hears of an utterance is its emotion, in its speaker's own code."""

    def __init__(self):
        self.candidate_labels: list[str] = list(LABELS)
        self.episodes = []

    def score(self, corpus, episodes):
        self.episodes += episodes
        speakers = list(corpus.by_speaker)

        def code(index):
            return (LABELS.index(corpus.labels[index]) + speakers.index(corpus.speaker_ids[index])) % len(LABELS)

        def answer(episode):
            distances = [abs(code(shot) - code(episode.target)) for shot in episode.enrollment]
            return episode.enrollment_labels[int(np.argmin(distances))] if distances else LABELS[0]

        answers = [self.candidate_labels.index(answer(episode)) for episode in episodes]
        return np.eye(len(self.candidate_labels))[answers]


class LastShot(NearestShot):
    """Answers with the label of the last shot."""

    def score(self, corpus, episodes):
        return np.eye(len(LABELS))[[LABELS.index(episode.enrollment_labels[-1]) for episode in episodes]]


@pytest.fixture
def three(corpus):
    """Three speakers, so that no two of them have the same code."""
    return Corpus(utterance for utterance in corpus if utterance.speaker_id != "dee")


@pytest.fixture
def recognizer():
    return NearestShot()


@pytest.fixture
def run(recognizer, three):
    def run(corpus=three, **arguments):
        return evaluate(recognizer, corpus, **({"shots": range(4), "batch_size": 8} | arguments))

    return run


def test_accuracy_rises_with_shots_and_falls_under_controls(run, three):
    report = run()
    for k in range(1, 4):
        # A recognizer that copies the label of the nearest shot is right where the target's emotion is among them.
        drawn = [
            three.labels[target] in [three.labels[i] for i in select_enrollment(three, target, k, "TU+LD", draw)]
            for target in range(len(three))
            for draw in [(seed, 0, target) for seed in range(5)]
        ]
        assert report.accuracy(k).ua_spk == pytest.approx(sum(drawn) / len(drawn))
    accuracies = [report.accuracy(k).ua_spk for k in range(4)]
    assert accuracies == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1], abs=0.1)
    assert accuracies[3] == 1
    assert report.accuracy(3, "rotated").ua_spk == 0
    assert report.accuracy(3, "other_speaker").ua_spk == 0


def test_the_bundled_draws(three):
    """The numbers of the README and of the model card hang on these draws."""
    recognizer = NearestShot()
    evaluate(recognizer, three, shots=[2], seeds=[4])
    drawn, rotated, of_another = (recognizer.episodes[start : start + len(three)] for start in (0, 27, 54))
    assert [e.enrollment for e in drawn] == [
        select_enrollment(three, target, 2, "TU+LD", (4, 0, target)) for target in range(len(three))
    ]
    assert [e.enrollment for e in rotated] == [e.enrollment for e in drawn]
    following = dict(zip(LABELS, [*LABELS[1:], LABELS[0]], strict=True))
    for episode, control in zip(drawn, rotated, strict=True):
        assert control.enrollment_labels == [following[label] for label in episode.enrollment_labels]
    for target, episode in enumerate(of_another):
        assert episode.target == target
        speakers = {three.speaker_ids[index] for index in episode.enrollment}
        assert len(speakers) == 1 and three.speaker_ids[target] not in speakers
        assert episode.enrollment_labels == [three.labels[index] for index in episode.enrollment]


def test_shots_without_labels_are_any_of_the_speaker(three):
    class Listener(NearestShot):
        def score(self, corpus, episodes):
            self.episodes += episodes
            return np.eye(len(LABELS))[[0] * len(episodes)]

    recognizer = Listener()
    report = evaluate(recognizer, three, shots=[2], seeds=[4], setting="TU+LO", label="Joy", controls=["unlabeled"])
    assert [(c.shots, c.control) for c in report.conditions] == [(2, None), (2, "unlabeled")]
    unlabeled = recognizer.episodes[len(three) :]
    assert {tuple(episode.enrollment_labels) for episode in unlabeled} == {(None, None)}
    assert [e.enrollment for e in unlabeled] == [
        select_enrollment(three, target, 2, "TU+LU", (4, 0, target)) for target in range(len(three))
    ]
    assert [episode.label for episode in unlabeled] == three.labels
    assert {three.labels[i] for episode in unlabeled for i in episode.enrollment} == set(LABELS)


def test_conditions(run):
    report = run(shots=[0, 2], seeds=[3, 5], controls=["rotated"])
    assert [(c.shots, c.control, len(c.predictions)) for c in report.conditions] == [
        (0, None, 1),  # There is nothing to draw without shots.
        (2, None, 2),
        (2, "rotated", 2),
    ]
    assert [(c.shots, c.control) for c in run(shots=[0]).conditions] == [(0, None)]


def test_predictions_and_probabilities_are_kept(run, three):
    report = run(shots=[3], seeds=[0], controls=[])
    (condition,) = report.conditions
    assert condition.predictions == [three.labels]
    assert condition.probabilities[0].dtype == np.float32
    assert condition.probabilities[0].tolist() == np.eye(3)[[LABELS.index(label) for label in three.labels]].tolist()
    assert (report.references, report.speaker_ids) == (three.labels, three.speaker_ids)


def test_a_text_that_is_no_candidate_is_wrong(run, recognizer, monkeypatch):
    monkeypatch.setattr(recognizer, "score", lambda corpus, episodes: np.zeros((len(episodes), 3)))
    report = run(shots=[3], seeds=[0], controls=[])
    assert set(report.conditions[0].predictions[0]) == {""}
    assert report.accuracy(3).max == 0


def test_seeds_make_the_draws(run):
    first, again, other = (run(shots=[1], seeds=[seed], controls=[]).conditions[0].predictions for seed in (0, 0, 1))
    assert first == again != other


def test_the_setting_is_followed(run):
    assert run(shots=[1], setting="TO+LU", controls=[]).accuracy(1).ua_spk == 1
    assert run(shots=[1], setting="TE+LU", controls=[]).accuracy(1).ua_spk == 0


def test_one_emotion_is_enrolled(run, recognizer, three):
    report = run(shots=[0, 2], setting="TU+LO", label="Joy", seeds=[0])
    assert {label for e in recognizer.episodes[: 2 * len(three)] for label in e.enrollment_labels} == {"Joy"}
    assert report.accuracy(2).ua_spk == pytest.approx(1 / 3)
    assert report.label == "Joy"


def test_orders_of_the_same_shots(run, recognizer, three):
    report = run(shots=[1, 3], seeds=[2, 0], controls=[], orders=3)
    assert [(c.shots, c.order, len(c.predictions)) for c in report.reorderings] == [(3, 1, 1), (3, 2, 1)]
    drawn, first, second = ([e.enrollment for e in recognizer.episodes[start:][:27]] for start in (54, 108, 135))
    assert drawn != first != second != drawn
    assert [sorted(shots) for shots in drawn] == [sorted(shots) for shots in first] == [sorted(s) for s in second]
    assert report.order_std(3) == 0  # The nearest shot is the nearest in any order.
    assert report.order_std(1) is None


def test_order_matters_to_some(three):
    order_std = evaluate(LastShot(), three, shots=[3], seeds=[0], orders=4).order_std(3)
    assert order_std is not None and order_std > 0
    assert evaluate(LastShot(), three, shots=[3], seeds=[0]).order_std(3) is None


def test_labels_that_are_not_asked_for_are_refused(run, recognizer):
    recognizer.candidate_labels = ["Joy", "Sadness"]
    with pytest.raises(ValueError, match="does not ask for: Anger"):
        run()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"controls": ["shuffled"]}, "no control shuffled; choose from rotated, other_speaker, unlabeled"),
        ({"orders": 0}, "must not be empty"),
        ({"seeds": []}, "must not be empty"),
        ({"shots": []}, "must not be empty"),
        ({"shots": [0, -1]}, "A number of shots is 0 or more; got -1"),
        ({"label": "Joy"}, "no meaning with TU.LD"),
        ({"setting": "TU"}, "'TU' is no enrollment setting"),
    ],
)
def test_arguments_out_of_range(run, recognizer, arguments, message):
    with pytest.raises(ValueError, match=message):
        run(**arguments)
    assert recognizer.episodes == []


def test_too_few_utterances_are_found_before_anything_runs(run, recognizer):
    with pytest.raises(EnrollmentError, match="ann_Joy_0.wav: TU.LD with k=4 needs 4 emotions.*speaker ann has 3"):
        run(shots=[0, 1, 4])
    assert recognizer.episodes == []


def test_too_few_utterances_of_another_speaker_are_found_before_anything_runs(recognizer, corpus):
    # Without ann's Joy, dee's targets cannot be enrolled with three emotions of hers.
    lacking = Corpus(u for u in corpus if u.speaker_id in ("ann", "dee") and (u.speaker_id, u.label) != ("ann", "Joy"))
    alone = Corpus(u for u in lacking if u.speaker_id == "dee")
    assert evaluate(recognizer, alone, shots=[3], seeds=[0]).accuracy(3).ua_spk == 1
    recognizer.episodes.clear()
    with pytest.raises(EnrollmentError, match="speaker ann has 2"):
        evaluate(recognizer, lacking, shots=[0, 3], seeds=[0])
    assert recognizer.episodes == []


def test_thin_speakers_are_left_out_or_have_fewer_shots(run, recognizer, three, caplog):
    lacking = Corpus(u for u in three if (u.speaker_id, u.label) != ("ann", "Joy"))
    with caplog.at_level(logging.WARNING):
        report = run(lacking, shots=[0, 3], seeds=[0], thin_speakers="leave_out")
    assert "Left out 1 of 3 speakers, who lack utterances for 3 shots: ann (at most 2)." in caplog.text
    assert set(report.speaker_ids) == set(three.speaker_ids) - {"ann"}
    recognizer.episodes.clear()
    with caplog.at_level(logging.WARNING):
        report = run(lacking, shots=[3], seeds=[0], controls=[], thin_speakers="fewer_shots")
    assert "Fewer shots for 1 of 3 speakers" in caplog.text
    of_ann = [speaker_id == "ann" for speaker_id in report.speaker_ids]
    shots = [len(episode.enrollment) for episode in recognizer.episodes]
    assert shots == [2 if is_hers else 3 for is_hers in of_ann]
    with pytest.raises(EnrollmentError, match="speaker ann has 3"):
        run(shots=[4], thin_speakers="leave_out")


def test_one_speaker_has_no_other(run, three, caplog):
    with caplog.at_level(logging.WARNING):
        report = run(Corpus(three.utterances[:9]), shots=[3])
    assert [condition.control for condition in report.conditions] == [None, "rotated"]
    assert "one speaker" in caplog.text


def test_the_speech_language_model_is_asked_for_other_labels(composed, features, corpus):
    labels = [*LABELS[:2], "Awe"]
    recognizer = SpeechLmRecognizer(composed[0], composed[1], features, candidate_labels=labels)
    kept = Corpus(utterance for utterance in corpus if utterance.label in labels)
    report = evaluate(recognizer, kept, shots=[0], seeds=[0])
    assert report.candidate_labels == labels
    assert report.conditions[0].probabilities[0].shape == (len(kept), 3)


def test_the_speech_language_model_is_evaluated(composed, features, corpus):
    report = evaluate(SpeechLmRecognizer(composed[0], composed[1], features), corpus, shots=[0, 2], seeds=[0])
    assert len(report.conditions) == 4
    for condition in report.conditions:
        assert condition.probabilities[0].shape == (len(corpus), len(LABELS))
        assert np.allclose(condition.probabilities[0].sum(1), 1, atol=1e-5)


@needs_bundled
def test_a_shot_helps_speakers_of_a_corpus_that_the_bundled_model_never_heard(shared, tmp_path):
    """Actors who say sentences, where the model was trained on laughs and sighs of others in other rooms."""
    model = EmoIclForConditionalGeneration.from_pretrained(BURSTS_MODEL)
    processor = EmoIclProcessor.from_pretrained(BURSTS_MODEL)
    recognizer = SpeechLmRecognizer(model, processor, FeatureCache(model, processor.feature_extractor, tmp_path))
    corpus = load_corpus(shared / "data" / "ravdess" / "test.parquet", processor.candidate_labels)
    report = evaluate(recognizer, corpus, shots=[0, 1, 3, 7], seeds=[0], controls=[])
    accuracies = [report.accuracy(k).ua_spk for k in (0, 1, 3, 7)]
    losses = [report.label_scores(k)["nll"] for k in (0, 1, 3, 7)]
    # Of 208 utterances; over five draws one shot has the accuracy of none, and a better likelihood.
    assert accuracies[1] > accuracies[0] - 0.01 and min(accuracies[2:]) > accuracies[0]
    assert max(losses[1:]) < losses[0]
    for condition in report.conditions:
        assert np.mean([probabilities.max(-1).mean() for probabilities in condition.probabilities]) < 0.6
