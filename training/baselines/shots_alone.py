"""The baseline that learns from nobody else: a classifier of the speaker's own shots."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from emoicl.training.baselines.pooling import Pooling
from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.episodes import Episode


class ShotsAlone:
    """
    Multinomial logistic regression on the shots of an episode and nothing else, in speech features that these shots
    normalize: a [`Recognizer`] without training speakers. What it gains by an enrollment takes no meta-training.

    An utterance has one of the `m` enrolled labels with probability `m / num_labels`, and each other label alike:
    without shots, or with shots of one label, nothing is known.

    Args:
        pooled ([`PooledFeatures`] or `Callable`): Gives the features of a corpus.
        candidate_labels (`Sequence[str]`): Labels to choose from.
    """

    def __init__(self, pooled: Pooling, candidate_labels: Sequence[str]):
        self.pooled = pooled
        self.candidate_labels = list(candidate_labels)

    def score(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        """Probabilities of the candidate labels; see [`Recognizer`]."""
        features = self.pooled(corpus)
        with threadpool_limits(1):
            return np.stack([self._score(features, episode) for episode in episodes])

    def _score(self, features: np.ndarray, episode: Episode) -> np.ndarray:
        num_labels = len(self.candidate_labels)
        probabilities = np.full(num_labels, 1 / num_labels)
        labels = np.array([label in self.candidate_labels for label in episode.enrollment_labels], dtype=bool)
        known = [label for label in episode.enrollment_labels if label in self.candidate_labels]
        if len(set(known)) < 2:
            return probabilities
        shots = features[episode.enrollment]
        spread = shots.std(0)
        # The spread of few shots is next to nothing in some dimensions, which would count most.
        scale = spread + spread.mean() + np.finfo(float).tiny
        x, target = ((rows - shots.mean(0)) / scale for rows in (shots[labels], features[[episode.target]]))
        # The weights are sums of the shots: in their span, a few dimensions wide, the solution is the same.
        span, _ = np.linalg.qr(x.T)
        classifier = LogisticRegression(max_iter=1000).fit(x @ span, known)
        columns = [self.candidate_labels.index(label) for label in classifier.classes_]
        probabilities[columns] = classifier.predict_proba(target @ span)[0] * len(columns) / num_labels
        return probabilities
