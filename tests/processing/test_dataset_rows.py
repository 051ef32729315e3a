"""Rows of `datasets` are taken as they are, everywhere: what a decoder of torchcodec gives is audio like any other."""

import io

import datasets
import numpy as np
import pytest
import soundfile
from decoders import Decoder
from recognizers import ENROLLMENT, SHOTS, TARGETS, assert_same, make_recognizer
from synthetic_speech import tone
from transformers.pipelines.pt_utils import KeyDataset

from emoicl.processing import decode_audio
from emoicl.processing.audio_emoicl import stream_audio


ROWS = [{"audio": Decoder(samples), "label": shot["label"]} for samples, shot in zip(SHOTS, ENROLLMENT, strict=True)]


def encoded(clips) -> datasets.Dataset:
    rows = []
    for number, samples in enumerate(clips):
        file = io.BytesIO()
        soundfile.write(file, samples, 16000, "FLOAT", format="WAV")
        rows.append({"audio": {"bytes": file.getvalue(), "path": "a.wav"}, "emotion": number, "take": number})
    return datasets.Dataset.from_list(rows).cast_column("audio", datasets.Audio())


@pytest.fixture(scope="module")
def recognizer():
    return make_recognizer()


def test_what_is_decoded_is_audio_like_any_other():
    np.testing.assert_array_equal(decode_audio(Decoder(tone())), tone())
    stereo = np.stack([tone(sampling_rate=44100), tone(880, sampling_rate=44100)])
    expected = decode_audio({"array": stereo, "sampling_rate": 44100})
    np.testing.assert_array_equal(decode_audio(Decoder(stereo, 44100)), expected)
    np.testing.assert_array_equal(np.concatenate(list(stream_audio(Decoder(stereo, 44100)))), expected)


def test_more_than_is_taken_is_not_decoded(monkeypatch):
    decoder = Decoder(tone(), announced=31.0)
    monkeypatch.setattr(decoder, "get_all_samples", lambda: pytest.fail("was decoded"))
    with pytest.raises(ValueError, match="^clip: too long: 31.0 s"):
        decode_audio(decoder, name="clip")
    with pytest.raises(ValueError, match="too long: 31.0 s"):
        decode_audio(Decoder(tone(seconds=31.0)))


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_what_a_decoder_cannot_read_is_named(monkeypatch, error):
    decoder = Decoder(tone())

    def fail():
        raise error("Could not push packet\nto decoder")

    monkeypatch.setattr(decoder, "get_all_samples", fail)
    with pytest.raises(ValueError, match="^clip: its decoder cannot read it: Could not push packet to decoder$"):
        decode_audio(decoder, name="clip")


def test_the_pipeline_takes_rows(recognizer):
    expected = recognizer(TARGETS[0], enrollment=ENROLLMENT)
    decoders = [Decoder(samples) for samples in TARGETS]
    assert_same(recognizer(decoders[0], enrollment=ROWS), expected)
    assert_same(recognizer({"audio": decoders[0], "enrollment": ROWS}), expected)
    assert_same(recognizer({"array": TARGETS[0], "sampling_rate": 16000}, enrollment=ROWS), expected)
    rows = KeyDataset([{"audio": decoder, "emotion": "joy"} for decoder in decoders], "audio")  # pyright: ignore[reportArgumentType]
    for answers, samples in zip(recognizer(rows, enrollment=ROWS), TARGETS, strict=True):
        assert_same(answers, recognizer(samples, enrollment=ENROLLMENT))
    assert_same(recognizer(decoders[0], profile=recognizer.enroll(ROWS)), expected)


def test_processor_and_feature_extractor_take_rows(recognizer):
    for take in (recognizer.processor, recognizer.processor.feature_extractor):
        expected = take(TARGETS)["input_features"]
        assert take([Decoder(samples) for samples in TARGETS])["input_features"].equal(expected)
    inputs = recognizer.processor(Decoder(TARGETS[0]), enrollment=ROWS)
    assert inputs["input_features"].equal(recognizer.processor(TARGETS[0], enrollment=ENROLLMENT)["input_features"])


