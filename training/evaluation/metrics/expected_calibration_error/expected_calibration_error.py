"""Expected calibration error of label probabilities, as a module of `evaluate`."""

import datasets
import evaluate
import numpy as np

from .calibration import expected_calibration_error


_DESCRIPTION = """\
The expected calibration error (ECE) says how far the confidence of answers is from their accuracy: answers are sorted
into bins by their confidence, the probability of the most probable label, and the distances between accuracy and mean
confidence of the bins are averaged, weighted by their number of answers.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[list[float]]`): The probability of each label, for each answer. A list of zeros is an answer
        that is none of the labels, and wrong.
    references (`list[int]`): The index of the true label of each answer.
    bins (`int`, *optional*, defaults to 15): Number of bins of equal width.

Returns:
    `dict`: `expected_calibration_error`, in [0, 1].

Examples:

    >>> ece = evaluate.load("training/evaluation/metrics/expected_calibration_error")
    >>> results = ece.compute(predictions=[[0.75, 0.25], [0.25, 0.75]], references=[0, 0])
    >>> results["expected_calibration_error"]
    0.25
"""

_CITATION = """\
@inproceedings{guo2017calibration,
  title     = {On Calibration of Modern Neural Networks},
  author    = {Guo, Chuan and Pleiss, Geoff and Sun, Yu and Weinberger, Kilian Q.},
  booktitle = {International Conference on Machine Learning},
  year      = {2017},
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class ExpectedCalibrationError(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, predictions, references, bins=15):
        error = expected_calibration_error(np.array(predictions), np.array(references), bins)
        return {"expected_calibration_error": error}
