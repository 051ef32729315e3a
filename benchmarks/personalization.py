"""What enrollment gives the recipe base-speech: all speakers of RAVDESS and nEMO in folds, EmoGator's test speakers.

emoicl corpus split DATA/ravdess DATA/nemo --output outputs/folds --folds 3
python benchmarks/personalization.py --data-folder DATA --folds outputs/folds --output outputs/base-speech

Further fields of the recipe can be set as for `emoicl train`, such as --seed 1.

For each fold the recipe is trained on EmoGator's training speakers and those of the fold, unless that was done before,
and measured part by part beside the floors. What was measured is not measured again; the report is written at the end.
"""

import argparse
import copy
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from emoicl import evaluate, load_corpus
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.prototypes import LinearProbe, PrototypeBaseline
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.enrollment import speaker_max_shots
from emoicl.training.evaluation.metrics import gini
from emoicl.training.evaluation.plots import plot_reliability, plot_shots, plot_speakers, shots_of
from emoicl.training.evaluation.recognition import Recognizer, SpeechLmRecognizer
from emoicl.training.evaluation.reports import EvaluationReport
from emoicl.training.experiments.recipe import Recipe, TrainedModel, train_model
from emoicl.training.experiments.reproduction.splits import thin
from emoicl.training.systems.composition import compose
from emoicl_commands.train import parse_overrides


CORPORA = ("ravdess", "nemo", "emogator")
SEEDS, SEEDS_OF_PARTS = range(5), range(2)
# nEMO has some 540 utterances of each speaker, the others 21 to 60.
TARGETS_PER_SPEAKER = 42
MODEL, FLOOR, OWN_FLOOR = "base-speech", "floor, all corpora", "floor, its own corpus"
PARTS = {
    MODEL: "all of it",
    "statistics": "the speaker adaptation without the language model",
    "language model": "the language model without the speaker adaptation",
    "zero-shot stage": "a language model trained for 0 shots only, the same encoder",
    "language model + probe": "no prototypes of the speaker's labels",
    "one for all corpora": "the speaker adaptation that was fitted to all corpora at once, for each of them",
    "full prototypes": "prototypes that count for as much when few labels are enrolled",
    FLOOR: "centered probe + prototypes on the published encoder, the same training speakers",
    OWN_FLOOR: "the same, fitted to the corpus that it is tested on",
    "probe": "linear probe on the published encoder",
}


def fold_recipe(number: int, options: argparse.Namespace) -> Recipe:
    folder = Path(options.folds).resolve() / f"fold_{number}"
    overrides = {
        "train": f"[emogator/train.parquet, {folder}/train.parquet]",
        "validation": f"[emogator/validation.parquet, {folder}/validation.parquet]",
        "test": f"[emogator/test.parquet, {folder}/test.parquet]",
        "data_folder": options.data_folder,
        "speech_encoder": options.speech_encoder,
        "output_dir": f"{options.output}/fold_{number}",
    }
    return Recipe.load("base-speech", overrides | parse_overrides(options.overrides))


def of_corpus(corpus: Corpus, name: str) -> Corpus:
    return Corpus(utterance for utterance in corpus if utterance.speaker_id.startswith(f"{name}/"))


def tests(recipe: Recipe, number: int) -> dict[str, Corpus]:
    """What a fold is tested on. EmoGator's test speakers are the same in each, and are tested in the first."""
    corpus = load_corpus(recipe.tables("test"), recipe.labels)
    names = [name for name in CORPORA if name != "emogator" or number == 0]
    return {name: thin(of_corpus(corpus, name), TARGETS_PER_SPEAKER, seed=0) for name in names}


def changed(trained: TrainedModel, **weights: float) -> Recognizer:
    model = copy.deepcopy(trained.model)
    for name, weight in weights.items():
        setattr(model.config.adaptation_config, name, weight)
    return SpeechLmRecognizer(model, trained.processor, trained.features)


