"""Statistics over speakers: how unequally they are served, and how sure a difference between two systems is."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap


def gini(accuracies: Sequence[float]) -> float:
    """
    Gini coefficient of the accuracies of speakers: half their mean absolute difference, relative to their mean,
    `G = sum_i sum_j |a_i - a_j| / (2 n^2 mean(a))` (Gini 1912; as Sen 1973, On Economic Inequality, writes it).

    Args:
        accuracies (`Sequence[float]` of length `num_speakers`): Accuracy of each speaker.

    Returns:
        `float`: 0 if all speakers have the same accuracy, `1 - 1 / n` if one of them has all there is. 0 if no speaker
        has any.

    Raises:
        `ValueError`: If there are no accuracies, or negative ones.
    """
    values = np.asarray(accuracies, dtype=np.float64)
    if not values.size or values.min() < 0:
        raise ValueError(f"The Gini coefficient needs accuracies that are not negative; got {list(accuracies)}.")
    if not values.any():
        return 0.0
    return float(np.abs(values[:, None] - values).mean() / (2 * values.mean()))


def bootstrap_interval(
    differences: Sequence[float] | np.ndarray, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """
    Percentile bootstrap interval of a mean over speakers (Efron 1979). Speakers are what is drawn, with replacement:
    the utterances of one speaker are no independent evidence.

    Args:
        differences (`Sequence[float]` of length `num_speakers`): One number for each speaker, such as the difference
            of their accuracy between two systems.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resampled means inside the interval.
        resamples (`int`, *optional*, defaults to 10,000): Number of resampled means.
        seed (`int`, *optional*, defaults to 0): Seed of the draws.

    Returns:
        `tuple[float, float]`: The lower and the upper end.

    Raises:
        `ValueError`: If there are fewer than 2 speakers.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        raise ValueError(f"An interval over speakers needs at least 2 of them; got {len(values)}.")
    # In batches, since a table of all draws would be large with many speakers.
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=100,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
