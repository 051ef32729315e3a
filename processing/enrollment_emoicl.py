"""A target utterance and its enrollment as a user gives them -> checked waveforms, each distinct one once."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .audio_emoicl import AudioLike


def decode_episode(feature_extractor: Any, audio: AudioLike, enrollment: Sequence[Any] | None = None) -> dict:
    """
    Decodes one target and its enrollment.

    Args:
        feature_extractor ([`EmoIclFeatureExtractor`]):
            Decodes the utterances.
        audio (`str`, `os.PathLike`, `bytes`, `dict`, `np.ndarray` or `torch.Tensor`):
            The target utterance.
        enrollment (`list[dict]`, *optional*):
            Labeled utterances `{"audio": ..., "label": ...}` of the target's speaker.

    Returns:
        `dict` with `audio`, the waveform of the target, and `enrollment`, a list of `{"audio": waveform, "label":
        label}`. Waveforms are `(n,)`, float32.

    Raises:
        `ValueError`: If an utterance cannot be used, an enrollment item lacks its audio or label, or is the target
            itself. The message names the item.
    """
    target = feature_extractor.decode(audio, name="audio")
    shots = decode_enrollment(feature_extractor, enrollment or [])
    if shots:
        refuse_enrolled(target, [digest_waveform(shot["audio"]) for shot in shots])
    return {"audio": target, "enrollment": shots}


def decode_enrollment(feature_extractor: Any, enrollment: Sequence[Any]) -> list[dict]:
    """
    Decodes the labeled utterances of one speaker.

    Args:
        feature_extractor ([`EmoIclFeatureExtractor`]):
            Decodes the utterances.
        enrollment (`list[dict]`):
            Labeled utterances `{"audio": ..., "label": ...}`.

    Returns:
        `list[dict]`: the same with waveforms `(n,)`, float32.

    Raises:
        `ValueError`: If an utterance cannot be used, or an item lacks its audio or label. The message names the item.
    """
    shots = []
    for i, item in enumerate(enrollment):
        name = f"enrollment[{i}]"
        if not isinstance(item, Mapping) or item.get("audio") is None or item.get("label") is None:
            found = f"the keys {list(item)}" if isinstance(item, Mapping) else f"{type(item).__name__!r}"
            raise ValueError(f'{name}: must be a dictionary with "audio" and "label"; got {found}')
        shots.append({"audio": feature_extractor.decode(item["audio"], name=name), "label": item["label"]})
    return shots


def digest_waveform(waveform: np.ndarray) -> str:
    """SHA-256 of a decoded waveform `(n,)`, float32: tells a recording from all others, and nothing about it."""
    return hashlib.sha256(waveform.tobytes()).hexdigest()


def refuse_enrolled(target: np.ndarray, digests: Sequence[str], name: str = "the target") -> None:
    """
    Refuses a target that is in its own enrollment, for its label is asked for.

    Args:
        target (`np.ndarray` of shape `(n,)`): The decoded waveform, float32.
        digests (`list[str]`): Digest of each utterance of the enrollment, see [`digest_waveform`].
        name (`str`, *optional*, defaults to `"the target"`): What to call the target.

    Raises:
        `ValueError`: If one of them is the target's.
    """
    digest = digest_waveform(target)
    if digest in digests:
        raise ValueError(
            f"enrollment[{digests.index(digest)}]: is {name} itself, whose label is asked for; take it out"
        )


def index_utterances(episodes: Sequence[dict]) -> tuple[list[np.ndarray], list[list[int]]]:
    """
    Gives every distinct utterance of some episodes one row, however many episodes share it.

    Args:
        episodes (`list[dict]`): Episodes as [`decode_episode`] returns them.

    Returns:
        `tuple`: the waveform of each row, and for each episode the rows of its enrollment and last of its target.
    """
    rows: dict[bytes, int] = {}
    waveforms: list[np.ndarray] = []

    def row(waveform: np.ndarray) -> int:
        content = waveform.tobytes()
        if content not in rows:
            rows[content] = len(waveforms)
            waveforms.append(waveform)
        return rows[content]

    index = [[*(row(shot["audio"]) for shot in episode["enrollment"]), row(episode["audio"])] for episode in episodes]
    return waveforms, index


def unknown_label(label: Any, candidates: Sequence[str], kind: str = "candidate") -> str:
    """What to say of a label that is none of the candidates."""
    return f"label {label!r} is none of the {kind} labels {', '.join(candidates)} (case matters)"


__all__ = [
    "decode_enrollment",
    "decode_episode",
    "digest_waveform",
    "index_utterances",
    "refuse_enrolled",
    "unknown_label",
]
