"""A corpus: labeled utterances of named speakers, in which no clip occurs twice."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import pyarrow as pa
import pyarrow.compute
from torch.utils.data import Dataset

from emoicl.processing.enrollment_emoicl import display_label
from emoicl.training.data.clips import digest_files
from emoicl.training.data.sources import read_source
from emoicl.training.data.utterances import StoredUtterances, Utterance


# Its functions are made as it is imported, which no type checker sees.
pc: Any = pyarrow.compute


if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

# What a corpus is read from.
CorpusLike = Union["Corpus", "datasets.Dataset", "datasets.DatasetDict", str, Path, Sequence[Any]]  # noqa: UP007


class Corpus(Dataset[Utterance]):
    """
    An indexable collection of utterances in which no clip occurs twice. Clips stay where they are, on disk as a rule,
    until they are asked for.

    A clip that is byte-identical to an earlier one is left out, with a logged count: as an enrollment of its own copy
    it would give the answer away.

    Args:
        utterances (`Iterable[Utterance]`): The utterances, in the order in which they are indexed.

    Attributes:
        utterances (`Sequence[Utterance]`): The utterances; slices of it are lists.
        labels (`list[str]`): The label of each utterance.
        speaker_ids (`list[str]`): The speaker of each utterance.
        by_speaker (`dict[str, list[int]]`): The indices of each speaker's utterances.
        corpus_of (`dict[str, str]`): The corpus of each speaker.

    Raises:
        `ValueError`: If there are no utterances, if two byte-identical clips differ in emotion or in speaker, or if a
            speaker is of two corpora.
    """

    def __init__(self, utterances: Iterable[Utterance]):
        stored = _drop_duplicates(StoredUtterances.of(utterances))
        if not stored:
            raise ValueError("The corpus holds no utterances.")
        self.utterances: Sequence[Utterance] = stored
        self.labels = _texts(stored, "label")
        self.speaker_ids = _texts(stored, "speaker_id")
        speaker, speakers = _codes(stored, "speaker_id")
        order = np.argsort(speaker, kind="stable")
        of_speakers = np.split(order, np.cumsum(np.bincount(speaker))[:-1])
        self.by_speaker: dict[str, list[int]] = {
            name: indices.tolist() for name, indices in zip(speakers, of_speakers, strict=True)
        }
        corpus, corpora = _codes(stored, "corpus")
        first = corpus[[indices[0] for indices in of_speakers]]
        for index in np.flatnonzero(corpus != first[speaker])[:1]:
            name = self.speaker_ids[index]
            raise ValueError(
                f"The speaker {name} is of the corpora {corpora[first[speaker[index]]]!r} and "
                f"{corpora[corpus[index]]!r}: give the speaker of each corpus another speaker_id."
            )
        self.corpus_of: dict[str, str] = {
            name: corpora[code] for name, code in zip(speakers, first.tolist(), strict=True)
        }

    @cached_property
    def by_label(self) -> dict[str, dict[str, np.ndarray]]:
        """The indices of each speaker's utterances of each label."""
        label, labels = _codes(StoredUtterances.of(self.utterances), "label")
        by_label: dict[str, dict[str, np.ndarray]] = {}
        for speaker_id, indices in self.by_speaker.items():
            of_speaker = np.array(indices)
            order = of_speaker[np.argsort(label[of_speaker], kind="stable")]
            starts = np.flatnonzero(np.diff(label[order])) + 1
            by_label[speaker_id] = {labels[label[part[0]]]: part for part in np.split(order, starts)}
        return by_label

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Utterance:
        return self.utterances[index]

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def __repr__(self) -> str:
        return f"Corpus({len(self)} utterances, {len(self.by_speaker)} speakers, {len(set(self.labels))} labels)"