def systems(recipe: Recipe, trained: TrainedModel) -> Iterator[tuple[str, Callable[[str], Recognizer | None]]]:
    """Names of the systems, and what makes each of them for a corpus; `None` where it cannot be."""
    labels = recipe.labels
    training, validation = (load_corpus(recipe.tables(split), labels) for split in ("train", "validation"))
    published, processor = compose(recipe.speech_encoder, labels, speech_layer=recipe.model["speech_layer"])
    pooled = PooledFeatures(FeatureCache(published, processor.feature_extractor, recipe.cache_folder))
    floor = cache(lambda: PrototypeBaseline(training, pooled, labels, validation))

    def language_model(corpus: str) -> Recognizer:
        model = copy.deepcopy(trained.model)
        model.model.adaptation = None
        return SpeechLmRecognizer(model, trained.processor, trained.features)

    def one_for_all(corpus: str) -> Recognizer:
        model = copy.deepcopy(trained.model)
        adaptation: Any = model.model.adaptation
        # Whatever it hears, it takes it for the first source: all corpora as one.
        adaptation.source_classifier.weight.data.zero_()
        adaptation.source_classifier.bias.data = -1e4 * torch.arange(len(adaptation.label_means))
        return SpeechLmRecognizer(model, trained.processor, trained.features)

    def zero_shot_stage(corpus: str) -> Recognizer:
        model = type(trained.model).from_pretrained(Path(recipe.output_dir) / "zero_shot" / "model")
        return SpeechLmRecognizer(model, trained.processor, trained.features)

    def own_floor(corpus: str) -> Recognizer | None:
        own = of_corpus(training, corpus)
        # Variances between speakers need four.
        return PrototypeBaseline(own, pooled, labels) if len(own.by_speaker) > 3 else None

    yield "statistics", lambda corpus: changed(trained, language_model_weight=0.0)
    yield "language model", language_model
    yield "zero-shot stage", zero_shot_stage
    yield "language model + probe", lambda corpus: changed(trained, prototype_weight=0.0)
    yield "one for all corpora", one_for_all
    yield "full prototypes", lambda corpus: changed(trained, enrolled_share_exponent=0.0)
    yield FLOOR, lambda corpus: floor()
    yield OWN_FLOOR, own_floor
    yield "probe", lambda corpus: LinearProbe(training, pooled, labels)
    # Last, so that its predictions tell that a fold is done.
    yield MODEL, lambda corpus: SpeechLmRecognizer(*trained)


def measure(recognizer: Recognizer, corpus: Corpus, name: str) -> EvaluationReport:
    most = min(7, *(speaker_max_shots(corpus, speaker_id)["TU+LD"] for speaker_id in corpus.by_speaker))
    if name in ("zero-shot stage", "probe"):
        return evaluate(recognizer, corpus, [0], seeds=SEEDS, controls=[])
    if name == MODEL:
        return evaluate(recognizer, corpus, range(most + 1), seeds=SEEDS, orders=5)
    if name in (FLOOR, OWN_FLOOR):
        return evaluate(recognizer, corpus, range(most + 1), seeds=SEEDS)
    return evaluate(recognizer, corpus, [0, 1, 2, most], seeds=SEEDS_OF_PARTS)


def run_fold(number: int, options: argparse.Namespace) -> None:
    recipe = fold_recipe(number, options)
    tested = tests(recipe, number)
    paths = {(corpus, name): predictions(recipe.output_dir, corpus, name) for corpus in tested for name in PARTS}
    if all(paths[corpus, MODEL].exists() for corpus in tested):
        return
    trained = train_model(recipe)
    for name, make in systems(recipe, trained):
        for corpus, test in tested.items():
            path = paths[corpus, name]
            if not path.exists() and (recognizer := make(corpus)) is not None:
                measure(recognizer, test, name).save_predictions(path)
                print(f"fold {number}, {corpus}, {name}: wrote {path}", flush=True)


def predictions(folder: str | Path, corpus: str, name: str) -> Path:
    """Where the predictions of a system for a corpus are."""
    return Path(folder) / f"{corpus}.{name.replace(' ', '_')}.safetensors"


def load(corpus: str, name: str, options: argparse.Namespace) -> EvaluationReport | None:
    """All folds of a system's predictions for a corpus, if it has some."""
    folds = Path(options.output).glob("fold_*")
    paths = [path for fold in sorted(folds) if (path := predictions(fold, corpus, name)).exists()]
    return EvaluationReport.pooled([EvaluationReport.load_predictions(path) for path in paths]) if paths else None


def interval(numbers: tuple[float, float, float]) -> str:
    mean, low, high = (100 * number for number in numbers)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def of_first_draws(report: EvaluationReport, draws: int) -> EvaluationReport:
    """The report as if it had been made with so many draws, to compare it with one that was."""
    first = [
        replace(c, predictions=c.predictions[:draws], probabilities=c.probabilities[:draws]) for c in report.conditions
    ]
    return replace(report, seeds=report.seeds[:draws], conditions=first, reorderings=[])


