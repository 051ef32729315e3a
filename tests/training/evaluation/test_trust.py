import numpy as np
import pytest

from emoicl.training.evaluation.trust import accuracy_at_coverage, auroc


def test_the_surest_answers_are_those_given_first():
    confidence, is_right = np.array([0.9, 0.2, 0.6, 0.4]), np.array([True, False, True, False])
    assert accuracy_at_coverage(confidence, is_right, [0.25, 0.5, 0.75, 1.0]) == [1, 1, pytest.approx(2 / 3), 0.5]


def test_auroc_is_the_probability_of_being_higher():
    assert auroc([0.9, 0.5], [0.5, 0.1]) == pytest.approx(7 / 8)
    assert auroc([], [0.5]) is None
