"""A checkpoint: its pipeline, and what its folder tells without loading the weights: labels, parts and sizes."""

import json
import math
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedConfig

from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.modeling.configuration_emoicl import EmoIclClassifierConfig, EmoIclConfig
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.classification_pipeline_emoicl import EmoIclClassificationPipeline
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.processing.processing_emoicl import EmoIclProcessor


EmotionPipeline = EmoIclPipeline | EmoIclClassificationPipeline
ModelConfig = EmoIclConfig | EmoIclClassifierConfig


def load_pipeline(checkpoint: str | Path, device: torch.device | None = None) -> EmotionPipeline:
    """
    The pipeline of a speech language model or of a classifier.

    Args:
        checkpoint (`str` or `Path`): Folder or Hub name.
        device (`torch.device`, *optional*): Where it computes, by default where transformers' pipelines do.

    Raises:
        `ValueError`: If it is a model of another type.
    """
    model_type = AutoConfig.from_pretrained(checkpoint).model_type
    if model_type == "emoicl":
        return EmoIclPipeline(
            model=EmoIclForConditionalGeneration.from_pretrained(checkpoint, use_safetensors=True),
            processor=EmoIclProcessor.from_pretrained(checkpoint),
            device=device,
        )
    if model_type == "emoicl_classifier":
        return EmoIclClassificationPipeline(
            model=EmoIclForAudioClassification.from_pretrained(checkpoint, use_safetensors=True),
            feature_extractor=EmoIclFeatureExtractor.from_pretrained(checkpoint),
            device=device,
        )
    raise ValueError(
        f"{checkpoint}: a model of the type {model_type!r}; only speech language models (emoicl) and classifiers "
        "(emoicl_classifier) of this package are loaded."
    )


def read_config(checkpoint: Path) -> ModelConfig:
    """The configuration of a speech language model or a classifier.

    Raises:
        `ValueError`: If the folder holds neither.
    """
    if not (checkpoint / "config.json").is_file():
        raise ValueError(f"{checkpoint}: holds no checkpoint, it lacks config.json.")
    config = AutoConfig.from_pretrained(checkpoint)
    if not isinstance(config, ModelConfig):
        raise ValueError(
            f"{checkpoint}: is of type {config.model_type!r}; it should be a model of this package, emoicl or "
            "emoicl_classifier."
        )
    return config


def label_words(config: ModelConfig, checkpoint: Path) -> list[str]:
    """The labels that a model chooses from."""
    if isinstance(config, EmoIclConfig):
        return json.loads((checkpoint / "processor_config.json").read_text())["candidate_labels"]
    return list((config.id2label or {}).values())


def describe_parts(config: ModelConfig, checkpoint: Path) -> list[tuple[str, str, str]]:
    """
    The parts of a model, as far as it has them.

    Args:
        config ([`EmoIclConfig`] or [`EmoIclClassifierConfig`]): Its configuration.
        checkpoint (`Path`): Folder of the weights.

    Returns:
        `list[tuple]`: of each part its name, what it is, and its parameters in millions, as texts.
    """
    speech = config.speech_config
    frozen = ", frozen" if config.freeze_speech_encoder else ""
    descriptions = {
        "speech_encoder": ("speech encoder", f"{speech.model_type}, {speech.num_hidden_layers} layers{frozen}"),
        **(speech_lm_parts(config) if isinstance(config, EmoIclConfig) else classifier_parts(config)),
    }
    counts = count_parameters(checkpoint)
    return [(*descriptions[part], f"{counts[part] / 1e6:.2f}") for part in descriptions if part in counts]


def speech_lm_parts(config: EmoIclConfig) -> dict[str, tuple[str, str]]:
    """Names and descriptions of what a speech language model has above its speech encoder."""
    text = config.text_config
    return {
        "qformer": (
            "Q-Former",
            f"{config.qformer_config.num_hidden_layers} layers, {config.qformer_config.hidden_size}-d, "
            f"{config.num_query_tokens} query tokens for an utterance",
        ),
        "language_model": ("language model", ", ".join([text.model_type, *describe_layers(text)])),
        "adaptation": (
            "speaker adaptation",
            f"voice embeddings of {config.adaptation_config.size} dimensions" if config.adaptation_config else "",
        ),
    }


def classifier_parts(config: EmoIclClassifierConfig) -> dict[str, tuple[str, str]]:
    """Names and descriptions of what a classifier has above its speech encoder."""
    return {
        "utterance_encoder": ("utterance encoder", f"{config.num_hidden_layers} layers, {config.hidden_size}-d"),
        "enrollment_attention": ("attention", f"over utterances of {', '.join(config.enrollment_labels or [])}"),
        "classifier": ("classifier", f"{config.num_labels} labels"),
    }


def describe_layers(config: PreTrainedConfig) -> list[str]:
    """Depth and width of an encoder-decoder, as far as its type names them in a usual way."""
    for encoder, decoder, width in (
        ("num_layers", "num_decoder_layers", "d_model"),
        ("encoder_layers", "decoder_layers", "d_model"),
    ):
        if all(hasattr(config, name) for name in (encoder, decoder, width)):
            return [f"{getattr(config, encoder)} + {getattr(config, decoder)} layers", f"{getattr(config, width)}-d"]
    return []


def weight_files(checkpoint: Path) -> list[Path]:
    return sorted(checkpoint.glob("model*.safetensors"))


def count_parameters(checkpoint: Path) -> dict[str, int]:
    """Number of stored parameters by part of the model, from the headers of the weights."""
    counts: dict[str, int] = {}
    for path in weight_files(checkpoint):
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118
                part = name.removeprefix("model.").partition(".")[0]
                counts[part] = counts.get(part, 0) + math.prod(file.get_slice(name).get_shape())
    return counts


def describe_storage(checkpoint: Path) -> str:
    """Size of the weights and how they are stored, such as `"18.3 MiB, F16"`."""
    dtypes = set()
    for path in weight_files(checkpoint):
        with safe_open(path, framework="numpy") as file:
            dtypes |= {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    size = sum(path.stat().st_size for path in weight_files(checkpoint))
    return f"{size / 2**20:.1f} MiB, {' and '.join(sorted(dtypes))}"
