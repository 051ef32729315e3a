"""`emoicl evaluate`: how well a model does for speakers that it has never heard."""

import argparse
from pathlib import Path

from emoicl.commands.model import add_model_argument, load_pipeline


EPILOG = """\
A corpus is a parquet, JSONL or CSV table with the columns audio, emotion and speaker_id. The report has UA_spk (the
accuracy of each speaker, averaged over speakers) with its spread for each number of shots, and two controls at the
largest: the enrollment's labels rotated, and the enrollment of another speaker. Both should fall.
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure a model on unseen speakers",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--corpus", nargs="+", required=True, type=Path, help="tables of the test speakers")
    add_model_argument(parser)
    parser.add_argument("--setting", default="TU+LD", help="how enrollments are drawn (default: TU+LD)")
    parser.add_argument(
        "--shots", type=numbers, default="0,1,2,3,4,5,6,7", help="numbers of shots (default: 0,1,2,3,4,5,6,7)"
    )
    parser.add_argument("--seeds", type=int, default=5, help="enrollment draws to average over (default: 5)")
    parser.add_argument("--decoding", choices=["labels", "beam"], default="labels", help="default: labels")
    parser.add_argument("--cache-folder", type=Path, help="where speech features are kept")
    parser.add_argument("--output", type=Path, default=Path("outputs/evaluate"), help="folder for report and plot")
    parser.set_defaults(run=run)


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def run(options: argparse.Namespace) -> None:
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
