"""The pipeline of the classifiers answers as the model does, and names the input that is at fault."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_speech import encoded, tone
from tiny import LABELS
from tiny_classifier import SYSTEMS, tiny_classifier
from transformers import AutoFeatureExtractor, pipeline
from transformers.pipelines.audio_classification import AudioClassificationPipeline

from emoicl import TASK, EmoIclClassificationPipeline, EmoIclFeatureExtractor


TARGETS = [tone(frequency, seconds) for frequency, seconds in ((300, 0.3), (700, 0.55), (1100, 0.4))]
SHOTS = [tone(frequency, seconds) for frequency, seconds in ((350, 0.5), (900, 0.35))]
ENROLLMENT = [{"audio": audio, "label": label} for audio, label in zip(SHOTS, ("Anger", "Joy"), strict=True)]


def make_recognizer(system: str) -> Any:
    model = tiny_classifier(**SYSTEMS[system])
    return EmoIclClassificationPipeline(
        model=model,
        feature_extractor=EmoIclFeatureExtractor(),
        task="audio-classification",
        device=torch.device("cpu"),
    )


@pytest.fixture
def recognizer():
    return make_recognizer("Personalized_A")


def assert_same(answers, expected):
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in expected]
    for answer, other in zip(answers, expected, strict=True):
        assert answer["score"] == pytest.approx(other["score"], rel=1e-4)


def test_the_scores_are_those_of_the_model(recognizer):
    inputs = recognizer.feature_extractor([*SHOTS, TARGETS[0]])
    with torch.no_grad():
        logits = recognizer.model(
            **inputs, utterance_index=torch.tensor([[0, 1, 2]]), enrollment_label_ids=torch.tensor([[2, 0]])
        ).logits
    answers = recognizer(TARGETS[0], enrollment=ENROLLMENT)
    expected = dict(zip(LABELS, logits.softmax(-1)[0].tolist(), strict=True))
    assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(expected, rel=1e-4)
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)


def test_enrollment_matters_and_is_optional(recognizer):
    without = recognizer(TARGETS[0])
    assert without == recognizer(TARGETS[0], enrollment=[])
    assert without != recognizer(TARGETS[0], enrollment=ENROLLMENT)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_list_is_answered_as_its_items_are_alone(recognizer, batch_size):
    inputs = [TARGETS[0], {"audio": TARGETS[1], "enrollment": ENROLLMENT[1:]}, {"audio": TARGETS[2], "enrollment": []}]
    batch = recognizer(inputs, enrollment=ENROLLMENT, batch_size=batch_size)
    enrollments = (ENROLLMENT, ENROLLMENT[1:], None)
    assert len(batch) == 3
    for answers, target, enrollment in zip(batch, TARGETS, enrollments, strict=True):
        assert_same(answers, recognizer(target, enrollment=enrollment))
    assert recognizer([]) == []


def test_forms_of_audio_and_top_k(recognizer, tmp_path):
    path = tmp_path / "speech.wav"
    path.write_bytes(encoded(TARGETS[0], subtype="FLOAT"))
    expected = recognizer(TARGETS[0])
    for form in (str(path), path.read_bytes(), {"array": TARGETS[0], "sampling_rate": 16000}):
        assert recognizer(form, top_k=2) == expected[:2]


def test_errors_name_the_input(recognizer):
    with pytest.raises(ValueError, match=r"^inputs\[1\]: audio: silent"):
        recognizer([TARGETS[0], 0 * TARGETS[1]])
    with pytest.raises(ValueError, match=r"^inputs\[2\]: enrollment\[1\]: is the target itself"):
        recognizer([*TARGETS[:2], SHOTS[1]], enrollment=ENROLLMENT, batch_size=3)
    with pytest.raises(ValueError, match=r"^enrollment\[0\]: label 'Angst' is none of the enrollment labels Joy, Sad"):
        recognizer(TARGETS[0], enrollment=[{"audio": SHOTS[0], "label": "Angst"}])
    with pytest.raises(ValueError, match=r"^enrollment\[1\]: has no label.*take it out"):
        recognizer(TARGETS[0], enrollment=[ENROLLMENT[0], {"audio": SHOTS[1]}])
    with pytest.raises(ValueError, match=r"^enrollment\[0\]: must be a dictionary"):
        recognizer(TARGETS[0], enrollment=SHOTS)
    with pytest.raises(ValueError, match="^enrollment: this classifier takes none"):
        make_recognizer("Pretrained")(TARGETS[0], enrollment=ENROLLMENT)
    with pytest.raises(TypeError, match="candidate_labels"):
        recognizer(TARGETS[0], candidate_labels=["Joy"])
    with pytest.raises(ValueError, match="top_k"):
        recognizer(TARGETS[0], top_k=0)


@pytest.fixture
def folder(recognizer, tmp_path):
    recognizer.save_pretrained(tmp_path)
    return str(tmp_path)


def test_save_and_load(recognizer, folder):
    loaded: Any = pipeline(TASK, folder, device=torch.device("cpu"))
    assert type(loaded) is EmoIclClassificationPipeline
    assert_same(loaded(TARGETS[0], enrollment=ENROLLMENT), recognizer(TARGETS[0], enrollment=ENROLLMENT))
    assert type(AutoFeatureExtractor.from_pretrained(folder)) is EmoIclFeatureExtractor


def test_transformers_own_pipeline_answers_alike(recognizer, folder):
    own = pipeline(
        "audio-classification", folder, pipeline_class=AudioClassificationPipeline, device=torch.device("cpu")
    )
    for target in TARGETS:
        answers: Any = own({"raw": target, "sampling_rate": 16000}, top_k=None)
        assert_same(answers, recognizer(target))
        assert_same(own(np.asarray(target), top_k=2), recognizer(target, top_k=2))


def test_a_checkpoint_works_where_the_package_is_absent(folder, tmp_path, monkeypatch):
    script = f"""
import sys
sys.modules["emoicl"] = None
import numpy as np
from transformers import pipeline
recognizer = pipeline("audio-classification", model={folder!r}, trust_remote_code=True, device="cpu")
print(len(recognizer(np.sin(np.arange(8000) / 10).astype("float32"), top_k=None)))
"""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert process.stdout.strip() == "3", process.stderr
