"""The speakers that systems are trained, chosen and measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.data.speaker_splits import PARTS, divide, speakers_of, split_into_folds


# Of all speakers, in each fold.
VALIDATION_SHARE = 0.15


@dataclass(frozen=True)
class SpeakerSplit:
    """
    One split of the speakers.

    Args:
        name (`str`): What the log calls it.
        train ([`Corpus`]): Utterances of the training speakers.
        validation ([`Corpus`]): Those of the speakers that choose the best checkpoint.
        test (`dict[str, Corpus]`): Those of the speakers that are reported on, by the corpus they are of.
    """

    name: str
    train: Corpus
    validation: Corpus
    test: dict[str, Corpus]


def load_splits(
    folders: Sequence[str | Path],
    labels: Sequence[str],
    num_folds: int | None = None,
    targets_per_speaker: int | None = None,
    seed: int = 0,
) -> list[SpeakerSplit]:
    """
    Reads corpora and divides their speakers.

    Args:
        folders (`Sequence[str | Path]`): One folder for each corpus, with the tables `train.parquet`,
            `validation.parquet` and `test.parquet`.
        labels (`Sequence[str]`): The candidate labels; utterances with other labels are left out, and counted.
        num_folds (`int`, *optional*): Number of folds over all speakers of the three tables, so that each speaker is
            tested once. By default there is one fold, as the tables have it.
        targets_per_speaker (`int`, *optional*): Report on this many utterances of each test speaker, evenly over
            labels, where they have more.
        seed (`int`, *optional*, defaults to 0): Seed of the folds and of the choice of utterances.

    Returns:
        `list[SpeakerSplit]`

    Raises:
        `ValueError`: If a table is missing, or a speaker is in two splits or two corpora.
    """
    corpora = {Path(folder).name: read_splits(Path(folder), labels) for folder in folders}
    if len(corpora) < len(folders):
        raise ValueError(f"The folders of the corpora must have different names: {', '.join(map(str, folders))}.")
    check_speakers(corpora)
    joined = {split: join([splits[split] for splits in corpora.values()]) for split in PARTS}
    if num_folds is None:
        divisions = [tuple(joined[split] for split in PARTS)]
    else:
        everybody = join(list(joined.values()))
        folds_of_speakers = split_into_folds(speakers_of(everybody), num_folds, VALIDATION_SHARE, seed)
        divisions = [tuple(divide(everybody, part_of).values()) for part_of in folds_of_speakers]
    corpus_of = {
        speaker_id: name
        for name, splits in corpora.items()
        for corpus in splits.values()
        for speaker_id in corpus.by_speaker
    }
    folds = []
    for number, (train, validation, test) in enumerate(divisions):
        parts: dict[str, list] = {}
        for utterance in test:
            parts.setdefault(corpus_of[utterance.speaker_id], []).append(utterance)
        tests = {name: thin(Corpus(parts[name]), targets_per_speaker, seed) for name in corpora if name in parts}
        folds.append(SpeakerSplit("split" if num_folds is None else f"fold {number}", train, validation, tests))
    return folds


def load_folds(
    folder: str | Path,
    folders: Sequence[str | Path],
    labels: Sequence[str],
    targets_per_speaker: int | None = None,
    seed: int = 0,
) -> list[SpeakerSplit]:
    """
    Reads the folds that `emoicl corpus split --folds` wrote, each joined by corpora that keep their own split: their
    test speakers are tested in the first fold alone.

    Args:
        folder (`str` or `Path`): With `fold_0`, `fold_1` and so on, each a folder with three tables.
        folders (`Sequence[str | Path]`): Corpora with a split of their own; see [`load_splits`].
        labels (`Sequence[str]`): The candidate labels.
        targets_per_speaker (`int`, *optional*): Report on this many utterances of each test speaker.
        seed (`int`, *optional*, defaults to 0): Seed of the choice of utterances.

    Returns:
        `list[SpeakerSplit]`

    Raises:
        `ValueError`: If there is no fold, a table is missing, or a speaker is in two splits or two corpora.
    """
    paths = sorted(Path(folder).glob("fold_*"))
    if not paths:
        raise ValueError(f"{folder} has no fold_0: give a number of folds, or what `emoicl corpus split` wrote.")
    own = {Path(corpus).name: read_splits(Path(corpus), labels) for corpus in folders}
    folds = []
    for path in paths:
        parts = own | {path.name: read_splits(path, labels)}
        check_speakers(parts)
        train, validation = (join([part[split] for part in parts.values()]) for split in ("train", "validation"))
        tested: dict[str, list] = {}
        for utterance in join([part["test"] for name, part in parts.items() if path == paths[0] or name not in own]):
            tested.setdefault(utterance.corpus, []).append(utterance)
        tests = {name: thin(Corpus(tested[name]), targets_per_speaker, seed) for name in sorted(tested)}
        folds.append(SpeakerSplit(path.name.replace("_", " "), train, validation, tests))
    return folds


def read_splits(folder: Path, labels: Sequence[str] | None = None) -> dict[str, Corpus]:
    """The three tables of a corpus: all utterances, or those of some labels."""
    paths = {split: folder / f"{split}.parquet" for split in PARTS}
    if absent := [path.name for path in paths.values() if not path.is_file()]:
        raise ValueError(f"{folder} lacks {', '.join(absent)}: a corpus is a folder with {', '.join(PARTS)}.parquet.")
    return {split: load_corpus(path, labels) for split, path in paths.items()}


def check_speakers(corpora: dict[str, dict[str, Corpus]]) -> None:
    """Refuses a speaker who is in two tables."""
    seen: dict[str, str] = {}
    for name, splits in corpora.items():
        for split, corpus in splits.items():
            for speaker_id in corpus.by_speaker:
                place = f"{name}/{split}"
                if speaker_id in seen:
                    raise ValueError(f"The speaker {speaker_id} is in {seen[speaker_id]} and in {place}.")
                seen[speaker_id] = place


def join(corpora: Sequence[Corpus]) -> Corpus:
    return Corpus(utterance for corpus in corpora for utterance in corpus)


def thin(corpus: Corpus, per_speaker: int | None, seed: int) -> Corpus:
    """At most so many utterances of each speaker, evenly over their labels, in the order of the corpus."""
    if per_speaker is None:
        return corpus
    rng = np.random.default_rng((seed, 3))
    kept: list[int] = []
    for indices in corpus.by_speaker.values():
        turn: dict[str, int] = {}
        order = []
        for index in rng.permutation(indices).tolist():
            label = corpus.labels[index]
            turn[label] = turn.get(label, 0) + 1
            order.append((turn[label], label, index))
        kept += [index for _, _, index in sorted(order)[:per_speaker]]
    return Corpus(corpus[index] for index in sorted(kept))
