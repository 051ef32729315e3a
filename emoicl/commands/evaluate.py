"""`emoicl evaluate`: how well a model does for speakers that it has never heard."""

import argparse
from pathlib import Path

from emoicl_commands.parser import ABOUT_MODELS, add_model_argument, chosen_model


EPILOG = """\
A corpus is a parquet, JSONL or CSV table with the columns audio, emotion and speaker_id, a folder of them, or a data
set of the Hub with such columns and its split. The report has UA_spk (the accuracy of each speaker, averaged over
speakers) with its spread for each number of shots, and two controls at the largest: the enrollment's labels rotated,
and the enrollment of another speaker. Both should fall. A row "without labels" (--controls unlabeled) is no such
control: it has as many utterances of the speaker, any of them, without their labels, and tells what the voice alone is
worth.

  emoicl evaluate --corpus test.parquet --shots 0 3 7
  emoicl evaluate --corpus someone/speech:test                         a data set of the Hub
  emoicl evaluate --corpus emodb.parquet --labels Neutral Joy Anger Boredom   of these labels, which may be new to it
  emoicl evaluate --corpus test.parquet --setting TE+LU --seeds 2      the target's emotion is never enrolled
  emoicl evaluate --corpus test.parquet --shots 7 --orders 10          does the order of the shots matter?
  emoicl evaluate --corpus test.parquet --controls rotated other_speaker unlabeled

report.json has further metrics (recall, F1, calibration, Gini coefficient over speakers, worst draw), and
predictions.safetensors all answers with their probabilities. Several devices share the work, and the report is that of
one:

  accelerate launch -m emoicl_commands.cli evaluate --corpus test.parquet
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure a model on unseen speakers",
        description=ABOUT_MODELS,
        epilog=EPILOG,
    )
    parser.add_argument(
        "--corpus", nargs="+", required=True, metavar="TABLE", help="tables of the test speakers, or user/name:split"
    )
    add_model_argument(parser)
    parser.add_argument(
        "--labels", nargs="+", metavar="LABEL", help="choose from these, and leave out others (default: the model's)"
    )
    parser.add_argument("--setting", default="TU+LD", help="how enrollments are drawn (default: TU+LD)")
    parser.add_argument(
        "--shots", nargs="+", type=int, default=list(range(8)), metavar="K", help="numbers of shots (default: 0 to 7)"
    )
    parser.add_argument(
        "--thin-speakers",
        choices=["leave-out", "fewer-shots", "refuse"],
        default="leave-out",
        help="what becomes of speakers with too few utterances for the most shots (default: leave-out)",
    )
    parser.add_argument("--seeds", type=int, default=5, help="enrollment draws to average over (default: 5)")
    parser.add_argument(
        "--orders",
        type=int,
        default=1,
        help="orders of the shots to compare at the largest number of them (default: 1)",
    )
    parser.add_argument(
        "--controls",
        nargs="*",
        choices=["rotated", "other_speaker", "unlabeled"],
        default=["rotated", "other_speaker"],
        help="what else to give at the largest number of shots (default: rotated other_speaker)",
    )
    parser.add_argument("--decoding", choices=["labels", "beam"], default="labels", help="default: labels")
    parser.add_argument("--cache-folder", type=Path, help="where speech features are kept")
    parser.add_argument("--output", type=Path, default=Path("outputs/evaluate"), help="folder for report and plots")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from accelerate import PartialState

    from emoicl.loading import load_recognizer
    from emoicl.modeling.familiarity_emoicl import UNFAMILIAR
    from emoicl.training.data.corpus import display_label, load_corpus
    from emoicl.training.evaluation.evaluate import evaluate
    from emoicl.training.evaluation.plots import plot_reliability, plot_shots, plot_speakers

    # As a corpus has them.
    labels = options.labels and list(map(display_label, options.labels))
    recognizer = load_recognizer(chosen_model(options), options.decoding, options.cache_folder, labels)
    report = evaluate(
        recognizer,
        load_corpus(options.corpus, recognizer.candidate_labels),
        shots=options.shots,
        setting=options.setting,
        seeds=range(options.seeds),
        controls=options.controls,
        orders=options.orders,
        thin_speakers=options.thin_speakers.replace("-", "_"),
    )
    if not PartialState().is_main_process:
        return
    print(report.table())
    print("\nAccuracy of the surest answers, and the AUROC of their probability for being right:\n")
    print(report.coverage_table())
    if report.familiarity:
        odd = sum(share < UNFAMILIAR for share in report.familiarity) / len(report.familiarity)
        print(f"\n{odd:.1%} of the utterances sound unlike what the model was trained on.")
    if (order_std := report.order_std(max(options.shots))) is not None:
        print(f"\nOver {options.orders} orders of the {max(options.shots)} shots, UA_spk has the std {order_std:.3f}.")
    report.save(options.output / "report.json")
    report.save_predictions(options.output / "predictions.safetensors")
    plot_shots(report, options.output / "accuracy_against_shots.png")
    plot_speakers(report, options.output / "speakers.png")
    plot_reliability(report, options.output / "reliability.png")
    print(
        f"\nWrote {options.output}/report.json (all numbers), {options.output}/predictions.safetensors (all answers) "
        f"and the plots {options.output}/accuracy_against_shots.png, {options.output}/speakers.png and "
        f"{options.output}/reliability.png."
    )
