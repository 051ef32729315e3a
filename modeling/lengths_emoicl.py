"""Utterances of a batch by their length, so that little is computed of padding."""

from collections.abc import Callable

import torch
from torch import nn


# Of the longest in a group, what the shortest has: at the least so much of a group is no padding, in speech some .88.
LIKE = 0.75


def by_length(
    run: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], inputs: torch.Tensor, mask: torch.Tensor, axis: int
) -> torch.Tensor:
    """
    What a function makes of a batch of utterances, run over groups of like length, each padded to its longest. It
    must make of an utterance what it makes of it alone. A graph that is compiled or exported has no sizes that hang on
    what is in a mask: there, the batch is one group.

    Args:
        run (`Callable`): Takes inputs and mask of some of the utterances, and returns a tensor of which axis 1 may
            be shorter for shorter inputs.
        inputs (`torch.Tensor` with one row for each utterance): What it reads.
        mask (`torch.Tensor` of shape `(num_utterances, num_frames)`): 1 for real frames, padding at the right.
        axis (`int`): Of the frames in `inputs`.

    Returns:
        `torch.Tensor`: what `run` returns, in the order of `inputs`, zeros where a group is shorter.
    """
    if torch.compiler.is_compiling():
        return run(inputs, mask)
    lengths = mask.sum(1).tolist()
    groups = like_lengths(lengths)
    if len(groups) == 1:
        return run(inputs, mask)
    # The longest utterances come first. They are taken as they are padded already.
    widths = [mask.shape[1], *(lengths[group[0]] for group in groups[1:])]
    outputs = [
        run(inputs[group].narrow(axis, 0, width), mask[group, :width])
        for group, width in zip(groups, widths, strict=True)
    ]
    num_steps = outputs[0].shape[1]
    padded = [nn.functional.pad(output, (0, 0, 0, num_steps - output.shape[1])) for output in outputs]
    order = torch.tensor([place for group in groups for place in group], device=mask.device)
    return torch.cat(padded)[order.argsort()]


def like_lengths(lengths: list[int]) -> list[list[int]]:
    """Places of utterances in groups of like length, the longest first."""
    groups: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if not groups or lengths[place] < LIKE * lengths[groups[-1][0]]:
            groups.append([])
        groups[-1].append(place)
    return groups


__all__ = ["by_length", "like_lengths"]
