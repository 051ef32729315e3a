"""UA_spk: the accuracy of each speaker, averaged over speakers, as a module of `evaluate`."""

import datasets
import evaluate

from .speaker_accuracy import speaker_accuracy


_DESCRIPTION = """\
UA_spk is the accuracy of each speaker, averaged over speakers: every speaker counts the same, however many utterances
they have. With it come the standard deviation, median, maximum and minimum over speakers, which say how evenly a
system serves people.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[str]`): The predicted label, or the generated text, of each utterance.
    references (`list[str]`): The true label of each utterance.
    speaker_ids (`list[str]`): The speaker of each utterance.

Returns:
    `dict`: `ua_spk`, `std` (population), `median`, `max` and `min` over speakers, as fractions; `worst_speaker`, the
    one with the lowest accuracy; `per_speaker`, the accuracy of each.

Examples:

    >>> ua_spk = evaluate.load("training/evaluation/metrics/ua_spk")
    >>> results = ua_spk.compute(
    ...     predictions=["Joy", "Joy", "Fear"], references=["Joy", "Fear", "Fear"], speaker_ids=["a", "a", "b"]
    ... )
    >>> results["ua_spk"], results["per_speaker"]
    (0.75, {'a': 0.5, 'b': 1.0})
"""

_CITATION = """\
@misc{ihori-fewshot-ser,
  title  = {Few-shot Personalization via In-Context Learning for Speech Emotion Recognition based on
            Speech-Language Model},
  author = {Ihori and Yamane and Kawata and Makishima and Tanaka and Suzuki and Orihashi and Masumura},
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class UaSpk(evaluate.Metric):
    def _info(self):
        texts = {name: datasets.Value("string") for name in ("predictions", "references", "speaker_ids")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(texts),
        )

    def _compute(self, predictions, references, speaker_ids):
        return speaker_accuracy(predictions, references, speaker_ids).as_dict()
