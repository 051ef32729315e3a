"""Measures what a recipe made: its tests, on each corpus. What is measured is on disk, and is not done again."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState

from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.enrollment import EnrollmentError, max_shots, select_enrollment
from emoicl.training.evaluation.evaluate import CONTROLS, evaluate
from emoicl.training.evaluation.recognition import Recognizer
from emoicl.training.evaluation.reports import EvaluationReport
from emoicl.training.experiments.recipe import Recipe, SystemTest


logger = logging.getLogger(__name__)


@dataclass
class Outcome:
    """
    What a test gave for one test corpus.

    Args:
        report ([`EvaluationReport`], *optional*): The numbers of shots that could be drawn; `None` if there is none.
        reasons (`dict[int, str]`): For each other number of shots, why not.
    """

    report: EvaluationReport | None
    reasons: dict[int, str]


# By the name of the test and of the test corpus.
Outcomes = dict[tuple[str, str], Outcome]


def is_measured(recipe: Recipe, tested: Mapping[str, Corpus], folder: Path) -> bool:
    """Whether all tests are on disk."""
    pairs = [(test, name) for test in recipe.tests for name in tested if drawable_shots(tested[name], test)[0]]
    return all(predictions_of(test, name, folder).exists() for test, name in pairs)


def measure(recipe: Recipe, recognizer: Recognizer | None, tested: Mapping[str, Corpus], folder: Path) -> Outcomes:
    """
    Runs the tests of a recipe.

    Args:
        recipe ([`Recipe`]): Its tests and their numbers of draws.
        recognizer ([`Recognizer`], *optional*): What it made; not needed for what [`is_measured`].
        tested (`Mapping[str, Corpus]`): Utterances of test speakers, by the name of their corpus.
        folder (`Path`): Where all answers go.

    Returns:
        `dict` of [`Outcome`] by name of the test and of the corpus.
    """
    outcomes: Outcomes = {}
    processes = PartialState()
    for test in recipe.tests:
        for name, corpus in tested.items():
            path = predictions_of(test, name, folder)
            shots, reasons = drawable_shots(corpus, test)
            if shots and not path.exists():
                assert recognizer is not None
                logger.info("%s: %s on %s, %s shots.", recipe.title, test.name, name, shots)
                report = evaluate_test(recipe, recognizer, corpus, test, shots)
                if processes.is_main_process:
                    report.save_predictions(path)
            processes.wait_for_everyone()
            outcomes[test.name, name] = Outcome(EvaluationReport.load_predictions(path) if shots else None, reasons)
    return outcomes


def predictions_of(test: SystemTest, corpus: str, folder: Path) -> Path:
    return folder / f"{test.name.replace(' ', '_')}.{corpus}.safetensors"


def evaluate_test(
    recipe: Recipe, recognizer: Recognizer, corpus: Corpus, test: SystemTest, shots: Sequence[int]
) -> EvaluationReport:
    return evaluate(
        recognizer,
        corpus,
        shots=shots,
        setting=test.setting,
        seeds=range(recipe.enrollment_seeds if test.setting == "TU+LD" else recipe.setting_seeds),
        controls=CONTROLS if test.controls else (),
        label=test.label,
        orders=recipe.orders if test.orders else 1,
    )


def drawable_shots(corpus: Corpus, test: SystemTest) -> tuple[list[int], dict[int, str]]:
    """
    The numbers of shots of a test for which each utterance of a corpus can be given an enrollment.

    Args:
        corpus ([`Corpus`]): Test utterances.
        test ([`SystemTest`]): The setting and the numbers of shots.

    Returns:
        `tuple`: the numbers that can be drawn, and for each other one why not (what the smallest of them lacks).
    """
    limits = [max_shots(corpus, target, test.setting, label=test.label) for target in range(len(corpus))]
    scarcest = min(range(len(corpus)), key=limits.__getitem__)
    absent = sorted(k for k in test.shots if k > limits[scarcest])
    reason = ""
    if absent:
        try:
            select_enrollment(corpus, scarcest, absent[0], test.setting, label=test.label)
        except EnrollmentError as error:
            reason = str(error)
    return [k for k in test.shots if k not in absent], dict.fromkeys(absent, reason)
