"""UA_spk: the accuracy of each speaker and its statistics over speakers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SpeakerAccuracy:
    """
    Accuracy per speaker and what the paper reports of it (Tables II to IV). Accuracies are fractions in [0, 1].

    Args:
        ua_spk (`float`): Mean over speakers: every speaker counts the same, however many utterances they have.
        std (`float`): Standard deviation over speakers, of the population (`ddof=0`), describing just these speakers.
            The paper does not say which it uses; over its 79 test speakers the two differ by less than 1 %.
        median (`float`): Median over speakers.
        max (`float`): Accuracy of the best speaker.
        min (`float`): Accuracy of the worst speaker.
        worst_speaker (`str`): Who that is (the first by name, of several).
        per_speaker (`dict[str, float]`): Accuracy of each speaker, sorted by name.
    """

    ua_spk: float
    std: float
    median: float
    max: float
    min: float
    worst_speaker: str
    per_speaker: dict[str, float]

    def as_dict(self) -> dict[str, float | str | dict[str, float]]:
        return {**vars(self), "per_speaker": dict(self.per_speaker)}


def speaker_accuracy(
    predictions: Sequence[str], references: Sequence[str], speaker_ids: Sequence[str]
) -> SpeakerAccuracy:
    """
    Score predictions speaker by speaker. A prediction is right if it equals its reference exactly, as in the paper.

    Args:
        predictions (`Sequence[str]`): The predicted label of each utterance.
        references (`Sequence[str]`): The true label of each utterance.
        speaker_ids (`Sequence[str]`): The speaker of each utterance.

    Returns:
        [`SpeakerAccuracy`]: The accuracy of each speaker, with its mean (UA_spk), spread and extremes.

    Raises:
        `ValueError`: If the three differ in length or are empty.
    """
    if not len(predictions) == len(references) == len(speaker_ids):
        raise ValueError(
            "predictions, references and speaker_ids need one entry per utterance, but have "
            f"{len(predictions)}, {len(references)} and {len(speaker_ids)}."
        )
    if not len(predictions):
        raise ValueError("There are no predictions to score.")
    hits: dict[str, list[bool]] = {}
    for prediction, reference, speaker_id in zip(predictions, references, speaker_ids, strict=True):
        hits.setdefault(speaker_id, []).append(prediction == reference)
    per_speaker = {speaker_id: float(np.mean(hits[speaker_id])) for speaker_id in sorted(hits)}
    accuracies = np.array(list(per_speaker.values()))
    return SpeakerAccuracy(
        ua_spk=float(accuracies.mean()),
        std=float(accuracies.std()),
        median=float(np.median(accuracies)),
        max=float(accuracies.max()),
        min=float(accuracies.min()),
        worst_speaker=min(per_speaker, key=per_speaker.__getitem__),
        per_speaker=per_speaker,
    )
