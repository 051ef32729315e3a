"""The `emoicl` command."""

import argparse
import csv
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emoicl.bundled import BUNDLED_MODEL


if TYPE_CHECKING:
    from emoicl.processing.pipeline_emoicl import EmoIclPipeline

DESCRIPTION = """\
Speech emotion recognition that adapts to a person from a few labelled utterances of theirs.

  emoicl demo                                  see it work on bundled speech, no data needed
  emoicl predict hello.wav --enroll me.csv     classify your own files
  emoicl train --config tiny-emogator          train a model from a recipe
  emoicl evaluate --corpus test.parquet        measure it on speakers it has never heard
"""

TRAIN_EPILOG = """\
A recipe is a YAML file, or the name of one that comes with the package (tiny-emogator). Any of its fields can be set
on the command line by its dotted name:

  emoicl train --config tiny-emogator --data_folder data --seed 1 --stages.zero_shot.max_steps 100

Interrupted, the same command goes on at the last checkpoint. Checkpoints, the model and the report on the test
speakers are written to the recipe's output_dir.
"""

PREDICT_EPILOG = """\
The enrollment is a CSV file with the columns audio (a path, relative to the file) and label:

  audio,label
  calm.wav,Neutral
  birthday.wav,Joy

Without --enroll, the answer is zero-shot. Enroll a person only with their consent.
"""

EVALUATE_EPILOG = """\
A corpus is a parquet, JSONL or CSV table with the columns audio, emotion and speaker_id. The report has UA_spk (the
accuracy of each speaker, averaged over speakers) with its spread for each number of shots, and two controls at the
largest: the enrollment's labels rotated, and the enrollment of another speaker. Both should fall.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("emoicl", description=DESCRIPTION, formatter_class=formatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="show the bundled model on bundled speech", formatter_class=formatter)
    demo.add_argument("--output", type=Path, default=Path("outputs/demo"), help="folder for the plot and the report")
    demo.add_argument("--seeds", type=int, default=5, help="enrollment draws to average over (default: 5)")
    demo.set_defaults(run=run_demo)

    predict = commands.add_parser(
        "predict", help="classify audio files", epilog=PREDICT_EPILOG, formatter_class=formatter
    )
    predict.add_argument("audio", nargs="+", help="audio files (wav, flac, ogg, opus, mp3) of one person")
    predict.add_argument("--enroll", type=Path, metavar="CSV", help="labelled utterances of that person")
    add_model_argument(predict)
    predict.add_argument("--top-k", type=int, help="print only the most probable labels")
    predict.add_argument("--decoding", choices=["labels", "beam"], default="labels", help="default: labels")
    predict.set_defaults(run=run_predict)

    train = commands.add_parser("train", help="run a recipe", epilog=TRAIN_EPILOG, formatter_class=formatter)
    train.add_argument("--config", required=True, help="a YAML file or the name of a recipe")
    train.set_defaults(run=run_train)

    evaluate = commands.add_parser(
        "evaluate", help="measure a model on unseen speakers", epilog=EVALUATE_EPILOG, formatter_class=formatter
    )
    evaluate.add_argument("--corpus", nargs="+", required=True, type=Path, help="tables of the test speakers")
    add_model_argument(evaluate)
    evaluate.add_argument("--setting", default="TU+LD", help="how enrollments are drawn (default: TU+LD)")
    evaluate.add_argument(
        "--shots", type=numbers, default="0,1,2,3,4,5,6,7", help="numbers of shots (default: 0,1,2,3,4,5,6,7)"
    )
    evaluate.add_argument("--seeds", type=int, default=5, help="enrollment draws to average over (default: 5)")
    evaluate.add_argument("--decoding", choices=["labels", "beam"], default="labels", help="default: labels")
    evaluate.add_argument("--cache-folder", type=Path, help="where speech features are kept")
    evaluate.add_argument("--output", type=Path, default=Path("outputs/evaluate"), help="folder for report and plot")
    evaluate.set_defaults(run=run_evaluate)
    return parser


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=str(BUNDLED_MODEL), help="folder or Hub name (default: the bundled model)")


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the `emoicl` command.

    Args:
        arguments (`Sequence[str]`, *optional*): Arguments of the command line, by default those of the process.

    Returns:
        `int`: The exit status: 0 for success, 1 for an error that was explained.
    """
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.run is not run_train:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options.overrides = rest
    if not sys.stderr.isatty():
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        print(f"emoicl: {error}", file=sys.stderr)
        return 1
    return 0


