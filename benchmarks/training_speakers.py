"""What enrollment gives against the number of training speakers, by the closed forms alone, without a language model.

python benchmarks/training_speakers.py FOLDER SPEECH_ENCODER --output outputs/training_speakers
python benchmarks/training_speakers.py FOLDER SPEECH_ENCODER --output outputs/training_speakers --tuned 60 120 239

The first fits centered probe and prototypes to draws of the training speakers, on the encoder as it is published. The
second tunes the encoder on one draw of each of these sizes before, as the recipe base-emogator does; its fields can be
set as for `emoicl train`, such as --encoder_tuning.max_steps 200. What was measured is not measured again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from emoicl import evaluate, load_corpus
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.prototypes import PrototypeBaseline
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.experiments.recipe import Recipe, tune_speech_encoder
from emoicl.training.systems.composition import compose
from emoicl_commands.train import parse_overrides


SIZES, DRAWS = (10, 20, 40, 80, 160), 3
SEEDS = range(5)


def draw_speakers(corpus: Corpus, size: int, draw: int) -> set[str]:
    speakers = sorted(corpus.by_speaker)
    return set(np.random.default_rng((size, draw)).permutation(speakers)[:size].tolist())


def measure(recipe: Recipe, speakers: set[str], tuning: Path | None) -> list[float]:
    """UA_spk of the test speakers at 0 and at 7 shots, after tuning in that folder if one is given."""
    training, validation, test = (
        load_corpus(recipe.tables(split), recipe.labels) for split in ("train", "validation", "test")
    )
    training = Corpus(utterance for utterance in training if utterance.speaker_id in speakers)
    model, processor = compose(recipe.speech_encoder, recipe.labels, speech_layer=recipe.model["speech_layer"])
    if tuning is not None:
        tuned = tune_speech_encoder(of_speakers(recipe, speakers, tuning), training)
        model.model.speech_encoder.load_state_dict(tuned.state_dict())
    pooled = PooledFeatures(FeatureCache(model, processor.feature_extractor, recipe.cache_folder))
    floor = PrototypeBaseline(training, pooled, recipe.labels, validation)
    report = evaluate(floor, test, shots=[0, 7], seeds=SEEDS, controls=[])
    return [report.accuracy(shots).ua_spk for shots in (0, 7)]


def of_speakers(recipe: Recipe, speakers: set[str], output: Path) -> Recipe:
    """The recipe with its other labels spoken by these speakers alone."""
    tables = []
    for path in recipe.tables("open_labels"):
        table = pq.read_table(path)
        tables.append(output / path.name)
        output.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.filter(pc.field("speaker_id").isin(sorted(speakers))), tables[-1])
    return replace(recipe, open_labels=[str(path.resolve()) for path in tables], output_dir=str(output))


def write_curve(found: dict[str, list[float]], output: Path) -> None:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    lines = ["| encoder | training speakers | draws | 0 shots | 7 shots | gain |", "|---" * 6 + "|"]
    for kind in ("published", "tuned"):
        sizes = sorted({int(key.split()[1]) for key in found if key.startswith(kind)})
        curves: list[tuple[float, float]] = []
        for size in sizes:
            draws = np.array([values for key, values in found.items() if key.startswith(f"{kind} {size} ")])
            (few, many), gains = draws.mean(0), draws[:, 1] - draws[:, 0]
            spread = f" ± {gains.std(ddof=1):.3f}" if len(draws) > 1 else ""
            lines.append(f"| {kind} | {size} | {len(draws)} | {few:.3f} | {many:.3f} | {gains.mean():+.3f}{spread} |")
            curves.append((few, many))
        for shots, values in zip((0, 7), zip(*curves, strict=True), strict=False):
            axes.plot(sizes, values, marker="o", label=f"{kind} encoder, {shots} shots")
    axes.set(xlabel="training speakers", ylabel="UA_spk of test speakers", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(output / "training_speakers.png", dpi=110)
    (output / "training_speakers.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines), f"\n\nWrote the table and the plot training_speakers.png in {output}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="EmoGator's tables train.parquet, train_extra.parquet and so on")
    parser.add_argument("speech_encoder", help="Hub name or folder of Whisper-base")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tuned", type=int, nargs="*", default=[], help="numbers of speakers to tune the encoder on")
    options, overrides = parser.parse_known_args()
    folder = Path(options.folder).resolve()
    tables = {split: f"[{folder}/{split}.parquet]" for split in ("train", "validation", "test")}
    tables["open_labels"] = f"[{folder}/train_extra.parquet]"
    recipe = Recipe.load(
        "base-emogator", tables | {"speech_encoder": options.speech_encoder} | parse_overrides(overrides)
    )
    everybody = load_corpus(recipe.tables("train"), recipe.labels)
    total = len(everybody.by_speaker)
    runs = [("tuned", min(size, total), 0) for size in options.tuned]
    if not runs:
        runs = [("published", size, draw) for size in SIZES if size < total for draw in range(DRAWS)]
        runs.append(("published", total, 0))
    path = options.output / "training_speakers.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    options.output.mkdir(parents=True, exist_ok=True)
    for kind, size, draw in runs:
        key = f"{kind} {size} {draw}"
        if key not in found:
            speakers = draw_speakers(everybody, size, draw)
            found[key] = measure(recipe, speakers, options.output / f"speakers_{size}" if kind == "tuned" else None)
            path.write_text(json.dumps(found, indent=1))
            print(f"{key}: {found[key]}", flush=True)
    write_curve(found, options.output)


if __name__ == "__main__":
    main()
