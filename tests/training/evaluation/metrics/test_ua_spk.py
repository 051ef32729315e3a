import json
import math

import pytest

from emoicl.training.evaluation.metrics import speaker_accuracy


def test_hand_computed_statistics():
    # Speaker a: 1 of 4 right, b: 1 of 1, c: 1 of 2.
    result = speaker_accuracy(
        predictions=["Joy", "Joy", "Joy", "Joy", "Fear", "Joy", "Anger"],
        references=["Joy", "Fear", "Anger", "Neutral", "Fear", "Joy", "Joy"],
        speaker_ids=["a", "a", "a", "a", "b", "c", "c"],
    )
    assert result.per_speaker == {"a": 0.25, "b": 1.0, "c": 0.5}
    assert result.ua_spk == pytest.approx(1.75 / 3)  # not 3 / 7, the accuracy over utterances
    # Mean of squares minus square of the mean: (1/16 + 1 + 1/4) / 3 - (7/12)^2 = 14/144.
    assert result.std == pytest.approx(math.sqrt(14) / 12)
    assert (result.median, result.max, result.min, result.worst_speaker) == (0.5, 1.0, 0.25, "a")


def test_speakers_may_be_interleaved():
    result = speaker_accuracy(["Joy", "Joy", "Fear"], ["Joy", "Joy", "Joy"], ["b", "a", "b"])
    assert result.per_speaker == {"a": 1.0, "b": 0.5}
    assert result.worst_speaker == "b"


def test_one_speaker_has_no_spread():
    result = speaker_accuracy(["Joy", "Fear"], ["Joy", "Joy"], ["a", "a"])
    assert (result.ua_spk, result.std, result.median, result.max, result.min) == (0.5, 0.0, 0.5, 0.5, 0.5)


@pytest.mark.parametrize("prediction", ["joy", "Joy ", "Joyful", ""])
def test_only_an_exact_match_is_right(prediction):
    assert speaker_accuracy([prediction], ["Joy"], ["a"]).ua_spk == 0.0


def test_as_dict_can_be_written_as_json():
    values = speaker_accuracy(["Joy", "Fear"], ["Joy", "Joy"], ["a", "b"]).as_dict()
    assert json.loads(json.dumps(values)) == {
        "ua_spk": 0.5,
        "std": 0.5,
        "median": 0.5,
        "max": 1.0,
        "min": 0.0,
        "worst_speaker": "b",
        "per_speaker": {"a": 1.0, "b": 0.0},
    }


def test_unequal_lengths():
    with pytest.raises(ValueError, match="2, 1 and 2"):
        speaker_accuracy(["Joy", "Joy"], ["Joy"], ["a", "a"])


def test_nothing_to_score():
    with pytest.raises(ValueError, match="no predictions"):
        speaker_accuracy([], [], [])