def run_demo(options: argparse.Namespace) -> None:
    from emoicl.demo import run_demo

    run_demo(options.output, options.seeds)


def run_predict(options: argparse.Namespace) -> None:
    recognizer = load_pipeline(options.model)
    enrollment = read_enrollment(options.enroll) if options.enroll else None
    for audio in options.audio:
        answers = recognizer(audio, enrollment=enrollment, top_k=options.top_k, decoding=options.decoding)
        print(json.dumps({"audio": audio, "labels": answers}))


def run_train(options: argparse.Namespace) -> None:
    from emoicl.training.recipe import Recipe, train

    recipe = Recipe.load(options.config, parse_overrides(options.overrides))
    print(train(recipe).table())
    print(f"\nWrote {recipe.output_dir}/model (checkpoint) and {recipe.output_dir}/report.json (all numbers).")


def run_evaluate(options: argparse.Namespace) -> None:
    from emoicl.training.corpus import load_corpus
    from emoicl.training.evaluation import evaluate
    from emoicl.training.features import FeatureCache
    from emoicl.training.plots import plot_shots

    recognizer = load_pipeline(options.model)
    model, processor = recognizer.model, recognizer.processor
    report = evaluate(
        model,
        processor,
        load_corpus(options.corpus, processor.candidate_labels),
        features=FeatureCache(model, processor.feature_extractor, options.cache_folder),
        shots=options.shots,
        setting=options.setting,
        seeds=range(options.seeds),
        decoding=options.decoding,
    )
    print(report.table())
    report.save(options.output / "report.json")
    plot_shots(report, options.output / "accuracy_against_shots.png")
    print(
        f"\nWrote {options.output}/report.json (all numbers) and {options.output}/accuracy_against_shots.png (plot)."
    )


def load_pipeline(model: str) -> "EmoIclPipeline":
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

    from emoicl import EmoIclPipeline

    return EmoIclPipeline(
        model=AutoModelForSpeechSeq2Seq.from_pretrained(model), processor=AutoProcessor.from_pretrained(model)
    )


def read_enrollment(path: Path) -> list[dict[str, str | Path]]:
    """Reads a CSV file with the columns `audio`, relative to its folder, and `label`."""
    # Spreadsheets put a byte-order mark first.
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"audio", "label"} <= rows[0].keys():
        raise ValueError(f"{path}: an enrollment has the columns audio and label, and at least one row.")
    if incomplete := [str(number) for number, row in enumerate(rows, start=1) if not (row["audio"] and row["label"])]:
        raise ValueError(f"{path}: no audio or no label in row {', '.join(incomplete)}.")
    return [{"audio": path.parent / row["audio"], "label": row["label"]} for row in rows]


def parse_overrides(arguments: Sequence[str]) -> dict[str, str]:
    """Reads `--dotted.name value` or `--dotted.name=value` pairs."""
    overrides: dict[str, str] = {}
    remaining = list(arguments)
    while remaining:
        name, separator, value = remaining.pop(0).partition("=")
        if not name.startswith("--") or not (separator or remaining):
            raise ValueError(f"expected --field value, not {name!r}.")
        overrides[name.removeprefix("--")] = value if separator else remaining.pop(0)
    return overrides


if __name__ == "__main__":
    sys.exit(main())
