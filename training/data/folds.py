"""Cross-validation over speakers: each speaker is tested once, by a model that never heard them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from emoicl.training.data.corpus import Corpus


class Fold(NamedTuple):
    """
    The three parts of one fold. No two of them share a speaker.

    Args:
        train ([`Corpus`]): What is learned from.
        validation ([`Corpus`]): What early stopping and all choices are made on.
        test ([`Corpus`]): What is reported.
    """

    train: Corpus
    validation: Corpus
    test: Corpus


def speaker_folds(corpus: Corpus, num_folds: int = 5, seed: int = 0, validation_share: float = 0.15) -> list[Fold]:
    """
    Leave-speakers-out folds. Every speaker is in the test part of exactly one fold.

    The speakers of each source corpus (`"ravdess"` of the speaker `"ravdess/01"`) are dealt to the folds, in laps
    of speakers with about as many utterances, so that the folds differ by at most one speaker of each source and one
    in all, and little in utterances. The validation speakers are drawn from the training part of their fold.

    Args:
        corpus ([`Corpus`]): All utterances, of one or several source corpora.
        num_folds (`int`, *optional*, defaults to 5): Number of folds; with the number of speakers, one is left out
            at a time.
        seed (`int`, *optional*, defaults to 0): The same seed makes the same folds in every process.
        validation_share (`float`, *optional*, defaults to 0.15): Share of the training speakers of each source corpus
            that validate, at least one where there are two.

    Returns:
        `list[Fold]`: For each fold, its `train`, `validation` and `test` corpus, in the order of `corpus`.

    Raises:
        `ValueError`: If there are fewer than two folds, fewer speakers than folds, or too few to train and validate.
    """
    num_speakers = len(corpus.by_speaker)
    if not 2 <= num_folds <= num_speakers:
        raise ValueError(
            f"{num_speakers} speakers make from 2 to {num_speakers} folds, each of which tests some; "
            f"num_folds is {num_folds}."
        )
    if not 0 < validation_share < 1:
        raise ValueError(f"validation_share is a share between 0 and 1, but is {validation_share}.")
    folds = []
    sizes = {speaker_id: len(indices) for speaker_id, indices in corpus.by_speaker.items()}
    for number, tested in enumerate(deal_speakers(sizes, _by_source(sizes).values(), num_folds, seed)):
        others = [speaker_id for speaker_id in corpus.by_speaker if speaker_id not in tested]
        validating = _draw_validation(others, validation_share, np.random.default_rng((seed, 1, number)))
        training = [speaker_id for speaker_id in others if speaker_id not in validating]
        if not validating or not training:
            raise ValueError(
                f"Fold {number} tests {len(tested)} of {num_speakers} speakers and leaves {', '.join(others)}: too "
                "few to train and to validate, which takes two speakers of one source corpus. Add speakers or folds."
            )
        folds.append(Fold(*(_of_speakers(corpus, part) for part in (training, validating, tested))))
    return folds


def deal_speakers(
    sizes: Mapping[str, int], strata: Iterable[Sequence[str]], num_folds: int, seed: int
) -> list[list[str]]:
    """
    Deals speakers to folds, each stratum in laps of speakers with about as many utterances.

    Args:
        sizes (`Mapping[str, int]`): Number of utterances of each speaker.
        strata (`Iterable[Sequence[str]]`): The speakers, in groups that should be spread evenly.
        num_folds (`int`): Number of folds.
        seed (`int`): The same seed makes the same folds in every process.

    Returns:
        `list[list[str]]`: The speakers of each fold; the folds differ by at most one speaker of each stratum and one
        in all.
    """
    hands: list[list[str]] = [[] for _ in range(num_folds)]
    rng = np.random.default_rng((seed, 0))
    for speaker_ids in strata:
        largest_first = sorted(speaker_ids, key=lambda speaker_id: -sizes[speaker_id])
        for start in range(0, len(largest_first), num_folds):
            lightest_first = sorted(hands, key=lambda hand: (len(hand), sum(sizes[s] for s in hand)))
            lap = rng.permutation(largest_first[start : start + num_folds]).tolist()
            for hand, speaker_id in zip(lightest_first, lap, strict=False):
                hand.append(speaker_id)
    return hands


def _draw_validation(speaker_ids: Collection[str], share: float, rng: np.random.Generator) -> list[str]:
    drawn = []
    for of_source in _by_source(speaker_ids).values():
        count = min(max(1, round(share * len(of_source))), len(of_source) - 1)
        drawn += rng.permutation(of_source)[:count].tolist()
    return drawn


def _by_source(speaker_ids: Collection[str]) -> dict[str, list[str]]:
    """The speakers of each source corpus, sorted by its name; speakers without one have the name `""`."""
    sources: dict[str, list[str]] = {}
    for speaker_id in sorted(speaker_ids):
        sources.setdefault(speaker_id.rpartition("/")[0], []).append(speaker_id)
    return sources


def _of_speakers(corpus: Corpus, speaker_ids: Collection[str]) -> Corpus:
    return Corpus(utterance for utterance in corpus if utterance.speaker_id in speaker_ids)
