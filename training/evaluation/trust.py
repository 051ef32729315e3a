"""How far answers can be trusted: which are right when the least sure are withheld, and which recordings are odd."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import roc_auc_score


COVERAGES = (0.25, 0.5, 0.75, 0.9, 1.0)


def accuracy_at_coverage(
    confidence: np.ndarray, is_right: np.ndarray, coverages: Sequence[float] = COVERAGES
) -> list[float]:
    """
    Accuracy among the surest answers: the rest would be withheld (selective classification).

    Args:
        confidence (`np.ndarray` of shape `(num_answers,)`): How sure each answer is, such as its probability.
        is_right (`np.ndarray` of shape `(num_answers,)`): Whether it is right.
        coverages (`Sequence[float]`, *optional*): Shares of the answers to give.

    Returns:
        `list[float]`: One for each coverage.
    """
    surest_first = np.argsort(-confidence, kind="stable")
    given = [max(1, round(coverage * len(confidence))) for coverage in coverages]
    return [float(is_right[surest_first[:number]].mean()) for number in given]


def auroc(higher: Sequence[float] | np.ndarray, lower: Sequence[float] | np.ndarray) -> float | None:
    """Probability that one of the first is higher than one of the others; `None` if there are none of either."""
    if not len(higher) or not len(lower):
        return None
    is_higher = np.repeat([1, 0], [len(higher), len(lower)])
    return float(roc_auc_score(is_higher, np.concatenate([higher, lower])))
