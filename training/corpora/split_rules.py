"""What a split of tables keeps to: who the speakers are, lists of them, sentences and copies on one side only."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from emoicl.training.corpora.base import read_text
from emoicl.training.corpora.split_tables import SplitRow
from emoicl.training.data.speaker_splits import PARTS, UNKNOWN, Speaker
from emoicl.training.data.tables import Table


STRATIFY = ("gender", "age")


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
        spread = tuple(traits[name] for name in stratify)
        speakers[speaker_id] = Speaker(
            speaker_id, of_speaker[0].corpus, len(of_speaker), spread, traits["gender"], traits["age"]
        )
    return speakers


def read_speaker_lists(path: Path) -> dict[str, str]:
    """
    Reads who is to be in which part.

    Args:
        path (`Path`): A `.csv` or `.tsv` file with the columns `speaker_id` and `split`, or a `.json` file with a list
            for each part, `{"train": ["ravdess/01", ...], ...}`. The `split.json` of an earlier split is one.

    Returns:
        `dict[str, str]`: The part of each name.

    Raises:
        `ValueError`: If the file cannot be read, has another part, or has a speaker in two parts.
    """
    pairs: list[tuple[str, str]]
    if path.suffix.lower() in (".csv", ".tsv"):
        table = Table(path, ["speaker_id", "split"])
        pairs = list(zip(table.texts("speaker_id"), table.texts("split"), strict=True))
    elif path.suffix.lower() == ".json":
        try:
            content = json.loads(read_text(path))
            lists = content.get("speakers", content)
            pairs = [(str(name), part) for part, names in lists.items() for name in list(names)]
        except (json.JSONDecodeError, AttributeError, TypeError) as error:
            raise ValueError(f'{path}: should be {{"train": ["name", ...], "test": [...]}}, but: {error}.') from error
    else:
        raise ValueError(f"{path}: lists of speakers are a .csv, .tsv or .json file.")
    if unknown := sorted({part for _, part in pairs} - set(PARTS)):
        raise ValueError(f"{path}: the parts are {', '.join(PARTS)}, not {', '.join(map(repr, unknown))}.")
    part_of: dict[str, str] = {}
    for name, part in pairs:
        if part_of.setdefault(name, part) != part:
            raise ValueError(f"{path}: the speaker {name} is in {part_of[name]} and in {part}.")
    return part_of


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


def _cost(counts: Mapping[tuple[bool, str], int], left: Mapping[tuple[bool, str], int], side: bool) -> float:
    """What a side loses with the clips of a sentence: the sum over emotions of -log(share kept)."""
    losses = [(count, left[cell]) for cell, count in counts.items() if cell[0] == side]
    return sum(math.inf if count == of else -math.log1p(-count / of) for count, of in losses)
