"""A checkpoint: its pipeline, and what its folder tells without loading the weights: labels, parts and sizes."""

import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import CONFIG_NAME

from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.modeling.configuration_emoicl import EmoIclClassifierConfig, EmoIclConfig
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.classification_pipeline_emoicl import EmoIclClassificationPipeline
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.publishing.schema import mismatch, parse_json, read_json


EmotionPipeline = EmoIclPipeline | EmoIclClassificationPipeline
ModelConfig = EmoIclConfig | EmoIclClassifierConfig


# More than any published model has.
MAX_LAYERS = 1000
# In seconds. No utterance must be longer.
MAX_TRIAL = 30.0
# Tied weights are stored once, and may be counted for each place.
MAX_EXCESS = 4
# By what reads it. transformers takes an adapter that lies beside a model, and tokenizers read files of older forms.
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
)
TOKENIZER_FILES = ("tokenizer*.json", "special_tokens_map.json", "added_tokens.json")
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", *TOKENIZER_FILES)
# What a processor writes. transformers would do without some of them, or ask for others.
NEEDED_OF_PROCESSOR = ("processor_config.json", "tokenizer_config.json")


def load_pipeline(
    checkpoint: str | Path, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> EmotionPipeline:
    """
    The pipeline of a speech language model or of a classifier. Code that a checkpoint brings is never run.

    Args:
        checkpoint (`str` or `Path`): Folder or Hub name; or folder of an adapter of peft that names that of its model.
        device (`str` or `torch.device`, *optional*): Where it computes, by default where transformers' pipelines do.
        dtype (`str` or `torch.dtype`, *optional*): Precision that it computes in, by default that of its weights.

    Raises:
        `ValueError`: If it is a model of another type, or a file of it is damaged, which is named.
    """
    check_device(device)
    dtype = find_dtype(dtype)
    if is_adapter(checkpoint) and (Path(base := model_of_adapter(checkpoint)) / "config.json").is_file():
        recognizer = load_pipeline(base, device, dtype)
        with naming_damage(checkpoint, *MODEL_FILES):
            recognizer.model.load_adapter(str(checkpoint))
        return recognizer
    config = read_config(checkpoint)
    speech_lm = isinstance(config, EmoIclConfig)
    model_class = EmoIclForConditionalGeneration if speech_lm else EmoIclForAudioClassification
    with naming_damage(checkpoint, *MODEL_FILES):
        refuse_larger(model_class, config, Path(checkpoint))
        model = model_class.from_pretrained(checkpoint, use_safetensors=True, dtype=dtype)
    if speech_lm:
        refuse_without_processor(Path(checkpoint))
    with naming_damage(checkpoint, *PROCESSOR_FILES):
        if speech_lm:
            processor = EmoIclProcessor.from_pretrained(checkpoint, trust_remote_code=False)
            recognizer = EmoIclPipeline(model=model, processor=processor, device=device)
        else:
            feature_extractor = EmoIclFeatureExtractor.from_pretrained(checkpoint)
            recognizer = EmoIclClassificationPipeline(model=model, feature_extractor=feature_extractor, device=device)
    with naming_damage(checkpoint, *MODEL_FILES, *PROCESSOR_FILES):
        try_out(recognizer)
    return recognizer


def check_device(device: str | torch.device | None) -> None:
    """Refuses a device that is not here, before it looks as if the checkpoint were damaged."""
    # Of a number transformers knows what it is a number of.
    if device is None or isinstance(device, int):
        return
    try:
        torch.zeros(1, device=device).item()
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = textwrap.shorten(str(error), 150, placeholder=" ...")
        raise ValueError(f"`device`: nothing can be computed on {str(device)!r} here: {reason}") from error


def find_dtype(dtype: str | torch.dtype | None) -> torch.dtype | str | None:
    """The precision of a name; what is none is refused, before it looks as if the checkpoint were damaged."""
    if dtype is None or dtype == "auto":
        return dtype
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point or found.itemsize < 2:
        raise ValueError(f'`dtype` is a precision, "float32", "float16" or "bfloat16"; got {dtype!r}.')
    return found


def try_out(recognizer: EmotionPipeline) -> None:
    """Answers a moment of noise: files that load may still not fit together, which nobody wants to learn later.

    Raises:
        `ValueError`: If the answer is no number.
    """
    extractor = recognizer.feature_extractor or recognizer.processor.feature_extractor
    seconds = min(max(0.3, extractor.min_duration), extractor.max_duration, MAX_TRIAL)
    noise = np.random.default_rng(0).normal(0, 0.1, (2, round(seconds * extractor.sampling_rate))).astype(np.float32)
    if isinstance(recognizer, EmoIclPipeline):
        labels = recognizer.processor.candidate_labels[: recognizer.processor.max_shots]
    else:
        labels = recognizer.model.config.enrollment_labels or []
    answers = recognizer(noise[0], enrollment=[{"audio": noise[1], "label": label} for label in labels[:1]])
    if not all(math.isfinite(answer["score"]) for answer in answers):
        raise ValueError("it answers with scores that are no numbers")


@contextmanager
def naming_damage(checkpoint: str | Path, *patterns: str) -> Iterator[None]:
    """
    Turns whatever goes wrong while files of a checkpoint are read into one line that names them.

    Args:
        checkpoint (`str` or `Path`): Folder or Hub name.
        *patterns (`str`): Names of the files, where `*` stands for any part.

    Raises:
        `ValueError`: In place of any error, but those of the network, and of a device without memory.
    """
    files = [path for pattern in patterns for path in sorted(Path(checkpoint).glob(pattern))]
    if damaged := [path.name for path in files if not is_readable(path)]:
        raise ValueError(f"{checkpoint}: {', '.join(damaged)} cannot be read; download it again.")
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and not Path(checkpoint).is_dir():
            raise
        kind = "" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: "
        reason = textwrap.shorten(f"{kind}{error}", 300, placeholder=" ...").rstrip(".?")
        names = ", ".join([path.name for path in files] or patterns)
        raise ValueError(f"{checkpoint}: {names} cannot be used: {reason}. If damaged, download it again.") from error


def is_readable(path: Path) -> bool:
    """Whether a file of JSON or of weights can be parsed."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy"):
                return True
        return isinstance(parse_json(path.read_text(encoding="utf-8")), dict)
    except (ValueError, RecursionError, OSError, SafetensorError):
        return False


def read_config(checkpoint: str | Path) -> ModelConfig:
    """The configuration of a speech language model or a classifier.

    Args:
        checkpoint (`str` or `Path`): Folder or Hub name.

    Raises:
        `ValueError`: If it is that of neither, or damaged.
    """
    find_pretrained(str(checkpoint))
    if Path(checkpoint).is_dir() and not (Path(checkpoint) / "config.json").is_file():
        if is_adapter(checkpoint):
            raise ValueError(
                f"{checkpoint}: is an adapter of peft and no model. Load its model, {model_of_adapter(checkpoint)}, "
                "and put it on: `recognizer.model.load_adapter(...)`, or merge them by `merge_and_unload()` of peft."
            )
        raise ValueError(f"{checkpoint}: holds no checkpoint, it lacks config.json.")
    with naming_damage(checkpoint, "config.json"):
        config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
        refuse_endless(config.to_dict())
    if not isinstance(config, ModelConfig):
        raise ValueError(
            f"{checkpoint}: is of type {config.model_type!r}; it should be a model of this package, emoicl or "
            "emoicl_classifier."
        )
    return config


def is_adapter(checkpoint: str | Path) -> bool:
    """Whether a folder has an adapter of peft and no model."""
    folder = Path(checkpoint)
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def model_of_adapter(checkpoint: str | Path) -> str:
    """The model that an adapter was made for, as it was named then."""
    return str(read_json(Path(checkpoint) / "adapter_config.json", dict).get("base_model_name_or_path"))


def find_pretrained(name: str) -> None:
    """Refuses what is neither a folder nor the name of a model on the Hub, at once, where transformers asks six times.

    Raises:
        `ValueError`: If there is no such folder, and neither the Hub nor its cache has the model.
    """
    # Repositories of files in GGUF have no configuration.
    if Path(name).is_dir() or name.endswith(".gguf"):
        return
    try:
        if not isinstance(try_to_load_from_cache(name, CONFIG_NAME), str):
            get_hf_file_metadata(hf_hub_url(name, CONFIG_NAME))
    except HFValidationError:
        raise ValueError(f"{name}: there is no such folder, and no name of the Hub is like that.") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        what = "has no such model, or a private one" if status in (401, 404) else f"refuses it ({status})"
        raise ValueError(f"{name}: there is no such folder, and the Hub {what}.") from error
    # By which client it asks depends on its version.
    except Exception as error:
        raise ValueError(f"{name}: there is no such folder, and the Hub cannot be reached ({error}).") from error


def refuse_without_processor(checkpoint: Path) -> None:
    """Refuses the folder of a model that lies there alone, as the `save_pretrained` of a model leaves it."""
    absent = [name for name in NEEDED_OF_PROCESSOR if not (checkpoint / name).is_file()]
    if checkpoint.is_dir() and absent:
        raise ValueError(
            f"{checkpoint}: lacks {' and '.join(absent)}, which its processor writes: save that beside the model by "
            "`processor.save_pretrained(...)`."
        )


def refuse_endless(fields: dict[str, Any]) -> None:
    """Refuses numbers of layers that would be built until the memory is full, in a configuration or a part of it."""
    for name, value in fields.items():
        if isinstance(value, dict):
            refuse_endless(value)
        elif str(name).endswith("layers") and isinstance(value, int) and value > MAX_LAYERS:
            raise ValueError(f"`{name}` is {value}; at most {MAX_LAYERS} are built")


def refuse_larger(model_class: type[PreTrainedModel], config: ModelConfig, checkpoint: Path) -> None:
    """Refuses a configuration of far more weights than are stored, before they take memory."""
    if stored := sum(count_parameters(checkpoint).values()):
        with torch.device("meta"):
            needed = sum(weight.numel() for weight in model_class(config).parameters())
        if needed > MAX_EXCESS * stored + 2**24:
            raise ValueError(f"the configuration is of a model of {needed} weights, and {stored} are stored")


def label_words(config: ModelConfig, checkpoint: Path) -> list[str]:
    """The labels that a model chooses from."""
    if isinstance(config, EmoIclConfig):
        with naming_damage(checkpoint, "processor_config.json"):
            fields = read_json(checkpoint / "processor_config.json", dict[str, Any])
            if problem := mismatch(labels := fields.get("candidate_labels"), list[str], "`candidate_labels`"):
                raise ValueError(problem)
            return labels
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
    text, voice_size = config.text_config, config.adaptation_config.size if config.adaptation_config else None
    return {
        "qformer": (
            "Q-Former",
            f"{config.qformer_config.num_hidden_layers} layers, {config.qformer_config.hidden_size}-d, "
            f"{config.num_query_tokens} query tokens for an utterance",
        ),
        "voice_token": (
            "voice token",
            f"a linear map of {config.voice_token_size or voice_size} dimensions of the voice embedding",
        ),
        "language_model": ("language model", ", ".join([text.model_type, *describe_layers(text)])),
        "adaptation": (
            "speaker adaptation",
            f"voice embeddings of {voice_size} dimensions",
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
    """Depth and width of a language model, as far as its type names them in a usual way."""
    if not config.is_encoder_decoder:
        return [f"{config.num_hidden_layers} layers", f"{config.hidden_size}-d"]
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
        with naming_damage(checkpoint, path.name), safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118
                part = name.removeprefix("model.").partition(".")[0]
                counts[part] = counts.get(part, 0) + math.prod(file.get_slice(name).get_shape())
    return counts


def describe_storage(checkpoint: Path) -> str:
    """Size of the weights and how they are stored, such as `"18.3 MiB, F16"`."""
    dtypes = set()
    for path in weight_files(checkpoint):
        with naming_damage(checkpoint, path.name), safe_open(path, framework="numpy") as file:
            dtypes |= {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    size = sum(path.stat().st_size for path in weight_files(checkpoint))
    return f"{size / 2**20:.1f} MiB, {' and '.join(sorted(dtypes))}"
