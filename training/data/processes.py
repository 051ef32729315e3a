"""Work that the processes of `accelerate launch` share."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, send_to_device

from emoicl.training.data.writing import sole_writer


Item = TypeVar("Item")
Result = TypeVar("Result")


def map_shared(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """
    What a function gives for each of some items, each of which one process takes. All processes call it, with the same
    items, and all have all results.

    Args:
        function (`Callable`): What is computed. Tensors in its results come back on the CPU if there are several
            processes.
        items (`Sequence`): The items.

    Returns:
        `list`: In the order of the items.
    """
    processes = PartialState()
    own = [function(item) for item in items[processes.process_index :: processes.num_processes]]
    if processes.num_processes == 1:
        return own
    results: list[Any] = [None] * len(items)
    for process, part in enumerate(gather_object([send_to_device(own, "cpu")])):
        results[process :: processes.num_processes] = part
    return results


def sole_run(folder: Path) -> AbstractContextManager[None]:
    """Keeps other runs out of a folder. Of several processes that share a run, one does."""
    return sole_writer(folder) if PartialState().is_main_process else nullcontext()


def device_of_process() -> torch.device | None:
    """Where this process computes, if there are several."""
    processes = PartialState()
    return processes.device if processes.num_processes > 1 else None
