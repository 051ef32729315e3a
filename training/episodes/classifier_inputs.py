"""Training items of the paper's classifiers: a target, and one utterance of the speaker for each enrollment label."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, Sampler

from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.modeling.modeling_emoicl import IGNORED
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.training.data.corpus import Corpus, Utterance
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.collation import load_speech
from emoicl.training.episodes.episodes import Episode


class InputCache:
    """
    What a speech encoder that is trained reads, by clip, in memory.

    Args:
        feature_extractor ([`EmoIclFeatureExtractor`]): Turns clips into it.
    """

    def __init__(self, feature_extractor: EmoIclFeatureExtractor):
        self.feature_extractor = feature_extractor
        self._features: dict[str, torch.Tensor] = {}

    def fill(self, utterances: Iterable[Utterance]) -> None:
        """Computes the features that are missing."""
        for utterance in utterances:
            if utterance.audio_sha256 not in self._features:
                waveform = self.feature_extractor.decode(utterance.audio, name=utterance.name)
                features = self.feature_extractor(waveform)["input_features"][0]
                self._features[utterance.audio_sha256] = features.T.half()

    def fill_together(self, utterances: Sequence[Utterance]) -> None:
        """Nothing: what a process reads is in its own memory, and computed when it is read."""

    def load(self, utterances: Sequence[Utterance]) -> dict[str, torch.Tensor]:
        """The features of a batch.

        Returns:
            `dict` of `input_features`, float32 of shape `(num_utterances, feature_size, num_frames)`, and
            `input_features_mask` of shape `(num_utterances, num_frames)`.
        """
        self.fill(utterances)
        features = [self._features[utterance.audio_sha256].float() for utterance in utterances]
        return pad_inputs(features, self.feature_extractor.padding_value)


def pad_inputs(features: Sequence[torch.Tensor], padding_value: float) -> dict[str, torch.Tensor]:
    """A batch of inputs `(num_frames, feature_size)` of a speech encoder, as [`InputCache.load`] returns it."""
    padded = pad_sequence(list(features), batch_first=True, padding_value=padding_value)
    lengths = torch.tensor([len(of_utterance) for of_utterance in features])
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    return {"input_features": padded.transpose(1, 2), "input_features_mask": mask.long()}


SpeechSource = FeatureCache | InputCache


def speech_source(model: EmoIclForAudioClassification, feature_extractor: EmoIclFeatureExtractor) -> SpeechSource:
    """Where a model takes utterances from: the default folder of features if its speech encoder is frozen."""
    if model.config.freeze_speech_encoder:
        return FeatureCache(model, feature_extractor)
    return InputCache(feature_extractor)


class ClassifierDataset(Dataset[Episode]):
    """
    One item for each utterance of a corpus: with it, one utterance of its speaker for each enrollment label, drawn
    anew each epoch by `(seed, epoch, item)`. It is never the target itself. A label that the speaker has no other
    utterance of is left out.

    Args:
        corpus ([`Corpus`]): Utterances of many speakers.
        candidate_labels (`Sequence[str]`): The labels of the classifier.
        enrollment_labels (`Sequence[str]`, *optional*): Labels of the enrollment; by default there is none.
        absent_share (`float`, *optional*, defaults to 0.0): Share of the items without enrollment.
        seed (`int`, *optional*, defaults to 0): Seed of all draws.

    Raises:
        `ValueError`: If the corpus has labels that are not among the candidates.
    """

    def __init__(
        self,
        corpus: Corpus,
        candidate_labels: Sequence[str],
        enrollment_labels: Sequence[str] | None = None,
        absent_share: float = 0.0,
        seed: int = 0,
    ):
        if unknown := sorted(set(corpus.labels) - set(candidate_labels)):
            raise ValueError(
                f"The corpus has labels that the classifier lacks: {', '.join(unknown)}. Leave their utterances out "
                "with `load_corpus(..., labels=...)`."
            )
        self.corpus = corpus
        self.candidate_labels = list(candidate_labels)
        self.enrollment_labels = list(enrollment_labels or [])
        self.absent_share = absent_share
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, so that it draws other enrollments."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, item: int) -> Episode:
        """The episode of an item; a negative one, `~item`, is that episode without counting."""
        if item < 0:
            return replace(self[~item], counts=False)
        seed = (self.seed, self.epoch, item)
        rng = np.random.default_rng((*seed, 3))
        enrollment = [] if rng.random() < self.absent_share else self._draw(item, rng)
        labels = self.corpus.labels
        return Episode(item, enrollment, labels[item], [labels[i] for i in enrollment], self.candidate_labels, seed)

    def _draw(self, target: int, rng: np.random.Generator) -> list[int]:
        by_label = self.corpus.by_label[self.corpus.speaker_ids[target]]
        of_labels = (by_label[label] for label in self.enrollment_labels if label in by_label)
        others = (indices[indices != target] for indices in of_labels)
        return [int(rng.choice(indices)) for indices in others if len(indices)]


class SpeakerSampler(Sampler[int]):
    """
    Random order in which some utterances of a speaker stand together. Their enrollments share utterances, and a batch
    computes each utterance once. The order depends on nothing but the seed and epoch of the items.

    Args:
        items ([`ClassifierDataset`]): The items, whose `epoch` counts.
        group_size (`int`): Utterances of a speaker that stand together; 1 is any random order.
        multiple_of (`int`, *optional*, defaults to 1):
            To a multiple of what the items are filled up, with some that do not count. Processes need equal shares.
    """

    def __init__(self, items: ClassifierDataset, group_size: int, multiple_of: int = 1):
        self.items = items
        self.group_size = group_size
        self.num_fillers = -len(items) % multiple_of

    def __len__(self) -> int:
        return len(self.items) + self.num_fillers

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.items.seed, self.items.epoch))
        groups = []
        for indices in self.items.corpus.by_speaker.values():
            order = rng.permutation(indices).tolist()
            groups += [order[start : start + self.group_size] for start in range(0, len(order), self.group_size)]
        for group in rng.permutation(len(groups)):
            yield from groups[group]
        yield from (~item for item in np.resize(np.arange(len(self.items)), self.num_fillers).tolist())


@dataclass
class ClassifierCollator:
    """
    Collates items into the arguments of [`EmoIclForAudioClassification`].

    Args:
        corpus ([`Corpus`]): The corpus that the items index.
        speech ([`FeatureCache`] or [`InputCache`]): Holds the features of the corpus.
        label2id (`dict[str, int]`): Numbers of the labels.
        enrollment_labels (`Sequence[str]`): Labels of the enrollment.
        frame_share (`float`, *optional*, defaults to 1.0):
            Share of the speech features of each utterance that is kept, drawn anew each time.
    """

    corpus: Corpus
    speech: SpeechSource
    label2id: dict[str, int]
    enrollment_labels: Sequence[str]
    frame_share: float = 1.0

    def __call__(self, episodes: Sequence[Episode]) -> dict[str, torch.Tensor]:
        rows, speech = load_speech(self.speech, self.corpus, episodes, self.frame_share)
        labels = torch.tensor([self.label2id[e.label] if e.counts else IGNORED for e in episodes])
        return {**speech, **index_shots(episodes, self.enrollment_labels, rows), "labels": labels}


def index_shots(
    episodes: Sequence[Episode], enrollment_labels: Sequence[str], rows: dict[int, int] | None = None
) -> dict[str, torch.Tensor]:
    """Where the utterances of some episodes stand. Shots with other labels, or none, are passed over.

    Args:
        episodes (`Sequence[Episode]`): The episodes.
        enrollment_labels (`Sequence[str]`): Labels of the enrollment.
        rows (`dict[int, int]`, *optional*): Row of each utterance; by default its index in the corpus.

    Returns:
        `dict` of `utterance_index` `(batch_size, num_shots + 1)`, the target last, padded with -1, and
        `enrollment_label_ids` `(batch_size, num_shots)`, padded with 0.
    """
    places: dict[str | None, int] = {label: place for place, label in enumerate(enrollment_labels)}
    shots = [
        [pair for pair in zip(episode.enrollment, episode.enrollment_labels, strict=True) if pair[1] in places]
        for episode in episodes
    ]
    most = max(len(of_episode) for of_episode in shots)
    index = np.full((len(episodes), most + 1), -1)
    label_ids = np.zeros((len(episodes), most), dtype=int)
    for i, (episode, of_episode) in enumerate(zip(episodes, shots, strict=True)):
        for j, (shot, label) in enumerate(of_episode):
            index[i, j] = shot if rows is None else rows[shot]
            label_ids[i, j] = places[label]
        index[i, -1] = episode.target if rows is None else rows[episode.target]
    return {"utterance_index": torch.from_numpy(index), "enrollment_label_ids": torch.from_numpy(label_ids)}
