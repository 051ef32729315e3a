"""A recording of any length is answered window by window, from its first sample to its last."""

import numpy as np
import pytest
import torch
from bundled_models import needs_bundled
from recognizers import ENROLLMENT, SHOTS, TARGETS, assert_same, make_recognizer, scores_of
from synthetic_speech import encoded, tone
from tiny import LABELS
from tiny_classifier import tiny_classifier
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from emoicl import EmoIclClassificationPipeline, EmoIclFeatureExtractor, EmoIclPipeline
from emoicl.bundled import BUNDLED_CLIPS, BURSTS_MODEL
from emoicl.processing.windows_emoicl import cut_windows


RATE = 16000
SILENCE = np.zeros(RATE, dtype=np.float32)
# 1.95 s, in which something happens.
RECORDING = np.concatenate([tone(300, 0.7), tone(900, 0.45, amplitude=0.1), tone(500, 0.8)])


@pytest.fixture(scope="module")
def recognizer():
    return make_recognizer()


@pytest.fixture(scope="module")
def classifier():
    model = tiny_classifier(enrollment_labels=list(LABELS))
    for parameter in model.parameters():
        # Less sure of itself, so that windows differ.
        parameter.data.mul_(0.4)
    return EmoIclClassificationPipeline(
        model=model,
        feature_extractor=EmoIclFeatureExtractor(),
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize(
    "num_samples, window, hop, expected",
    [
        (10, 4, 2, [(0, 4), (2, 6), (4, 8), (6, 10)]),
        (11, 4, 2, [(0, 4), (2, 6), (4, 8), (6, 10), (7, 11)]),
        (10, 4, 4, [(0, 4), (4, 8), (6, 10)]),
        (4, 4, 1, [(0, 4)]),
        (3, 4, 4, [(0, 3)]),
        (5, 4, 4, [(0, 4), (1, 5)]),
    ],
)
def test_windows_reach_from_the_first_to_the_last_sample(num_samples, window, hop, expected):
    recording = np.arange(num_samples, dtype=np.float32)
    for size in (1, 3, 99):
        blocks = [recording[start : start + size] for start in range(0, num_samples, size)]
        windows = list(cut_windows(blocks, window, hop))
        assert [(start, start + len(samples)) for start, samples in windows] == expected
        for start, samples in windows:
            np.testing.assert_array_equal(samples, recording[start : start + len(samples)])


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("kind", ["speech LM", "classifier"])
def test_every_window_is_answered_as_it_is_alone(recognizer, classifier, kind, batch_size):
    pipe = recognizer if kind == "speech LM" else classifier
    timeline = pipe(RECORDING, enrollment=ENROLLMENT, window_s=0.8, hop_s=0.4, batch_size=batch_size)
    assert [(window["start"], window["end"]) for window in timeline] == [
        (0, 0.8),
        (0.4, 1.2),
        (0.8, 1.6),
        (1.15, 1.95),
    ]
    for window in timeline:
        span = RECORDING[round(window["start"] * RATE) : round(window["end"] * RATE)]
        assert len(span) == 0.8 * RATE
        assert_same(window["labels"], pipe(span, enrollment=ENROLLMENT))
    scores = [scores_of(window["labels"]) for window in timeline]
    assert scores[0] != pytest.approx(scores[1], abs=1e-3)


def test_a_profile_and_other_parameters(recognizer):
    parameters = {"candidate_labels": ["Joy", "Sadness", "Anger", "Bored"], "top_k": 2}
    profile = recognizer.enroll(ENROLLMENT)
    timeline = recognizer(RECORDING, profile=profile, window_s=0.8, batch_size=3, **parameters)
    assert [window["start"] for window in timeline] == [0, 0.4, 0.8, 1.15]
    span = RECORDING[round(0.4 * RATE) : round(1.2 * RATE)]
    assert_same(timeline[1]["labels"], recognizer(span, profile=profile, **parameters))
    written = recognizer(RECORDING, profile=profile, window_s=0.8, decoding="beam", batch_size=3)
    assert_same(written[1]["labels"], recognizer(span, profile=profile, decoding="beam"))


def test_windows_of_several_recordings_share_batches(recognizer, encoded_utterances):
    alone = [recognizer(audio, enrollment=ENROLLMENT, window_s=0.5, hop_s=0.5) for audio in (RECORDING, *TARGETS)]
    for inputs in ([RECORDING, *TARGETS], (audio for audio in (RECORDING, *TARGETS))):
        encoded_utterances.clear()
        timelines = list(recognizer(inputs, enrollment=ENROLLMENT, window_s=0.5, hop_s=0.5, batch_size=3))
        assert [len(timeline) for timeline in timelines] == [4, 1, 2, 1]
        assert encoded_utterances == [3 + 3, 3, 2]  # the enrollment, and 8 windows
        for timeline, expected in zip(timelines, alone, strict=True):
            assert [window["end"] for window in timeline] == [window["end"] for window in expected]
            for window, other in zip(timeline, expected, strict=True):
                assert_same(window["labels"], other["labels"])


def test_a_short_recording_is_one_window(recognizer):
    (window,) = recognizer(TARGETS[0], window_s=4)
    assert (window["start"], window["end"]) == (0, len(TARGETS[0]) / RATE)
    assert_same(window["labels"], recognizer(TARGETS[0]))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_silent_windows_have_no_labels(recognizer, batch_size):
    recording = np.concatenate([SILENCE, tone(300, 0.5), SILENCE, tone(900, 0.5), SILENCE])
    timeline = recognizer(recording, window_s=0.5, hop_s=0.5, batch_size=batch_size)
    assert [len(window["labels"]) for window in timeline] == [0, 0, 3, 0, 0, 3, 0, 0]
    assert timeline[-1]["end"] == 4
    assert_same(timeline[2]["labels"], recognizer(tone(300, 0.5)))
    with pytest.raises(ValueError, match="^audio: silent"):
        recognizer(SILENCE, window_s=0.5)


def test_long_recordings_need_windows(recognizer, tmp_path):
    recording = np.concatenate([tone(frequency, 10.1) for frequency in (200, 400, 800)])
    path = tmp_path / "long.wav"
    path.write_bytes(encoded(recording))
    with pytest.raises(ValueError, match=r"long.wav\): too long: 30.3 s; .* with `window_s` and `hop_s`"):
        recognizer(path)
    timeline = recognizer(path, window_s=10, hop_s=10)
    assert [(window["start"], window["end"]) for window in timeline] == [(0, 10), (10, 20), (20, 30), (20.3, 30.3)]


def test_windows_are_refused_that_leave_something_out(recognizer):
    for parameters, message in (
        ({"window_s": 0.05}, "`window_s` is the length of a window, 0.1 to 30 s; got 0.05"),
        ({"window_s": 31}, "`window_s` is"),
        ({"window_s": float("nan")}, "`window_s` is"),
        ({"window_s": 1, "hop_s": 1.1}, "or parts of the recording would be passed over; got 1.1"),
        ({"window_s": 1, "hop_s": 0}, "`hop_s` is"),
        ({"window_s": 1, "hop_s": 1e-9}, "`hop_s` is"),
        ({"window_s": 1, "hop_s": float("nan")}, "`hop_s` is"),
        ({"hop_s": 1}, "give `window_s`, their length, too"),
    ):
        with pytest.raises(ValueError, match=message):
            recognizer(RECORDING, **parameters)


def test_a_window_that_was_enrolled_is_refused(recognizer):
    enrollment = [{"audio": RECORDING[RATE // 2 : RATE], "label": "Joy"}]
    with pytest.raises(ValueError, match=r"enrollment\[0\]: is the target from 0.5 to 1 s itself"):
        recognizer(RECORDING, enrollment=enrollment, window_s=0.5)
    with pytest.raises(ValueError, match=r"^inputs\[0\]: enrollment\[0\]: is the target itself"):
        recognizer([SHOTS[0]], enrollment=ENROLLMENT, window_s=0.2)


@needs_bundled
def test_real_speech():
    """Bundled clips of one speaker one after the other; others of theirs are enrolled."""
    from emoicl import load_corpus

    recognizer = EmoIclPipeline(
        model=AutoModelForSpeechSeq2Seq.from_pretrained(BURSTS_MODEL),
        processor=AutoProcessor.from_pretrained(BURSTS_MODEL),
        device=torch.device("cpu"),
    )
    clips = load_corpus(BUNDLED_CLIPS).utterances[:21]
    profile = recognizer.enroll([{"audio": clip.audio, "label": clip.label} for clip in clips[1::3]])
    decode = recognizer.processor.feature_extractor.decode
    recording = np.concatenate([decode(clip.audio) for clip in clips[::3] for _ in range(3)])
    assert len(recording) > 31 * RATE
    timeline = recognizer(recording, profile=profile, window_s=4.0, hop_s=2.0, batch_size=8)
    assert (timeline[0]["start"], timeline[-1]["end"]) == (0, len(recording) / RATE)
    assert all(after["start"] <= before["end"] for before, after in zip(timeline, timeline[1:], strict=False))
    middle = timeline[len(timeline) // 2]
    span = recording[round(middle["start"] * RATE) : round(middle["end"] * RATE)]
    assert_same(middle["labels"], recognizer(span, profile=profile))
