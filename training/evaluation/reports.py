"""Reports of evaluations: all predictions, and the numbers made of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.metrics import accuracy_score, f1_score, recall_score

from emoicl.training.data.writing import write_aside
from emoicl.training.evaluation.metrics import (
    SpeakerAccuracy,
    bootstrap_interval,
    expected_calibration_error,
    gini,
    speaker_accuracy,
)
from emoicl.training.evaluation.trust import COVERAGES, accuracy_at_coverage, auroc


CONTROL_NAMES = {"rotated": "rotated", "other_speaker": "other speaker", "unlabeled": "without labels"}


@dataclass
class Condition:
    """
    The predictions of one number of shots: with the speaker's own enrollment, or under a control.

    Args:
        shots (`int`): Number of enrollment utterances.
        control (`str`, *optional*): `"rotated"` (each enrollment label replaced by the next candidate),
            `"other_speaker"` (the enrollment of another speaker) or `"unlabeled"` (any utterances of the speaker,
            without labels); `None` for neither.
        predictions (`list[list[str]]`): For each seed, the predicted label of each utterance; `""` for a text that is
            no candidate.
        probabilities (`list[np.ndarray]`): For each seed, the probabilities of the candidate labels, float32 of shape
            `(num_utterances, num_labels)`.
        order (`int`, *optional*, defaults to 0): 0 for the shots as they were drawn, a larger number for another
            order of the same shots.
    """

    shots: int
    control: str | None = None
    predictions: list[list[str]] = field(default_factory=list)
    probabilities: list[np.ndarray] = field(default_factory=list)
    order: int = 0

    def add(self, probabilities: np.ndarray, candidates: Sequence[str]) -> None:
        """Adds the answers of one seed, from probabilities of shape `(num_utterances, num_labels)`."""
        best = np.where(probabilities.max(1) > 0, probabilities.argmax(1), -1)
        # Code -1, no candidate, is the last one.
        labels = [*candidates, ""]
        self.predictions.append([labels[int(code)] for code in best])
        self.probabilities.append(probabilities.astype(np.float32))


class Difference(NamedTuple):
    """
    A difference of UA_spk, paired by speaker, with its bootstrap interval over speakers.

    Args:
        mean (`float`): The difference.
        low (`float`): Lower end of the 95 % interval.
        high (`float`): Upper end.
    """

    mean: float
    low: float
    high: float


@dataclass
class EvaluationReport:
    """
    Predictions of all conditions, and the numbers made of them.

    Args:
        setting (`str`): How enrollments were drawn.
        seeds (`list[int]`): Enrollment seeds. The accuracy of a speaker is the mean over them.
        references (`list[str]`): True label of each utterance.
        speaker_ids (`list[str]`): Speaker of each utterance.
        conditions (`list[Condition]`): Predictions of each condition, with the shots in the order of their draw.
        candidate_labels (`list[str]`): What the columns of the probabilities stand for.
        label (`str`, *optional*): The one emotion that was enrolled (TU+LO).
        reorderings (`list[Condition]`): The first seed's shots at the largest number of shots in other orders.
        familiarity (`list[float]`, *optional*): How familiar each utterance sounds to the system, if it tells that.
    """

    setting: str
    seeds: list[int]
    references: list[str]
    speaker_ids: list[str]
    conditions: list[Condition] = field(default_factory=list)
    candidate_labels: list[str] = field(default_factory=list)
    label: str | None = None
    reorderings: list[Condition] = field(default_factory=list)
    familiarity: list[float] | None = None

    def accuracy(self, shots: int, control: str | None = None) -> SpeakerAccuracy:
        """Accuracy per speaker over the utterances of all seeds."""
        predictions = self.condition(shots, control).predictions
        return speaker_accuracy(
            [label for of_seed in predictions for label in of_seed],
            self.references * len(predictions),
            self.speaker_ids * len(predictions),
        )

    def seed_std(self, shots: int, control: str | None = None) -> float:
        """Standard deviation of UA_spk over the enrollment seeds."""
        return float(np.std(self._ua_spk_of_seeds(self.condition(shots, control))))

    def worst_of_seeds(self, shots: int, control: str | None = None) -> float:
        """UA_spk with the least lucky enrollment seed."""
        return min(self._ua_spk_of_seeds(self.condition(shots, control)))

    def order_std(self, shots: int) -> float | None:
        """Standard deviation of UA_spk over orders of the first seed's shots; `None` if they have just one."""
        others = [ua_spk for c in self.reorderings if c.shots == shots for ua_spk in self._ua_spk_of_seeds(c)]
        first = self._ua_spk_of_seeds(self.condition(shots, None))[0]
        return float(np.std([first, *others])) if others else None

    def label_scores(self, shots: int, control: str | None = None) -> dict[str, float]:
        """
        Metrics over the utterances of all seeds, whoever speaks.

        Args:
            shots (`int`): Number of shots.
            control (`str`, *optional*): The control, if any.

        Returns:
            `dict[str, float]`: `uar` (unweighted average recall: mean recall of the labels of the corpus), `wa`
            (weighted accuracy: share of the utterances that are right), `macro_f1` (mean F1 of the labels of the
            corpus), `nll` (mean negative log-probability of the true label) and `ece` (expected calibration error, 15
            bins).
        """
        condition = self.condition(shots, control)
        predictions = [label for of_seed in condition.predictions for label in of_seed]
        references = self.references * len(condition.predictions)
        # A label that the corpus lacks has no recall.
        average: dict[str, Any] = {"labels": sorted(set(references)), "average": "macro", "zero_division": 0}
        probabilities, columns = self.answers(shots, control)
        of_truth = probabilities[np.arange(len(columns)), columns]
        return {
            "uar": float(recall_score(references, predictions, **average)),
            "wa": float(accuracy_score(references, predictions)),
            "macro_f1": float(f1_score(references, predictions, **average)),
            # A label that was not written, or whose probability float32 takes for 0, has a loss all the same.
            "nll": float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean()),
            "ece": expected_calibration_error(probabilities, columns),
        }

    def answers(self, shots: int, control: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """
        All answers of a condition, seed after seed, as the calibration metrics take them.

        Args:
            shots (`int`): Number of shots.
            control (`str`, *optional*): The control, if any.

        Returns:
            `tuple`: probabilities, float32 of shape `(num_seeds * num_utterances, num_labels)`, and the column of the
            true label of each, of shape `(num_seeds * num_utterances,)`.
        """
        probabilities = self.condition(shots, control).probabilities
        columns = [self.candidate_labels.index(label) for label in self.references]
        return np.concatenate(probabilities), np.array(columns * len(probabilities))

    def coverage(self, shots: int, control: str | None = None) -> dict[str, Any]:
        """
        What the probability of an answer tells of whether it is right, over the utterances of all seeds.

        Args:
            shots (`int`): Number of shots.
            control (`str`, *optional*): The control, if any.

        Returns:
            `dict`: `accuracy_at_coverage`, the accuracy of the surest 25, 50, 75, 90 and 100 % of the answers, and
            `confidence_auroc`, the probability that an answer that is right is surer than one that is wrong; None if
            there are none of either.
        """
        probabilities, columns = self.answers(shots, control)
        confidence, is_right = probabilities.max(1), probabilities.argmax(1) == columns
        return {
            "accuracy_at_coverage": accuracy_at_coverage(confidence, is_right),
            "confidence_auroc": auroc(confidence[is_right], confidence[~is_right]),
        }

    def coverage_table(self) -> str:
        """A line for each number of shots: how accurate the surest answers are."""
        heads = [f"surest {share:.0%}" if share < 1 else "all" for share in COVERAGES]
        lines = [f"| shots | {' | '.join(heads)} | AUROC |", f"|{'---|' * (len(heads) + 2)}"]
        for condition in self.conditions:
            if condition.control is None:
                told = self.coverage(condition.shots)
                cells = [f"{accuracy:.3f}" for accuracy in told["accuracy_at_coverage"]]
                cells.append("-" if told["confidence_auroc"] is None else f"{told['confidence_auroc']:.3f}")
                lines.append(f"| {condition.shots} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def difference(
        self,
        other: "EvaluationReport",
        shots: int,
        other_shots: int | None = None,
        control: str | None = None,
        other_control: str | None = None,
    ) -> Difference:
        """
        How much larger UA_spk is here than in another report, or under another condition of this one.

        Args:
            other ([`EvaluationReport`]): Report on the same speakers; this one, to compare two of its conditions.
            shots (`int`): Number of shots here.
            other_shots (`int`, *optional*): Number of shots there; by default `shots`.
            control (`str`, *optional*): The control here, if any.
            other_control (`str`, *optional*): The control there, if any.

        Returns:
            [`Difference`]: The mean over speakers of the difference of their accuracies, and its 95 % interval.

        Raises:
            `ValueError`: If the reports are on other speakers, or on fewer than 2.
        """
        here = self.accuracy(shots, control).per_speaker
        there = other.accuracy(shots if other_shots is None else other_shots, other_control).per_speaker
        if apart := sorted(here.keys() ^ there.keys()):
            raise ValueError(f"The reports are on different speakers: only one of them has {', '.join(apart[:5])}.")
        differences = [here[speaker_id] - there[speaker_id] for speaker_id in here]
        return Difference(float(np.mean(differences)), *bootstrap_interval(differences))

    @classmethod
    def pooled(cls, reports: "Sequence[EvaluationReport]") -> "EvaluationReport":
        """
        Joins reports on different speakers, such as the folds of a cross-validation, into one on all of them.

        Args:
            reports (`Sequence[EvaluationReport]`): Reports with the same setting, seeds and candidate labels.

        Returns:
            [`EvaluationReport`]: With the conditions that all of them have.

        Raises:
            `ValueError`: If they differ in more than speakers, or share some.
        """
        first, *others = reports
        for name in ("setting", "seeds", "candidate_labels", "label"):
            if any(getattr(other, name) != getattr(first, name) for other in others):
                raise ValueError(f"Reports with a different {name} cannot be pooled.")
        speakers = [speaker_id for report in reports for speaker_id in sorted(set(report.speaker_ids))]
        if twice := sorted({speaker_id for speaker_id in speakers if speakers.count(speaker_id) > 1}):
            raise ValueError(f"Several of the reports are on the same speakers: {', '.join(twice[:5])}.")
        return cls(
            first.setting,
            first.seeds,
            [label for report in reports for label in report.references],
            [speaker_id for report in reports for speaker_id in report.speaker_ids],
            _pool([report.conditions for report in reports]),
            first.candidate_labels,
            first.label,
            _pool([report.reorderings for report in reports]),
            [share for report in reports for share in report.familiarity or []]
            if all(report.familiarity for report in reports)
            else None,
        )

    def condition(self, shots: int, control: str | None = None) -> Condition:
        """The condition of a number of shots, with or without a control.

        Raises:
            `KeyError`: If it was not run.
        """
        for condition in self.conditions:
            if (condition.shots, condition.control) == (shots, control):
                return condition
        run = ", ".join(condition_name(condition) for condition in self.conditions)
        raise KeyError(f"There is no condition {condition_name(Condition(shots, control))}; those run are {run}.")

    def _ua_spk_of_seeds(self, condition: Condition) -> list[float]:
        return [speaker_accuracy(p, self.references, self.speaker_ids).ua_spk for p in condition.predictions]

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for `json.dump`."""
        return {
            "setting": self.setting,
            "label": self.label,
            "seeds": self.seeds,
            "num_utterances": len(self.references),
            "familiarity": self.familiarity and [round(share, 4) for share in self.familiarity],
            "rows": [self._row(condition.shots, condition.control) for condition in self.conditions],
        }

    def _row(self, shots: int, control: str | None) -> dict[str, Any]:
        accuracy = self.accuracy(shots, control)
        return {
            "shots": shots,
            "control": control,
            "seed_std": self.seed_std(shots, control),
            "worst_of_seeds": self.worst_of_seeds(shots, control),
            "order_std": None if control else self.order_std(shots),
            **accuracy.as_dict(),
            "gini": gini(list(accuracy.per_speaker.values())),
            **self.label_scores(shots, control),
            **self.coverage(shots, control),
        }

    def save(self, path: str | Path) -> None:
        """Writes `as_dict` as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(self.as_dict(), indent=1) + "\n")

    def save_predictions(self, path: str | Path) -> None:
        """Writes all predictions and probabilities as one safetensors file, for [`load_predictions`]."""
        conditions = [*self.conditions, *self.reorderings]
        codes = {label: code for code, label in enumerate(self.candidate_labels)}
        arrays: dict[str, np.ndarray] = {}
        for number, condition in enumerate(conditions):
            predictions = [[codes.get(label, -1) for label in of_seed] for of_seed in condition.predictions]
            arrays[f"{number}.predictions"] = np.array(predictions, dtype=np.int16)
            # safetensors writes memory as it lies, and scikit-learn's lies column after column.
            arrays[f"{number}.probabilities"] = np.ascontiguousarray(np.stack(condition.probabilities))
        fields = {name: getattr(self, name) for name in _PLAIN_FIELDS}
        fields["conditions"] = [(c.shots, c.control, c.order) for c in conditions]
        with write_aside(path) as unfinished:
            save_file(arrays, unfinished, metadata={"report": json.dumps(fields)})

    @classmethod
    def load_predictions(cls, path: str | Path) -> "EvaluationReport":
        """
        Reads what [`save_predictions`] wrote.

        Args:
            path (`str` or `Path`): The safetensors file.

        Returns:
            [`EvaluationReport`]: With the same predictions and probabilities, so with the same numbers.

        Raises:
            `ValueError`: If the file holds no report.
        """
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if "report" not in metadata:
                raise ValueError(f"{path}: holds no predictions of an evaluation.")
            fields = json.loads(metadata["report"])
            # Code -1, no candidate, is the last one.
            labels = [*fields["candidate_labels"], ""]
            conditions = [
                Condition(
                    shots,
                    control,
                    [[labels[code] for code in of_seed] for of_seed in file.get_tensor(f"{number}.predictions")],
                    list(file.get_tensor(f"{number}.probabilities")),
                    order,
                )
                for number, (shots, control, order) in enumerate(fields.pop("conditions"))
            ]
        return cls(
            **fields,
            conditions=[condition for condition in conditions if not condition.order],
            reorderings=[condition for condition in conditions if condition.order],
        )

    def table(self) -> str:
        """The report as the paper prints it (Table II), a line for each condition. Rotated labels and another speaker
        are controls, which are to fall; *without labels* is none of them: it tells what the labels are worth."""
        lines = ["| condition | UA_spk | std | median | max | min | std over seeds |", "|---|---|---|---|---|---|---|"]
        for condition in self.conditions:
            accuracy = self.accuracy(condition.shots, condition.control)
            numbers = [accuracy.ua_spk, accuracy.std, accuracy.median, accuracy.max, accuracy.min]
            numbers.append(self.seed_std(condition.shots, condition.control))
            lines.append(
                f"| {condition_name(condition)} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |"
            )
        return "\n".join(lines)


_PLAIN_FIELDS = ("setting", "seeds", "references", "speaker_ids", "candidate_labels", "label", "familiarity")


def _pool(conditions: Sequence[list[Condition]]) -> list[Condition]:
    """Joins the conditions of several reports, utterance after utterance, as far as all of them have them."""
    by_name = [{(c.shots, c.control, c.order): c for c in of_report} for of_report in conditions]
    pooled = []
    for name, first in by_name[0].items():
        if all(name in of_report for of_report in by_name):
            parts = [of_report[name] for of_report in by_name]
            predictions = [sum(of_seed, []) for of_seed in zip(*(part.predictions for part in parts), strict=True)]
            probabilities = [
                np.concatenate(of_seed) for of_seed in zip(*(part.probabilities for part in parts), strict=True)
            ]
            pooled.append(replace(first, predictions=predictions, probabilities=probabilities))
    return pooled


def condition_name(condition: Condition) -> str:
    """A condition as tables print it: `"7-shot, other speaker"`."""
    return f"{condition.shots}-shot" + (f", {CONTROL_NAMES[condition.control]}" if condition.control else "")
