"""Training items of the tuning of a speech encoder: blocks of a speaker's utterances, and their batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.classifier_inputs import InputCache, pad_inputs
from emoicl.training.episodes.episodes import Episode
from emoicl.training.episodes.pseudo_speakers import PseudoSpeaker, cut_frames, hide_bands


# More would rarely find a speaker who has them all.
LABELS_PER_BLOCK = 7
# With 1, a corpus is heard as often as it has speakers; with 0, as often as any other.
SOURCE_EXPONENT = 1 / 3
FRAMES_PER_SECOND = 100


class SpeakerBlocks(Dataset[list[Episode]]):
    """
    Blocks of a speaker's utterances, two takes of each of up to seven labels. The takes of one half are the targets of
    one episode each, with shots of the other half, and the other way round: each utterance is encoded once, and counts
    as a target and as a shot. All is drawn by `(seed, epoch, item)`.

    Source corpora (`"ravdess"` of the speaker `"ravdess/01"`) are drawn by the cube root of their number of speakers,
    and the speakers of one alike: a small corpus is heard more often than its size has it, and is not worn out.

    Args:
        corpus ([`Corpus`]): Utterances of many speakers.
        candidate_labels (`Sequence[str]`): The labels that the model will be asked for.
        open_share (`float`): Share of the blocks with labels beyond the candidates.
        seed (`int`): Seed of all draws.

    Raises:
        `ValueError`: If no speaker has two utterances of each of two candidates.
    """

    def __init__(self, corpus: Corpus, candidate_labels: Sequence[str], open_share: float, seed: int):
        self.corpus = corpus
        self.candidate_labels = list(candidate_labels)
        self.open_share = open_share
        self.seed = seed
        self.epoch = 0
        self.takes = {speaker_id: self._takes(indices) for speaker_id, indices in corpus.by_speaker.items()}
        self.sources: dict[str, list[str]] = {}
        for speaker_id, takes in self.takes.items():
            if len(takes.keys() & set(self.candidate_labels)) > 1:
                self.sources.setdefault(corpus.corpus_of[speaker_id], []).append(speaker_id)
        if not self.sources:
            raise ValueError("No speaker has two utterances of each of two candidate labels, as a block takes them.")
        weights = np.array([len(of_source) for of_source in self.sources.values()]) ** SOURCE_EXPONENT
        self.source_shares = weights / weights.sum()

    def _takes(self, indices: Sequence[int]) -> dict[str, list[int]]:
        """The utterances of each label that has two or more."""
        takes: dict[str, list[int]] = {}
        for index in indices:
            takes.setdefault(self.corpus.labels[index], []).append(index)
        return {label: of_label for label, of_label in takes.items() if len(of_label) > 1}

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, so that it draws others."""
        self.epoch = epoch

    def __len__(self) -> int:
        """As many blocks as there are utterances to fill them, at least one."""
        return max(1, len(self.corpus) // (2 * LABELS_PER_BLOCK))

    def __getitem__(self, item: int) -> list[Episode]:
        seed = (self.seed, self.epoch, item)
        rng = np.random.default_rng((*seed, 4))
        source = rng.choice(list(self.sources), p=self.source_shares)
        takes = self.takes[rng.choice(self.sources[source])]
        is_open = rng.random() < self.open_share
        labels = [label for label in takes if is_open or label in self.candidate_labels]
        labels = rng.permutation(labels)[:LABELS_PER_BLOCK].tolist()
        halves = np.array([rng.permutation(takes[label])[:2] for label in labels]).T.tolist()
        episodes = []
        for targets, shots in (halves, halves[::-1]):
            drawn = rng.permutation(len(labels))[: rng.integers(len(labels) + 1)].tolist()
            enrollment, words = [shots[i] for i in drawn], [labels[i] for i in drawn]
            pairs = zip(targets, labels, strict=True)
            episodes += [Episode(target, enrollment, label, words, labels, seed) for target, label in pairs]
        return episodes


@dataclass
class BlockCollator:
    """
    Collates blocks into what [`EncoderTrainer`] computes its loss of. Each block has a pseudo-speaker of its own.

    Args:
        corpus ([`Corpus`]): The corpus that the blocks index.
        inputs ([`InputCache`]): Holds its log-mel features.
        known_labels (`Sequence[str]`): All labels of the corpus, in the order of the model's `label_words`.
        pseudo_speaker_spread (`float`): How far frequencies and tempo are from those recorded, at most.
        hidden_share (`float`): Largest share of the frequencies, and of the frames, that is hidden.
        longest (`float`): How much of an utterance is heard, in seconds.
    """

    corpus: Corpus
    inputs: InputCache
    known_labels: Sequence[str]
    pseudo_speaker_spread: float
    hidden_share: float
    longest: float

    def __call__(self, blocks: Sequence[list[Episode]]) -> dict[str, torch.Tensor]:
        """
        Returns:
            `dict` of `input_features`, `input_features_mask`, `utterance_index` (see
            [`EmoIclSpeakerAdaptation.evidence`]), `slots` `(num_episodes, num_shots)`, `candidates`
            `(num_episodes, num_labels)`, which labels to choose from, and `labels` `(num_episodes,)`.
        """
        utterances: list[torch.Tensor] = []
        episodes: list[Episode] = []
        index: list[list[int]] = []
        for block in blocks:
            rng = np.random.default_rng((*block[0].seed, 5))
            voice = PseudoSpeaker.draw(self.pseudo_speaker_spread, rng)
            rows: dict[int, int] = {}
            for episode in block:
                for place in (*episode.enrollment, episode.target):
                    if place not in rows:
                        rows[place] = len(utterances)
                        utterances.append(self._hear(place, voice, rng).T)
                index.append([rows[place] for place in (*episode.enrollment, episode.target)])
            episodes += block
        column = {label: place for place, label in enumerate(self.known_labels)}
        where = index_slots(episodes, self.known_labels, index)
        return {
            **pad_inputs(utterances, self.inputs.feature_extractor.padding_value),
            **{name: where[name] for name in ("utterance_index", "slots")},
            "candidates": torch.tensor([[word in e.candidate_labels for word in column] for e in episodes]),
            "labels": torch.tensor([column[episode.label] for episode in episodes]),
        }

    def _hear(self, place: int, voice: PseudoSpeaker, rng: np.random.Generator) -> torch.Tensor:
        """Log-mel features `(num_mel_bins, num_frames)` of an utterance by a pseudo-speaker, cut and partly hidden."""
        log_mel = self.inputs.load([self.corpus[place]])["input_features"][0]
        cut = cut_frames(log_mel, round(self.longest * FRAMES_PER_SECOND), rng)
        return hide_bands(voice(cut), self.hidden_share, rng)


def index_slots(
    episodes: Sequence[Episode], known_labels: Sequence[str], index: Sequence[Sequence[int]] | None = None
) -> dict[str, Any]:
    """
    What [`EmoIclSpeakerAdaptation.evidence`] is told of some episodes.

    Args:
        episodes (`Sequence[Episode]`): The episodes.
        known_labels (`Sequence[str]`): The model's `label_words`. Other labels are numbered behind them, as they come.
        index (`Sequence[Sequence[int]]`, *optional*):
            Rows of the shots and the target of each episode, by default their places in the corpus.

    Returns:
        `dict` of `utterance_index` `(num_episodes, num_shots + 1)`, padded with -1 at the right, `slots`
        `(num_episodes, num_shots)`, padded with 0, `num_slots`, one more than the largest of them, and which of them
        somebody `named`, `(num_episodes, num_slots)`.
    """
    index = index or [(*episode.enrollment, episode.target) for episode in episodes]
    numbers = {word: number for number, word in enumerate(known_labels)}
    for word in (word for episode in episodes for word in episode.enrollment_labels if word is not None):
        numbers.setdefault(word, len(numbers))
    # An utterance without a label is one of a label of its own that nobody asks for.
    slots = [
        [len(numbers) + place if word is None else numbers[word] for place, word in enumerate(e.enrollment_labels)]
        for e in episodes
    ]
    num_slots = max([len(known_labels) - 1, *(slot for of_episode in slots for slot in of_episode)]) + 1
    named = (torch.arange(num_slots) < len(numbers)).repeat(len(episodes), 1)
    return {"utterance_index": _pad(index, -1), "slots": _pad(slots, 0), "num_slots": num_slots, "named": named}


def _pad(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True, padding_value=value)
