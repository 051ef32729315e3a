"""A target utterance and its enrollment as a user gives them -> checked waveforms, each decoded and hashed once."""

import dataclasses
import difflib
import hashlib
import math
import os
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from .audio_emoicl import AudioLike, with_rate
from .feature_extraction_emoicl import EmoIclFeatureExtractor
from .fingerprint_emoicl import fingerprint, is_same_fingerprint
from .profile_emoicl import ModelIdentity


# In periods for each sample: 100 to 1000 Hz.
BAND = (0.00625, 0.0625)
MIN_CORRELATION = 0.8
# In samples: more than any period of a voice.
HUM_SHIFT = 800
MAX_ELSEWHERE = 0.85


# What a request may have; its name is added where it is one of several.
AUDIO, ENROLLMENT, PROFILE = "audio", "enrollment", "profile"
NAME = "name of the request"
# Of an array that stands beside it, as rows of data sets have it.
RATE = "sampling_rate"
# What is told to the call, for all requests; beside one of them it would be passed over.
ARGUMENTS = {
    "abstain_below", "candidate_labels", "decoding", "function_to_apply", "hop_s", "min_familiarity",
    "return_familiarity", "top_k", "window_s",
}  # fmt: skip


class EnrolledTargetError(ValueError):
    """A target that is in its own enrollment, where its label is told."""


