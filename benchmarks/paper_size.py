"""Real steps of both stages of meta-training at the paper's sizes, on a GPU if there is one: how fast, and how large.

python benchmarks/paper_size.py [FOLDER]
python benchmarks/paper_size.py FOLDER --layers 4 --batch-size 2

FOLDER has `ravdess/train.parquet` and `nemo/train.parquet`, clips of uneven lengths; without it, clips are made up
that are as uneven. Features are random, as if the frozen encoder's were cached. `--layers` leaves layers of the
language model away where a machine cannot hold all of them: widths stay. A step is of each number of shots.

MFU is the share of what a plain matrix product reaches on the same device, in the same type and the same run; of its
operations, those that gradient checkpointing repeats are not counted.
"""

import argparse
import resource
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tabulate import tabulate
from torch.utils.flop_counter import FlopCounterMode

from emoicl.modeling.configuration_emoicl import EmoIclSpeechEncoderConfig
from emoicl.modeling.lengths_emoicl import like_lengths
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.modeling.speech_encoder_emoicl import EmoIclSpeechEncoder
from emoicl.processing import EmoIclFeatureExtractor
from emoicl.training.data.corpus import Corpus, Utterance, load_corpus
from emoicl.training.episodes.collation import EpisodeCollator
from emoicl.training.episodes.episodes import EpisodeDataset
from emoicl.training.episodes.sampling import ShotsSampler
from emoicl.training.experiments.loading import load_recipe
from emoicl.training.experiments.recipe import Recipe
from emoicl.training.systems.composition import compose


# The paper's training utterances, and what its encoder makes of a second.
UTTERANCES, VOCABULARY, FRAMES_PER_SECOND = 225_050, 37_156, 25
EPOCHS, NUM_GPUS = 10, 8
# Of an H100 in bfloat16, without sparsity, by its data sheet.
H100_FLOPS = 989e12


class RandomFeatures:
    """In place of a [`FeatureCache`]: frames for each utterance, as many as its length makes."""

    def __init__(self, durations: dict[str, float], size: int, device: torch.device):
        self.durations, self.size, self.device = durations, size, device
        # Useful frames, and all.
        self.frames = [0, 0]

    def load(self, utterances: list[Utterance]) -> dict[str, torch.Tensor]:
        frames = [round(FRAMES_PER_SECOND * self.durations[u.name]) for u in utterances]
        computed = sum(len(group) * frames[group[0]] for group in like_lengths(frames))
        self.frames = [self.frames[0] + sum(frames), self.frames[1] + computed]
        mask = torch.arange(max(frames)) < torch.tensor(frames)[:, None]
        features = torch.randn(*mask.shape, self.size, dtype=torch.float16, device=self.device)
        return {"speech_features": features, "speech_features_mask": mask.long()}


def clips(folder: Path | None, labels: list[str]) -> tuple[Corpus, dict[str, float]]:
    """Utterances of several speakers, and how long each is."""
    if folder is not None:
        corpus = load_corpus([folder / name / "train.parquet" for name in ("ravdess", "nemo")], labels=labels)
        extractor = EmoIclFeatureExtractor()
        rng = np.random.default_rng(0)
        few = [corpus[int(place)] for place in rng.choice(len(corpus), 600, replace=False)]
        return Corpus(few), {u.name: len(extractor.decode(u.audio)) / 16000 for u in few}
    lengths = np.random.default_rng(0).normal(2.9, 0.75, 600).clip(0.9, 5)
    made = [Utterance(str(i).encode(), labels[i % 7], f"x/{i // 42}", str(i)) for i in range(len(lengths))]
    return Corpus(made), dict(zip((u.name for u in made), map(float, lengths), strict=True))


def compose_paper(recipe: Recipe, layers: int | None) -> tuple[EmoIclForConditionalGeneration, Any]:
    """The paper's model with random weights: what they are does not matter here."""
    text: dict[str, Any] = recipe.text | ({"num_layers": layers, "num_decoder_layers": layers} if layers else {})
    with tempfile.TemporaryDirectory() as folder:
        EmoIclSpeechEncoder(EmoIclSpeechEncoderConfig()).save_pretrained(folder)
        EmoIclFeatureExtractor().save_pretrained(folder)
        model, processor = compose(folder, recipe.labels, text=text, qformer=recipe.qformer, **recipe.model)
    model.resize_token_embeddings(VOCABULARY, mean_resizing=False)
    return model, processor


