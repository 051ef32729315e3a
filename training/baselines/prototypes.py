"""The floors that a system must beat: a linear probe on pooled speech features, and that probe made personal."""

from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.enrollment import max_shots, select_enrollment
from emoicl.training.episodes.episodes import Episode
from emoicl.training.systems.initialization import (
    SMALLEST_VARIANCE,
    discriminant_directions,
    group_means,
    held_out_variances,
    pool_corpus,
)


# Inverse regularization that does best on pooled Whisper features, of a few values.
REGULARIZATION = 0.003
# Below 1, as dimensions and frames are not as independent as the Gaussians have it.
WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
TUNING_SHOTS = (1, 3, 7)
INNER_FOLDS = 3
# Episodes at a time, each of which takes some arrays of labels by dimensions.
BATCH_SIZE = 256


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

    def __call__(self, corpus: Corpus) -> np.ndarray:
        """Float64 of shape `(num_utterances, 2 * speech_hidden_size)`."""
        if corpus not in self._of_corpora:
            self._of_corpora[corpus] = pool_corpus(corpus, self.features)
        return self._of_corpora[corpus]


class LinearProbe:
    """
    Multinomial logistic regression on pooled, standardized speech features: a [`Recognizer`] that passes over the
    enrollment.

    Args:
        corpus ([`Corpus`]): Training utterances of all candidate labels and no others.
        pooled ([`PooledFeatures`] or `Callable`): Gives the features of a corpus.
        candidate_labels (`Sequence[str]`): Labels to choose from.
        regularization (`float`, *optional*, defaults to 0.003): The `C` of scikit-learn, smaller for smaller weights.

    Raises:
        `ValueError`: If the labels of the corpus are not the candidates, or are fewer than two.
    """

    def __init__(
        self,
        corpus: Corpus,
        pooled: Pooling,
        candidate_labels: Sequence[str],
        regularization: float = REGULARIZATION,
    ):
        _check_labels(corpus, candidate_labels)
        self.candidate_labels = list(candidate_labels)
        self.pooled = pooled
        self.regularization = regularization
        self.scaler = StandardScaler().fit(pooled(corpus))
        self.classifier = self.fit_classifier(self.standardize(corpus), corpus.labels)

    def score(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        """Probabilities of the candidate labels; see [`Recognizer`]."""
        targets = [episode.target for episode in episodes]
        return np.exp(self.log_probabilities(self.classifier, self.standardize(corpus)[targets]))

    def standardize(self, corpus: Corpus) -> np.ndarray:
        return np.asarray(self.scaler.transform(self.pooled(corpus)))

    def fit_classifier(self, x: np.ndarray, labels: Sequence[str]) -> LogisticRegression:
        return LogisticRegression(C=self.regularization, max_iter=1000).fit(x, labels)

    def log_probabilities(self, classifier: LogisticRegression, x: np.ndarray) -> np.ndarray:
        columns = np.searchsorted(classifier.classes_, self.candidate_labels)
        return classifier.predict_log_proba(x)[:, columns]


class PrototypeBaseline:
    r"""
    The linear probe, centered on the speaker as the enrollment shows them, plus a prototype of each enrolled label: a
    [`Recognizer`] without any network of its own.

    The enrollment is read by the Gaussian model of [`EmoIclSpeakerAdaptation`], in the space that whitens the spread
    within a speaker and label, where all sources of variance are taken as independent over dimensions:

    `x = mean[label] + speaker + speaker_label + noise`.

    1. *Centering*: the posterior mean of `speaker`, in which each enrolled label counts by what it tells rather than
       by its number of shots, is taken from the target's features. With `certainty` the share of the speaker's
       variance that the enrollment explains, the log-probabilities are `1 - certainty` those of the linear probe, and
       `certainty` those of a probe trained on centered speakers. So little is changed where little is known.
    2. *Prototypes*: `weight * (log p(x | label, enrollment) - log p(x | label, speaker))` is added, which is 0 for a
       label that is not enrolled.

    Without enrollment both vanish, and the probabilities are exactly those of [`LinearProbe`]. `weight` is the one of
    `WEIGHTS` with the smallest cross entropy over 1, 3 and 7 shots (TU+LD) of speakers that nothing was fitted to.

    Args:
        corpus ([`Corpus`]): Training utterances of several speakers, with several takes of several labels.
        pooled ([`PooledFeatures`] or `Callable`): Gives the features of the training and validation utterances.
        candidate_labels (`Sequence[str]`): Labels to choose from.
        validation ([`Corpus`], *optional*): Speakers to choose `weight` on. By default a part of the training speakers
            is held out for that, then all is fitted to all of them.
        regularization (`float`, *optional*, defaults to 0.003): That of [`LinearProbe`].
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
        regularization: float = REGULARIZATION,
        weight: float | None = None,
        size: int | None = None,
    ):
        self.probe = LinearProbe(corpus, pooled, candidate_labels, regularization)
        cells = _cells(corpus)
        x, labels = self.probe.standardize(corpus), np.array(corpus.labels)
        num_directions = x.shape[1] if size is None else size
        self.directions = discriminant_directions(x, labels, cells, num_directions)
        self.inverse = np.linalg.pinv(self.directions)
        variances = held_out_variances(x, labels, cells, np.array(corpus.speaker_ids), num_directions)
        self.variances = {name: np.maximum(variance, SMALLEST_VARIANCE) for name, variance in variances.items()}
        self.label_means = np.stack([x[labels == label].mean(0) for label in candidate_labels]) @ self.directions
        kept = self.directions @ self.inverse
        centers = _speaker_centers(x, labels, cells, np.array(corpus.speaker_ids))
        self.classifier = self.probe.classifier
        if num_directions < x.shape[1]:
            self.classifier = self.probe.fit_classifier(x @ kept, corpus.labels)
        self.centered_classifier = self.probe.fit_classifier((x - centers) @ kept, corpus.labels)
        self._embedded: tuple[Corpus, tuple[np.ndarray, np.ndarray]] | None = None
        self.weight = weight if weight is not None else self._choose_weight(corpus, validation)

    @property
    def candidate_labels(self) -> list[str]:
        """The labels to choose from."""
        return self.probe.candidate_labels

    def score(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        """Probabilities of the candidate labels; see [`Recognizer`]."""
        centered, evidence = self.read(corpus, episodes)
        return softmax(centered + self.weight * evidence, axis=1)

    def read(self, corpus: Corpus, episodes: Sequence[Episode]) -> tuple[np.ndarray, np.ndarray]:
        """
        The two parts of the floor.

        Args:
            corpus ([`Corpus`]): What the episodes index.
            episodes (`Sequence[Episode]`): Targets and their shots.

        Returns:
            `tuple`: the log-probabilities of the centered probe, and the evidence of the prototypes, both of shape
            `(num_episodes, num_labels)`.

        Raises:
            `ValueError`: If a shot has a label that is no candidate.
        """
        x, embeds = self.embed(corpus)
        batches = [episodes[start : start + BATCH_SIZE] for start in range(0, len(episodes), BATCH_SIZE)]
        parts = [self._read_batch(x, embeds, batch) for batch in batches]
        return np.concatenate([centered for centered, _ in parts]), np.concatenate([evidence for _, evidence in parts])

    def embed(self, corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
        """Standardized and whitened features, kept until another corpus is asked for."""
        if self._embedded is None or self._embedded[0] is not corpus:
            x = self.probe.standardize(corpus)
            self._embedded = corpus, (x, x @ self.directions)
        return self._embedded[1]

    def _read_batch(
        self, x: np.ndarray, embeds: np.ndarray, episodes: Sequence[Episode]
    ) -> tuple[np.ndarray, np.ndarray]:
        targets = [episode.target for episode in episodes]
        residuals, num_shots = self._label_residuals(embeds, episodes)
        speaker, manner, noise = (self.variances[name] for name in ("speaker", "speaker_label", "noise"))

        # Gaussian conditioning: a label's mean residual is `speaker` plus what differs by label and by shot.
        shots = num_shots[..., None]
        precision = np.divide(shots, shots * manner + noise)
        posterior_variance = 1 / (1 / speaker + precision.sum(1))
        center = posterior_variance * (precision * residuals).sum(1)
        certainty = 1 - posterior_variance.sum(1, keepdims=True) / speaker.sum()

        centered_x = (embeds[targets] - center) @ self.inverse
        centered = (1 - certainty) * self.probe.log_probabilities(self.classifier, centered_x)
        centered += certainty * self.probe.log_probabilities(self.centered_classifier, centered_x)

        expected = self.label_means + center[:, None]
        gain = manner * precision
        prototypes = expected + gain * (residuals - center[:, None])
        spread = noise + manner * (1 - gain) + (1 - gain) ** 2 * posterior_variance[:, None]
        prior_spread = (noise + manner + posterior_variance)[:, None]
        target = embeds[targets][:, None]
        evidence = _log_density(target, prototypes, spread) - _log_density(target, expected, prior_spread)
        return centered, evidence

    def _label_residuals(self, embeds: np.ndarray, episodes: Sequence[Episode]) -> tuple[np.ndarray, np.ndarray]:
        """How far the shots of each label are from its mean, on average, and how many there are."""
        column = {label: place for place, label in enumerate(self.candidate_labels)}
        size = (len(episodes), len(column))
        sums, num_shots = np.zeros((*size, embeds.shape[1])), np.zeros(size)
        for row, episode in enumerate(episodes):
            for shot, label in zip(episode.enrollment, episode.enrollment_labels, strict=True):
                if label not in column:
                    raise ValueError(f"A shot is labeled {label}, which is none of {', '.join(column)}.")
                sums[row, column[label]] += embeds[shot] - self.label_means[column[label]]
                num_shots[row, column[label]] += 1
        return sums / np.maximum(num_shots, 1)[..., None], num_shots

    def _choose_weight(self, corpus: Corpus, validation: Corpus | None) -> float:
        if validation is not None:
            return WEIGHTS[int(np.argmin(self._losses(validation)))]
        losses = np.zeros(len(WEIGHTS))
        for seen, unseen in GroupKFold(INNER_FOLDS).split(corpus.labels, groups=corpus.speaker_ids):
            part, held_out = (Corpus(corpus[index] for index in indices) for indices in (seen, unseen))
            floor = PrototypeBaseline(
                part, self.probe.pooled, self.candidate_labels, regularization=self.probe.regularization, weight=0.0
            )
            losses += floor._losses(held_out)
        return WEIGHTS[int(np.argmin(losses))]

    def _losses(self, corpus: Corpus) -> np.ndarray:
        """Summed cross entropy with each of `WEIGHTS`."""
        losses = np.zeros(len(WEIGHTS))
        for shots in TUNING_SHOTS:
            episodes = tuning_episodes(corpus, self.candidate_labels, shots)
            answers = [self.candidate_labels.index(episode.label) for episode in episodes]
            centered, evidence = self.read(corpus, episodes)
            for place, weight in enumerate(WEIGHTS):
                log_probabilities = log_softmax(centered + weight * evidence, axis=1)
                losses[place] -= log_probabilities[np.arange(len(episodes)), answers].sum()
        return losses


def tuning_episodes(corpus: Corpus, candidate_labels: list[str], shots: int) -> list[Episode]:
    """An episode for each utterance, with `shots` shots or as many as can be drawn, of the setting TU+LD."""
    episodes = []
    for target, label in enumerate(corpus.labels):
        k = min(shots, max_shots(corpus, target, "TU+LD"))
        enrollment = select_enrollment(corpus, target, k, "TU+LD", (0, shots, target))
        shot_labels = [corpus.labels[index] for index in enrollment]
        episodes.append(Episode(target, enrollment, label, shot_labels, candidate_labels))
    return episodes


def linear_layer(classifier: LogisticRegression) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias with a row for each class: of two classes, scikit-learn has the odds of the second alone."""
    weight, bias = np.asarray(classifier.coef_), np.asarray(classifier.intercept_)
    if len(classifier.classes_) > 2:
        return weight, bias
    return np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])


