"""Calibration: whether answers of confidence 0.8 are right 8 times in 10."""

from typing import NamedTuple

import numpy as np


class CalibrationBins(NamedTuple):
    """
    Answers sorted into bins of equal width by their confidence, the probability of the most probable label.

    Args:
        counts (`np.ndarray` of shape `(bins,)`): Number of answers in each bin.
        accuracies (`np.ndarray` of shape `(bins,)`): Share of them that are right; 0 in an empty bin.
        confidences (`np.ndarray` of shape `(bins,)`): Their mean confidence; 0 in an empty bin.
    """

    counts: np.ndarray
    accuracies: np.ndarray
    confidences: np.ndarray


def calibration_bins(probabilities: np.ndarray, references: np.ndarray, bins: int = 15) -> CalibrationBins:
    """
    Sorts answers into bins by their confidence: bin b of B holds confidences in ((b - 1) / B, b / B], and the first
    one 0 as well.

    Args:
        probabilities (`np.ndarray` of shape `(num_answers, num_labels)`): Probability of each label. A row of zeros is
            an answer that is none of the labels: of confidence 0, and wrong.
        references (`np.ndarray` of shape `(num_answers,)`): Column of the true label of each answer.
        bins (`int`, *optional*, defaults to 15): Number of bins.

    Returns:
        [`CalibrationBins`]

    Raises:
        `ValueError`: If there are no answers, or the shapes do not go together.
    """
    probabilities, references = np.asarray(probabilities, dtype=np.float64), np.asarray(references)
    if probabilities.ndim != 2 or references.shape != probabilities.shape[:1] or not probabilities.size:
        raise ValueError(
            "probabilities need the shape (num_answers, num_labels) and references (num_answers,), with at least one "
            f"answer, but have {probabilities.shape} and {references.shape}."
        )
    confidences = probabilities.max(1)
    right = (probabilities.argmax(1) == references) & (confidences > 0)
    # A bin is closed at its upper edge.
    places = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    filled = np.maximum(counts, 1)
    return CalibrationBins(
        counts=counts,
        accuracies=np.bincount(places, right, minlength=bins) / filled,
        confidences=np.bincount(places, confidences, minlength=bins) / filled,
    )


def expected_calibration_error(probabilities: np.ndarray, references: np.ndarray, bins: int = 15) -> float:
    """
    Expected calibration error: the distance between accuracy and confidence in each bin b of
    [`calibration_bins`], weighted by its number of answers, `ECE = sum_b n_b / n |accuracy_b - confidence_b|` (Guo et
    al. 2017, On Calibration of Modern Neural Networks, equation 3).

    Args:
        probabilities (`np.ndarray` of shape `(num_answers, num_labels)`): Probability of each label.
        references (`np.ndarray` of shape `(num_answers,)`): Column of the true label of each answer.
        bins (`int`, *optional*, defaults to 15): Number of bins.

    Returns:
        `float`: In [0, 1]. 0 is perfect calibration.

    Raises:
        `ValueError`: As [`calibration_bins`].
    """
    counts, accuracies, confidences = calibration_bins(probabilities, references, bins)
    return float(counts @ np.abs(accuracies - confidences) / counts.sum())
