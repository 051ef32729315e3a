"""The demo: emotion recognition gets better for unheard speakers as it is given more of their labeled utterances."""

from pathlib import Path

from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from emoicl.bundled import BUNDLED_CLIPS, BUNDLED_MODEL
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.episodes.enrollment import select_enrollment
from emoicl.training.evaluation.evaluate import EvaluationReport, evaluate
from emoicl.training.evaluation.plots import plot_shots
from emoicl.training.evaluation.recognition import SpeechLmRecognizer


SHOTS = (0, 1, 2, 3, 5, 7)
SETTING = "TU+LD"
CONTROLS = {None: "", "rotated": ", labels rotated", "other_speaker": ", another's voice", "unlabeled": ", no labels"}


def run_demo(output_dir: str | Path = "outputs/demo", seeds: int = 5) -> EvaluationReport:
    """
    Evaluates the bundled model on the bundled clips, prints a table and a worked example, and draws a plot.

    Args:
        output_dir (`str` or `Path`, *optional*, defaults to `"outputs/demo"`): Where the plot and the report go.
        seeds (`int`, *optional*, defaults to 5): Number of enrollment draws to average over.

    Returns:
        [`EvaluationReport`]
    """
    model = AutoModelForSpeechSeq2Seq.from_pretrained(BUNDLED_MODEL).eval()
    processor = AutoProcessor.from_pretrained(BUNDLED_MODEL)
    corpus = load_corpus(BUNDLED_CLIPS)
    print(f"{len(corpus.by_speaker)} speakers that the model has never heard, {len(corpus)} vocal bursts of EmoGator.")
    recognizer = SpeechLmRecognizer(model, processor)
    report = evaluate(recognizer, corpus, shots=SHOTS, setting=SETTING, seeds=range(seeds))
    print_accuracies(report)
    print_example(EmoIclPipeline(model=model, processor=processor), corpus, report)

    output_dir = Path(output_dir)
    report.save(output_dir / "report.json")
    plot_shots(report, output_dir / "accuracy_against_shots.png")
    print(
        f"\nWrote {output_dir / 'accuracy_against_shots.png'} (plot) and {output_dir / 'report.json'} (all numbers)."
    )
    return report


def print_accuracies(report: EvaluationReport) -> None:
    """Prints the accuracy at each number of shots, and under the controls."""
    print(f"\nAccuracy, mean over {len(report.seeds)} enrollment draws ({report.setting}):")
    print(f"  {'shots':<24}{'mean over speakers':>20}{'worst speaker':>16}")
    for condition in report.conditions:
        accuracy = report.accuracy(condition.shots, condition.control)
        control = CONTROLS[condition.control]
        print(f"  {f'{condition.shots}{control}':<24}{accuracy.ua_spk:>20.3f}{accuracy.min:>16.3f}")


def print_example(recognizer: EmoIclPipeline, corpus: Corpus, report: EvaluationReport) -> None:
    """Prints the probabilities of one utterance without and with enrollment, one that the enrollment puts right."""
    few, many = (next(c for c in report.conditions if c.shots == k).predictions[0] for k in (SHOTS[0], SHOTS[-1]))
    changed = [i for i, label in enumerate(corpus.labels) if few[i] != label == many[i]]
    target = changed[0] if changed else 0
    enrollment = [
        {"audio": corpus[index].audio, "label": corpus.labels[index]}
        for index in select_enrollment(corpus, target, SHOTS[-1], SETTING, (report.seeds[0], 0, target))
    ]
    audio = corpus[target].audio
    without, personalized = (
        {answer["label"]: answer["score"] for answer in recognizer(audio, enrollment=shots)}
        for shots in (None, enrollment)
    )
    print(
        f"\nOne utterance, picked because the enrollment puts it right: "
        f"{corpus[target].name}, {corpus.labels[target]}."
    )
    print(f"  {'':<12}{'0 shots':>10}{f'{SHOTS[-1]} shots':>10}")
    for label in recognizer.processor.candidate_labels:
        mark = " <- said by the speaker" if label == corpus.labels[target] else ""
        print(f"  {label:<12}{without[label]:>10.3f}{personalized[label]:>10.3f}{mark}")
