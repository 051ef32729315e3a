"""Low-rank adapters (LoRA) of a pretrained language model, by peft: trained in place of its weights, then merged."""

from collections.abc import Mapping
from typing import Any, get_type_hints

import torch
from transformers import AutoConfig

from emoicl.modeling.language_model_emoicl import prompted_form
from emoicl.training.systems.tokenizer import source_of


# Fields of `LoraConfig` that say what adapters are, and with which they can be merged into the weights.
FIELDS = (
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "bias",
    "use_rslora",
    "use_dora",
)


def import_peft() -> Any:
    """The package `peft`.

    Raises:
        `ValueError`: If it is missing.
    """
    try:
        import peft
    except ModuleNotFoundError as error:
        if error.name != "peft":
            raise
        raise ValueError('`lora` needs peft, which is missing: pip install "emoicl[lora]"') from error
    return peft


def adapter_fields() -> dict[str, Any]:
    """The fields that adapters may be given, and their types."""
    hints = get_type_hints(import_peft().LoraConfig)
    return {name: hints[name] for name in FIELDS}


def add_adapters(language_model: Any, lora: Mapping[str, Any]) -> Any:
    """
    Freezes a language model but for new low-rank adapters, in place. Its state dictionary has them beside the weights
    until they are merged.

    Args:
        language_model ([`~transformers.PreTrainedModel`]): The language model.
        lora (`Mapping`): Fields of `peft.LoraConfig`. By default the adapters are of all linear layers but the head.

    Returns:
        [`~peft.LoraModel`]: Its `merge_and_unload()` merges them into the weights, in place too.

    Raises:
        `ValueError`: If there are none of the layers that are to be adapted, or peft is missing.
    """
    peft = import_peft()
    config = peft.LoraConfig(**{"target_modules": "all-linear", **lora})
    try:
        return peft.LoraModel(language_model, config, "default")
    except ValueError as error:
        raise ValueError(f"lora: {' '.join(str(error).split())}") from error


def check_adapters(checkpoint: str, lora: Mapping[str, Any]) -> None:
    """
    Refuses adapters that a language model cannot have, before it is loaded.

    Args:
        checkpoint (`str`): Hub name or folder of the language model, or a file in GGUF.
        lora (`Mapping`): As of [`add_adapters`], and what it raises.
    """
    config = AutoConfig.from_pretrained(**source_of(checkpoint), trust_remote_code=False)
    with torch.device("meta"):
        language_model = prompted_form(config).auto_class.from_config(config)
    add_adapters(language_model, lora)
