"""An utterance is decoded, hashed and encoded once a request, and the weights are read only where a file needs it."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
from recognizers import ENROLLMENT, TARGETS, assert_same, make_recognizer
from synthetic_speech import tone
from test_classification_pipeline import ENROLLMENT as CLASSIFIER_ENROLLMENT
from test_classification_pipeline import make_recognizer as make_classifier

from emoicl import EmoIclPipeline, SpeakerProfile
from emoicl.processing import audio_emoicl, enrollment_emoicl, profile_emoicl


RECORDING = np.concatenate([tone(300, 0.7), tone(900, 0.45, amplitude=0.1), tone(500, 0.8)])


class Counts:
    """How often each of the costly things was done since it was last asked."""

    def __init__(self, monkeypatch):
        self.number: dict[str, int] = {}
        self.watch(monkeypatch, audio_emoicl, "_stream", "decoded")
        self.watch(monkeypatch, enrollment_emoicl.hashlib, "sha256", "hashed")
        self.watch(monkeypatch, profile_emoicl, "fingerprint_model", "fingerprints")

    def watch(self, monkeypatch, owner, name, what):
        original = getattr(owner, name)

        def counting(*args, **kwargs):
            self.number[what] = self.number.get(what, 0) + 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    def take(self):
        number, self.number = self.number, {}
        return number


@pytest.fixture
def recognizer():
    return make_recognizer()


@pytest.fixture
def counts(monkeypatch, recognizer):
    counts = Counts(monkeypatch)
    counts.watch(monkeypatch, recognizer.model.model, "get_speech_features", "encoder runs")
    return counts


def test_one_target_and_three_shots(recognizer, counts):
    recognizer(TARGETS[0], enrollment=ENROLLMENT)
    assert counts.take() == {"decoded": 4, "hashed": 4, "encoder runs": 1}
    recognizer({"audio": TARGETS[0], "enrollment": ENROLLMENT})
    assert counts.take() == {"decoded": 4, "hashed": 4, "encoder runs": 1}
    recognizer(TARGETS[0])
    assert counts.take() == {"decoded": 1, "hashed": 1, "encoder runs": 1}
    recognizer.processor(TARGETS[0], ENROLLMENT)
    assert counts.take() == {"decoded": 4, "hashed": 4}


def test_lists_and_streams_share_the_enrollment(recognizer, counts):
    for inputs in (TARGETS, (target for target in TARGETS)):
        list(recognizer(inputs, enrollment=ENROLLMENT, batch_size=1))
        assert counts.take() == {"decoded": 3 + 3, "hashed": 3 + 3, "encoder runs": 3}
    list(recognizer(TARGETS, enrollment=ENROLLMENT, batch_size=2))
    assert counts.take() == {"decoded": 3 + 3, "hashed": 3 + 3, "encoder runs": 2}


def test_windows_share_the_enrollment(recognizer, counts):
    timeline = recognizer({"audio": RECORDING, "enrollment": ENROLLMENT}, window_s=0.8, hop_s=0.4, batch_size=2)
    assert len(timeline) == 4
    # Of the recording, its windows and the shots.
    assert counts.take() == {"decoded": 1 + 3, "hashed": 1 + 4 + 3, "encoder runs": 2}


def test_an_enrollment_of_the_constructor_is_decoded_and_encoded_once(recognizer, counts):
    parts = {"model": recognizer.model, "processor": recognizer.processor, "device": recognizer.device}
    pipe = EmoIclPipeline(**parts, enrollment=ENROLLMENT)
    assert counts.take() == {"decoded": 3}
    answers = [pipe(target) for target in TARGETS]
    assert counts.take() == {"decoded": 3, "hashed": 3 + 3, "encoder runs": 3}
    for answer, target in zip(answers, TARGETS, strict=True):
        assert_same(answer, recognizer(target, enrollment=ENROLLMENT))


def test_a_classifier(monkeypatch):
    pipe = make_classifier("Personalized_A")
    counts = Counts(monkeypatch)
    pipe(TARGETS[0], enrollment=CLASSIFIER_ENROLLMENT)
    assert counts.take() == {"decoded": 3, "hashed": 3}
    enrollment = pipe.decode_enrollment(CLASSIFIER_ENROLLMENT)
    counts.take()
    for target in TARGETS:
        pipe(target, enrollment=enrollment)
    assert counts.take() == {"decoded": 3, "hashed": 3 + 2}


def test_parameters_run_no_model(recognizer, counts):
    recognizer._sanitize_parameters(enrollment=ENROLLMENT)
    assert counts.take() == {"decoded": 3}


def test_weights_are_read_only_where_a_file_needs_it(recognizer, counts, tmp_path):
    profile = recognizer.enroll(ENROLLMENT[:1])
    assert counts.take() == {"decoded": 1, "hashed": 1, "encoder runs": 1}
    profile.add(recognizer.enroll(ENROLLMENT[1:]))
    profile.remove(0)
    copied = deepcopy(profile)
    assert counts.take() == {"decoded": 2, "hashed": 2, "encoder runs": 1}
    recognizer(TARGETS, profile=copied)
    assert counts.take() == {"decoded": 3, "hashed": 3, "encoder runs": 3}
    profile.save(tmp_path / "me")
    assert counts.take().get("fingerprints") == 1
    copied.save(tmp_path / "me")
    for _ in range(2):
        recognizer(TARGETS[0], profile=tmp_path / "me")
    assert "fingerprints" not in counts.take()
    other = make_recognizer()
    for _ in range(2):
        other(TARGETS[0], profile=tmp_path / "me")
    assert counts.take()["fingerprints"] == 1


def test_a_pickled_profile_leaves_the_model_behind(recognizer):
    profile = pickle.loads(pickle.dumps(recognizer.enroll(ENROLLMENT)))
    assert isinstance(profile, SpeakerProfile) and isinstance(profile.model, str)
    assert_same(recognizer(TARGETS[0], profile=profile), recognizer(TARGETS[0], enrollment=ENROLLMENT))
