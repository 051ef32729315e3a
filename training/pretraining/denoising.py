"""UL2's mixture of denoisers: what a language model is pretrained to do with plain text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset


@dataclass(frozen=True)
class Denoiser:
    """
    One way of corrupting a text, after which its missing spans are to be written.

    Args:
        mode (`str`): The token that is put first and names the kind of task: `"[R]"` (regular: short spans, few of
            them), `"[S]"` (sequential: the rest of the text) or `"[X]"` (extreme: long spans, or many).
        corruption (`float`): Share of the tokens that is taken out; with `"[S]"`, the share on average.
        mean_span (`int`, *optional*): Mean length of a span, in tokens; `None` for the one span at the end of `"[S]"`.
    """

    mode: str
    corruption: float
    mean_span: int | None = None


MODES = ("[R]", "[S]", "[X]")

# The seven denoisers of Tay et al., "UL2: Unifying Language Learning Paradigms" (2022), table 1, mixed uniformly.
UL2_DENOISERS = (
    Denoiser("[R]", 0.15, mean_span=3),
    Denoiser("[R]", 0.15, mean_span=8),
    Denoiser("[S]", 0.25),
    Denoiser("[X]", 0.5, mean_span=3),
    Denoiser("[X]", 0.5, mean_span=8),
    Denoiser("[X]", 0.15, mean_span=64),
    Denoiser("[X]", 0.5, mean_span=64),
)


def draw_spans(length: int, denoiser: Denoiser, rng: np.random.Generator, most: int = 100) -> list[tuple[int, int]]:
    """
    Draw which spans of a text are taken out.

    Spans of `"[R]"` and `"[X]"` are those of T5 (Raffel et al. 2020; `random_spans_noise_mask` of its code): how many
    tokens go and how many spans they form follows from the length of the text; how they are divided is uniform. So the
    text begins with tokens that stay, and ends with a span. The one span of `"[S]"` ends the text too; its length is
    uniform.

    Args:
        length (`int`): Number of tokens of the text, 2 or more.
        denoiser ([`Denoiser`]): How to corrupt it.
        rng (`np.random.Generator`): What draws.
        most (`int`, *optional*, defaults to 100): Largest number of spans, for each of which there is a sentinel.

    Returns:
        `list[tuple[int, int]]`: Start and end of each span, in order, never empty and never touching each other.

    Raises:
        `ValueError`: If the text has fewer than 2 tokens.
    """
    if length < 2:
        raise ValueError(f"A text of {length} tokens cannot be denoised: one has to stay and one has to go.")
    if denoiser.mean_span is None:
        longest = min(max(round(2 * denoiser.corruption * length), 1), length - 1)
        return [(length - int(rng.integers(1, longest + 1)), length)]
    num_corrupted = min(max(round(length * denoiser.corruption), 1), length - 1)
    num_spans = max(round(num_corrupted / denoiser.mean_span), 1)
    num_spans = min(num_spans, num_corrupted, length - num_corrupted, most)
    kept = partition(length - num_corrupted, num_spans, rng)
    corrupted = partition(num_corrupted, num_spans, rng)
    ends = np.cumsum(kept + corrupted)
    return [(int(end - size), int(end)) for end, size in zip(ends, corrupted, strict=True)]


def partition(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """A uniform draw among the ways to write `total` as a sum of `parts` positive numbers, in order."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def take_out(
    tokens: Sequence[int], spans: Sequence[tuple[int, int]], sentinels: Sequence[int]
) -> tuple[list[int], list[int]]:
    """
    Take spans out of a text. The first span gives way to the first sentinel, and so on.

    Args:
        tokens (`Sequence[int]`): The text.
        spans (`Sequence[tuple[int, int]]`): Start and end of each span, in order.
        sentinels (`Sequence[int]`): As many tokens as there are spans, or more.

    Returns:
        `tuple[list[int], list[int]]`: the text with sentinels in place of the spans, and the spans, each after its
        sentinel.
    """
    inputs, targets = [], []
    position = 0
    # There may be more sentinels than spans.
    for (start, end), sentinel in zip(spans, sentinels, strict=False):
        inputs += [*tokens[position:start], sentinel]
        targets += [sentinel, *tokens[start:end]]
        position = end
    return [*inputs, *tokens[position:]], targets


class DenoisingDataset(Dataset[dict[str, list[int]]]):
    """
    Blocks of a text, each corrupted anew in every epoch by a denoiser that is drawn for it.

    What is drawn depends on the seed, the epoch and the item alone, so it is the same in every process.

    Args:
        tokens (`np.ndarray` of shape `(num_tokens,)`): All of the text.
        block_size (`int`): Number of tokens of a block. The last block is shorter, or left out if it has one token.
        mode_ids (`dict[str, int]`): Token of each mode.
        sentinel_ids (`Sequence[int]`): Tokens that stand for spans.
        eos_id (`int`): Token that ends inputs and targets.
        denoisers (`Sequence[Denoiser]`, *optional*): The mixture, by default that of UL2.
        seed (`int`, *optional*, defaults to 0): Seed of all draws.

    Raises:
        `ValueError`: If there are fewer than 2 tokens.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        block_size: int,
        mode_ids: dict[str, int],
        sentinel_ids: Sequence[int],
        eos_id: int,
        denoisers: Sequence[Denoiser] = UL2_DENOISERS,
        seed: int = 0,
    ):
        if len(tokens) < 2:
            raise ValueError(f"The text has {len(tokens)} tokens: too few to pretrain on.")
        self.tokens = tokens
        self.block_size = block_size
        self.mode_ids = mode_ids
        self.sentinel_ids = sentinel_ids
        self.eos_id = eos_id
        self.denoisers = denoisers
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, so that it draws other spans."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self.tokens), self.block_size)
        return full + (rest > 1)

    def __getitem__(self, item: int) -> dict[str, list[int]]:
        block = self.tokens[item * self.block_size : (item + 1) * self.block_size].tolist()
        rng = np.random.default_rng((self.seed, self.epoch, item))
        denoiser = self.denoisers[int(rng.integers(len(self.denoisers)))]
        spans = draw_spans(len(block), denoiser, rng, most=len(self.sentinel_ids))
        inputs, targets = take_out(block, spans, self.sentinel_ids)
        return {
            "input_ids": [self.mode_ids[denoiser.mode], *inputs, self.eos_id],
            "labels": [*targets, self.eos_id],
        }