def check_corpus(corpus: Corpus, candidate_labels: Sequence[str]) -> None:
    """
    Refuses a corpus that a [`PrototypeBaseline`] cannot be fitted to.

    Raises:
        `ValueError`: If its labels are not the candidates, or variances cannot be estimated from it.
    """
    _check_labels(corpus, candidate_labels)
    _cells(corpus)


def _check_labels(corpus: Corpus, candidate_labels: Sequence[str]) -> None:
    absent = [label for label in candidate_labels if label not in corpus.labels]
    unknown = sorted(set(corpus.labels) - set(candidate_labels))
    if absent or unknown or len(candidate_labels) < 2:
        raise ValueError(
            f"A probe learns two or more candidates, all of its corpus; {', '.join(absent) or 'none'} of the "
            f"candidates have no utterance, and {', '.join(unknown) or 'none'} of the labels are no candidates. "
            "Load the corpus with `load_corpus(..., labels=...)` and name the candidates that it has."
        )


def _cells(corpus: Corpus) -> np.ndarray:
    """The pair of speaker and label of each utterance."""
    cells = [f"{speaker_id} {label}" for speaker_id, label in zip(corpus.speaker_ids, corpus.labels, strict=True)]
    num_cells, num_speakers = len(set(cells)), len(corpus.by_speaker)
    if num_speakers < 4 or num_cells in (len(corpus), num_speakers):
        raise ValueError(
            "Variances need at least four speakers with several labels and several utterances of a label; the corpus "
            f"has {num_speakers} speakers, {num_cells} pairs of speaker and label, and {len(corpus)} utterances."
        )
    return np.array(cells)


def _speaker_centers(x: np.ndarray, labels: np.ndarray, cells: np.ndarray, speaker_ids: np.ndarray) -> np.ndarray:
    """For each utterance, how far its speaker is from all speakers: the mean over the speaker's labels."""
    _, first = np.unique(cells, return_index=True)
    of_cells = (group_means(x, cells) - group_means(x, labels))[first]
    centers = group_means(of_cells, speaker_ids[first])
    speakers, place = np.unique(speaker_ids[first], return_index=True)
    return centers[place[np.searchsorted(speakers, speaker_ids)]]


def _log_density(x: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Log-density under Gaussians with independent dimensions, up to a constant."""
    return -0.5 * ((x - means) ** 2 / variances + np.log(variances)).sum(-1)
