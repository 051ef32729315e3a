"""The baselines that a system must beat: a linear probe on pooled speech features, and that probe made personal."""

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from emoicl.modeling.configuration_emoicl import EmoIclAdaptationConfig
from emoicl.training.baselines.pooling import Pooling
from emoicl.training.baselines.speaker_statistics import (
    REGULARIZATION,
    check_labels,
    evidence_parts,
    fit_adaptation,
    label_evidence,
)
from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.enrollment import max_shots, select_enrollment
from emoicl.training.episodes.episodes import Episode


# Below 1, as dimensions and frames are not as independent as the Gaussians have it.
WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
TUNING_SHOTS = (1, 3, 7)
INNER_FOLDS = 3


class LinearProbe:
    """
    Multinomial logistic regression on pooled, standardized speech features: a [`Recognizer`] that passes over the
    enrollment.

    Args:
        corpus ([`Corpus`]): Training utterances of all candidate labels and no others.
        pooled ([`PooledFeatures`] or `Callable`): Gives the features of a corpus.
        candidate_labels (`Sequence[str]`): Labels to choose from.

    Raises:
        `ValueError`: If the labels of the corpus are not the candidates, or are fewer than two.
    """

    def __init__(self, corpus: Corpus, pooled: Pooling, candidate_labels: Sequence[str]):
        check_labels(corpus, candidate_labels)
        self.candidate_labels = list(candidate_labels)
        self.pooled = pooled
        self.classifier = make_pipeline(StandardScaler(), LogisticRegression(C=REGULARIZATION, max_iter=1000))
        with threadpool_limits(1):
            self.classifier.fit(pooled(corpus), corpus.labels)

    def score(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        """Probabilities of the candidate labels; see [`Recognizer`]."""
        targets = [episode.target for episode in episodes]
        columns = np.searchsorted(self.classifier.classes_, self.candidate_labels)
        return self.classifier.predict_proba(self.pooled(corpus)[targets])[:, columns]


class PrototypeBaseline:
    """
    The linear probe, centered on the speaker as the enrollment shows them, plus a prototype of each enrolled label: a
    [`Recognizer`] by an [`EmoIclSpeakerAdaptation`] alone, which says how. Without enrollment the probabilities are
    those of [`LinearProbe`].

    The weight of the prototypes is the one of `WEIGHTS` with the smallest cross entropy over 1, 3 and 7 shots (TU+LD)
    of speakers that nothing was fitted to.

    Args:
        corpus ([`Corpus`]): Training utterances of several speakers, with several takes of several labels.
        pooled ([`PooledFeatures`] or `Callable`): Gives the features of the training and validation utterances.
        candidate_labels (`Sequence[str]`): Labels to choose from.
        validation ([`Corpus`], *optional*): Speakers to choose the weight on. By default a part of the training
            speakers is held out for that, then all is fitted to all of them.
        weight (`float`, *optional*): Weight of the prototypes, if it is not to be chosen.
        size (`int`, *optional*): Number of discriminant directions to keep of the features, by default all.

    Raises:
        `ValueError`: If the labels of the corpus are not the candidates, or variances cannot be estimated from it.
    """

    def __init__(
        self,
        corpus: Corpus,
        pooled: Pooling,
        candidate_labels: Sequence[str],
        validation: Corpus | None = None,
        weight: float | None = None,
        size: int | None = None,
    ):
        self.pooled = pooled
        # There is no tokenizer: the number of a label stands for its tokens.
        numbers = [[number] for number in range(len(candidate_labels))]
        config = EmoIclAdaptationConfig(size=size, label_words=list(candidate_labels), label_token_ids=numbers)
        self.adaptation = fit_adaptation(corpus, pooled(corpus), config)
        weight = self._choose_weight(corpus, validation) if weight is None else weight
        config.probe_weight, config.prototype_weight = 1.0, weight

    @property
    def candidate_labels(self) -> list[str]:
        """The labels to choose from."""
        return self.adaptation.config.label_words

    @property
    def weight(self) -> float:
        """Weight of the prototypes."""
        return self.adaptation.config.prototype_weight

    def score(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        """Probabilities of the candidate labels; see [`Recognizer`]."""
        return softmax(label_evidence(self.adaptation, self.pooled(corpus), episodes), axis=1)

    def _choose_weight(self, corpus: Corpus, validation: Corpus | None) -> float:
        if validation is not None:
            return WEIGHTS[int(np.argmin(self._losses(validation)))]
        losses = np.zeros(len(WEIGHTS))
        for seen, unseen in GroupKFold(INNER_FOLDS).split(corpus.labels, groups=corpus.speaker_ids):
            part, held_out = (Corpus(corpus[index] for index in indices) for indices in (seen, unseen))
            losses += PrototypeBaseline(part, self.pooled, self.candidate_labels, weight=0.0)._losses(held_out)
        return WEIGHTS[int(np.argmin(losses))]

    def _losses(self, corpus: Corpus) -> np.ndarray:
        """Summed cross entropy with each of `WEIGHTS`."""
        losses = np.zeros(len(WEIGHTS))
        for shots in TUNING_SHOTS:
            episodes = tuning_episodes(corpus, self.candidate_labels, shots)
            answers = [self.candidate_labels.index(episode.label) for episode in episodes]
            probe, prototypes = evidence_parts(self.adaptation, self.pooled(corpus), episodes)
            for place, weight in enumerate(WEIGHTS):
                log_probabilities = log_softmax(probe + weight * prototypes, axis=1)
                losses[place] -= log_probabilities[np.arange(len(episodes)), answers].sum()
        return losses


def tuning_episodes(corpus: Corpus, candidate_labels: list[str], shots: int, setting: str = "TU+LD") -> list[Episode]:
    """An episode for each utterance, with `shots` shots or as many as can be drawn."""
    episodes = []
    for target, label in enumerate(corpus.labels):
        k = min(shots, max_shots(corpus, target, setting))
        enrollment = select_enrollment(corpus, target, k, setting, (0, shots, target))
        shot_labels = [corpus.labels[index] for index in enrollment]
        episodes.append(Episode(target, enrollment, label, shot_labels, candidate_labels))
    return episodes
