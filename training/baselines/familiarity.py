"""Fits what is familiar to a model: statistics of its training utterances, and how far others are from them."""

import numpy as np

from emoicl.modeling.familiarity_emoicl import NUM_QUANTILES


# Of the directions of pooled features, those with the least variance. Chosen on validation speakers of EmoGator
# against those of RAVDESS and nEMO, of 1/16 to all.
SHARE_OF_DIRECTIONS = 1 / 8
# Of the covariance towards a sphere: a corpus may have fewer utterances than there are features.
SHRINKAGE = 0.01
NUM_FOLDS = 10


def default_size(feature_size: int) -> int:
    """How many directions to measure in."""
    return max(1, round(SHARE_OF_DIRECTIONS * feature_size))


def fit_familiarity(features: np.ndarray, speakers: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """
    The buffers of [`EmoIclFamiliarity`] in a speaker adaptation, by name.

    Args:
        features (`np.ndarray` of shape `(num_utterances, num_features)`): Pooled features of the training utterances.
        speakers (`np.ndarray` of shape `(num_utterances,)`): Who speaks.
        size (`int`): Number of directions.
    """
    # A speaker is nearer to statistics that have heard them than anybody else will ever be.
    _, speaker = np.unique(speakers, return_inverse=True)
    log_distances = np.empty(len(features))
    for fold in range(NUM_FOLDS):
        held_out = speaker % NUM_FOLDS == fold
        if held_out.any():
            weight, bias = fit_directions(features[~held_out], size)
            distances = np.square(features[held_out] @ weight.T + bias).mean(1)
            log_distances[held_out] = np.log(np.maximum(distances, 1e-6))
    weight, bias = fit_directions(features, size)
    quantiles = np.quantile(log_distances, np.linspace(0, 1, NUM_QUANTILES))
    values = {"weight": weight, "bias": bias, "log_distances": quantiles}
    return {f"familiarity.{name}": value for name, value in values.items()}


def fit_directions(features: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The linear map to standardized deviations `(size,)` from the mean, along the directions of least variance."""
    mean, spread = features.mean(0), features.std(0)
    # Half precision holds no weights of a feature that never varies.
    scale = np.maximum(spread, 0.01 * spread.mean())
    covariance = np.cov((features - mean).T / scale[:, None])
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.eye(len(covariance))
    variances, directions = np.linalg.eigh(covariance)
    weight = (directions[:, :size] / np.sqrt(variances[:size])).T / scale
    return weight, -weight @ mean
