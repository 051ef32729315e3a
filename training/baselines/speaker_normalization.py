"""The baseline that knows how a speaker sounds, and none of their labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from emoicl.training.baselines.pooling import Pooling
from emoicl.training.baselines.prototypes import LinearProbe
from emoicl.training.baselines.speaker_statistics import REGULARIZATION, check_labels, group_means
from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.episodes import Episode


class NormalizedProbe:
    """
    Per-speaker normalization from audio without labels: a linear probe on pooled features less the mean of their
    speaker, for which the shots of an episode stand, whatever their labels. A [`Recognizer`]; without shots it is
    [`LinearProbe`].

    The mean of few shots is drawn to that of all speakers, dimension by dimension, by how much speakers differ from
    each other and utterances of a speaker among themselves.

    Args:
        corpus ([`Corpus`]): Training utterances of all candidate labels and no others.
        pooled ([`PooledFeatures`] or `Callable`): Gives the features of a corpus.
        candidate_labels (`Sequence[str]`): Labels to choose from.
    """

    def __init__(self, corpus: Corpus, pooled: Pooling, candidate_labels: Sequence[str]):
        check_labels(corpus, candidate_labels)
        self.candidate_labels = list(candidate_labels)
        self.pooled = pooled
        self.plain = LinearProbe(corpus, pooled, candidate_labels)
        self.scaler = StandardScaler().fit(pooled(corpus))
        x: Any = self.scaler.transform(pooled(corpus))
        of_speakers = group_means(x, np.array(corpus.speaker_ids))
        self.within = np.square(x - of_speakers).mean(0)
        self.between = np.maximum(np.square(of_speakers).mean(0), 1e-6)
        with threadpool_limits(1):
            self.classifier = LogisticRegression(C=REGULARIZATION, max_iter=1000).fit(x - of_speakers, corpus.labels)

    def score(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        """Probabilities of the candidate labels; see [`Recognizer`]."""
        probabilities = self.plain.score(corpus, episodes)
        with_shots = [number for number, episode in enumerate(episodes) if episode.enrollment]
        if with_shots:
            x: Any = self.scaler.transform(self.pooled(corpus))
            centered = np.stack([x[episodes[i].target] - self.center(x[episodes[i].enrollment]) for i in with_shots])
            columns = np.searchsorted(self.classifier.classes_, self.candidate_labels)
            probabilities[with_shots] = self.classifier.predict_proba(centered)[:, columns]
        return probabilities

    def center(self, shots: np.ndarray) -> np.ndarray:
        """What is expected of a speaker's mean, given some of their utterances `(num_shots, num_features)`."""
        return shots.mean(0) * self.between / (self.between + self.within / len(shots))
