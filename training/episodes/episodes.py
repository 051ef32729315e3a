"""Episodes of in-context meta-training: a target, its enrollment, and the words that name the emotions."""

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import Dataset

from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.enrollment import EnrollmentSetting, max_shots, select_enrollment


# One token each, in about any tokenizer.
# No two differ by their case alone, which labels do not have.
SYMBOLS = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Episode:
    """
    One training item.

    Args:
        target (`int`): Index of the utterance to classify.
        enrollment (`list[int]`): Indices of the shots, utterances of the same speaker.
        label (`str`): Label word of the target.
        enrollment_labels (`list[str or None]`): Label word of each shot; None for one that is given without.
        candidate_labels (`list[str]`): Label words of the instruction.
        seed (`tuple[int, int, int]`, *optional*): `(seed, epoch, item)`, by which all that is random is drawn.
        counts (`bool`, *optional*, defaults to `True`):
            Whether it has a loss. One that does not fills up a batch.
    """

    target: int
    enrollment: list[int]
    label: str
    enrollment_labels: Sequence[str | None]
    candidate_labels: list[str]
    seed: tuple[int, int, int] = (0, 0, 0)
    counts: bool = True


class EpisodeDataset(Dataset):
    """
    Draws one episode for each utterance of a corpus and epoch, the same for the same `(seed, epoch, item)`.

    The number of shots is uniform over `shots`, and the enrollment follows `setting` (the paper's MetaICL: TU+LU 0:7).

    In a share of the episodes with shots, *symbol episodes*, random letters and digits take the place of all label
    words, in the instruction, the enrollment and the target alike, and the target's emotion is among the shots: then
    only the context tells the answer. Symbols rather than permuted emotion words, so that an emotion word always means
    itself (without such episodes, few speakers teach a model to pass over the labels of the enrollment).

    In a share of the other episodes with shots, these are given *without labels*: all of them, or each by a fair coin,
    which is drawn by a coin too. People have recordings of themselves long before they have labels.

    Args:
        corpus ([`Corpus`]): Utterances of many speakers.
        candidate_labels (`Sequence[str]`): Labels to choose from, in the order in which the instruction has them.
        shots (`tuple[int, int]`, *optional*, defaults to `(0, 7)`): Smallest and largest number of shots.
        setting (`str` or [`EnrollmentSetting`], *optional*, defaults to `"TU+LU"`): How the enrollment is drawn.
        symbol_share (`float`, *optional*, defaults to 0.0): Share of symbol episodes among those with shots.
        unlabeled_share (`float`, *optional*, defaults to 0.0):
            Share of the episodes in which shots are given without labels, among those with shots that are no symbol
            episodes.
        enrollment_label (`str`, *optional*): With TU+LO, the one emotion that every enrollment is of.
        seed (`int`, *optional*, defaults to 0): Seed of all draws.

    Raises:
        `ValueError`: If the corpus has labels that are not among the candidates, or `enrollment_label` is given with
            symbol episodes, whose target's emotion must be among the shots.
    """

    def __init__(
        self,
        corpus: Corpus,
        candidate_labels: Sequence[str],
        shots: tuple[int, int] = (0, 7),
        setting: str | EnrollmentSetting = "TU+LU",
        symbol_share: float = 0.0,
        unlabeled_share: float = 0.0,
        enrollment_label: str | None = None,
        seed: int = 0,
    ):
        unknown = sorted(set(corpus.labels) - set(candidate_labels))
        if unknown:
            raise ValueError(
                f"The corpus has labels that are no candidates: {', '.join(unknown)}. Add them to the candidates "
                "or leave their utterances out with `load_corpus(..., labels=...)`."
            )
        if enrollment_label is not None and symbol_share > 0:
            raise ValueError(
                f"With enrollments of {enrollment_label} alone, few symbols could be told: set `symbol_share` to 0."
            )
        self.corpus = corpus
        self.candidate_labels = list(candidate_labels)
        self.shots = shots
        self.setting = EnrollmentSetting.parse(setting)
        self.symbol_share = symbol_share
        self.unlabeled_share = unlabeled_share
        self.enrollment_label = enrollment_label
        self.seed = seed
        self.epoch = 0
        self._shots_of_epoch: tuple[int, np.ndarray] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, so that it draws other enrollments."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.corpus)

    def num_shots(self, item: int) -> int:
        """Number of shots of an episode, where its speaker has utterances enough."""
        return int(self.all_shots()[item])

    def all_shots(self) -> np.ndarray:
        """Number of shots of each episode of the epoch, `(num_episodes,)`: a generator for each takes too long."""
        if self._shots_of_epoch is None or self._shots_of_epoch[0] != self.epoch:
            fewest, most = self.shots
            rng = np.random.default_rng((self.seed, self.epoch, 1))
            self._shots_of_epoch = self.epoch, rng.integers(fewest, most + 1, size=len(self))
        return self._shots_of_epoch[1]

    def __getitem__(self, item: int) -> Episode:
        """The episode of an item; a negative one, `~item`, is that episode without counting."""
        if item < 0:
            return replace(self[~item], counts=False)
        seed = (self.seed, self.epoch, item)
        rng = np.random.default_rng((*seed, 2))
        k = self.num_shots(item)
        symbolic = bool(rng.random() < self.symbol_share)
        overlapping = EnrollmentSetting("TO", self.setting.label)
        # A symbol cannot be told without a shot of it.
        symbolic = symbolic and k > 0 and max_shots(self.corpus, item, overlapping) > 0
        setting = overlapping if symbolic else self.setting
        k = min(k, max_shots(self.corpus, item, setting, label=self.enrollment_label))
        enrollment = select_enrollment(self.corpus, item, k, setting, seed, label=self.enrollment_label)
        episode = Episode(
            target=item,
            enrollment=enrollment,
            label=self.corpus.labels[item],
            enrollment_labels=[self.corpus.labels[index] for index in enrollment],
            candidate_labels=self.candidate_labels,
            seed=seed,
        )
        if symbolic:
            return with_symbols(episode, rng)
        # Of a generator of their own: the share moves no other draw.
        rng = np.random.default_rng((*seed, 6))
        return without_labels(episode, rng) if rng.random() < self.unlabeled_share else episode


def with_symbols(episode: Episode, rng: np.random.Generator) -> Episode:
    """Replaces each label word of an episode by a symbol, alike in instruction, enrollment and target."""
    symbols = rng.choice(list(SYMBOLS), len(episode.candidate_labels), replace=False).tolist()
    meaning = dict(zip(episode.candidate_labels, symbols, strict=True))
    return replace(
        episode,
        label=meaning[episode.label],
        enrollment_labels=[label and meaning[label] for label in episode.enrollment_labels],
        candidate_labels=symbols,
    )


def without_labels(episode: Episode, rng: np.random.Generator) -> Episode:
    """Takes the labels of all shots of an episode, or of each by a fair coin, which is drawn by a coin too."""
    takes_all, *taken = rng.random(len(episode.enrollment) + 1) < 0.5
    pairs = zip(episode.enrollment_labels, taken, strict=True)
    return replace(episode, enrollment_labels=[None if takes_all or is_taken else label for label, is_taken in pairs])