def test_other_columns_of_a_row_are_passed_over(recognizer):
    votes = [{"emotion": "joy", "votes": 2.0}]
    row = {"audio": Decoder(TARGETS[0]), "emotion": "joy", "speaker_id": "ann", "name": "a.wav", "votes": votes}
    shots = [{**shot, "emotion": shot["label"].lower(), "file": "a.wav"} for shot in ROWS]
    for shot in shots:
        shot.pop("label")
    expected = recognizer(TARGETS[0], enrollment=ENROLLMENT)
    assert_same(recognizer(row, enrollment=shots), expected)
    assert_same(recognizer([row], enrollment=shots)[0], expected)
    inputs = recognizer.processor(row, enrollment=shots)
    assert inputs["input_ids"].equal(recognizer.processor(TARGETS[0], enrollment=ENROLLMENT)["input_ids"])
    with pytest.raises(ValueError, match=r"^enrollment\[0\]: emotion 3 is no text; a data set knows the names"):
        recognizer(row, enrollment=[{**row, "emotion": 3}])
    for key in ("Enrolment", "shots"):
        with pytest.raises(ValueError, match=f"^unknown key '{key}'; a request has"):
            recognizer({**row, key: shots})
    with pytest.raises(ValueError, match="^audio: unknown key 'enrollment'"):
        recognizer.processor({**row, "enrollment": shots})


def test_a_data_set_is_streamed_and_not_decoded(recognizer):
    # Neither torchcodec nor FFmpeg is asked for.
    dataset = encoded(TARGETS)
    expected = [recognizer(samples, enrollment=ENROLLMENT) for samples in TARGETS]
    named = dataset.rename_column("audio", "clip")
    wholes = (dataset, dataset.to_iterable_dataset(), dataset["audio"], KeyDataset(named, "clip"))  # pyright: ignore[reportArgumentType]
    for rows in wholes:
        answers = recognizer(rows, enrollment=ENROLLMENT, batch_size=2)
        assert not isinstance(answers, list)
        for of_row, of_samples in zip(answers, expected, strict=True):
            assert_same(of_row, of_samples)
    with pytest.raises(ValueError, match=r"lacks the column 'audio'; it has \['file', .*KeyDataset"):
        list(recognizer(dataset.rename_column("audio", "file")))


def test_a_data_set_is_enrolled_and_not_decoded(recognizer):
    names = datasets.ClassLabel(names=[shot["label"].lower() for shot in ENROLLMENT])
    shots = encoded(SHOTS).cast_column("emotion", names)
    expected = recognizer(TARGETS[0], enrollment=ENROLLMENT)
    assert_same(recognizer(TARGETS[0], enrollment=shots), expected)
    assert_same(recognizer(TARGETS[0], profile=recognizer.enroll(shots)), expected)


def test_windows_of_a_row(recognizer):
    timeline = recognizer(Decoder(tone(seconds=2.0)), window_s=1.0)
    assert [window["start"] for window in timeline] == [0.0, 0.5, 1.0]


def test_a_data_set_with_torchcodec(recognizer):
    # Without FFmpeg, it is there and cannot be imported.
    pytest.importorskip("torchcodec", exc_type=Exception)  # pyright: ignore[reportArgumentType]
    dataset = encoded(TARGETS)
    for answers, samples in zip(recognizer(KeyDataset(dataset, "audio")), TARGETS, strict=True):  # pyright: ignore[reportArgumentType]
        assert_same(answers, recognizer(samples))
    assert_same(
        recognizer(TARGETS[1], enrollment=[{**dataset[0], "label": "Joy"}]),
        recognizer(TARGETS[1], enrollment=[{"audio": TARGETS[0], "label": "Joy"}]),
    )