def matrix_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a plain matrix product."""
    size = 8192 if device.type == "cuda" else 1024
    left = torch.randn(size, size, device=device, dtype=dtype)
    seconds = min(timed(lambda: left @ left, device) for _ in range(10))
    return 2 * size**3 / seconds


def timed(work: Any, device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(stage: str, model: Any, processor: Any, recipe: Recipe, options: argparse.Namespace) -> list[Any]:
    """A row of the table."""
    device, size = options.device, options.batch_size
    features = RandomFeatures(options.durations, model.config.speech_config.hidden_size, device)
    collate = EpisodeCollator(options.corpus, processor, model, cast(Any, features))
    shots = (0, recipe.stages[stage]["max_shots"])
    episodes = EpisodeDataset(options.corpus, recipe.labels, shots=shots, setting="TU+LU", symbol_share=0.0)
    order = list(ShotsSampler(episodes, size))
    drawn = [[episodes[item] for item in order[start : start + size]] for start in range(0, len(order), size)]
    useful = computed = 0
    # One of each number of shots.
    batches: dict[int, dict[str, torch.Tensor]] = {}
    for batch in drawn:
        number = max(len(episode.enrollment) for episode in batch)
        batches[number] = {name: value.to(device) for name, value in collate(batch).items()}
        useful += int(batches[number]["attention_mask"].sum())
        computed += batches[number]["attention_mask"].numel()
    # The most shots first, for memory's sake.
    inputs = [batches[number] for number in sorted(batches, reverse=True)]
    optimizer = torch.optim.RAdam(model.parameters(), lr=1e-4)

    def loss_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.autocast(device.type, options.dtype, enabled=options.dtype != torch.float32):
            return model(**batch).loss

    def step(batch: dict[str, torch.Tensor]) -> float:
        loss = loss_of(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    # The first turn warms up.
    seconds = [min(timed(partial(step, batch), device) for _ in range(options.turns)) for batch in inputs]
    peak = memory(device)
    # Of frozen weights, a forward pass keeps nothing: it fits wherever a step did.
    trained = [parameter.requires_grad_(False) for parameter in model.parameters() if parameter.requires_grad]
    with FlopCounterMode(display=False) as counter:
        for batch in inputs:
            loss_of(batch)
    for parameter in trained:
        parameter.requires_grad_(True)
    # The backward pass is twice the forward pass.
    operations = 3 * counter.get_total_flops()
    tokens = sum(batch["attention_mask"].numel() for batch in inputs)
    episodes_done = sum(len(batch["attention_mask"]) for batch in inputs)
    losses = [step(inputs[-1]) for _ in range(options.repeats)]
    speed = operations / sum(seconds)
    row = [stage, episodes_done / sum(seconds), tokens / sum(seconds), speed / 1e12, speed / options.peak, peak]
    row += [useful / computed, features.frames[0] / features.frames[1], losses[0], losses[-1]]
    return [*row, operations / episodes_done * UTTERANCES * EPOCHS]


def memory(device: torch.device) -> float:
    """The most that was ever taken, in GB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER")
    parser.add_argument("--layers", type=int, help="of the language model's encoder and decoder, in place of all")
    parser.add_argument("--batch-size", type=int, default=64, help="episodes of a step")
    parser.add_argument("--turns", type=int, default=2, help="steps on each batch, of which the fastest counts")
    parser.add_argument("--repeats", type=int, default=30, help="steps on one batch, of which the loss is to fall")
    parser.add_argument("--no-checkpointing", action="store_true", help="no gradient checkpointing")
    options = parser.parse_args()
    start = time.perf_counter()
    options.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options.dtype = torch.bfloat16 if options.device.type == "cuda" else torch.float32
    options.peak = matrix_speed(options.device, options.dtype)
    torch.manual_seed(0)
    recipe = load_recipe("systems/proposed", size="paper")
    model, processor = compose_paper(recipe, options.layers)
    model = cast(Any, model).to(options.device).train()
    if not options.no_checkpointing:
        model.gradient_checkpointing_enable()
    options.corpus, options.durations = clips(options.folder, recipe.labels)
    text = model.model.language_model.config
    name = torch.cuda.get_device_name() if options.device.type == "cuda" else "cpu"
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.0f} M parameters, {text.num_layers} + "
        f"{text.num_decoder_layers} layers of the language model, attention by {text._attn_implementation}, not "
        f"compiled; {name} in {options.dtype}, where a matrix product reaches {options.peak / 1e12:.2f} TFLOP/s; "
        f"ready after {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    rows = [measure(stage, model, processor, recipe, options) for stage in ("zero_shot", "in_context")]
    names = ["stage", "episodes/s", "tokens/s", "TFLOP/s", "MFU", "memory, GB", "useful tokens", "useful frames"]
    print(tabulate([row[:-1] for row in rows], [*names, "loss", "later"], tablefmt="github", floatfmt=".3g"))
    if not options.layers:
        here = sum(UTTERANCES * EPOCHS / row[1] for row in rows) / NUM_GPUS / 3600
        there = sum(row[-1] for row in rows) / (NUM_GPUS * 0.4 * H100_FLOPS) / 3600
        print(
            f"{EPOCHS} epochs of both stages on {NUM_GPUS} such devices: {here:.0f} h; by their "
            f"{sum(row[-1] for row in rows):.2g} operations, on {NUM_GPUS} H100 at an MFU of .4: {there:.1f} h"
        )


if __name__ == "__main__":
    main()
