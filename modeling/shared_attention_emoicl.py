"""What an encoder-decoder reads once for several: a prompt that many labels follow on, and the beginning of prompts.

Its layers could do so, but transformers gives no way to tell them: an encoder takes no cache, and a decoder takes a
prompt for each label. Hooks of the layers' attention pass it on. They hold nothing: calls can run side by side.
"""

from typing import Any

import torch
from torch import nn


# What the layers of these types call their attention. Of other types nothing is shared.
SELF_ATTENTION = ("SelfAttention", "self_attn")
CROSS_ATTENTION = ("EncDecAttention", "encoder_attn", "cross_attn")
SHARING_TYPES = ("bart", "mbart", "mt5", "t5", "t5gemma", "umt5")


def share_attention(language_model: Any) -> None:
    """
    Lets an encoder read on from a cache, given as its argument `encoder_cache`, and each row of what a decoder attends
    to be that of several of its own rows, which follow one another.

    Args:
        language_model ([`~transformers.PreTrainedModel`]): The language model.
    """
    if language_model.config.model_type not in SHARING_TYPES:
        return
    for number, module in enumerate(attention_modules(language_model.get_encoder(), SELF_ATTENTION)):
        # By which it finds its part of a cache; that of mBART has none.
        module.layer_idx = number
        module.register_forward_pre_hook(take_cache, with_kwargs=True)
    for module in attention_modules(language_model.get_decoder(), CROSS_ATTENTION):
        module.register_forward_pre_hook(join_rows, with_kwargs=True)
        module.register_forward_hook(part_rows, with_kwargs=True)


def attention_modules(stack: nn.Module, names: tuple[str, ...]) -> list[Any]:
    """Those of the attention modules of an encoder or decoder that are called so."""
    return [module for name, module in stack.named_modules() if name.rpartition(".")[2] in names]


def take_cache(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Layers of an encoder hand all that they do not know on to their attention."""
    cache = kwargs.pop("encoder_cache", None)
    return args, kwargs if cache is None else kwargs | {"past_key_values": cache}


def following(encoder: Any, prompt: torch.Tensor, length: int) -> torch.Tensor:
    """What stands in prompts `(batch_size, prompt_length, hidden_size)` after so many tokens, for an encoder to read
    on there. One that has a table of positions counts from the first token that it is given."""
    follows = prompt[:, length:]
    positions = getattr(encoder, "embed_positions", None)
    if positions is None:
        return follows
    return follows + (positions(prompt[..., -1])[:, length:] - positions(follows[..., -1]))


def join_rows(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Rows of a decoder that attend to the same are laid end to end, for in cross-attention none sees another."""
    hidden = args[0] if args else kwargs["hidden_states"]
    attended = kwargs["key_value_states" if "key_value_states" in kwargs else "encoder_hidden_states"]
    kwargs = kwargs | {"hidden_states": hidden.unflatten(0, (len(attended), -1)).flatten(1, 2)}
    return args[1:], kwargs | {"num_steps": hidden.shape[1]}


def part_rows(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: tuple) -> tuple:
    """They are rows again."""
    return output[0].unflatten(1, (-1, kwargs["num_steps"])).flatten(0, 1), *output[1:]


__all__ = ["SHARING_TYPES", "following", "share_attention"]
