"""Floors of several source corpora: the closed forms that [`EmoIclAdaptationMixture`] is the twin of."""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from emoicl.training.baselines.prototypes import REGULARIZATION, Pooling, PrototypeBaseline, check_corpus, linear_layer
from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.episodes import Episode


class BaselineMixture:
    """
    A [`PrototypeBaseline`] of all source corpora and one of each that is named, mixed by how probably an episode's
    utterances were recorded as each of them was. What sounds like a corpus that is not named is read by that of all.

    Args:
        corpus ([`Corpus`]): Training utterances of several source corpora (`"ravdess"` of the speaker `"ravdess/01"`).
        pooled ([`PooledFeatures`] or `Callable`): Gives the features of the training and validation utterances.
        candidate_labels (`Sequence[str]`): Labels to choose from.
        sources (`Sequence[str]`): The source corpora with a floor of their own.
        size (`int`, *optional*): Number of discriminant directions to keep of the features, by default all.

    Raises:
        `ValueError`: If there is no such source or no other, or one lacks what a [`PrototypeBaseline`] is fitted to.
    """

    def __init__(
        self,
        corpus: Corpus,
        pooled: Pooling,
        candidate_labels: Sequence[str],
        sources: Sequence[str],
        size: int | None = None,
    ):
        self.candidate_labels = list(candidate_labels)
        parts = [corpus, *split_sources(corpus, sources, candidate_labels)]
        self.floors = [PrototypeBaseline(part, pooled, candidate_labels, weight=0.0, size=size) for part in parts]
        numbers = {source: number for number, source in enumerate(sources, start=1)}
        numbers_of_utterances = [numbers.get(utterance.corpus, 0) for utterance in corpus]
        # Alike, because a speaker of a small corpus is no less probable to use the model.
        self.source_classifier = LogisticRegression(C=REGULARIZATION, max_iter=1000, class_weight="balanced")
        self.source_classifier.fit(self.floors[0].embed(corpus)[1], numbers_of_utterances)

    @property
    def source_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """The classifier of sources as a linear layer: `(num_sources, size)` and `(num_sources,)`, "all" first."""
        num_sources, classes = len(self.floors), self.source_classifier.classes_
        weight, bias = linear_layer(self.source_classifier)
        # A corpus that was not there to learn from is never heard.
        weights, biases = np.zeros((num_sources, weight.shape[1])), np.full(num_sources, -1e4)
        weights[classes], biases[classes] = weight, bias
        return weights, biases

    def source_shares(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        """Probabilities of the sources, by an episode's mean logits, of shape `(num_episodes, num_sources)`."""
        weights, biases = self.source_weights
        logits = self.floors[0].embed(corpus)[1] @ weights.T + biases
        means = [logits[[*episode.enrollment, episode.target]].mean(0) for episode in episodes]
        return softmax(np.stack(means), axis=1)

    def read(self, corpus: Corpus, episodes: Sequence[Episode]) -> tuple[np.ndarray, np.ndarray]:
        """The two parts of the floors, see [`~PrototypeBaseline.read`], averaged by the shares of the sources."""
        shares = self.source_shares(corpus, episodes).T[..., None]
        centered, evidence = zip(*(floor.read(corpus, episodes) for floor in self.floors), strict=True)
        return (shares * np.stack(centered)).sum(0), (shares * np.stack(evidence)).sum(0)


def split_sources(corpus: Corpus, sources: Sequence[str], candidate_labels: Sequence[str]) -> list[Corpus]:
    """
    The utterances of each of these source corpora.

    Raises:
        `ValueError`: If there is no such source or no other, or one lacks what a [`PrototypeBaseline`] is fitted to.
    """
    known = sorted(set(corpus.corpus_of.values()))
    if absent := [source for source in sources if source not in known]:
        raise ValueError(
            f"`adaptation_sources` names {', '.join(absent)}; the training corpora are {', '.join(known)}."
        )
    if sources and len(known) < 2:
        raise ValueError(f"`adaptation_sources` tells corpora apart, and {known[0]} is the only one: leave it out.")
    parts = [Corpus(utterance for utterance in corpus if utterance.corpus == source) for source in sources]
    for source, part in zip(sources, parts, strict=True):
        try:
            check_corpus(part, candidate_labels)
        except ValueError as error:
            raise ValueError(f"{source} cannot be one of `adaptation_sources`: {error}") from error
    return parts
