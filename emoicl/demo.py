"""The demo: emotion recognition gets better for unheard speakers as it is given more of their utterances."""

from pathlib import Path

from emoicl.bundled import BUNDLED_CLIPS, BUNDLED_MODELS
from emoicl.loading import load_pipeline
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.episodes.enrollment import max_shots, select_enrollment
from emoicl.training.evaluation.evaluate import ALL_CONTROLS, EvaluationReport, evaluate
from emoicl.training.evaluation.plots import plot_shots
from emoicl.training.evaluation.recognition import SpeechLmRecognizer


SHOTS = (0, 1, 2, 3, 5, 7)
SETTING = "TU+LD"
CONTROLS = {None: "", "rotated": ", labels rotated", "other_speaker": ", another's voice", "unlabeled": ", no labels"}


def run_demo(
    output_dir: str | Path = "outputs/demo", seeds: int = 5, speech_corpus: str | Path | None = None
) -> dict[str, EvaluationReport]:
    """
    Evaluates both bundled models, prints a table of each and a worked example, and draws a plot of each.

    Args:
        output_dir (`str` or `Path`, *optional*, defaults to `"outputs/demo"`): Where the plots and the reports go.
        seeds (`int`, *optional*, defaults to 5): Number of enrollment draws to average over.
        speech_corpus (`str` or `Path`, *optional*): A table of sentences for the model `speech`. No sentences come
            with the package: without a table, that model hears the bundled vocal bursts too.

    Returns:
        `dict` of [`EvaluationReport`] by name of the model.

    Raises:
        `ValueError`: If the table cannot be read, or its speakers cannot be enrolled.
    """
    output_dir = Path(output_dir)
    bursts = load_corpus(BUNDLED_CLIPS)
    reports = {}
    for name in BUNDLED_MODELS:
        pipeline = load_pipeline(name)
        assert isinstance(pipeline, EmoIclPipeline)
        table = speech_corpus if name == "speech" else None
        corpus = bursts if table is None else load_corpus(table, pipeline.processor.candidate_labels)
        print(f"\n## {name}: {describe(name, corpus, table)}")
        reports[name] = report = evaluate(
            SpeechLmRecognizer(pipeline.model, pipeline.processor),
            corpus,
            shots=drawable(corpus),
            setting=SETTING,
            seeds=range(seeds),
            controls=ALL_CONTROLS,
        )
        print_accuracies(report)
        # One, of a model on what it is for.
        if name == ("bursts" if speech_corpus is None else "speech"):
            print_example(pipeline, corpus, report)
        report.save(output_dir / name / "report.json")
        plot_shots(report, output_dir / name / "accuracy_against_shots.png")
    places = " and ".join(str(output_dir / name) for name in reports)
    print(f"\nWrote accuracy_against_shots.png (plot) and report.json (all numbers) to {places}.")
    return reports


def describe(name: str, corpus: Corpus, table: str | Path | None) -> str:
    """What a model is about to hear, in a sentence."""
    size = f"{len(corpus)} utterances of {len(corpus.by_speaker)} speakers"
    if table is not None:
        return f"{size} in {table}."
    if name == "speech":
        return (
            f"{size}, vocal bursts of EmoGator.\nIt learned from sentences and never heard a burst: this is a corpus "
            "that it was not made for.\nSentences are not bundled; give a table of them by --speech-corpus."
        )
    return f"{size}, vocal bursts of EmoGator by people whom the model has never heard."


def drawable(corpus: Corpus) -> list[int]:
    """The numbers of shots that every utterance can be given."""
    most = min(max_shots(corpus, target, SETTING) for target in range(len(corpus)))
    return [k for k in SHOTS if k <= most]


def print_accuracies(report: EvaluationReport) -> None:
    """Prints the accuracy at each number of shots, under the controls, and with utterances without labels."""
    print(f"\nAccuracy, mean over {len(report.seeds)} enrollment draws ({report.setting}):")
    print(f"  {'shots':<24}{'mean over speakers':>20}{'worst speaker':>16}")
    for condition in report.conditions:
        accuracy = report.accuracy(condition.shots, condition.control)
        control = CONTROLS[condition.control]
        print(f"  {f'{condition.shots}{control}':<24}{accuracy.ua_spk:>20.3f}{accuracy.min:>16.3f}")


def print_example(recognizer: EmoIclPipeline, corpus: Corpus, report: EvaluationReport) -> None:
    """Prints the probabilities of one utterance without and with enrollment, one that the enrollment puts right."""
    most = max(condition.shots for condition in report.conditions)
    few, many = (report.condition(k).predictions[0] for k in (0, most))
    changed = [i for i, label in enumerate(corpus.labels) if few[i] != label == many[i]]
    target = changed[0] if changed else 0
    enrollment = [
        {"audio": corpus[index].audio, "label": corpus.labels[index]}
        for index in select_enrollment(corpus, target, most, SETTING, (report.seeds[0], 0, target))
    ]
    audio = corpus[target].audio
    without, personalized = (
        {answer["label"]: answer["score"] for answer in recognizer(audio, enrollment=shots)}
        for shots in (None, enrollment)
    )
    why = ", picked because the enrollment puts it right" if changed else ""
    print(f"\nOne utterance{why}: {corpus[target].name}, {corpus.labels[target]}.")
    print(f"  {'':<12}{'0 shots':>10}{f'{most} shots':>10}")
    for label in recognizer.processor.candidate_labels:
        mark = " <- said by the speaker" if label == corpus.labels[target] else ""
        print(f"  {label:<12}{without[label]:>10.3f}{personalized[label]:>10.3f}{mark}")
