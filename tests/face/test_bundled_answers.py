"""The bundled models answer as they always have: probabilities of clips at 0, 3 and 7 shots, as first stored.

After a change of the answers that is wanted, `python tests/face/test_bundled_answers.py` stores them anew.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from emoicl.bundled import BUNDLED_CLIPS, BUNDLED_MODELS
from emoicl.loading import load_pipeline
from emoicl.training.data.corpus import load_corpus


STORED = Path(__file__).with_name("bundled_answers.json")
TARGETS = (0, 25, 55, 80, 110, 140)
SHOTS = (0, 3, 7)
# Float32 sums in another order, as other processors and numbers of threads have it, differ by less.
TOLERANCE = 1e-5


# This file is a script too, which cannot import what tests share.
pytestmark = pytest.mark.skipif(
    not all((model / "config.json").is_file() for model in BUNDLED_MODELS.values()), reason="needs the bundled models"
)


def load_recognizer(name) -> Any:
    return load_pipeline(name, torch.device("cpu"))


@pytest.fixture(scope="module", params=BUNDLED_MODELS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def recognizer(name):
    return load_recognizer(name)


@pytest.fixture(scope="module")
def corpus():
    return load_corpus(BUNDLED_CLIPS)


def enrollment_of(corpus, target, num_shots) -> list[dict]:
    """The first other utterances of the target's speaker."""
    speaker = corpus.speaker_ids[target]
    others = [i for i, other in enumerate(corpus.speaker_ids) if other == speaker and i != target]
    return [{"audio": corpus[i].audio, "label": corpus.labels[i]} for i in others[:num_shots]]


def by_label(answers) -> dict[str, float]:
    return {answer["label"]: answer["score"] for answer in answers}


@pytest.fixture
def stored(name):
    """The answers to all targets, by the number of shots."""
    return {int(num_shots): answers for num_shots, answers in json.loads(STORED.read_text())[name].items()}


@pytest.mark.parametrize("num_shots", SHOTS)
def test_one_by_one(recognizer, corpus, stored, num_shots):
    for target, expected in zip(TARGETS, stored[num_shots], strict=True):
        answers = recognizer(corpus[target].audio, enrollment=enrollment_of(corpus, target, num_shots))
        assert by_label(answers) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("num_shots", SHOTS[1:])
def test_through_a_profile(recognizer, corpus, stored, num_shots):
    for target, expected in zip(TARGETS, stored[num_shots], strict=True):
        profile = recognizer.enroll(enrollment_of(corpus, target, num_shots))
        assert by_label(recognizer(corpus[target].audio, profile=profile)) == pytest.approx(expected, abs=TOLERANCE)


def in_one_batch(recognizer, corpus, cases) -> list[dict[str, float]]:
    """The answers to `(target, num_shots)`, all at once."""
    requests = [{"audio": corpus[case[0]].audio, "enrollment": enrollment_of(corpus, *case)} for case in cases]
    return [by_label(answers) for answers in recognizer(requests, batch_size=len(requests))]


@pytest.mark.parametrize("num_shots", SHOTS)
def test_in_a_batch(recognizer, corpus, stored, num_shots):
    cases = [(target, num_shots) for target in TARGETS]
    for found, expected in zip(in_one_batch(recognizer, corpus, cases), stored[num_shots], strict=True):
        assert found == pytest.approx(expected, abs=TOLERANCE)


def test_in_a_batch_of_all_numbers_of_shots(recognizer, corpus, stored):
    """Who shares a batch, and how far a prompt is padded for them, changes no answer."""
    expected = {(target, k): answer for k in SHOTS for target, answer in zip(TARGETS, stored[k], strict=True)}
    cases = sorted(expected)
    for case, found in zip(cases, in_one_batch(recognizer, corpus, cases), strict=True):
        assert found == pytest.approx(expected[case], abs=TOLERANCE)


if __name__ == "__main__":
    clips = load_corpus(BUNDLED_CLIPS)
    answers = {}
    for model in BUNDLED_MODELS:
        by_hand = load_recognizer(model)
        answers[model] = {
            num_shots: [
                by_label(by_hand(clips[target].audio, enrollment=enrollment_of(clips, target, num_shots)))
                for target in TARGETS
            ]
            for num_shots in SHOTS
        }
    STORED.write_text(json.dumps(answers, indent=1) + "\n")
