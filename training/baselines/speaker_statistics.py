"""Fits the speaker adaptation to training speakers in closed form, and reads episodes by it, without any network."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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


@dataclass(frozen=True)
class Factors:
    """
    What an utterance depends on, for each of them.

    Args:
        labels (`np.ndarray` of shape `(num_utterances,)`): Label words.
        speakers (`np.ndarray` of shape `(num_utterances,)`): Who speaks, of one corpus each.
        corpora (`np.ndarray` of shape `(num_utterances,)`): Which corpus the speaker is of.
        people (`np.ndarray` of shape `(num_utterances,)`, *optional*): Whose recording it is, of a copy too; by
            default the speaker's.
    """

    labels: np.ndarray
    speakers: np.ndarray
    corpora: np.ndarray
    people: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self):
        if not len(self.people):
            object.__setattr__(self, "people", self.speakers)

    @classmethod
    def of_corpus(cls, corpus: Corpus) -> "Factors":
        """Of the utterances of a corpus, or of several as one."""
        corpora = [utterance.corpus for utterance in corpus]
        return cls(np.array(corpus.labels), np.array(corpus.speaker_ids), np.array(corpora))

    def __getitem__(self, rows: np.ndarray) -> "Factors":
        return Factors(self.labels[rows], self.speakers[rows], self.corpora[rows], self.people[rows])

    def with_copies(self, number: int) -> "Factors":
        """These, and so many times the same of other speakers."""
        speakers = [self.speakers, *(np.char.add(self.speakers, f" as copy {copy}") for copy in range(number))]
        labels, corpora, people = (np.tile(of, 1 + number) for of in (self.labels, self.corpora, self.people))
        return Factors(labels, np.concatenate(speakers), corpora, people)

    @cached_property
    def cells(self) -> np.ndarray:
        """The number of the pair of speaker and label."""
        (_, speaker), (known, label) = (np.unique(of, return_inverse=True) for of in (self.speakers, self.labels))
        return speaker * len(known) + label

    @cached_property
    def num_cells(self) -> int:
        """How many pairs of speaker and label there are."""
        return len(set(self.cells))

    @cached_property
    def one_of_each_cell(self) -> np.ndarray:
        """An utterance of each pair."""
        return np.unique(self.cells, return_index=True)[1]


def fit_adaptation(
    corpus: Corpus, pooled: np.ndarray, config: EmoIclAdaptationConfig, copies: Sequence[np.ndarray] = ()
) -> EmoIclSpeakerAdaptation:
    """
    The speaker adaptation that the utterances of training speakers tell.

    Args:
        corpus ([`Corpus`]): Utterances of several speakers, with several takes of several labels.
        pooled (`np.ndarray` of shape `(num_utterances, num_features)`): Their pooled speech features.
        config ([`EmoIclAdaptationConfig`]): Size, sources and known labels, which are those of the corpus.
        copies (`Sequence[np.ndarray]`, *optional*): The same of copies of all speakers, who count as others; see
            [`Augmentation`].

    Returns:
        [`EmoIclSpeakerAdaptation`]: In evaluation mode. `config` is its configuration.

    Raises:
        `ValueError`: If the labels of the corpus are not the known ones, variances cannot be estimated from it or from
            one of the sources, or a source is not there.
    """
    config.set_feature_size(pooled.shape[1])
    sources = [np.arange(len(corpus)), *split_sources(corpus, config.sources, config.label_words)]
    factors = Factors.of_corpus(corpus)
    logger.info("Fitting a speaker adaptation to %d utterances of %d speakers.", len(corpus), len(corpus.by_speaker))
    # Threads that wait for each other made a fit of one minute take twelve, on a machine with other work.
    with threadpool_limits(1):
        of_sources = [
            fit_source(
                np.concatenate([of_copy[rows] for of_copy in (pooled, *copies)]),
                factors[rows].with_copies(len(copies)),
                config,
                # A copy tells less than another utterance.
                REGULARIZATION / (1 + len(copies)),
            )
            for rows in sources
        ]
        values = {name: np.stack([values[name] for values in of_sources]) for name in of_sources[0]}
        if config.sources:
            embeds = pooled @ values["projection.weight"][0].T + values["projection.bias"][0]
            values |= fit_source_classifier(embeds, corpus, config.sources)
        if config.familiarity_size:
            values |= fit_familiarity(pooled, factors.speakers, config.familiarity_size)
    adaptation = EmoIclSpeakerAdaptation(config)
    adaptation.load_state_dict({name: torch.from_numpy(value).float() for name, value in values.items()})
    return adaptation.eval()


def fit_source(
    features: np.ndarray, factors: Factors, config: EmoIclAdaptationConfig, regularization: float
) -> dict[str, np.ndarray]:
    """The parameters of one source, by name, from utterances `(num_utterances, num_features)`."""
    scaler: Any = StandardScaler()
    x = scaler.fit_transform(features)
    directions = discriminant_directions(x, factors, config.size)
    inverse = np.linalg.pinv(directions)
    variances = held_out_variances(x, factors, config.size)
    weight = (directions / scaler.scale_[:, None]).T
    of_labels = label_means(x, factors)
    rows = [int(np.argmax(factors.labels == label)) for label in config.label_words]
    values = {
        "projection.weight": weight,
        "projection.bias": -weight @ scaler.mean_,
        "label_means": of_labels[rows] @ directions,
        **{
            f"log_variances.{component}": np.log(np.maximum(variance, SMALLEST_VARIANCE))
            for component, variance in variances.items()
        },
    }
    # In the space of the features, where all directions are regularized alike.
    for name, centers in (("probe", 0.0), ("centered_probe", speaker_centers(x - of_labels, factors))):
        probe = LogisticRegression(C=regularization, max_iter=1000)
        probe.fit((x - centers) @ directions @ inverse, factors.labels)
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
    num_known = len(adaptation.config.label_words)
    evidence = [
        adaptation.evidence(**batch, named=named, trust=adaptation.trust(**batch))[:, :num_known]
        for batch, named in _batches(adaptation, pooled, episodes)
    ]
    return torch.cat(evidence).double().numpy()


@torch.no_grad()
def label_trust(adaptation: EmoIclSpeakerAdaptation, pooled: np.ndarray, episodes: Sequence[Episode]) -> np.ndarray:
    """By which share the language model counts in each episode, of shape `(num_episodes,)`; the arguments are those of
    [`label_evidence`]."""
    trust = [adaptation.trust(**batch) for batch, _ in _batches(adaptation, pooled, episodes)]
    return torch.cat(trust).double().numpy()


def _batches(
    adaptation: EmoIclSpeakerAdaptation, pooled: np.ndarray, episodes: Sequence[Episode]
) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
    """What evidence and trust are told of some episodes at a time, and which labels somebody named."""
    voice_embeds = adaptation.project(torch.from_numpy(pooled).float())
    for start in range(0, len(episodes), BATCH_SIZE):
        slots = index_slots(episodes[start : start + BATCH_SIZE], adaptation.config.label_words)
        named = slots.pop("named")
        yield {"voice_embeds": voice_embeds, **slots}, named


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


def discriminant_directions(x: np.ndarray, factors: Factors, size: int | None) -> np.ndarray:
    """Directions `(num_features, size)` that whiten the spread within a speaker and label, most telling first."""
    of_cells, of_labels = group_means(x, factors.cells), label_means(x, factors)
    within = (x - of_cells).T @ (x - of_cells) / (len(x) - factors.num_cells)
    within = (1 - SHRINKAGE) * within + SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    between = np.cov(of_labels.T) + np.cov((of_cells - of_labels).T)
    eigenvalues, directions = eigh(between, within)
    return directions[:, np.argsort(-eigenvalues)[:size]]


def held_out_variances(x: np.ndarray, factors: Factors, size: int | None) -> dict[str, np.ndarray]:
    """Variances along discriminant directions that were made from the other half of the speakers, by rank."""
    # By people, for to a speaker's directions a copy of the speaker is nobody new.
    _, person = np.unique(factors.people, return_inverse=True)
    of_halves = []
    for half in (0, 1):
        seen = person % 2 == half
        embeds = x[~seen] @ discriminant_directions(x[seen], factors[seen], size)
        of_halves.append(variance_components(embeds, factors[~seen]))
    return {component: np.mean([of_half[component] for of_half in of_halves], axis=0) for component in of_halves[0]}


def variance_components(x: np.ndarray, factors: Factors) -> dict[str, np.ndarray]:
    """Variances of speaker, speaker-and-label, label and noise, each of shape `(size,)`, by the method of moments."""
    of_cells, of_labels = group_means(x, factors.cells), label_means(x, factors)
    noise = ((x - of_cells) ** 2).sum(0) / (len(x) - factors.num_cells)
    takes = len(x) / factors.num_cells
    labels_per_speaker = factors.num_cells / len(set(factors.speakers))
    of_speakers = speaker_centers(x - of_labels, factors)
    deviations = of_cells - of_labels - of_speakers
    speaker_label = deviations.var(0) * labels_per_speaker / (labels_per_speaker - 1) - noise / takes
    speaker_label = np.maximum(speaker_label, SMALLEST_VARIANCE)
    speaker = of_speakers.var(0) - (speaker_label + noise / takes) / labels_per_speaker
    return {"speaker": speaker, "speaker_label": speaker_label, "unknown_label": of_labels.var(0), "noise": noise}


def label_means(x: np.ndarray, factors: Factors) -> np.ndarray:
    """
    For each utterance, what its label sounds like of an average speaker: least squares of `label + speaker` to the
    means of all pairs of the two, in which all corpora count alike.

    The plain mean of a label is also that of those who say it: one that a corpus lacks would sound like the rooms of
    the others, and all labels as in the largest corpus.
    """
    of_cells, cells = group_means(x, factors.cells)[factors.one_of_each_cell], factors[factors.one_of_each_cell]
    known, label = np.unique(cells.labels, return_inverse=True)
    is_label = np.eye(len(known))[label]
    _, corpus, num_cells = np.unique(cells.corpora, return_inverse=True, return_counts=True)
    weights = num_cells[corpus, None] ** -0.5
    is_label_within, cells_within = (weights * (of - group_means(of, cells.speakers)) for of in (is_label, of_cells))
    effects, *_ = np.linalg.lstsq(is_label_within, cells_within, rcond=None)
    of_speakers = group_means(of_cells - is_label @ effects, cells.speakers)
    average = np.mean([of_speakers[corpus == number].mean(0) for number in range(len(num_cells))], axis=0)
    return (average + effects)[np.searchsorted(known, factors.labels)]


def speaker_centers(residuals: np.ndarray, factors: Factors) -> np.ndarray:
    """For each utterance, how far its speaker is from an average one: the mean over the speaker's labels, of
    utterances less what their labels sound like."""
    first = factors.one_of_each_cell
    of_speakers = group_means(group_means(residuals, factors.cells)[first], factors.speakers[first])
    names, place = np.unique(factors.speakers[first], return_index=True)
    return of_speakers[place[np.searchsorted(names, factors.speakers)]]


def group_means(x: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """For each row of `x`, the mean over the rows of its group."""
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    members = csr_array((np.ones(len(group)), (group, np.arange(len(group)))))
    return (members @ x / counts[:, None])[group]