def table_of_systems(reports: dict[str, EvaluationReport]) -> list[str]:
    most = shots_of(reports[MODEL])[-1]
    lines = [
        f"| | what | {' | '.join(map(str, range(most + 1)))} | rotated | other |",
        "|---|---" + "|---" * (most + 3) + "|",
    ]
    draws = len(SEEDS_OF_PARTS)
    rows = {MODEL: reports[MODEL], f"{MODEL}, {draws} draws": of_first_draws(reports[MODEL], draws)} | reports
    for name, report in rows.items():
        known = {(c.shots, c.control): f"{report.accuracy(c.shots, c.control).ua_spk:.3f}" for c in report.conditions}
        keys = [(k, None) for k in range(most + 1)] + [(most, "rotated"), (most, "other_speaker")]
        what = PARTS.get(name, "all of it, by the draws that its parts below were measured with")
        lines.append(f"| {name} | {what} | {' | '.join(known.get(key, '') for key in keys)} |")
    return lines


def table_of_shots(report: EvaluationReport) -> list[str]:
    lines = [
        "| shots | UA_spk | std of speakers | worst | Gini | std of draws | calibration error | gain over 0 shots |"
    ]
    lines.append("|---" * 8 + "|")
    for k in shots_of(report):
        accuracy = report.accuracy(k)
        spread = gini(list(accuracy.per_speaker.values()))
        gain = interval(report.difference(report, k, 0)) if k else ""
        lines.append(
            f"| {k} | {accuracy.ua_spk:.3f} | {accuracy.std:.3f} | {accuracy.min:.3f} | {spread:.3f} | "
            f"{report.seed_std(k):.3f} | {report.label_scores(k)['ece']:.3f} | {gain} |"
        )
    return lines


def table_of_aims(reports: dict[str, EvaluationReport], corpus: str) -> list[str]:
    """Each aim of the project beside what was measured."""
    report, shots = reports[MODEL], shots_of(reports[MODEL])
    most = shots[-1]
    few, many = report.accuracy(0), report.accuracy(most)
    floors = [reports[name] for name in (FLOOR, OWN_FLOOR) if name in reports]
    best = {k: max(floors, key=lambda floor: floor.accuracy(k).ua_spk) for k in shots}
    leads = {k: report.difference(best[k], k) for k in shots}
    gains = np.array([report.accuracy(k).ua_spk for k in shots])
    worst = few.worst_speaker
    worst_gain = many.per_speaker[worst] - few.per_speaker[worst]
    wanted = 9 if corpus == "emogator" else 12
    lost = {
        control: report.difference(report, most, most, None, control)
        for control in ("rotated", "other_speaker")
        # Of a corpus with one test speaker in a fold, nobody else's enrollment was there.
        if any((c.shots, c.control) == (most, control) for c in report.conditions)
    }
    order = report.order_std(most) or 0.0
    rows = [
        (
            f"{most} shots over 0, at least +{wanted}",
            interval(report.difference(report, most, 0)),
            gains[-1] - gains[0] >= wanted / 100,
        ),
        ("2 shots over 0, at least +3", interval(report.difference(report, 2, 0)), gains[2] - gains[0] >= 0.03),
        (
            "never falls with more shots",
            f"largest fall {100 * min(0, np.diff(gains).min()):.1f}",
            np.diff(gains).min() > -0.01,
        ),
        (f"over the better floor at {most} shots, at least +3", interval(leads[most]), leads[most].mean >= 0.03),
        (
            "over the better floor at every k",
            f"least {100 * min(lead.mean for lead in leads.values()):+.1f}",
            min(lead.mean for lead in leads.values()) > 0,
        ),
        (
            "0 shots over a model for 0 shots only, at least -1",
            interval(report.difference(reports["zero-shot stage"], 0)),
            report.difference(reports["zero-shot stage"], 0).mean >= -0.01,
        ),
        *(
            (f"lost with {what}", interval(lost[control]), lost[control].mean >= least / 100)
            for control, what, least in (
                ("rotated", "rotated labels, at least 10", 10),
                ("other_speaker", "another speaker's enrollment, at least 5", 5),
            )
            if control in lost
        ),
        ("std over orders of the shots, under 1", f"{100 * order:.2f}", order < 0.01),
        (
            "the worst speaker at 0 shots gains more than the mean",
            f"{100 * worst_gain:+.1f}",
            worst_gain > gains[-1] - gains[0],
        ),
        (
            "Gini coefficient falls",
            f"{gini(list(few.per_speaker.values())):.3f} to {gini(list(many.per_speaker.values())):.3f}",
            gini(list(many.per_speaker.values())) < gini(list(few.per_speaker.values())),
        ),
    ]
    lines = ["| aim, in points of UA_spk | measured (95 % over speakers) | |", "|---|---|---|"]
    return lines + [f"| {aim} | {measured} | {'met' if met else 'missed'} |" for aim, measured, met in rows]


