"""The baseline that tunes features on the shots of each speaker, the way of SetFit."""

from collections.abc import Sequence
from itertools import combinations
from weakref import WeakKeyDictionary

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch.nn.functional import normalize

from emoicl.modeling.adaptation_emoicl import pool_statistics
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.episodes import Episode


# Parts of an utterance: all of it, and either half. Where each label has one shot, no others are pairs of a label.
PARTS = ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0))
NUM_STEPS = 40
LEARNING_RATE = 0.05


class CroppedFeatures:
    """
    Pooled speech features of parts of each utterance, pooled once for each corpus and kept in memory.

    Args:
        features ([`FeatureCache`]): Holds the speech features.
    """

    def __init__(self, features: FeatureCache):
        self.features = features
        self._of_corpora: WeakKeyDictionary[Corpus, torch.Tensor] = WeakKeyDictionary()

    def __call__(self, corpus: Corpus) -> torch.Tensor:
        """Float64 of shape `(num_utterances, num_parts, 2 * speech_feature_size)`."""
        if corpus not in self._of_corpora:
            self.features.fill(corpus)
            rows = []
            for utterance in corpus:
                batch = self.features.load([utterance])
                frames = batch["speech_features"][:, : int(batch["speech_features_mask"].sum())]
                spans = [(int(start * frames.shape[1]), int(end * frames.shape[1])) for start, end in PARTS]
                parts = [frames[:, start : max(end, start + 1)] for start, end in spans]
                rows.append(torch.cat([pool_statistics(part, torch.ones(part.shape[:2])) for part in parts]))
            self._of_corpora[corpus] = torch.stack(rows).double()
        return self._of_corpora[corpus]


class ContrastiveShots:
    """
    Contrastive tuning on the labeled shots of an episode and nothing else, then a logistic regression on what was
    tuned (SetFit, Tunstall et al. 2022): a [`Recognizer`] without training speakers. Cosines of pairs of a label are
    drawn to 1, those of others to 0.

    SetFit tunes the whole encoder, for each episode anew. What is tuned here is a linear map of its pooled features,
    in the span of the shots, which takes milliseconds in place of minutes.

    Args:
        cropped ([`CroppedFeatures`]): Gives the features of a corpus.
        candidate_labels (`Sequence[str]`): Labels to choose from.
    """

    def __init__(self, cropped: CroppedFeatures, candidate_labels: Sequence[str]):
        self.cropped = cropped
        self.candidate_labels = list(candidate_labels)

    def score(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        """Probabilities of the candidate labels; see [`Recognizer`]. A label without a shot has its share."""
        features = self.cropped(corpus)
        with threadpool_limits(1):
            return np.stack([self._score(features, episode) for episode in episodes])

    def _score(self, features: torch.Tensor, episode: Episode) -> np.ndarray:
        num_labels = len(self.candidate_labels)
        probabilities = np.full(num_labels, 1 / num_labels)
        pairs = zip(episode.enrollment, episode.enrollment_labels, strict=True)
        labeled = [(index, label) for index, label in pairs if label in self.candidate_labels]
        known = [label for _, label in labeled if label is not None]
        if len(set(known)) < 2:
            return probabilities
        shots = features[[index for index, _ in labeled]]
        mean, spread = shots.flatten(0, 1).mean(0), shots.flatten(0, 1).std(0)
        shots, target = ((x - mean) / (spread + spread.mean()) for x in (shots, features[episode.target, 0]))
        # Gradients of the map are sums of shots: outside of their span it stays as it is, and tells nothing of them.
        span, _ = torch.linalg.qr(shots.flatten(0, 1).T)
        parts = shots @ span
        weight = tune(parts.flatten(0, 1), np.repeat(known, len(PARTS)))
        embeds = normalize(parts[:, 0] @ weight, dim=-1).numpy()
        classifier = LogisticRegression(max_iter=1000).fit(embeds, known)
        columns = [self.candidate_labels.index(label) for label in classifier.classes_]
        of_target = classifier.predict_proba(normalize(target @ span @ weight, dim=-1).numpy()[None])[0]
        probabilities[columns] = of_target * len(columns) / num_labels
        return probabilities


def tune(x: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
    """The linear map `(size, size)` after which utterances `(num_utterances, size)` of a label point the same way."""
    first, second = torch.tensor(list(combinations(range(len(x)), 2))).T
    same = torch.from_numpy(labels[first.numpy()] == labels[second.numpy()])
    weight = torch.eye(x.shape[1], dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(NUM_STEPS):
            embeds = normalize(x @ weight, dim=-1)
            errors = (embeds[first] * embeds[second]).sum(-1) - same.to(x)
            # Few of the pairs are of one label, and count as much as all others.
            loss = errors[same].square().mean() + errors[~same].square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return weight.detach()