def load_corpus(
    source: CorpusLike,
    labels: Sequence[str] | None = None,
    split: str | None = None,
    column_names: Mapping[str, str] | None = None,
) -> Corpus:
    """
    Read a corpus: rows with the columns `audio`, `emotion`, `speaker_id` and perhaps `corpus`.

    Other columns are ignored. `audio` is the bytes of a clip, a path (relative to the folder of its table), a dict
    `{"bytes", "path"}` of which the bytes count if they are there, as in the `Audio` columns of `datasets`, or a dict
    `{"array", "sampling_rate"}`. Clips are read when they are needed. Those of large parquet files or of decoded
    columns are copied once into the cache (`$EMOICL_CACHE`), from where they are memory-mapped, and those of a
    `datasets.Dataset` are where it has them. Nothing is decoded here, and neither torchcodec nor FFmpeg is needed.

    Args:
        source (`str`, `Path`, `Dataset`, `DatasetDict`, or a sequence):
            One or several tables (`.parquet`, `.jsonl` or `.csv`), folders of them or data sets of the Hub
            (`"user/name"`, or `"user/name:test"` for a split), a `datasets.Dataset`, or a list of rows, which are
            dictionaries. A corpus is one, too.
        labels (`Sequence[str]`, *optional*): Keep only utterances with these labels (`"joy"` and `"Joy"` are the same
            label); the others are counted in the log. By default all are kept.
        split (`str`, *optional*): Which split of a `DatasetDict` or of a data set of the Hub, if it has several.
        column_names (`Mapping[str, str]`, *optional*): What the columns are called in `source`, as in
            `{"emotion": "label", "speaker_id": "actor"}`.

    Returns:
        [`Corpus`]: The utterances, in the order of the tables and of their rows.

    Raises:
        `ValueError`: If a source cannot be read, is empty or lacks a column, if rows have no emotion, no speaker or no
            audio, if an emotion or speaker is a number (of a `ClassLabel`, the names count), if audio files are
            missing, or if no utterance has one of `labels`. The message names the table and its rows (the first row
            is 1).
    """
    if isinstance(source, Corpus):
        if labels is None:
            return source
        utterances, name = source.utterances, "the corpus"
    else:
        utterances = read_source(source, split, column_names)
        name = _name(source)
    try:
        stored = StoredUtterances.of(utterances)
        if labels is not None:
            stored = _keep_labels(stored, [display_label(label) for label in labels])
        return Corpus(stored)
    except ValueError as error:
        raise ValueError(f"{name}: {' '.join(str(error).split())}") from None


def _name(source: Any) -> str:
    if isinstance(source, (str, Path)):
        return str(source)
    if isinstance(source, Sequence) and all(isinstance(item, (str, Path)) for item in source):
        return ", ".join(map(str, source)) or "no tables"
    return "the rows" if isinstance(source, Sequence) else "the data set"


def _codes(utterances: StoredUtterances, column: str) -> tuple[np.ndarray, list[str]]:
    """A number for each value of a column, in the order in which they come first, and the values."""
    encoded = utterances.facts[column].combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()


def _texts(utterances: StoredUtterances, column: str) -> list[str]:
    """A column, each text of which is one object."""
    codes, values = _codes(utterances, column)
    return np.array(values, dtype=object)[codes].tolist()


def _keep_labels(utterances: StoredUtterances, labels: list[str]) -> StoredUtterances:
    codes, values = _codes(utterances, "label")
    counts = dict(zip(values, np.bincount(codes, minlength=len(values)).tolist(), strict=True))
    left_out = {label: count for label, count in sorted(counts.items()) if label not in labels}
    if left_out:
        logger.info("Left out %d utterances of other labels: %s.", sum(left_out.values()), left_out)
    absent = [label for label in labels if label not in counts]
    if len(absent) == len(labels):
        raise ValueError(f"No utterance is labeled {', '.join(labels)}; the corpus has {', '.join(sorted(counts))}.")
    if absent:
        logger.warning("No utterance is labeled %s; the corpus has %s.", ", ".join(absent), ", ".join(sorted(counts)))
    kept = np.array([value in labels for value in values])
    return utterances.take(np.flatnonzero(kept[codes]))


def _drop_duplicates(utterances: StoredUtterances) -> StoredUtterances:
    utterances = _with_digests(utterances)
    codes = utterances.facts["sha256"].combine_chunks().dictionary_encode().indices
    known = codes.is_valid().to_numpy(zero_copy_only=False)
    places = np.flatnonzero(known)
    # The first utterance of each clip, and itself where nobody has read the file.
    original = np.arange(len(utterances))
    _, first, code = np.unique(codes.drop_null().to_numpy(), return_index=True, return_inverse=True)
    original[places] = places[first[code]]
    labels, speakers = _codes(utterances, "label")[0], _codes(utterances, "speaker_id")[0]
    differs = (labels != labels[original]) | (speakers != speakers[original])
    for index in np.flatnonzero(differs)[:1].tolist():
        one, other = utterances[int(original[index])], utterances[index]
        raise ValueError(
            f"{one.name} ({one.label}, speaker {one.speaker_id}) and {other.name} ({other.label}, speaker "
            f"{other.speaker_id}) are the same clip: remove the wrong row."
        )
    dropped = np.flatnonzero(original != np.arange(len(utterances)))
    if not len(dropped):
        return utterances
    names = ", ".join(utterances[index].name for index in dropped[:5].tolist())
    logger.warning("Left out %d clips that are byte-identical to an earlier one: %s.", len(dropped), names)
    return utterances.take(np.flatnonzero(original == np.arange(len(utterances))))


def _with_digests(utterances: StoredUtterances) -> StoredUtterances:
    """The hashes of files too, but for those of a size that no other clip has: they are nobody's copy."""
    sha256 = utterances.facts["sha256"].combine_chunks()
    if not sha256.null_count:
        return utterances
    sizes = utterances.sizes()
    _, code, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    unread = sha256.is_null().to_numpy(zero_copy_only=False) & (counts[code] > 1)
    digests = digest_files(utterances.facts["file"].filter(pa.array(unread)).to_pylist())
    return utterances.with_sha256(pc.replace_with_mask(sha256, pa.array(unread), digests))
