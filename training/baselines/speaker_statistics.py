"""Fits the speaker adaptation to training speakers in closed form, and reads episodes by it, without any network."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from emoicl.modeling.adaptation_emoicl import EmoIclSpeakerAdaptation
from emoicl.modeling.configuration_emoicl import EmoIclAdaptationConfig
from emoicl.training.baselines.familiarity import fit_familiarity
from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.episodes import Episode
from emoicl.training.episodes.speaker_blocks import index_slots


logger = logging.getLogger(__name__)

# Inverse regularization that does best on pooled Whisper features, of a few values.
REGULARIZATION = 0.003
# Of the spread within a speaker and label towards a sphere: there are fewer utterances than pairs of dimensions.
SHRINKAGE = 0.5
SMALLEST_VARIANCE = 0.003
# Episodes at a time, each of which takes some arrays of priors by labels by dimensions.
BATCH_SIZE = 32


def fit_adaptation(corpus: Corpus, pooled: np.ndarray, config: EmoIclAdaptationConfig) -> EmoIclSpeakerAdaptation:
    """
    The speaker adaptation that the utterances of training speakers tell.

    Args:
        corpus ([`Corpus`]): Utterances of several speakers, with several takes of several labels.
        pooled (`np.ndarray` of shape `(num_utterances, num_features)`): Their pooled speech features.
        config ([`EmoIclAdaptationConfig`]): Size, sources and known labels, which are those of the corpus.

    Returns:
        [`EmoIclSpeakerAdaptation`]: In evaluation mode. `config` is its configuration.

    Raises:
        `ValueError`: If the labels of the corpus are not the known ones, variances cannot be estimated from it or from
            one of the sources, or a source is not there.
    """
    config.set_feature_size(pooled.shape[1])
    sources = [np.arange(len(corpus)), *split_sources(corpus, config.sources, config.label_words)]
    labels, speakers = np.array(corpus.labels), np.array(corpus.speaker_ids)
    logger.info("Fitting a speaker adaptation to %d utterances of %d speakers.", len(corpus), len(corpus.by_speaker))
    # Threads that wait for each other made a fit of one minute take twelve, on a machine with other work.
    with threadpool_limits(1):
        of_sources = [fit_source(pooled[rows], labels[rows], speakers[rows], config) for rows in sources]
        values = {name: np.stack([values[name] for values in of_sources]) for name in of_sources[0]}
        if config.sources:
            embeds = pooled @ values["projection.weight"][0].T + values["projection.bias"][0]
            values |= fit_source_classifier(embeds, corpus, config.sources)
        if config.familiarity_size:
            values |= fit_familiarity(pooled, speakers, config.familiarity_size)
    adaptation = EmoIclSpeakerAdaptation(config)
    adaptation.load_state_dict({name: torch.from_numpy(value).float() for name, value in values.items()})
    return adaptation.eval()


def fit_source(
    features: np.ndarray, labels: np.ndarray, speakers: np.ndarray, config: EmoIclAdaptationConfig
) -> dict[str, np.ndarray]:
    """The parameters of one source, by name, from utterances `(num_utterances, num_features)`."""
    scaler: Any = StandardScaler()
    x = scaler.fit_transform(features)
    cells = np.array([f"{speaker} {label}" for speaker, label in zip(speakers, labels, strict=True)])
    directions = discriminant_directions(x, labels, cells, config.size)
    inverse = np.linalg.pinv(directions)
    variances = held_out_variances(x, labels, cells, speakers, config.size)
    weight = (directions / scaler.scale_[:, None]).T
    values = {
        "projection.weight": weight,
        "projection.bias": -weight @ scaler.mean_,
        "label_means": np.stack([x[labels == label].mean(0) for label in config.label_words]) @ directions,
        **{
            f"log_variances.{component}": np.log(np.maximum(variance, SMALLEST_VARIANCE))
            for component, variance in variances.items()
        },
    }
    # In the space of the features, where all directions are regularized alike.
    for name, centers in (("probe", 0.0), ("centered_probe", speaker_centers(x, labels, cells, speakers))):
        probe = LogisticRegression(C=REGULARIZATION, max_iter=1000).fit((x - centers) @ directions @ inverse, labels)
        weight, bias = linear_layer(probe, config.label_words)
        values |= {f"{name}.weight": weight @ inverse.T, f"{name}.bias": bias}
    return values


def fit_source_classifier(embeds: np.ndarray, corpus: Corpus, sources: Sequence[str]) -> dict[str, np.ndarray]:
    """The parameters that tell sources by the voice embeddings of all of them as one, which come first."""
    names = [utterance.corpus for utterance in corpus]
    numbers = [sources.index(name) + 1 if name in sources else 0 for name in names]
    # Alike, because a speaker of a small corpus is no less probable to use the model.
    classifier = LogisticRegression(C=REGULARIZATION, max_iter=1000, class_weight="balanced").fit(embeds, numbers)
    weight, bias = linear_layer(classifier, sorted(set(numbers)))
    if len(bias) == len(sources):
        # All utterances are of a named source: another was not there to learn from, and is never heard.
        weight, bias = np.concatenate([np.zeros_like(weight[:1]), weight]), np.concatenate([[-1e4], bias])
    return {"source_classifier.weight": weight, "source_classifier.bias": bias}


def linear_layer(classifier: LogisticRegression, classes: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias with a row for each of the classes: of two, scikit-learn has the odds of the second alone."""
    weight, bias = np.asarray(classifier.coef_), np.asarray(classifier.intercept_)
    if len(classifier.classes_) == 2:
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    rows = np.searchsorted(classifier.classes_, classes)
    return weight[rows], bias[rows]


