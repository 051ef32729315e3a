"""The order of training episodes: those of a batch have about as many shots, so that little of a batch is padding."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from torch.utils.data import Sampler


class ItemsWithShots(Protocol):
    """Training items with shots, drawn anew each epoch."""

    seed: int
    epoch: int

    def __len__(self) -> int: ...

    def all_shots(self) -> np.ndarray: ...


class ShotsSampler(Sampler[int]):
    """
    Random order in which each batch holds episodes of the same number of shots, except where a number runs out. The
    order of the batches is random too, and depends on nothing but the seed and epoch of the episodes.

    Args:
        episodes ([`EpisodeDataset`] or [`MadeUpSpeakers`]): The episodes, whose `epoch` counts.
        batch_size (`int`): Episodes of a batch, over all processes that share it.
        fill_last (`bool`, *optional*, defaults to `False`):
            Whether the last batch is filled up with episodes that do not count. Processes need shares of one size.
    """

    def __init__(self, episodes: ItemsWithShots, batch_size: int, fill_last: bool = False):
        self.episodes = episodes
        self.batch_size = batch_size
        self.num_fillers = -len(episodes) % batch_size if fill_last else 0

    def __len__(self) -> int:
        return len(self.episodes) + self.num_fillers

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.episodes.seed, self.episodes.epoch))
        order = rng.permutation(len(self.episodes))
        order = order[np.argsort(self.episodes.all_shots()[order], kind="stable")]
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        # The last batch may be short and stays last: batches are counted off in steps of `batch_size`.
        for batch in [*rng.permutation(len(batches) - 1), len(batches) - 1]:
            yield from batches[batch].tolist()
        # Of the last batch's numbers of shots, so that they add little padding.
        yield from np.resize(~batches[-1], self.num_fillers).tolist()