def who_gains(report: EvaluationReport) -> str:
    few, many = (report.accuracy(shots_of(report)[place]).per_speaker for place in (0, -1))
    gains = {speaker_id: many[speaker_id] - few[speaker_id] for speaker_id in few}
    lowest = sorted(few, key=few.__getitem__)[: len(few) // 4]
    return (
        f"{sum(gain > 0 for gain in gains.values())} of {len(gains)} speakers gain by the most shots and "
        f"{sum(gain < 0 for gain in gains.values())} lose; the quarter with the lowest accuracy at 0 shots gains "
        f"{100 * np.mean([gains[speaker_id] for speaker_id in lowest]):.1f} points."
    )


def plot_curves(reports: dict[str, EvaluationReport], path: Path, title: str) -> None:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, report in reports.items():
        shots = shots_of(report)
        axes.plot(shots, [report.accuracy(k).ua_spk for k in shots], marker="o", label=name)
    axes.set(xlabel="shots (labeled utterances of the speaker)", ylabel="UA_spk", title=title)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize="small", frameon=False)
    figure.savefig(path, dpi=110)


def plot_learning(folders: list[Path], path: Path) -> None:
    """The loss of the encoder's tuning, and accuracy on validation speakers in the stage with enrollment."""
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    tuning, in_context = figure.subplots(1, 2)
    for folder in folders:
        entries = [
            entry for entry in json.loads((folder / "speech_encoder" / "log.json").read_text()) if "loss" in entry
        ]
        tuning.plot([e["step"] for e in entries], [e["loss"] for e in entries], label=folder.name.replace("_", " "))
    for shots, color in ((0, "tab:gray"), (3, "tab:blue"), (6, "tab:red")):
        name = f"eval_ua_spk_{shots}_shot"
        for folder in folders:
            entries = [e for e in json.loads((folder / "in_context" / "log.json").read_text()) if name in e]
            label = f"{shots} shots" if folder == folders[0] else None
            in_context.plot([e["step"] for e in entries], [e[name] for e in entries], color=color, label=label)
    tuning.set(xlabel="step", ylabel="loss", title="speech encoder, at 0 to 7 shots")
    in_context.set(xlabel="step", ylabel="UA_spk, validation", title="language model alone, stage 2")
    for axes in (tuning, in_context):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def write_report(options: argparse.Namespace) -> None:
    folder = Path(options.output) / "report"
    folder.mkdir(parents=True, exist_ok=True)
    plot_learning(sorted(Path(options.output).glob("fold_*")), folder / "learning.png")
    sections = []
    for corpus in CORPORA:
        found = {name: load(corpus, name, options) for name in PARTS}
        reports = {name: report for name, report in found.items() if report is not None}
        if MODEL not in reports:
            continue
        report = reports[MODEL]
        report.save(folder / f"{corpus}.json")
        plot_shots(report, folder / f"{corpus}_shots.png", f"base-speech, {corpus}")
        plot_speakers(report, folder / f"{corpus}_speakers.png", f"base-speech, {corpus}")
        plot_reliability(report, folder / f"{corpus}_reliability.png", title=f"base-speech, {corpus}")
        plot_curves(reports, folder / f"{corpus}_systems.png", corpus)
        title = f"## {corpus}: {len(set(report.speaker_ids))} speakers, {len(report.references)} utterances"
        images = " ".join(
            f"![{what}]({corpus}_{what}.png)" for what in ("systems", "shots", "speakers", "reliability")
        )
        tables = [table_of_shots(report), table_of_systems(reports), table_of_aims(reports, corpus)]
        sections.append("\n\n".join([title, *("\n".join(table) for table in tables), who_gains(report), images]))
    (folder / "tables.md").write_text("\n\n".join(sections) + "\n")
    print(f"Wrote tables.md, the numbers and the plots of each corpus in {folder}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-folder", required=True, help="folder with emogator/train.parquet and so on")
    parser.add_argument("--folds", required=True, help="what `emoicl corpus split` wrote")
    parser.add_argument("--speech-encoder", default="openai/whisper-base")
    parser.add_argument("--output", default="outputs/base-speech")
    options, options.overrides = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for number in range(len(list(Path(options.folds).glob("fold_*")))):
        run_fold(number, options)
    write_report(options)


if __name__ == "__main__":
    main()
