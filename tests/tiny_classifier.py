"""Tiny classifiers with random weights: `from tiny_classifier import tiny_classifier` in the tests of any folder."""

from typing import Any

import torch
from tiny import LABELS, tiny_speech, tiny_speech_config

from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.modeling.configuration_emoicl import EmoIclClassifierConfig


# The paper's four classifiers, as fields of their configuration. "Joy" stands for the neutral label.
SYSTEMS: dict[str, dict[str, Any]] = {
    "Scratch": {"speech": "emoicl", "speech_layer": None, "freeze_speech_encoder": False, "num_hidden_layers": 0},
    "Pretrained": {},
    "Personalized_N": {"enrollment_labels": ["Joy"]},
    "Personalized_A": {"enrollment_labels": list(LABELS)},
}
SIZES = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}


def tiny_classifier_config(speech: str = "whisper", **fields: Any) -> EmoIclClassifierConfig:
    """A configuration with the labels of `tiny.LABELS`.

    Args:
        speech (`str`, *optional*, defaults to `"whisper"`): Speech encoder, see `tiny_speech_config`.
        **fields: Fields of [`EmoIclClassifierConfig`] that differ.
    """
    labels = {"speech_config": tiny_speech_config(speech), "id2label": dict(enumerate(LABELS))}
    arguments: dict[str, Any] = SIZES | {"speech_layer": 2} | labels | fields
    return EmoIclClassifierConfig(**arguments)


def tiny_classifier(seed: int = 0, **fields: Any) -> EmoIclForAudioClassification:
    """A model of `tiny_classifier_config(**fields)` in evaluation mode, its weights far from zero."""
    torch.manual_seed(seed)
    model = EmoIclForAudioClassification(tiny_classifier_config(**fields))
    for parameter in model.parameters():
        parameter.data.normal_(std=0.5)
    return model.eval()


def tiny_classifier_batch(system: str) -> dict[str, torch.Tensor]:
    """Three targets, two of them with shots that they share, where the system has an enrollment."""
    if "enrollment_labels" not in SYSTEMS[system]:
        return tiny_speech(40, 37, 51)
    last_label = len(SYSTEMS[system]["enrollment_labels"]) - 1
    return tiny_speech(40, 37, 51, 26, 33) | {
        "utterance_index": torch.tensor([[0, 1, 2], [-1, 1, 3], [-1, -1, 4]]),
        "enrollment_label_ids": torch.tensor([[0, last_label], [0, last_label], [0, 0]]),
    }
