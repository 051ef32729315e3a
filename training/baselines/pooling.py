"""Utterances as vectors of one length: mean and standard deviation of their speech features over time."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
import torch

from emoicl.modeling.adaptation_emoicl import pool_statistics
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.data.progress import progress


# A corpus -> float64 of shape `(num_utterances, num_features)`.
Pooling = Callable[[Corpus], np.ndarray]


class PooledFeatures:
    """
    Mean and standard deviation over time of the speech features, pooled once for each corpus and kept in memory.

    Args:
        features ([`FeatureCache`]): Holds the speech features.
    """

    def __init__(self, features: FeatureCache):
        self.features = features
        self._of_corpora: WeakKeyDictionary[Corpus, np.ndarray] = WeakKeyDictionary()

    def __call__(self, corpus: Corpus, batch_size: int = 64) -> np.ndarray:
        """Float64 of shape `(num_utterances, 2 * speech_feature_size)`."""
        if corpus not in self._of_corpora:
            self.features.fill(corpus)
            pooled = []
            for start in progress(range(0, len(corpus), batch_size), desc="Pooling", unit="batches"):
                batch = self.features.load(corpus.utterances[start : start + batch_size])
                pooled.append(pool_statistics(batch["speech_features"], batch["speech_features_mask"]))
            self._of_corpora[corpus] = torch.cat(pooled).double().numpy()
        return self._of_corpora[corpus]
