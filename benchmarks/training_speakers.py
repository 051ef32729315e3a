"""What enrollment gives against the number of training speakers, by the closed forms alone, without a language model.

python benchmarks/training_speakers.py FOLDER SPEECH_ENCODER --output outputs/training_speakers
python benchmarks/training_speakers.py FOLDER SPEECH_ENCODER --output outputs/training_speakers --tuned 60 120 239

The first fits centered probe and prototypes to draws of the training speakers, on the encoder as it is published. The
second tunes the encoder on one draw of each of these sizes before, as the recipe base-emogator does; its fields can be
set as for `emoicl train`, such as --stages.speech_encoder.max-steps 200. What was measured is not measured again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from emoicl import evaluate
from emoicl.training.data.corpus import Corpus
from emoicl.training.experiments.experiment import load_tables, prepare, run_stages
from emoicl.training.experiments.loading import load_recipe
from emoicl.training.experiments.recipe import Recipe
from emoicl_commands.overrides import parse_overrides


SIZES, DRAWS = (10, 20, 40, 80, 160), 3
SEEDS = range(5)


def draw_speakers(corpus: Corpus, size: int, draw: int) -> set[str]:
    speakers = sorted(corpus.by_speaker)
    return set(np.random.default_rng((size, draw)).permutation(speakers)[:size].tolist())


def measure(recipe: Recipe, speakers: set[str], folder: Path) -> list[float]:
    """UA_spk of the test speakers at 0 and at 7 shots, with these training speakers alone."""
    everybody = load_tables(recipe)
    train = Corpus(utterance for utterance in everybody.train if utterance.speaker_id in speakers)
    split = replace(everybody, train=train)
    context = run_stages(prepare(recipe, split, {name: folder / name for name in recipe.run}))
    assert context.recognizer is not None
    report = evaluate(context.recognizer, split.test["test"], shots=[0, 7], seeds=SEEDS, controls=[])
    return [report.accuracy(shots).ua_spk for shots in (0, 7)]


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
    tables = {split: [f"{split}.parquet"] for split in ("train", "validation", "test")}
    tables["open_labels"] = ["train_extra.parquet"]
    given = {"data_folder": options.folder, "speech_encoder": options.speech_encoder} | parse_overrides(overrides)
    recipes = {
        kind: load_recipe("base-emogator", tables | given | {"run": run})
        for kind, run in {"published": ["prototypes"], "tuned": ["speech_encoder", "prototypes"]}.items()
    }
    everybody = load_tables(recipes["published"]).train
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
            found[key] = measure(recipes[kind], speakers, options.output / f"speakers_{size}")
            path.write_text(json.dumps(found, indent=1))
            print(f"{key}: {found[key]}", flush=True)
    write_curve(found, options.output)


if __name__ == "__main__":
    main()
