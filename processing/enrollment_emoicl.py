"""A target utterance and its enrollment as a user gives them -> checked waveforms, each decoded and hashed once."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from .audio_emoicl import AudioLike
from .feature_extraction_emoicl import EmoIclFeatureExtractor
from .profile_emoicl import ModelIdentity


@dataclass(eq=False)
class Utterance:
    """
    A decoded utterance.

    Args:
        waveform (`np.ndarray` of shape `(n,)`):
            Mono, float32, at the sampling rate of the feature extractor. It never changes.
        label (`str`, *optional*):
            What it is enrolled as; a target has none.
        encoded (`tuple`, *optional*):
            What a model has made of it, and which model with which weights.
    """

    waveform: np.ndarray
    label: str = ""
    encoded: tuple[ModelIdentity, dict[str, torch.Tensor]] | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the waveform: tells a recording from all others, and nothing about it."""
        return hashlib.sha256(self.waveform.tobytes()).hexdigest()


def decode_target(extractor: EmoIclFeatureExtractor, audio: AudioLike) -> Utterance:
    """Decodes the utterance whose label is asked for, in any form that [`decode_audio`] reads."""
    return Utterance(extractor.decode(audio, name="audio"))


def decode_enrollment(extractor: EmoIclFeatureExtractor, enrollment: Sequence[Any]) -> list[Utterance]:
    """
    Decodes the labeled utterances of one speaker.

    Args:
        extractor ([`EmoIclFeatureExtractor`]):
            Decodes the utterances.
        enrollment (`list[dict]`):
            Labeled utterances `{"audio": ..., "label": ...}`. What this function returned is an enrollment too.

    Returns:
        `list[Utterance]`

    Raises:
        `ValueError`: If an utterance cannot be used, or an item lacks its audio or label. The message names the item.
    """
    return [_decode_shot(extractor, item, f"enrollment[{i}]") for i, item in enumerate(enrollment)]


def _decode_shot(extractor: EmoIclFeatureExtractor, item: Any, name: str) -> Utterance:
    # Not its class: that of an installed package and that of a checkpoint from the Hub are not the same.
    if hasattr(item, "digest"):
        return item
    if not isinstance(item, Mapping) or item.get("audio") is None or item.get("label") is None:
        found = f"the keys {list(item)}" if isinstance(item, Mapping) else f"{type(item).__name__!r}"
        raise ValueError(f'{name}: must be a dictionary with "audio" and "label"; got {found}')
    return Utterance(extractor.decode(item["audio"], name=name), item["label"])


def refuse_enrolled(target: Utterance, digests: Sequence[str], name: str = "the target") -> None:
    """
    Refuses a target that is in its own enrollment, for its label is asked for.

    Args:
        target ([`Utterance`]): The target.
        digests (`list[str]`): Digest of each utterance of the enrollment.
        name (`str`, *optional*, defaults to `"the target"`): What to call the target.

    Raises:
        `ValueError`: If one of them is the target's.
    """
    if digests and target.digest in digests:
        raise ValueError(
            f"enrollment[{digests.index(target.digest)}]: is {name} itself, whose label is asked for; take it out"
        )


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


def unknown_label(label: Any, candidates: Sequence[str], kind: str = "candidate") -> str:
    """What to say of a label that is none of the candidates."""
    return f"label {label!r} is none of the {kind} labels {', '.join(candidates)} (case matters)"


__all__ = [
    "Utterance",
    "decode_enrollment",
    "decode_target",
    "index_utterances",
    "refuse_enrolled",
    "unknown_label",
]