@dataclass(eq=False)
class Utterance:
    """
    A decoded utterance.

    Args:
        waveform (`np.ndarray` of shape `(n,)`):
            Mono, float32, at the sampling rate of the feature extractor. It never changes.
        label (`str`, *optional*):
            What it is enrolled as; one that is enrolled without a label has none, and a target neither.
        encoded (`tuple`, *optional*):
            What a model has made of it, and which model with which weights.
    """

    waveform: np.ndarray
    label: str | None = None
    encoded: tuple[ModelIdentity, dict[str, torch.Tensor]] | None = None
    _spectra: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        # What can be computed again is left behind: it is larger, and of a model that is not there.
        return self.__dict__ | {"encoded": None, "_spectra": {}}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the waveform: tells a recording from all others, and nothing about it."""
        return hashlib.sha256(self.waveform.tobytes()).hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """See [`fingerprint`]: tells it, encoded or cut otherwise too, from all others."""
        return fingerprint(self.waveform)

    def spectrum(self, size: int) -> np.ndarray:
        """The frequencies of `np.fft.rfft` at a size that codecs keep best. Many others are compared with them."""
        if size not in self._spectra:
            self._spectra[size] = np.fft.rfft(self.waveform, size)[_band(size)]
        return self._spectra[size]


def display_label(emotion: str) -> str:
    """The word that is shown for an emotion: `"joy"` is `"Joy"`, `"surprise_negative"` is `"Surprise negative"`."""
    return emotion.replace("_", " ").strip().capitalize()


def as_request(item: Any) -> dict:
    """
    A dictionary with "audio" asks about an utterance, perhaps with its own enrollment, and may be a row of a data set,
    whose other columns are passed over; any other input is an utterance. What seems to be an enrollment by another
    name, or an argument of the call, is kept, so that it can be refused.
    """
    if not (isinstance(item, Mapping) and AUDIO in item):
        return {AUDIO: item}
    kept = {AUDIO, ENROLLMENT, PROFILE, NAME, *ARGUMENTS}
    request = {key: value for key, value in item.items() if key in kept or _is_like_enrollment(key, value)}
    return request | {AUDIO: with_rate(item[AUDIO], item.get(RATE))}


def _is_like_enrollment(key: Any, value: Any) -> bool:
    is_list = isinstance(value, (list, tuple)) and bool(value)
    holds_audio = is_list and isinstance(value[0], Mapping) and AUDIO in value[0]
    return holds_audio or bool(difflib.get_close_matches(str(key).lower(), (ENROLLMENT, PROFILE), cutoff=0.75))


def is_data_set(given: Any) -> bool:
    """Whether something is a data set of `datasets`."""
    return hasattr(given, "column_names") and hasattr(given, "features")


def encoded(dataset: Any, column: str) -> Any:
    """A data set that does not decode its audio, for which it would need torchcodec and FFmpeg."""
    feature: Any = (dataset.features or {}).get(column)
    if getattr(feature, "decode", False):
        return dataset.cast_column(column, dataclasses.replace(feature, decode=False))
    return dataset


def _labeled_rows(dataset: Any) -> Iterator[dict]:
    """The rows of a data set, in which labels that are numbers are the words they stand for."""
    features: Any = dataset.features or {}
    words = {column: feature.names for column, feature in features.items() if hasattr(feature, "names")}
    for row in encoded(dataset, AUDIO):
        # -1 where there is no label.
        yield row | {
            column: of_column[row[column]] if row[column] not in (None, -1) else None
            for column, of_column in words.items()
        }


def decode_target(extractor: EmoIclFeatureExtractor, audio: AudioLike) -> Utterance:
    """Decodes the utterance whose label is asked for, in any form that [`decode_audio`] reads, or a row with it."""
    request = as_request(audio)
    if unknown := [key for key in request if key != AUDIO]:
        raise ValueError(f"audio: unknown key {unknown[0]!r} of an utterance")
    return Utterance(extractor.decode(request[AUDIO], name="audio"))


def decode_enrollment(
    extractor: EmoIclFeatureExtractor, enrollment: Sequence[Any], sampling_rate: int | None = None
) -> list[Utterance]:
    """
    Decodes the enrollment of one speaker.

    Args:
        extractor ([`EmoIclFeatureExtractor`]):
            Decodes the utterances.
        enrollment (`list[dict]` or `datasets.Dataset`):
            Utterances `{"audio": ..., "label": ...}`, or `{"audio": ...}` where the label is not known; or rows of a
            data set with "audio" and "emotion", or it itself, whose other columns are passed over. What this function
            returned is an enrollment too.
        sampling_rate (`int`, *optional*):
            Sampling rate of arrays and tensors, by default that of the feature extractor.

    Returns:
        `list[Utterance]`

    Raises:
        `ValueError`: If an utterance cannot be used or is there twice, or an item lacks its audio or has other keys.
            The message names the item.
    """
    if isinstance(enrollment, (str, bytes, os.PathLike, Mapping)) or not isinstance(enrollment, Iterable):
        raise ValueError(
            f'`enrollment` is a list of dictionaries with "audio" and, if known, "label"; got {enrollment!r:.80}. '
            "(`emoicl predict --enroll` reads them from a table.)"
        )
    shots: list[Utterance] = []
    for i, item in enumerate(_labeled_rows(enrollment) if is_data_set(enrollment) else enrollment):
        shot = _decode_shot(extractor, item, f"enrollment[{i}]", sampling_rate)
        for k, other in enumerate(shots):
            if is_same_recording(shot, other):
                raise ValueError(f"enrollment[{i}]: is the recording of enrollment[{k}] again; take one of them out")
        shots.append(shot)
    return shots


def _decode_shot(extractor: EmoIclFeatureExtractor, item: Any, name: str, sampling_rate: int | None) -> Utterance:
    # Not its class: that of an installed package and that of a checkpoint from the Hub are not the same.
    if hasattr(item, "digest"):
        return item
    if not isinstance(item, Mapping) or item.get("audio") is None:
        found = f"the keys {list(item)}" if isinstance(item, Mapping) else f"{type(item).__name__!r}"
        raise ValueError(f'{name}: must be a dictionary with "audio" and, if it is known, "label"; got {found}')
    # A misspelt "label" would make an utterance without one.
    is_row = "label" in item or "emotion" in item
    known = (AUDIO, RATE, "label")
    if unknown := [key for key in item if key not in known and not (is_row and isinstance(key, str))]:
        raise ValueError(f'{name}: unknown key {unknown[0]!r}; an item has "audio" and, if it is known, "label"')
    audio = with_rate(item[AUDIO], item.get(RATE))
    return Utterance(extractor.decode(audio, sampling_rate, name), _label_of(item, name))


def _label_of(item: Mapping, name: str) -> str | None:
    if "label" in item or item.get("emotion") is None:
        return item.get("label")
    if not isinstance(item["emotion"], str):
        raise ValueError(
            f"{name}: emotion {item['emotion']!r} is no text; a data set knows the names of its numbers: "
            "dataset.features['emotion'].int2str"
        )
    return display_label(item["emotion"])


def refuse_enrolled(
    target: Utterance,
    shots: Sequence[Utterance],
    digests: Sequence[str],
    fingerprints: Sequence[str] = (),
    name: str = "the target",
) -> None:
    """
    Refuses a target that is in its own enrollment, for its label is asked for.

    Args:
        target ([`Utterance`]): The target.
        shots (`list[Utterance]`): The utterances that are enrolled; none of a profile, which holds no audio.
        digests (`list[str]`): Digest of each utterance that is enrolled.
        fingerprints (`list[str]`, *optional*): Of the utterances of a profile, see [`fingerprint`].
        name (`str`, *optional*, defaults to `"the target"`): What to call the target.

    Raises:
        [`EnrolledTargetError`]: If one of them is the target.
    """
    if digests:
        refuse_digest(target.digest, digests, name)
    copies = [i for i, shot in enumerate(shots) if is_same_recording(target, shot)]
    copies += [i for i, known in enumerate(fingerprints) if is_same_fingerprint(target.fingerprint, known)]
    if copies:
        raise EnrolledTargetError(f"enrollment[{copies[0]}]: is {name} itself, encoded or cut otherwise; take it out")


def refuse_digest(digest: str, digests: Sequence[str], name: str) -> None:
    """Refuses a target whose digest is among those of its enrollment."""
    if digest in digests:
        raise EnrolledTargetError(
            f"enrollment[{digests.index(digest)}]: is {name} itself, whose label is asked for; take it out"
        )


def is_same_recording(first: Utterance, second: Utterance) -> bool:
    """
    Whether two utterances are one recording: encoded again, louder, a few samples off, or with other silence around
    it. Two takes of a sentence, however alike they sound, do not agree in the waveform for long.

    Args:
        first ([`Utterance`]): A decoded utterance.
        second ([`Utterance`]): Another.

    Returns:
        `bool`: Whether the waveforms correlate at some shift. A hum, which fits any other hum, must fit to the bit.
    """
    one, other = first.waveform, second.waveform
    if np.array_equal(one, other):
        return True
    size = 2 ** (len(one) + len(other)).bit_length()
    spectra = [utterance.spectrum(size) for utterance in (first, second)]
    # By Parseval: each frequency of the band stands for itself and its negative.
    norms = [np.linalg.norm(spectrum) * np.sqrt(2 / size) for spectrum in spectra]
    common = spectra[0] * spectra[1].conj()
    # No shift fits better than one by which all frequencies would agree. That tells most pairs apart, and is fast.
    if np.abs(common).sum() * 2 / size < MIN_CORRELATION * norms[0] * norms[1]:
        return False
    product = np.zeros(size // 2 + 1, common.dtype)
    product[_band(size)] = common
    correlation = np.fft.irfft(product, size)
    best = int(correlation.argmax())
    elsewhere = np.roll(correlation, -best)[HUM_SHIFT:-HUM_SHIFT].max()
    # Even a hum fits less well when shifted, for less of it overlaps.
    overlap = 1 - HUM_SHIFT / min(len(one), len(other))
    is_hum = elsewhere > MAX_ELSEWHERE * overlap * correlation[best]
    return not is_hum and correlation[best] >= MIN_CORRELATION * norms[0] * norms[1]


def _band(size: int) -> slice:
    """The frequencies of `np.fft.rfft` of `size` samples that codecs keep best."""
    return slice(math.ceil(BAND[0] * size), math.floor(BAND[1] * size) + 1)


class DigestedBlocks:
    """
    The blocks of a recording, which can be gone through once, and then the digest of it as a whole.

    Args:
        blocks (`Iterable[np.ndarray]`): The blocks, float32.
    """

    def __init__(self, blocks: Iterable[np.ndarray]):
        self._blocks = blocks
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            self._digest.update(block.tobytes())
            yield block

    @property
    def digest(self) -> str:
        """As [`Utterance`] has it."""
        return self._digest.hexdigest()


def index_utterances(episodes: Sequence[Sequence[Utterance]]) -> tuple[list[Utterance], list[list[int]]]:
    """
    Gives every distinct utterance of some episodes one row, however many episodes share it.

    Args:
        episodes (`list[list[Utterance]]`): The enrollment and last the target of each episode.

    Returns:
        `tuple`: the utterance of each row, and for each episode the rows of its utterances.
    """
    rows: dict[str, int] = {}
    utterances: list[Utterance] = []
    for episode in episodes:
        for utterance in episode:
            if utterance.digest not in rows:
                rows[utterance.digest] = len(utterances)
                utterances.append(utterance)
    return utterances, [[rows[utterance.digest] for utterance in episode] for episode in episodes]


def same_label(label: str) -> str:
    """
    What two labels have in common that look alike, which no two labels of a model do: they differ by case, by blanks,
    by signs that cannot be seen, or by how Unicode spells a letter (file names of macOS have é as two code points).
    """
    seen = (character for character in unicodedata.normalize("NFKC", label) if unicodedata.category(character) != "Cf")
    # Folding takes letters apart again.
    return unicodedata.normalize("NFKC", " ".join("".join(seen).split()).casefold())


def as_words(words: Any, kind: str) -> list[Any]:
    """
    Some words as a list, be they in a tuple, an array or a column.

    Args:
        words (`Any`): The words.
        kind (`str`): What they are, for the message: `"Candidate"` of candidate labels.

    Raises:
        `ValueError`: If they have no order, or can be gone through only once.
    """
    if isinstance(words, (str, bytes, Mapping, AbstractSet)) or not isinstance(words, Collection):
        raise ValueError(f"{kind} labels must be a list of non-empty strings; got {words!r}.")
    return [str(word) if isinstance(word, str) else word for word in words]


def match_label(label: Any, candidates: Sequence[str], kind: str = "candidate") -> str:
    """
    The candidate that a label means: `"joy"` and `" Joy"` are `"Joy"`.

    Raises:
        `ValueError`: If it is none of them; the message names the nearest.
    """
    if label in candidates:
        return label
    known = {same_label(candidate): candidate for candidate in candidates}
    wanted = same_label(str(label))
    if wanted in known:
        return known[wanted]
    close = difflib.get_close_matches(wanted, known, n=1)
    question = f"; did you mean {known[close[0]]!r}?" if close else ""
    raise ValueError(f"label {label!r} is none of the {kind} labels {', '.join(candidates)}{question}")


__all__ = [
    "NAME",
    "DigestedBlocks",
    "EnrolledTargetError",
    "Utterance",
    "as_request",
    "as_words",
    "decode_enrollment",
    "decode_target",
    "display_label",
    "index_utterances",
    "is_same_recording",
    "match_label",
    "refuse_digest",
    "refuse_enrolled",
    "same_label",
]
