import numpy as np
import pytest

from emoicl.training.evaluation.metrics import bootstrap_interval, gini


@pytest.mark.parametrize(
    "accuracies, expected",
    [
        ([0.5, 0.5, 0.5], 0),
        ([0.0, 0.0], 0),
        ([0.7], 0),
        ([1.0, 0.0], 1 / 2),
        ([0.0, 0.0, 0.0, 0.9], 3 / 4),
        # Differences 1/4, 1/2 and 1/4, each twice of 9 pairs: (2 / 9) / (2 * 1/2).
        ([0.25, 0.5, 0.75], 2 / 9),
    ],
)
def test_gini_by_hand(accuracies, expected):
    assert gini(accuracies) == pytest.approx(expected)


def test_gini_does_not_depend_on_order_or_scale():
    assert gini([0.2, 0.6, 0.4]) == pytest.approx(gini([0.3, 0.1, 0.2]))


@pytest.mark.parametrize("accuracies", [[], [0.5, -0.1]])
def test_gini_of_what_is_no_accuracy(accuracies):
    with pytest.raises(ValueError, match="not negative"):
        gini(accuracies)


def test_interval_of_two_speakers_by_hand():
    # The mean of a resample is 0 or 1 in a quarter of the cases each, else 1/2.
    assert bootstrap_interval([0.0, 1.0]) == (0, 1)
    assert bootstrap_interval([0.0, 1.0], confidence=0.4) == (0.5, 0.5)


def test_interval_of_many_speakers_is_that_of_the_normal_distribution():
    differences = np.linspace(-1, 1, 400) + 0.3
    low, high = bootstrap_interval(differences)
    error = differences.std() / np.sqrt(400)
    assert low == pytest.approx(0.3 - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(0.3 + 1.96 * error, abs=0.2 * error)


def test_the_seed_makes_the_interval():
    differences = [0.1, 0.5, -0.2, 0.05, 0.33]
    first, again = (bootstrap_interval(differences, resamples=50, seed=1) for _ in range(2))
    assert first == again != bootstrap_interval(differences, resamples=50, seed=2)


def test_one_speaker_has_no_interval():
    with pytest.raises(ValueError, match="at least 2 of them; got 1"):
        bootstrap_interval([0.5])
