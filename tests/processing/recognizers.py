"""A pipeline on a tiny model that has every part, the speaker adaptation too, and speech for it."""

from typing import Any

import pytest
import torch
from synthetic_speech import tone
from tiny import tiny_model, tiny_processor

from emoicl import EmoIclPipeline


TARGETS = [tone(frequency, seconds) for frequency, seconds in ((300, 0.3), (700, 0.55), (1100, 0.4))]
SHOTS = [tone(frequency, seconds) for frequency, seconds in ((350, 0.5), (900, 0.35), (500, 0.25))]
ENROLLMENT = [
    {"audio": audio, "label": label} for audio, label in zip(SHOTS, ("Joy", "Anger", "Sadness"), strict=True)
]


def make_recognizer(seed: int = 0, **fields: Any) -> EmoIclPipeline:
    """A pipeline on `tiny_model(seed, **fields)`, on the CPU."""
    return EmoIclPipeline(model=tiny_model(seed, **fields), processor=tiny_processor(), device=torch.device("cpu"))


def scores_of(answers: list[dict]) -> dict[str, float]:
    return {answer["label"]: answer["score"] for answer in answers}


def assert_same(answers: list[dict], expected: list[dict]) -> None:
    """The same labels, with scores that agree to rounding."""
    assert scores_of(answers) == pytest.approx(scores_of(expected), abs=1e-5)
