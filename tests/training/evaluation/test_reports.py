import json
from dataclasses import replace

import numpy as np
import pytest

from emoicl.training.evaluation.reports import Condition, EvaluationReport


CANDIDATES = ["Joy", "Anger"]
JOY, ANGER, SURE = [0.75, 0.25], [0.25, 0.75], [1.0, 0.0]


def condition(shots, control, *answers, order=0):
    """A condition, of the probabilities of each seed."""
    made = Condition(shots, control, order=order)
    for of_seed in answers:
        made.add(np.array(of_seed), CANDIDATES)
    return made


@pytest.fixture
def report():
    """Speaker a has 2 utterances of Joy, b has 1 of Anger. UA_spk over two seeds: a 3/4 and b 1/2."""
    conditions = [
        condition(0, None, [JOY, JOY, SURE]),
        condition(1, None, [JOY, ANGER, JOY], [JOY, JOY, ANGER]),
        condition(1, "rotated", *[[ANGER] * 3] * 2),
    ]
    return EvaluationReport("TU+LD", [0, 1], ["Joy", "Joy", "Anger"], ["a", "a", "b"], conditions, CANDIDATES)


def test_answers_are_the_most_probable_candidates():
    made = condition(0, None, [JOY, ANGER, [0.0, 0.0]])
    assert made.predictions == [["Joy", "Anger", ""]]
    assert made.probabilities[0].dtype == np.float32


def test_accuracy_by_hand(report):
    assert report.accuracy(0).per_speaker == {"a": 1.0, "b": 0.0}
    accuracy = report.accuracy(1)
    assert accuracy.per_speaker == {"a": 0.75, "b": 0.5}
    assert (accuracy.ua_spk, accuracy.min, accuracy.worst_speaker) == (0.625, 0.5, "b")
    assert report.accuracy(1, "rotated").per_speaker == {"a": 0.0, "b": 1.0}


def test_seeds_by_hand(report):
    # The seeds have UA_spk (1/2 + 0) / 2 and (1 + 1) / 2.
    assert report.seed_std(1) == 0.375
    assert report.worst_of_seeds(1) == 0.25
    assert (report.seed_std(0), report.worst_of_seeds(0)) == (0, 0.5)


def test_orders_by_hand(report):
    assert report.order_std(1) is None
    # The first seed's shots have UA_spk 1/4 as they are drawn; 1/2 and 0 in other orders.
    report.reorderings = [
        condition(1, None, [JOY, JOY, JOY], order=1),
        condition(1, None, [ANGER, ANGER, JOY], order=2),
    ]
    assert report.order_std(1) == pytest.approx(np.sqrt(1 / 24))
    assert report.order_std(0) is None
    assert report.accuracy(1).ua_spk == 0.625


def test_label_scores_by_hand(report):
    scores = report.label_scores(1)
    # Over both seeds, 3 of 4 Joy and 1 of 2 Anger are right; Joy is answered 4 times, Anger twice.
    assert scores["uar"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert scores["wa"] == pytest.approx(4 / 6)
    assert scores["macro_f1"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert scores["ece"] == pytest.approx(abs(4 / 6 - 0.75))
    # Of what is true, .75 four times and .25 twice.
    assert scores["nll"] == pytest.approx(-(4 * np.log(0.75) + 2 * np.log(0.25)) / 6)
    # Two right at .75, one wrong at 1.
    assert report.label_scores(0)["ece"] == pytest.approx((2 * 0.25 + 1) / 3)


def test_labels_that_the_corpus_lacks_do_not_count():
    labels = ["Joy", "Anger", "Fear"]
    answers = Condition(0)
    answers.add(np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0]]), labels)
    report = EvaluationReport("TU+LD", [0], ["Joy", "Joy", "Anger"], ["a"] * 3, [answers], labels)
    scores = report.label_scores(0)
    assert scores["uar"] == 0.25
    # Joy has precision 1 and recall 1/2, Anger is never answered.
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_difference_is_paired_by_speaker(report):
    same = report.difference(report, 1)
    assert same == (0, 0, 0)
    # a falls from 1 to 3/4, b rises from 0 to 1/2: the mean of a resample is -1/4, 1/8 or 1/2.
    gain = report.difference(report, shots=1, other_shots=0)
    assert gain.mean == 0.125
    assert (gain.low, gain.high) == (-0.25, 0.5)
    control = report.difference(report, shots=1, other_control="rotated")
    assert control.mean == pytest.approx((0.75 - 0.5) / 2)


