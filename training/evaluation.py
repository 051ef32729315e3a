"""How well a model does for speakers it has never heard, as it is given more of their utterances."""

import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.corpus import Corpus
from emoicl.training.enrollment import select_enrollment
from emoicl.training.features import FeatureCache
from emoicl.training.metrics import SpeakerAccuracy, speaker_accuracy


logger = logging.getLogger(__name__)

CONTROLS = ("rotated", "other_speaker")


@dataclass
class Condition:
    """
    The predictions of one number of shots: with the speaker's own enrollment, or under a control.

    Args:
        shots (`int`): Number of enrollment utterances.
        control (`str`, *optional*): `"rotated"` (each enrollment label replaced by the next candidate) or
            `"other_speaker"` (the enrollment of another speaker); `None` for neither.
        predictions (`list[list[str]]`): For each seed, the predicted label of each utterance.
    """

    shots: int
    control: str | None
    predictions: list[list[str]] = field(default_factory=list)


@dataclass
class EvaluationReport:
    """
    Predictions of all conditions, and the accuracies made of them.

    Args:
        setting (`str`): How enrollments were drawn.
        seeds (`list[int]`): Enrollment seeds. The accuracy of a speaker is the mean over them.
        references (`list[str]`): True label of each utterance.
        speaker_ids (`list[str]`): Speaker of each utterance.
        conditions (`list[Condition]`): Predictions of each condition.
    """

    setting: str
    seeds: list[int]
    references: list[str]
    speaker_ids: list[str]
    conditions: list[Condition] = field(default_factory=list)

    def accuracy(self, shots: int, control: str | None = None) -> SpeakerAccuracy:
        """Accuracy per speaker over the utterances of all seeds."""
        predictions = self._condition(shots, control).predictions
        return speaker_accuracy(
            [label for of_seed in predictions for label in of_seed],
            self.references * len(predictions),
            self.speaker_ids * len(predictions),
        )

    def seed_std(self, shots: int, control: str | None = None) -> float:
        """Standard deviation of UA_spk over the enrollment seeds."""
        predictions = self._condition(shots, control).predictions
        return float(np.std([speaker_accuracy(p, self.references, self.speaker_ids).ua_spk for p in predictions]))

    def _condition(self, shots: int, control: str | None) -> Condition:
        return next(c for c in self.conditions if (c.shots, c.control) == (shots, control))

    def as_dict(self) -> dict:
        """All accuracies as plain numbers, for `json.dump`."""
        rows = [
            {
                "shots": condition.shots,
                "control": condition.control,
                "seed_std": self.seed_std(condition.shots, condition.control),
                **self.accuracy(condition.shots, condition.control).as_dict(),
            }
            for condition in self.conditions
        ]
        return {"setting": self.setting, "seeds": self.seeds, "num_utterances": len(self.references), "rows": rows}

    def save(self, path: str | Path) -> None:
        """Writes `as_dict` as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(self.as_dict(), indent=1) + "\n")

    def table(self) -> str:
        """The report as the paper prints it (Table II), a line for each condition."""
        lines = ["| condition | UA_spk | std | median | max | min | std over seeds |", "|---|---|---|---|---|---|---|"]
        for condition in self.conditions:
            accuracy = self.accuracy(condition.shots, condition.control)
            name = f"{condition.shots}-shot" + (
                f", {condition.control.replace('_', ' ')}" if condition.control else ""
            )
            numbers = [accuracy.ua_spk, accuracy.std, accuracy.median, accuracy.max, accuracy.min]
            numbers.append(self.seed_std(condition.shots, condition.control))
            lines.append(f"| {name} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |")
        return "\n".join(lines)


def evaluate(
    model: EmoIclForConditionalGeneration,
    processor: EmoIclProcessor,
    corpus: Corpus,
    features: FeatureCache | None = None,
    shots: Iterable[int] = range(8),
    setting: str = "TU+LD",
    seeds: Sequence[int] = range(5),
    controls: Sequence[str] = CONTROLS,
    decoding: str = "labels",
    batch_size: int = 64,
) -> EvaluationReport:
    """
    Classifies every utterance of a corpus with enrollments of its speaker, of several sizes and seeds.

    Args:
        model ([`EmoIclForConditionalGeneration`]): The model.
        processor ([`EmoIclProcessor`]): Lays out the prompts; its `candidate_labels` are the labels.
        corpus ([`Corpus`]): Utterances of speakers that the model was not trained on.
        features ([`FeatureCache`], *optional*): Where speech features are kept; by default the default folder.
        shots (`Iterable[int]`, *optional*, defaults to 0 ... 7): Numbers of shots.
        setting (`str`, *optional*, defaults to `"TU+LD"`): How enrollments are drawn.
        seeds (`Sequence[int]`, *optional*, defaults to 0 ... 4): Enrollment seeds.
        controls (`Sequence[str]`, *optional*, defaults to both): Controls, run at the largest number of shots.
        decoding (`str`, *optional*, defaults to `"labels"`):
            `"labels"` for the exact arg max over the labels, `"beam"` for the paper's beam search.
        batch_size (`int`, *optional*, defaults to 64): Prompts in a batch.

    Returns:
        [`EvaluationReport`]

    Raises:
        `EnrollmentError`: If a speaker lacks the utterances that `setting` asks for.
        `ValueError`: If the corpus has labels that are not among the candidates.
    """
    unknown = sorted(set(corpus.labels) - set(processor.candidate_labels))
    if unknown:
        raise ValueError(
            f"The corpus has labels that the processor does not ask for: {', '.join(unknown)}. Leave them out with "
            "`load_corpus(..., labels=...)`, or add them to `processor.candidate_labels`."
        )
    features = features or FeatureCache(model, processor.feature_extractor)
    shots = list(shots)
    if len(corpus.by_speaker) == 1 and "other_speaker" in controls:
        logger.warning("Left out the control with another speaker's enrollment: the corpus has one speaker.")
        controls = [control for control in controls if control != "other_speaker"]
    conditions = [Condition(k, None) for k in shots]
    conditions += [Condition(max(shots), control) for control in controls if max(shots) > 0]
    report = EvaluationReport(setting, list(seeds), corpus.labels, corpus.speaker_ids, conditions)
    was_training = model.training
    model.eval()
    utterances = embed_corpus(model, corpus, features, batch_size)
    # Without shots there is nothing to draw.
    runs = [(c, seed) for c in conditions for seed in (seeds if c.shots else seeds[:1])]
    steps = len(runs) * math.ceil(len(corpus) / batch_size)
    with tqdm(total=steps, desc="Evaluating", unit="batch", disable=None, leave=False) as progress:
        for condition, seed in runs:
            predictions: list[str] = []
            for start in range(0, len(corpus), batch_size):
                targets = range(start, min(start + batch_size, len(corpus)))
                prompts = build_prompts(processor, corpus, targets, condition, setting, seed)
                predictions += predict(model, processor, prompts, utterances, decoding)
                progress.update()
            condition.predictions.append(predictions)
    model.train(was_training)
    return report


@torch.no_grad()
def embed_corpus(
    model: EmoIclForConditionalGeneration, corpus: Corpus, features: FeatureCache, batch_size: int = 64
) -> dict[str, torch.Tensor]:
    """Runs each utterance through the Q-Former once, for all prompts that it will stand in."""
    features.fill(corpus)
    embedded: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(corpus), batch_size):
        batch = features.load(corpus.utterances[start : start + batch_size])
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        for name, embeds in model.embed_utterances(**batch).items():
            embedded.setdefault(name, []).append(embeds)
    return {name: torch.cat(embeds) for name, embeds in embedded.items()}


def build_prompts(
    processor: EmoIclProcessor, corpus: Corpus, targets: Sequence[int], condition: Condition, setting: str, seed: int
) -> dict[str, torch.Tensor]:
    """Prompts of some targets under a condition, with utterances named by their index in the corpus."""
    enrollments = []
    for target in targets:
        speaker_id = another_speaker(corpus, target, seed) if condition.control == "other_speaker" else None
        draw = (seed, 0, target)
        enrollments.append(select_enrollment(corpus, target, condition.shots, setting, draw, speaker_id))
    candidates = processor.candidate_labels
    following = dict(zip(candidates, [*candidates[1:], candidates[0]], strict=True))
    labels = [[corpus.labels[index] for index in enrollment] for enrollment in enrollments]
    if condition.control == "rotated":
        labels = [[following[label] for label in of_target] for of_target in labels]
    index = [[*enrollment, target] for enrollment, target in zip(enrollments, targets, strict=True)]
    return dict(processor.build_prompts(index, labels))


def another_speaker(corpus: Corpus, target: int, seed: int) -> str:
    """A speaker other than the target's, drawn uniformly."""
    others = [speaker_id for speaker_id in corpus.by_speaker if speaker_id != corpus.speaker_ids[target]]
    return others[np.random.default_rng((seed, 1, target)).integers(len(others))]


@torch.no_grad()
def predict(
    model: EmoIclForConditionalGeneration,
    processor: EmoIclProcessor,
    prompts: dict[str, torch.Tensor],
    utterances: dict[str, torch.Tensor],
    decoding: str,
) -> list[str]:
    """The label of each prompt: the most probable candidate, or the text that beam search writes."""
    inputs = {name: tensor.to(model.device) for name, tensor in prompts.items()} | utterances
    if decoding == "beam":
        return processor.tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True)
    candidates = processor.candidate_labels
    scores = model.score_labels(processor.label_ids(candidates), **inputs)
    return [candidates[best] for best in scores.argmax(-1).tolist()]
