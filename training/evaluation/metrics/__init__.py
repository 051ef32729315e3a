"""Metrics: what the paper reports, what it leaves out, and two of them as modules of `evaluate`.

`evaluate.load(str(METRICS / "ua_spk"))` and `evaluate.load(str(METRICS / "expected_calibration_error"))` work offline,
with `emoicl[metrics]` installed.
"""

from pathlib import Path

from emoicl.training.evaluation.metrics.expected_calibration_error.calibration import (
    CalibrationBins,
    calibration_bins,
    expected_calibration_error,
)
from emoicl.training.evaluation.metrics.statistics import bootstrap_interval, gini
from emoicl.training.evaluation.metrics.ua_spk.speaker_accuracy import SpeakerAccuracy, speaker_accuracy


METRICS = Path(__file__).parent

__all__ = [
    "METRICS",
    "CalibrationBins",
    "SpeakerAccuracy",
    "bootstrap_interval",
    "calibration_bins",
    "expected_calibration_error",
    "gini",
    "speaker_accuracy",
]
