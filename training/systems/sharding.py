"""Models of which each process holds a part of every weight (FSDP2)."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel, TrainingArguments


# Those of torch's FSDP2 would gather weights at each forward pass, and wait there for processes that have no batch, or
# take them back before they are saved.
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_state_dict_pre_hooks")


def refuse_sharding(args: TrainingArguments, what: str) -> None:
    """
    Refuses to train in parts what each GPU can hold, before anything is computed.

    Args:
        args (`TrainingArguments`): How it is trained, and `accelerate launch` beside it.
        what (`str`): What is trained.

    Raises:
        `ValueError`: If FSDP is asked for.
    """
    if args.fsdp or parse_flag_from_env("ACCELERATE_USE_FSDP"):
        raise ValueError(
            f"FSDP is for language models that no GPU can hold, and {what} is none: launch its training by a "
            "configuration of DDP, such as training/accelerate/ddp-2-gpus.yaml."
        )


@contextmanager
def whole_weights(model: torch.nn.Module) -> Iterator[None]:
    """
    Gives each process all weights of a model for a while, if it holds a part of them: any method of the model can be
    called, as often as the process likes, and the main process can save it alone. All processes enter and leave
    together. A model that is not sharded stays as it is.

    Args:
        model (`torch.nn.Module`): The model, as FSDP2 changed it in place.
    """
    if not isinstance(model, FSDPModule):
        yield
        return
    parts: list[Any] = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.unshard()
    try:
        with without_hooks(list(model.modules())):
            yield
    finally:
        for part in parts:
            part.reshard()


@contextmanager
def without_hooks(modules: Sequence[torch.nn.Module]) -> Iterator[None]:
    """Has modules compute without gathering their weights, which are whole, nor giving them back."""
    # Those around a forward pass are of the modules that are sharded; others have such hooks for reasons of their own.
    names = [HOOKS if isinstance(module, FSDPModule) else HOOKS[-1:] for module in modules]
    hooks = [{name: getattr(module, name) for name in of} for module, of in zip(modules, names, strict=True)]
    for module, of_module in zip(modules, hooks, strict=True):
        vars(module).update((name, OrderedDict()) for name in of_module)
    try:
        yield
    finally:
        for module, of_module in zip(modules, hooks, strict=True):
            vars(module).update(of_module)


@contextmanager
def sharded_by_layers(model: PreTrainedModel) -> Iterator[None]:
    """
    While a model is sharded, has accelerate (1.15) gather one layer of its language model at a time and all else at
    once, unless its configuration names other classes.

    Of its own accord it looks for all classes that the model might have, those of parts that it is without too. And
    it shards embeddings apart from the rest, and with them the weight that encoder and decoder share, which then
    learns in each of them alone.

    Args:
        model (`PreTrainedModel`): The model, before it is sharded.
    """
    modules = dict(model.named_modules())
    language_model = next((modules[name] for name in modules if name.endswith("language_model")), model)
    present = {type(module).__name__ for module in language_model.modules()}
    layers = present.intersection(getattr(language_model, "_no_split_modules", None) or ())
    embeddings = dict.fromkeys(("get_input_embeddings", "get_output_embeddings"), lambda: None)
    changed = {"_no_split_modules": sorted(layers), **embeddings}
    own = {name: vars(model)[name] for name in changed if name in vars(model)}
    vars(model).update(changed)
    try:
        yield
    finally:
        for name in changed:
            del vars(model)[name]
        vars(model).update(own)
