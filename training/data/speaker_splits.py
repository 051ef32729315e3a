"""Speaker-disjoint parts of a corpus: who trains, who validates and who tests."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from emoicl.training.data.corpus import Corpus


PARTS = ("train", "validation", "test")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Speaker:
    """
    Who is dealt to a part.

    Args:
        speaker_id (`str`): `"corpus/speaker"`.
        corpus (`str`): The corpus that they are of.
        num_clips (`int`): How many clips there are of them.
        traits (`tuple[str, ...]`, *optional*, defaults to `()`): What is spread over the parts besides the corpora,
            such as a gender and an age group.
        gender (`str`, *optional*, defaults to `"unknown"`): As in the table.
        age_group (`str`, *optional*, defaults to `"unknown"`): The decade, or the owners' age group.
    """

    speaker_id: str
    corpus: str
    num_clips: int
    traits: tuple[str, ...] = ()
    gender: str = UNKNOWN
    age_group: str = UNKNOWN

    @property
    def stratum(self) -> tuple[str, ...]:
        """The speakers of a stratum are spread over the parts."""
        return (self.corpus, *self.traits)


def speakers_of(corpus: Corpus) -> dict[str, Speaker]:
    """The speakers of a corpus, sorted by name."""
    sizes = {speaker_id: len(indices) for speaker_id, indices in corpus.by_speaker.items()}
    return {name: Speaker(name, corpus.corpus_of[name], size) for name, size in sorted(sizes.items())}


def divide(corpus: Corpus, part_of: Mapping[str, str]) -> dict[str, Corpus]:
    """The utterances of each part that somebody is in, in the order of the corpus."""
    present = [part for part in PARTS if part in part_of.values()]
    return {part: Corpus(one for one in corpus if part_of[one.speaker_id] == part) for part in present}


def split_by_share(
    speakers: Mapping[str, Speaker], validation: float = 0.1, test: float = 0.1, seed: int = 0
) -> dict[str, str]:
    """
    Draws the speakers that validate and those that test; the others train.

    Both together are a systematic sample of the speakers in the order of their strata, and within a stratum roughly
    of their number of clips, and those who test are such a sample of it: so each part has its share of every stratum,
    and of the clips, as nearly as there are speakers for it.

    Args:
        speakers (`Mapping[str, Speaker]`): All speakers.
        validation (`float`, *optional*, defaults to 0.1): Share of the speakers; at least one, unless it is 0.
        test (`float`, *optional*, defaults to 0.1): The same.
        seed (`int`, *optional*, defaults to 0): The same seed makes the same parts in every process.

    Returns:
        `dict[str, str]`: The part of each speaker.

    Raises:
        `ValueError`: If the shares are none, or nobody would train.
    """
    if not (validation >= 0 and test >= 0 and 0 < validation + test < 1):
        raise ValueError(
            f"The shares of validation and test are 0 or more and together below 1; they are {validation} and {test}."
        )
    rng = np.random.default_rng((seed, 0))
    num_tested, num_validating = _count(test, speakers), _count(validation, speakers)
    _check_training(speakers, num_tested, num_validating)
    # Drawn together and then divided, so that what is left to train is as balanced as they are.
    held_out = _draw(speakers, num_tested + num_validating, rng)
    tested = _draw({speaker_id: speakers[speaker_id] for speaker_id in held_out}, num_tested, rng)
    return _parts(speakers, tested, [speaker_id for speaker_id in held_out if speaker_id not in tested])


def split_into_folds(
    speakers: Mapping[str, Speaker], num_folds: int | None, validation: float = 0.1, seed: int = 0
) -> list[dict[str, str]]:
    """
    Divides the speakers for cross-validation: each is tested in one fold.

    Args:
        speakers (`Mapping[str, Speaker]`): All speakers.
        num_folds (`int`, *optional*): Number of folds; they differ by at most one speaker of each stratum and one in
            all. With `None` one speaker is left out at a time, in the order of their names.
        validation (`float`, *optional*, defaults to 0.1): Share of all speakers that validate, in each fold drawn
            anew from those who are not tested; at least one, unless it is 0.
        seed (`int`, *optional*, defaults to 0): The same seed makes the same folds in every process.

    Returns:
        `list[dict[str, str]]`: For each fold, the part of each speaker.

    Raises:
        `ValueError`: If there are too few speakers for the folds, or nobody would train.
    """
    if not 0 <= validation < 1:
        raise ValueError(f"The share of validation is from 0 to below 1; it is {validation}.")
    if num_folds is not None and not 2 <= num_folds <= len(speakers):
        raise ValueError(f"{len(speakers)} speakers make from 2 to {len(speakers)} folds, not {num_folds}.")
    if num_folds is None:
        hands = [[speaker_id] for speaker_id in speakers]
    else:
        hands = _deal(speakers, num_folds, seed)
    count = _count(validation, speakers)
    _check_training(speakers, max(map(len, hands)), count)
    folds = []
    for number, tested in enumerate(hands):
        others = {speaker_id: speaker for speaker_id, speaker in speakers.items() if speaker_id not in tested}
        folds.append(_parts(speakers, tested, _draw(others, count, np.random.default_rng((seed, 1, number)))))
    return folds


def split_by_lists(
    speakers: Mapping[str, Speaker], lists: Mapping[str, str], allow_missing: bool = False
) -> tuple[dict[str, str], list[str]]:
    """
    Gives speakers the parts that a list names.

    Args:
        speakers (`Mapping[str, Speaker]`): All speakers.
        lists (`Mapping[str, str]`): The part of each name, with or without its corpus: `"ravdess/01"` or `"01"`.
        allow_missing (`bool`, *optional*, defaults to `False`): Leave out speakers that are not listed, and pass over
            names that are not in the corpus.

    Returns:
        `tuple[dict[str, str], list[str]]`: The part of each speaker, `""` for those who are left out; and the names
        that are not in the corpus.

    Raises:
        `ValueError`: If there are such speakers or names and that is not allowed, if a name fits speakers of several
            corpora, if two names of one speaker have different parts, or if nobody trains or nobody else is listed.
    """
    called: dict[str, list[str]] = {}
    for speaker_id, speaker in speakers.items():
        called.setdefault(speaker_id.removeprefix(f"{speaker.corpus}/"), []).append(speaker_id)
    parts = dict.fromkeys(speakers, "")
    unknown = []
    for name, part in lists.items():
        matches = [name] if name in speakers else called.get(name, [])
        if not matches:
            unknown.append(name)
            continue
        if len(matches) > 1:
            raise ValueError(f"The list names {name}, which may be {' or '.join(matches)}.")
        if parts[matches[0]] not in ("", part):
            raise ValueError(f"The speaker {matches[0]} is in {parts[matches[0]]} and in {part}.")
        parts[matches[0]] = part
    unlisted = [speaker_id for speaker_id, part in parts.items() if not part]
    problems = {"not in the corpus but in the list": unknown, "in the corpus but not in the list": unlisted}
    found = [f"{what}: {', '.join(names)}" for what, names in problems.items() if names]
    if found and not allow_missing:
        raise ValueError(
            f"Speakers are {'; '.join(found)}. Correct the list, or take what is in both with --allow-missing "
            "(allow_missing=True)."
        )
    present = set(parts.values()) - {""}
    if "train" not in present or len(present) < 2:
        raise ValueError(
            f"The list has speakers for {', '.join(sorted(present)) or 'no part'}; it takes train and one other."
        )
    return parts, unknown


def _deal(speakers: Mapping[str, Speaker], num_folds: int, seed: int) -> list[list[str]]:
    """The speakers of each fold, each stratum dealt in laps of speakers with about as many clips."""
    hands: list[list[str]] = [[] for _ in range(num_folds)]
    rng = np.random.default_rng((seed, 0))
    for of_stratum in _strata(speakers):
        for start in range(0, len(of_stratum), num_folds):
            lightest_first = sorted(hands, key=lambda hand: (len(hand), sum(speakers[s].num_clips for s in hand)))
            lap = rng.permutation(of_stratum[start : start + num_folds]).tolist()
            for hand, speaker_id in zip(lightest_first, lap, strict=False):
                hand.append(speaker_id)
    return hands


def _strata(speakers: Mapping[str, Speaker]) -> list[list[str]]:
    """The speakers of each stratum, those with the most clips first."""
    ordered = sorted(speakers.values(), key=lambda one: (one.stratum, -one.num_clips, one.speaker_id))
    return [[one.speaker_id for one in group] for _, group in groupby(ordered, key=lambda one: one.stratum)]


def _count(share: float, speakers: Mapping[str, Speaker]) -> int:
    return max(1, round(share * len(speakers))) if share else 0


def _draw(speakers: Mapping[str, Speaker], count: int, rng: np.random.Generator) -> list[str]:
    """A systematic sample: every so-manieth speaker, from a random first one on."""
    if not count:
        return []
    lap = math.ceil(len(speakers) / count)
    ordered: list[str] = []
    for of_stratum in _strata(speakers):
        for start in range(0, len(of_stratum), lap):
            ordered += rng.permutation(of_stratum[start : start + lap]).tolist()
    first = int(rng.integers(len(ordered)))
    return [ordered[(first + number * len(ordered)) // count] for number in range(count)]


def _check_training(speakers: Mapping[str, Speaker], num_tested: int, num_validating: int) -> None:
    if num_tested + num_validating >= len(speakers):
        raise ValueError(
            f"{len(speakers)} speakers are too few: {num_tested} test and {num_validating} would validate, so that "
            "nobody trains. Add speakers or lower the shares."
        )


def _parts(speakers: Mapping[str, Speaker], tested: Sequence[str], validating: Sequence[str]) -> dict[str, str]:
    return dict.fromkeys(speakers, "train") | dict.fromkeys(tested, "test") | dict.fromkeys(validating, "validation")
