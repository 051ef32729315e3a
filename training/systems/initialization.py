"""What a model can know of its training corpus in closed form, before the first step: statistics of the features."""

import numpy as np
import torch
from scipy.linalg import eigh
from tqdm.auto import tqdm

from emoicl.modeling.adaptation_emoicl import pool_statistics
from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache


# Of the spread within a speaker and label towards a sphere: there are fewer utterances than pairs of dimensions.
SHRINKAGE = 0.5
SMALLEST_VARIANCE = 0.003


def fit_feature_normalization(
    model: EmoIclForConditionalGeneration | EmoIclForAudioClassification,
    corpus: Corpus,
    features: FeatureCache,
    num_utterances: int = 500,
) -> None:
    """
    Sets the scale and shift of the speech features, where the Q-Former or the classifier takes them in, so that each
    dimension has mean 0 and variance 1.

    Args:
        model ([`EmoIclForConditionalGeneration`] or [`EmoIclForAudioClassification`]): The model, changed in place.
        corpus ([`Corpus`]): Training utterances.
        features ([`FeatureCache`]): Holds their speech features.
        num_utterances (`int`, *optional*, defaults to 500): How many utterances, evenly spread, to take.
    """
    batch = features.load(corpus.utterances[:: max(1, len(corpus) // num_utterances)])
    frames = batch["speech_features"][batch["speech_features_mask"].bool()].float()
    mean, spread = frames.mean(0), frames.std(0) + 1e-4
    reader = model.utterance_encoder if isinstance(model, EmoIclForAudioClassification) else model.model.qformer
    with torch.no_grad():
        reader.feature_scale.copy_(1 / spread)
        reader.feature_shift.copy_(-mean / spread)


def pool_corpus(corpus: Corpus, features: FeatureCache, batch_size: int = 64) -> np.ndarray:
    """Mean and standard deviation over time of each utterance's features, `(num_utterances, 2 * hidden_size)`."""
    features.fill(corpus)
    pooled = []
    for start in tqdm(range(0, len(corpus), batch_size), desc="Pooling", unit="batch", disable=None):
        batch = features.load(corpus.utterances[start : start + batch_size])
        pooled.append(pool_statistics(batch["speech_features"], batch["speech_features_mask"]))
    return torch.cat(pooled).double().numpy()


def discriminant_directions(x: np.ndarray, labels: np.ndarray, cells: np.ndarray, size: int) -> np.ndarray:
    """Directions `(num_features, size)` that whiten the spread within a speaker and label, most telling first."""
    residuals = x - group_means(x, cells)
    within = residuals.T @ residuals / (len(x) - len(set(cells)))
    within = (1 - SHRINKAGE) * within + SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    of_labels = group_means(x, labels)
    of_cells = group_means(x, cells) - of_labels
    between = np.cov(of_labels.T) + np.cov(of_cells.T)
    eigenvalues, directions = eigh(between, within)
    return directions[:, np.argsort(-eigenvalues)[:size]]


def held_out_variances(
    x: np.ndarray, labels: np.ndarray, cells: np.ndarray, speaker_ids: np.ndarray, size: int
) -> dict[str, np.ndarray]:
    """Variances along discriminant directions that were made from the other half of the speakers, by rank."""
    _, speaker = np.unique(speaker_ids, return_inverse=True)
    of_halves = []
    for half in (0, 1):
        seen = speaker % 2 == half
        embeds = x[~seen] @ discriminant_directions(x[seen], labels[seen], cells[seen], size)
        of_halves.append(variance_components(embeds, labels[~seen], cells[~seen], speaker_ids[~seen]))
    return {source: np.mean([of_half[source] for of_half in of_halves], axis=0) for source in of_halves[0]}


def variance_components(
    x: np.ndarray, labels: np.ndarray, cells: np.ndarray, speaker_ids: np.ndarray
) -> dict[str, np.ndarray]:
    """Variances of speaker, speaker-and-label, label and noise, each of shape `(size,)`, by the method of moments."""
    of_cells, of_labels = group_means(x, cells), group_means(x, labels)
    noise = ((x - of_cells) ** 2).sum(0) / (len(x) - len(set(cells)))
    takes = len(x) / len(set(cells))
    labels_per_speaker = len(set(cells)) / len(set(speaker_ids))
    of_speakers = group_means(x - of_labels, speaker_ids)
    deviations = of_cells - of_labels - of_speakers
    speaker_label = deviations.var(0) * labels_per_speaker / (labels_per_speaker - 1) - noise / takes
    speaker_label = np.maximum(speaker_label, SMALLEST_VARIANCE)
    speaker = of_speakers.var(0) - (speaker_label + noise / takes) / labels_per_speaker
    return {"speaker": speaker, "speaker_label": speaker_label, "unknown_label": of_labels.var(0), "noise": noise}


def group_means(x: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """For each row of `x`, the mean over the rows of its group."""
    _, group = np.unique(groups, return_inverse=True)
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return (np.add.reduceat(x[order], starts) / counts[:, None])[group]
