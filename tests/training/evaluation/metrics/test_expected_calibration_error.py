import numpy as np
import pytest

from emoicl.training.evaluation.metrics import calibration_bins, expected_calibration_error


# Confidences .9, .6, .6 and .95 with 2 bins: all in the upper one. With 4: the .6 in ((2, 3] / 4), the others above.
PROBABILITIES = np.array([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4], [0.05, 0.95]])
REFERENCES = np.array([0, 1, 1, 0])  # right, right, wrong, wrong


def test_hand_computed():
    assert expected_calibration_error(PROBABILITIES, REFERENCES, bins=2) == pytest.approx(0.7625 - 0.5)
    # Half of the .6 and half of the others are right: (2 * .1 + 2 * .425) / 4.
    assert expected_calibration_error(PROBABILITIES, REFERENCES, bins=4) == pytest.approx(0.2625)
    # Each in its own bin, but for the two .6: (.1 + 2 * .1 + .95) / 4.
    assert expected_calibration_error(PROBABILITIES, REFERENCES, bins=100) == pytest.approx(1.25 / 4)


def test_bins_are_closed_above():
    counts, accuracies, confidences = calibration_bins(np.array([[0.5, 0.5], [0.51, 0.49]]), np.array([0, 1]), bins=2)
    assert (counts.tolist(), accuracies.tolist(), confidences.tolist()) == ([1, 1], [1, 0], [0.5, 0.51])


def test_empty_bins_do_not_count():
    counts, accuracies, confidences = calibration_bins(np.array([[1.0, 0.0]]), np.array([0]), bins=3)
    assert (counts.tolist(), accuracies.tolist(), confidences.tolist()) == ([0, 0, 1], [0, 0, 1], [0, 0, 1])
    assert expected_calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0


def test_no_candidate_is_wrong_without_confidence():
    counts, accuracies, _ = calibration_bins(np.zeros((1, 2)), np.array([0]), bins=2)
    assert (counts.tolist(), accuracies.tolist()) == ([1, 0], [0, 0])
    assert expected_calibration_error(np.zeros((1, 2)), np.array([0])) == 0


@pytest.mark.parametrize("probabilities, references", [(np.zeros((2, 3)), [0]), (np.zeros(2), [0, 1]), ([[]], [0])])
def test_shapes_that_do_not_go_together(probabilities, references):
    with pytest.raises(ValueError, match="num_answers, num_labels"):
        expected_calibration_error(probabilities, np.array(references))
