"""Low-rank adapters (LoRA) of a pretrained language model, by peft: trained in place of its weights, then merged."""

import tempfile
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import torch
from transformers import AutoConfig, BitsAndBytesConfig
from transformers.utils.import_utils import is_bitsandbytes_available

from emoicl.modeling.language_model_emoicl import prompted_form
from emoicl.modeling.pretrained_emoicl import never_pack
from emoicl.modeling.shared_attention_emoicl import share_attention
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
# Beside these: whether the weights that they adapt have 4 bits while they are trained (QLoRA).
IN_4_BITS = "load_in_4bit"


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
    return {name: hints[name] for name in FIELDS} | {IN_4_BITS: bool}


def adapt(model: Any, lora: Mapping[str, Any], compute_dtype: torch.dtype) -> Callable[[], Any]:
    """
    Gives a speech language model adapters to train in place of the weights of its language model.

    Args:
        model ([`EmoIclForConditionalGeneration`]): The model, changed in place.
        lora (`Mapping`): As of [`add_adapters`], and with `load_in_4bit` the weights have 4 bits from now on.
        compute_dtype (`torch.dtype`): In what precision those are computed with.

    Returns:
        `Callable`: Merges the adapters into the weights, in place. Those of 4 bits are made whole before, and are what
        the adapters were trained on, not what they were.
    """
    if not lora.get(IN_4_BITS):
        return add_adapters(model.model.language_model, lora).merge_and_unload
    model.model.language_model = language_model = in_4_bits(model.model.language_model, compute_dtype)
    adapters = add_adapters(language_model, lora)

    def merge() -> None:
        trained = {name: weight for name, weight in language_model.named_parameters() if weight.requires_grad}
        adapters.unload()
        language_model.dequantize(language_model.dtype)
        whole = add_adapters(language_model, lora)
        language_model.load_state_dict(trained, strict=False)
        whole.merge_and_unload()

    return merge


def in_4_bits(language_model: Any, compute_dtype: torch.dtype) -> Any:
    """A copy of a language model whose linear layers but the head have 4 bits."""
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute_dtype)
    with tempfile.TemporaryDirectory() as folder:
        language_model.save_pretrained(folder)
        quantized = type(language_model).from_pretrained(
            folder, quantization_config=config, dtype=language_model.dtype, device_map={"": language_model.device}
        )
    never_pack(quantized)
    share_attention(quantized)
    return quantized


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
    fields = {name: value for name, value in lora.items() if name != IN_4_BITS}
    config = peft.LoraConfig(**{"target_modules": "all-linear", **fields})
    try:
        return peft.LoraModel(language_model, config, "default")
    except ValueError as error:
        raise ValueError(f"lora: {' '.join(str(error).split())}") from error


def check_adapters(checkpoint: str, lora: Mapping[str, Any]) -> None:
    """
    Refuses adapters that a language model cannot have, before it is loaded.

    Args:
        checkpoint (`str`): Hub name or folder of the language model, or a file in GGUF.
        lora (`Mapping`): As of [`adapt`].

    Raises:
        `ValueError`: As [`add_adapters`], and if bitsandbytes is missing though the weights are to have 4 bits.
    """
    if lora.get(IN_4_BITS) and not is_bitsandbytes_available():
        raise ValueError(
            f'`lora.{IN_4_BITS}` needs bitsandbytes, which is missing: pip install "emoicl[lora,quantized]"'
        )
    config = AutoConfig.from_pretrained(**source_of(checkpoint), trust_remote_code=False)
    with torch.device("meta"):
        language_model = prompted_form(config).auto_class.from_config(config)
    add_adapters(language_model, lora)
