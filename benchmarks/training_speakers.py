"""What a recipe learns of fewer training speakers than there are: a learning curve.

python benchmarks/training_speakers.py speech --sizes 4 8 17 --output outputs/training_speakers/speech \
    --data-folder data --speech-encoder openai/whisper-base
python benchmarks/training_speakers.py base-emogator --sizes 10 20 40 80 160 239 --draws 3 \
    --output outputs/training_speakers/published --data-folder data --run '[prototypes]'

Each number of speakers is drawn from all training corpora in the proportion in which they have them, and the recipe is
trained on these alone, with the same validation speakers. Its fields can be set as for `emoicl train`, such as `--run`
with the stages, or `--test` with tables of corpora that it does not train on. What was measured is not measured again.
"""

import argparse
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from emoicl import evaluate, load_corpus
from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.enrollment import max_shots
from emoicl.training.experiments.experiment import load_tables, prepare, run_stages
from emoicl.training.experiments.loading import load_recipe
from emoicl.training.experiments.recipe import Recipe
from emoicl_commands.overrides import parse_overrides


SHOTS = (0, 1, 3, 5, 7)
SEEDS = range(5)
# By corpus: UA_spk and the negative log-likelihood at each number of shots.
Found = dict[str, list[tuple[float, float]]]


def draw_speakers(corpus: Corpus, size: int, draw: int) -> set[str]:
    """So many speakers, of each corpus in proportion."""
    rng = np.random.default_rng(draw)
    of_corpus = defaultdict(list)
    for speaker, name in sorted(corpus.corpus_of.items()):
        of_corpus[name].append(speaker)
    places = {}
    for speakers in of_corpus.values():
        for place, speaker in enumerate(rng.permutation(speakers).tolist()):
            places[speaker] = (place + 0.5) / len(speakers)
    return set(sorted(places, key=places.__getitem__)[:size])


def measure(recipe: Recipe, speakers: set[str], folder: Path) -> Found:
    """What the recipe knows of each corpus of its tests, trained on these speakers alone."""
    everybody = load_tables(recipe)
    train = Corpus(utterance for utterance in everybody.train if utterance.speaker_id in speakers)
    split = replace(everybody, train=train)
    context = run_stages(prepare(recipe, split, {name: folder / name for name in recipe.run}))
    assert context.recognizer is not None
    found: Found = {}
    for table in recipe.tables("test"):
        corpus = load_corpus(table, recipe.labels)
        most = min(max_shots(corpus, target, "TU+LD") for target in range(len(corpus)))
        possible = [shots for shots in SHOTS if shots <= most]
        report = evaluate(context.recognizer, corpus, possible, seeds=SEEDS, controls=[])
        found[Path(table).parent.name] = [
            (report.accuracy(shots).ua_spk, report.label_scores(shots)["nll"]) for shots in possible
        ]
    return found


def write_curves(measured: dict[str, Found], output: Path) -> None:
    """A table of all draws of each size, and a plot of the accuracy."""
    corpora = list(next(iter(measured.values())))
    sizes = sorted({int(key.split()[0]) for key in measured})
    figure = Figure(figsize=(4.2 * len(corpora), 3.8), layout="constrained")
    lines = [f"| tested on | training speakers | draws | {' | '.join(f'{k} shots' for k in SHOTS)} |"]
    lines.append("|---" * (3 + len(SHOTS)) + "|")
    for axes, corpus in zip(np.atleast_1d(figure.subplots(1, len(corpora), sharey=True)), corpora, strict=True):
        means = []
        for size in sizes:
            draws = np.array([found[corpus] for key, found in measured.items() if key.split()[0] == str(size)])
            mean, spread = draws.mean(0), draws[:, :, 0].std(0, ddof=1) if len(draws) > 1 else None
            means.append(mean[:, 0])
            cells = [
                f"{accuracy:.3f}" + (f" ± {spread[shots]:.3f}" if spread is not None else "") + f" ({nll:.2f})"
                for shots, (accuracy, nll) in enumerate(mean)
            ]
            cells += [""] * (len(SHOTS) - len(cells))
            lines.append(f"| {corpus} | {size} | {len(draws)} | {' | '.join(cells)} |")
        for shots, curve in zip(SHOTS, np.transpose(means), strict=False):
            axes.plot(sizes, curve, marker="o", label=f"{shots} shots")
        axes.set(title=corpus, xlabel="training speakers", xscale="log")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("UA_spk of test speakers")
    figure.axes[0].legend(frameon=False)
    figure.savefig(output / "training_speakers.png", dpi=110)
    (output / "training_speakers.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines), f"\n\nWrote the table and the plot training_speakers.png in {output}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="name or file of a recipe")
    parser.add_argument("--sizes", type=int, nargs="+", required=True, help="numbers of training speakers")
    parser.add_argument("--draws", type=int, default=1, help="of the speakers of each size")
    parser.add_argument("--output", type=Path, required=True)
    options, overrides = parser.parse_known_args()
    recipe = load_recipe(options.recipe, parse_overrides(overrides))
    everybody = load_tables(recipe).train
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "training_speakers.json"
    measured = json.loads(path.read_text()) if path.exists() else {}
    for size in options.sizes:
        # There is one way to draw all of them.
        for draw in range(options.draws if size < len(everybody.by_speaker) else 1):
            key = f"{size} {draw}"
            if key not in measured:
                speakers = draw_speakers(everybody, size, draw)
                measured[key] = measure(recipe, speakers, options.output / f"speakers_{size}_{draw}")
                path.write_text(json.dumps(measured, indent=1))
                print(f"{key}: {measured[key]}", flush=True)
    write_curves(measured, options.output)


if __name__ == "__main__":
    main()