@torch.no_grad()
def label_evidence(adaptation: EmoIclSpeakerAdaptation, pooled: np.ndarray, episodes: Sequence[Episode]) -> np.ndarray:
    """
    The evidence of a speaker adaptation for its known labels.

    Args:
        adaptation ([`EmoIclSpeakerAdaptation`]): What gives the evidence.
        pooled (`np.ndarray` of shape `(num_utterances, num_features)`): Pooled features of the corpus.
        episodes (`Sequence[Episode]`): Targets and their shots, by their index in the corpus.

    Returns:
        `np.ndarray` of shape `(num_episodes, num_labels)`, float64.
    """
    voice_embeds = adaptation.project(torch.from_numpy(pooled).float())
    known, evidence = adaptation.config.label_words, []
    for start in range(0, len(episodes), BATCH_SIZE):
        slots = index_slots(episodes[start : start + BATCH_SIZE], known)
        evidence.append(adaptation.evidence(voice_embeds, **slots)[:, : len(known)])
    return torch.cat(evidence).double().numpy()


def evidence_parts(
    adaptation: EmoIclSpeakerAdaptation, pooled: np.ndarray, episodes: Sequence[Episode]
) -> tuple[np.ndarray, np.ndarray]:
    """The evidence of the probe alone and that of the prototypes alone, of which any weights give the weighted sum;
    the arguments are those of [`label_evidence`]. Leaves the weights at 0 and 1."""
    adaptation.config.probe_weight, adaptation.config.prototype_weight = 1.0, 0.0
    probe = label_evidence(adaptation, pooled, episodes)
    adaptation.config.probe_weight, adaptation.config.prototype_weight = 0.0, 1.0
    return probe, label_evidence(adaptation, pooled, episodes)


def split_sources(corpus: Corpus, sources: Sequence[str], labels: Sequence[str]) -> list[np.ndarray]:
    """
    The indices of the utterances of each of these source corpora (`"ravdess"` of the speaker `"ravdess/01"`).

    Raises:
        `ValueError`: If the labels of the corpus are not these, variances cannot be estimated from it, there is no
            such source or no other, or one lacks what a corpus must have.
    """
    check_corpus(corpus, labels)
    names = np.array([utterance.corpus for utterance in corpus])
    known = sorted(set(names.tolist()))
    spoken = [name or "one without a name" for name in known]
    if absent := [source for source in sources if source not in known]:
        raise ValueError(f"`sources` names {', '.join(absent)}; the training corpora are {', '.join(spoken)}.")
    if sources and len(known) < 2:
        raise ValueError(f"`sources` tells corpora apart, and {spoken[0]} is the only one: leave it out.")
    rows = [np.flatnonzero(names == source) for source in sources]
    for source, of_source in zip(sources, rows, strict=True):
        try:
            check_corpus(Corpus(corpus[row] for row in of_source.tolist()), labels)
        except ValueError as error:
            raise ValueError(f"{source} cannot be one of `sources`: {error}") from error
    return rows


