"""Speaker-disjoint parts of a corpus: who trains, who validates and who tests."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from emoicl.training.corpora.base import read_rows, read_text
from emoicl.training.corpora.split_tables import SplitRow
from emoicl.training.data.folds import deal_speakers


PARTS = ("train", "validation", "test")
UNKNOWN = "unknown"
STRATIFY = ("gender", "age")


@dataclass(frozen=True, slots=True)
class Speaker:
    """
    Who is dealt to a part.

    Args:
        speaker_id (`str`): `"corpus/speaker"`.
        num_clips (`int`): How many clips there are of them.
        gender (`str`): As in the table; `"unknown"`.
        age_group (`str`): See [`age_group`].
        stratum (`tuple[str, ...]`): The speakers of a stratum are spread over the parts: their corpus, and what else
            is stratified.
    """

    speaker_id: str
    num_clips: int
    gender: str
    age_group: str
    stratum: tuple[str, ...]


def age_group(age: str) -> str:
    """The decade of an age in years, `"20-29"` of `"27"`; an age group of the owners stays, and `""` is unknown."""
    try:
        decade = int(float(age)) // 10 * 10
    except (ValueError, OverflowError):
        return age or UNKNOWN
    return f"{decade}-{decade + 9}"


def describe_speakers(clips: Sequence[SplitRow], stratify: Sequence[str] = STRATIFY) -> dict[str, Speaker]:
    """
    Gathers what the rows say of each speaker.

    Args:
        clips (`Sequence[SplitRow]`): The rows, with the traits `gender`, `age` and those of `stratify`.
        stratify (`Sequence[str]`, *optional*, defaults to `("gender", "age")`): Columns that make strata, the most
            important first. Ages count by their group.

    Returns:
        `dict[str, Speaker]`: The speakers, sorted by name.

    Raises:
        `ValueError`: If one speaker has two genders or other traits. Of two ages in years, the lower counts.
    """
    clips_of: dict[str, list[SplitRow]] = {}
    for clip in clips:
        clips_of.setdefault(clip.speaker_id, []).append(clip)
    speakers = {}
    for speaker_id, of_speaker in sorted(clips_of.items()):
        traits = {name: _trait(of_speaker, name) for name in dict.fromkeys(["gender", "age", *stratify])}
        stratum = (of_speaker[0].corpus, *(traits[name] for name in stratify))
        speakers[speaker_id] = Speaker(speaker_id, len(of_speaker), traits["gender"], traits["age"], stratum)
    return speakers


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
        strata: dict[tuple[str, ...], list[str]] = {}
        for speaker in sorted(speakers.values(), key=lambda speaker: (speaker.stratum, speaker.speaker_id)):
            strata.setdefault(speaker.stratum, []).append(speaker.speaker_id)
        sizes = {speaker_id: speaker.num_clips for speaker_id, speaker in speakers.items()}
        hands = deal_speakers(sizes, strata.values(), num_folds, seed)
    count = _count(validation, speakers)
    _check_training(speakers, max(map(len, hands)), count)
    folds = []
    for number, tested in enumerate(hands):
        others = {speaker_id: speaker for speaker_id, speaker in speakers.items() if speaker_id not in tested}
        folds.append(_parts(speakers, tested, _draw(others, count, np.random.default_rng((seed, 1, number)))))
    return folds


def read_speaker_lists(path: Path) -> dict[str, str]:
    """
    Reads who is to be in which part.

    Args:
        path (`Path`): A `.csv` file with the columns `speaker_id` and `split`, or a `.json` file with a list for each
            part, `{"train": ["ravdess/01", ...], ...}`. The `split.json` of an earlier split is one.

    Returns:
        `dict[str, str]`: The part of each name.

    Raises:
        `ValueError`: If the file cannot be read, has another part, or has a speaker in two parts.
    """
    pairs: list[tuple[str, str]]
    if path.suffix == ".csv":
        pairs = [(row["speaker_id"], row["split"]) for row in read_rows(path, ["speaker_id", "split"])]
    elif path.suffix == ".json":
        try:
            content = json.loads(read_text(path))
            lists = content.get("speakers", content)
            pairs = [(str(name), part) for part, names in lists.items() for name in list(names)]
        except (json.JSONDecodeError, AttributeError, TypeError) as error:
            raise ValueError(f'{path}: should be {{"train": ["name", ...], "test": [...]}}, but: {error}.') from error
    else:
        raise ValueError(f"{path}: lists of speakers are a .csv or .json file.")
    if unknown := sorted({part for _, part in pairs} - set(PARTS)):
        raise ValueError(f"{path}: the parts are {', '.join(PARTS)}, not {', '.join(map(repr, unknown))}.")
    part_of: dict[str, str] = {}
    for name, part in pairs:
        if part_of.setdefault(name, part) != part:
            raise ValueError(f"{path}: the speaker {name} is in {part_of[name]} and in {part}.")
    return part_of


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
    for speaker_id in speakers:
        called.setdefault(speaker_id.rpartition("/")[2], []).append(speaker_id)
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


def separate_sentences(clips: Sequence[SplitRow], parts: Sequence[str], seed: int = 0) -> list[str]:
    """
    Leaves clips out so that no sentence of training is said in validation or test.

    A sentence that is said on one side only costs nothing. For each other one, the most frequent first, either side
    gives up its clips: the one that loses less of what it has left, as the sum over emotions of -log(share kept). So
    where every speaker says every sentence, both sides keep half of them; where training has many more, it gives up
    those few that are tested; and no emotion vanishes from a side if that can be helped. Sentences of different
    corpora are different.

    Args:
        clips (`Sequence[SplitRow]`): All clips, with the trait `sentence_id`.
        parts (`Sequence[str]`): The part of each; `""` is left out.
        seed (`int`, *optional*, defaults to 0): Orders sentences that are as frequent.

    Returns:
        `list[str]`: The part of each clip, now `""` for those that are left out.

    Raises:
        `ValueError`: If a clip has no sentence, or if nothing would be left of a part.
    """
    sentences = [(clip.corpus, clip.traits["sentence_id"]) for clip in clips]
    if nameless := [clip.name for clip, (_, sentence) in zip(clips, sentences, strict=True) if not sentence]:
        raise ValueError(
            f"{len(nameless)} of {len(clips)} clips have no sentence_id ({', '.join(nameless[:5])}): sentences can "
            "only be kept apart where they are known."
        )
    left: Counter[tuple[bool, str]] = Counter()
    said: dict[tuple[str, str], Counter[tuple[bool, str]]] = {}
    for clip, part, sentence in zip(clips, parts, sentences, strict=True):
        if part:
            cell = (part == "train", clip.emotion)
            left[cell] += 1
            said.setdefault(sentence, Counter())[cell] += 1
    given_up = set()
    shuffled = np.random.default_rng((seed, 2)).permutation(sorted(said)).tolist()
    for sentence in sorted(map(tuple, shuffled), key=lambda sentence: -said[sentence].total()):
        costs = {side: _cost(said[sentence], left, side) for side in {trains for trains, _ in said[sentence]}}
        if len(costs) == 2:
            side = costs[True] <= costs[False]
            given_up.add((sentence, side))
            left.subtract({cell: count for cell, count in said[sentence].items() if cell[0] == side})
    kept = [
        "" if (sentence, part == "train") in given_up else part
        for sentence, part in zip(sentences, parts, strict=True)
    ]
    if lost := sorted(set(parts) - set(kept)):
        raise ValueError(
            f"The sentences cannot be kept apart: nothing would be left of {' and '.join(lost)}. The "
            f"{len(said)} sentences are said by too many of the speakers."
        )
    return kept


def check_duplicates(clips: Sequence[SplitRow], parts: Sequence[str]) -> None:
    """
    Refuses a clip that is in two parts, under whatever names.

    Args:
        clips (`Sequence[SplitRow]`): All clips.
        parts (`Sequence[str]`): The part of each; `""` is left out.

    Raises:
        `ValueError`: If byte-identical clips are in different parts; names both.
    """
    first: dict[str, tuple[SplitRow, str]] = {}
    crossing = []
    for clip, part in zip(clips, parts, strict=True):
        if part:
            other, its_part = first.setdefault(clip.sha256, (clip, part))
            if its_part != part:
                crossing.append(
                    f"{other.name} (speaker {other.speaker_id}, {its_part}) and {clip.name} (speaker "
                    f"{clip.speaker_id}, {part})"
                )
    if crossing:
        more = f" and {len(crossing) - 5} more" if len(crossing) > 5 else ""
        raise ValueError(
            f"{len(crossing)} clips are byte-identical to one of another part: {'; '.join(crossing[:5])}{more}. "
            "Remove one of each, or give the speakers one name if they are one person."
        )


def _trait(clips: Sequence[SplitRow], name: str) -> str:
    """The one value of a speaker."""
    values = sorted({clip.traits[name] for clip in clips} - {""})
    if name == "age":
        years = [value for value in values if age_group(value) != value]
        values = [age_group(min(years, key=float))] if values and len(years) == len(values) else values
    if len(values) > 1:
        raise ValueError(f"The speaker {clips[0].speaker_id} has more than one {name}: {', '.join(values)}.")
    return values[0] if values else UNKNOWN


def _count(share: float, speakers: Mapping[str, Speaker]) -> int:
    return max(1, round(share * len(speakers))) if share else 0


def _draw(speakers: Mapping[str, Speaker], count: int, rng: np.random.Generator) -> list[str]:
    """A systematic sample: every so-manieth speaker, from a random first one on."""
    if not count:
        return []
    lap = math.ceil(len(speakers) / count)
    ordered: list[str] = []
    by_stratum = sorted(
        speakers.values(), key=lambda speaker: (speaker.stratum, -speaker.num_clips, speaker.speaker_id)
    )
    for _, stratum in groupby(by_stratum, key=lambda speaker: speaker.stratum):
        speaker_ids = [speaker.speaker_id for speaker in stratum]
        for start in range(0, len(speaker_ids), lap):
            ordered += rng.permutation(speaker_ids[start : start + lap]).tolist()
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


def _cost(counts: Mapping[tuple[bool, str], int], left: Mapping[tuple[bool, str], int], side: bool) -> float:
    """What a side loses with the clips of a sentence: the sum over emotions of -log(share kept)."""
    losses = [(count, left[cell]) for cell, count in counts.items() if cell[0] == side]
    return sum(math.inf if count == of else -math.log1p(-count / of) for count, of in losses)