def test_a_difference_needs_the_same_speakers(report):
    other = replace(report, speaker_ids=["a", "a", "c"])
    with pytest.raises(ValueError, match="different speakers: only one of them has b, c"):
        report.difference(other, 1)


def test_a_condition_that_was_not_run(report):
    with pytest.raises(KeyError, match="no condition 7-shot, rotated; those run are 0-shot, 1-shot, 1-shot, rotated"):
        report.accuracy(7, "rotated")


def test_saved_as_json(report, tmp_path):
    report.save(tmp_path / "new" / "report.json")
    saved = json.loads((tmp_path / "new" / "report.json").read_text())
    assert saved == report.as_dict()
    assert (saved["setting"], saved["seeds"], saved["num_utterances"]) == ("TU+LD", [0, 1], 3)
    assert [(row["shots"], row["control"], row["ua_spk"]) for row in saved["rows"]] == [
        (0, None, 0.5),
        (1, None, 0.625),
        (1, "rotated", 0.5),
    ]
    row = saved["rows"][1]
    # (|3/4 - 1/2| * 2 / 4) / (2 * 5/8)
    assert row["gini"] == pytest.approx(0.1)
    assert {"per_speaker", "worst_of_seeds", "uar", "wa", "macro_f1", "ece", "order_std"} <= row.keys()


def test_predictions_are_read_back(report, tmp_path):
    report.conditions.append(condition(2, None, [JOY, [0, 0], [0.1, 0.9]], [JOY, JOY, JOY]))
    report.reorderings = [condition(2, None, [ANGER] * 3, order=1)]
    path = tmp_path / "new" / "predictions.safetensors"
    report.save_predictions(path)
    read = EvaluationReport.load_predictions(path)
    assert read.as_dict() == report.as_dict()
    assert [c.predictions for c in read.conditions] == [c.predictions for c in report.conditions]
    for ours, theirs in zip(report.conditions, read.conditions, strict=True):
        assert np.array_equal(ours.probabilities, theirs.probabilities)
    assert [(c.shots, c.order) for c in read.reorderings] == [(2, 1)]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_probabilities_are_read_back_however_they_lie_in_memory(report, tmp_path):
    probabilities = np.asfortranarray([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]])
    first = Condition(0)
    first.add(probabilities, CANDIDATES)
    report.conditions = [first]
    report.save_predictions(tmp_path / "predictions.safetensors")
    read = EvaluationReport.load_predictions(tmp_path / "predictions.safetensors")
    assert read.conditions[0].probabilities[0] == pytest.approx(probabilities)


def test_a_file_without_predictions_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="model.safetensors: holds no predictions"):
        EvaluationReport.load_predictions(tmp_path / "model.safetensors")


def test_folds_are_pooled(report):
    conditions = [condition(0, None, [ANGER]), condition(1, None, [ANGER], [JOY]), condition(3, None, [ANGER])]
    fold = EvaluationReport("TU+LD", [0, 1], ["Anger"], ["c"], conditions, CANDIDATES)
    pooled = EvaluationReport.pooled([report, fold])
    assert [(c.shots, c.control) for c in pooled.conditions] == [(0, None), (1, None)]
    assert pooled.accuracy(0).per_speaker == {"a": 1.0, "b": 0.0, "c": 1.0}
    assert pooled.accuracy(1).per_speaker == {"a": 0.75, "b": 0.5, "c": 0.5}
    # The seeds have UA_spk (1/2 + 0 + 1) / 3 and (1 + 1 + 0) / 3.
    assert pooled.seed_std(1) == pytest.approx(1 / 12)
    assert pooled.answers(1)[0].shape == (8, 2)


def test_what_cannot_be_pooled(report):
    with pytest.raises(ValueError, match="on the same speakers: a, b"):
        EvaluationReport.pooled([report, report])
    with pytest.raises(ValueError, match="different setting"):
        EvaluationReport.pooled([report, replace(report, setting="TU+LU", speaker_ids=["c", "c", "d"])])


def test_table(report):
    header, _, *rows = report.table().splitlines()
    assert [cell.strip() for cell in header.split("|")[1:4]] == ["condition", "UA_spk", "std"]
    assert rows[1] == "| 1-shot | 0.625 | 0.125 | 0.625 | 0.750 | 0.500 | 0.375 |"
    assert rows[2].startswith("| 1-shot, rotated | 0.500")