def check_labels(corpus: Corpus, candidate_labels: Sequence[str]) -> None:
    """
    Refuses a corpus whose labels are not those that a probe is to learn.

    Raises:
        `ValueError`: If one has no utterance, there are others, or there are fewer than two.
    """
    absent = [label for label in candidate_labels if label not in corpus.labels]
    unknown = sorted(set(corpus.labels) - set(candidate_labels))
    if absent or unknown or len(candidate_labels) < 2:
        raise ValueError(
            f"A probe learns two or more candidates, all of its corpus; {', '.join(absent) or 'none'} of the "
            f"candidates have no utterance, and {', '.join(unknown) or 'none'} of the labels are no candidates. "
            "Load the corpus with `load_corpus(..., labels=...)` and name the candidates that it has."
        )


def check_corpus(corpus: Corpus, candidate_labels: Sequence[str]) -> None:
    """
    Refuses a corpus that a speaker adaptation cannot be fitted to.

    Raises:
        `ValueError`: If its labels are not the candidates, or it has too few speakers, labels of a speaker, or takes
            of a label for an estimate of the variances.
    """
    check_labels(corpus, candidate_labels)
    num_cells, num_speakers = len(set(zip(corpus.speaker_ids, corpus.labels, strict=True))), len(corpus.by_speaker)
    if num_speakers < 4 or num_cells in (len(corpus), num_speakers):
        raise ValueError(
            "Variances need at least four speakers with several labels and several utterances of a label; the corpus "
            f"has {num_speakers} speakers, {num_cells} pairs of speaker and label, and {len(corpus)} utterances."
        )


def discriminant_directions(x: np.ndarray, labels: np.ndarray, cells: np.ndarray, size: int | None) -> np.ndarray:
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
    x: np.ndarray, labels: np.ndarray, cells: np.ndarray, speakers: np.ndarray, size: int | None
) -> dict[str, np.ndarray]:
    """Variances along discriminant directions that were made from the other half of the speakers, by rank."""
    _, speaker = np.unique(speakers, return_inverse=True)
    of_halves = []
    for half in (0, 1):
        seen = speaker % 2 == half
        embeds = x[~seen] @ discriminant_directions(x[seen], labels[seen], cells[seen], size)
        of_halves.append(variance_components(embeds, labels[~seen], cells[~seen], speakers[~seen]))
    return {component: np.mean([of_half[component] for of_half in of_halves], axis=0) for component in of_halves[0]}


def variance_components(
    x: np.ndarray, labels: np.ndarray, cells: np.ndarray, speakers: np.ndarray
) -> dict[str, np.ndarray]:
    """Variances of speaker, speaker-and-label, label and noise, each of shape `(size,)`, by the method of moments."""
    of_cells, of_labels = group_means(x, cells), group_means(x, labels)
    noise = ((x - of_cells) ** 2).sum(0) / (len(x) - len(set(cells)))
    takes = len(x) / len(set(cells))
    labels_per_speaker = len(set(cells)) / len(set(speakers))
    of_speakers = group_means(x - of_labels, speakers)
    deviations = of_cells - of_labels - of_speakers
    speaker_label = deviations.var(0) * labels_per_speaker / (labels_per_speaker - 1) - noise / takes
    speaker_label = np.maximum(speaker_label, SMALLEST_VARIANCE)
    speaker = of_speakers.var(0) - (speaker_label + noise / takes) / labels_per_speaker
    return {"speaker": speaker, "speaker_label": speaker_label, "unknown_label": of_labels.var(0), "noise": noise}


def speaker_centers(x: np.ndarray, labels: np.ndarray, cells: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """For each utterance, how far its speaker is from all speakers: the mean over the speaker's labels."""
    _, first = np.unique(cells, return_index=True)
    of_cells = (group_means(x, cells) - group_means(x, labels))[first]
    centers = group_means(of_cells, speakers[first])
    names, place = np.unique(speakers[first], return_index=True)
    return centers[place[np.searchsorted(names, speakers)]]


def group_means(x: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """For each row of `x`, the mean over the rows of its group."""
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    members = csr_array((np.ones(len(group)), (group, np.arange(len(group)))))
    return (members @ x / counts[:, None])[group]
