"""How well a system does for speakers it has never heard, as it is given more of their utterances."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

import numpy as np
from accelerate import PartialState

from emoicl.training.data.corpus import Corpus, CorpusLike, load_corpus
from emoicl.training.data.processes import map_shared
from emoicl.training.data.progress import progress
from emoicl.training.episodes.enrollment import EnrollmentSetting, max_shots, select_enrollment
from emoicl.training.episodes.episodes import Episode
from emoicl.training.evaluation.recognition import CorpusRecognizer, Recognizer, TellsFamiliarity
from emoicl.training.evaluation.reports import Condition, EvaluationReport


logger = logging.getLogger(__name__)

# Those that every report has: a system that reads whose enrollment it has, and its labels, is worse under both.
CONTROLS = ("rotated", "other_speaker")
# One that is asked for by name: what utterances without labels are worth. It need not be worse.
UNLABELED = "unlabeled"
ALL_CONTROLS = (*CONTROLS, UNLABELED)

# What becomes of speakers with too few utterances for the largest number of shots.
ThinSpeakers = Literal["refuse", "leave_out", "fewer_shots"]


def evaluate(
    recognizer: Recognizer,
    corpus: CorpusLike,
    shots: Iterable[int] = range(8),
    setting: str | EnrollmentSetting = "TU+LD",
    seeds: Sequence[int] = range(5),
    controls: Sequence[str] = CONTROLS,
    label: str | None = None,
    orders: int = 1,
    batch_size: int = 64,
    thin_speakers: ThinSpeakers = "refuse",
) -> EvaluationReport:
    """
    Classifies every utterance of a corpus with enrollments of its speaker, of several sizes and seeds. Under
    `accelerate launch` all processes call it, each classifies a share, and all have the whole report.

    Args:
        recognizer ([`Recognizer`]): The system, such as a [`SpeechLmRecognizer`].
        corpus ([`Corpus`] or what [`load_corpus`] reads, such as a `datasets.Dataset`):
            Utterances of speakers that the system was not trained on.
        shots (`Iterable[int]`, *optional*, defaults to 0 ... 7): Numbers of shots.
        setting (`str` or [`EnrollmentSetting`], *optional*, defaults to `"TU+LD"`): How enrollments are drawn.
        seeds (`Sequence[int]`, *optional*, defaults to 0 ... 4): Enrollment seeds.
        controls (`Sequence[str]`, *optional*, defaults to `("rotated", "other_speaker")`):
            Controls, run at the largest number of shots: the labels of the enrollment are *rotated*, it is of another
            speaker, or (`"unlabeled"`) it is any utterances of the speaker, whatever `setting` says, without labels.
            The first two are to fall; the last tells how much of the gain the labels make.
        label (`str`, *optional*): With TU+LO, the one emotion to enroll, as in the paper's Table III.
        orders (`int`, *optional*, defaults to 1):
            Number of orders in which the shots of the first seed are given at the largest number of shots; the first
            one is that of the draw.
        batch_size (`int`, *optional*, defaults to 64): Episodes that are handed over at once.
        thin_speakers (`str`, *optional*, defaults to `"refuse"`):
            What becomes of speakers with too few utterances for the largest number of shots: all is refused, they are
            left out (`"leave_out"`), or they have as many shots as they can (`"fewer_shots"`). The log names them.

    Returns:
        [`EvaluationReport`]

    Raises:
        `EnrollmentError`: If a speaker lacks the utterances that `setting` asks for. Nothing is run then.
        `ValueError`: If the corpus has labels that are not among the candidates, or an argument is out of range.
    """
    corpus = load_corpus(corpus)
    shots, seeds = list(shots), list(seeds)
    setting = EnrollmentSetting.parse(setting)
    if not shots or not seeds or orders < 1:
        raise ValueError(f"shots, seeds and orders must not be empty; got {shots}, {seeds} and {orders}.")
    if min(shots) < 0:
        raise ValueError(f"A number of shots is 0 or more; got {min(shots)}.")
    check_labels(corpus, recognizer.candidate_labels)
    most = max(shots)
    if thin_speakers != "refuse":
        corpus = _without_thin_speakers(corpus, most, setting, label, thin_speakers)
    controls = _usable_controls(corpus, controls)
    if thin_speakers != "fewer_shots":
        check_enrollments(corpus, most, setting, seeds if "other_speaker" in controls else [], label)
    conditions = [Condition(k) for k in shots]
    conditions += [Condition(most, control) for control in controls if most > 0]
    reorderings = [Condition(most, order=order) for order in range(1, orders) if most > 1]
    # Without shots there is nothing to draw.
    runs = [(c, seed) for c in conditions for seed in (seeds if c.shots else seeds[:1])]
    runs += [(c, seeds[0]) for c in reorderings]
    fewer = thin_speakers == "fewer_shots"
    candidates = recognizer.candidate_labels
    draw = partial(draw_episode, corpus, setting=setting, label=label, candidates=candidates, fewer=fewer)
    for (condition, _), scores in zip(runs, _score_runs(recognizer, corpus, runs, draw, batch_size), strict=True):
        condition.add(scores, candidates)
    familiarity = recognizer.familiarity(corpus) if isinstance(recognizer, TellsFamiliarity) else None
    return EvaluationReport(
        setting=str(setting),
        seeds=seeds,
        references=corpus.labels,
        speaker_ids=corpus.speaker_ids,
        conditions=conditions,
        candidate_labels=list(candidates),
        label=label,
        reorderings=reorderings,
        familiarity=None if familiarity is None else familiarity.tolist(),
    )


def _score_runs(
    recognizer: Recognizer,
    corpus: Corpus,
    runs: Sequence[tuple[Condition, int]],
    draw: Callable[..., Episode],
    batch_size: int,
) -> list[np.ndarray]:
    """Probabilities of the candidates for all utterances in each run, a condition with a seed of enrollments, whose
    episodes `draw` draws. Batches are shared by all processes."""
    starts = range(0, len(corpus), batch_size)
    if isinstance(recognizer, CorpusRecognizer):
        recognizer.embed_together(corpus)
    steps = math.ceil(len(runs) * len(starts) / PartialState().num_processes)
    with progress(total=steps, desc="Evaluating", unit="batches", leave=False) as bar:

        def score(batch: tuple[Condition, int, int]) -> np.ndarray:
            condition, seed, start = batch
            targets = range(start, min(start + batch_size, len(corpus)))
            probabilities = recognizer.score(corpus, [draw(target, condition, seed=seed) for target in targets])
            bar.update()
            return probabilities

        scored = map_shared(score, [(*run, start) for run in runs for start in starts])
    return [np.concatenate(scored[first : first + len(starts)]) for first in range(0, len(scored), len(starts))]


def draw_episode(
    corpus: Corpus,
    target: int,
    condition: Condition,
    setting: str | EnrollmentSetting,
    seed: int,
    label: str | None,
    candidates: list[str],
    fewer: bool = False,
) -> Episode:
    """The episode of a target under a condition: the same for the same seed, whatever system is evaluated. With
    `fewer`, of a speaker who lacks utterances it has as many shots as there can be."""
    speaker_id = another_speaker(corpus, target, seed) if condition.control == "other_speaker" else None
    draw = (seed, 0, target)
    if condition.control == UNLABELED:
        # Who knows no labels cannot choose utterances by them.
        setting, label = "TU+LU", None
    shots = min(condition.shots, max_shots(corpus, target, setting, speaker_id, label)) if fewer else condition.shots
    enrollment = select_enrollment(corpus, target, shots, setting, draw, speaker_id, label)
    if condition.order:
        enrollment = np.random.default_rng((seed, 2, target, condition.order)).permutation(enrollment).tolist()
    labels: list[str | None] = [corpus.labels[index] for index in enrollment]
    if condition.control == UNLABELED:
        labels = [None] * len(enrollment)
    if condition.control == "rotated":
        following = dict(zip(candidates, [*candidates[1:], candidates[0]], strict=True))
        labels = [following[corpus.labels[index]] for index in enrollment]
    return Episode(target, enrollment, corpus.labels[target], labels, candidates, draw)


def another_speaker(corpus: Corpus, target: int, seed: int) -> str:
    """A speaker other than the target's, drawn uniformly."""
    others = [speaker_id for speaker_id in corpus.by_speaker if speaker_id != corpus.speaker_ids[target]]
    return others[np.random.default_rng((seed, 1, target)).integers(len(others))]


def check_enrollments(
    corpus: Corpus, k: int, setting: str | EnrollmentSetting, other_speaker_seeds: Sequence[int], label: str | None
) -> None:
    """
    Finds out whether all enrollments of `k` shots can be drawn, before time is spent on smaller ones.

    Args:
        corpus ([`Corpus`]): The corpus.
        k (`int`): Largest number of shots: a smaller one can be drawn wherever it can.
        setting (`str` or [`EnrollmentSetting`]): How enrollments are drawn.
        other_speaker_seeds (`Sequence[int]`): Seeds with which enrollments of other speakers will be drawn.
        label (`str`, *optional*): The one emotion of TU+LO.

    Raises:
        `EnrollmentError`: If one of them cannot; the message names the speaker and what is lacking.
    """
    # All targets of one emotion have the same limit with the same speaker.
    first: dict[tuple[str, str, bool], int] = {}
    for target, (speaker_id, emotion) in enumerate(zip(corpus.speaker_ids, corpus.labels, strict=True)):
        first.setdefault((speaker_id, emotion, True), target)
        for seed in other_speaker_seeds:
            first.setdefault((another_speaker(corpus, target, seed), emotion, False), target)
    for (speaker_id, _, _), target in first.items():
        if max_shots(corpus, target, setting, speaker_id, label) < k:
            # It knows what to say.
            select_enrollment(corpus, target, k, setting, speaker_id=speaker_id, label=label)


def _without_thin_speakers(
    corpus: Corpus, k: int, setting: EnrollmentSetting, label: str | None, thin_speakers: ThinSpeakers
) -> Corpus:
    """The corpus without speakers who have too few utterances for `k` shots, or all of it. The log names them."""
    most: dict[str, int] = {}
    for target, speaker_id in enumerate(corpus.speaker_ids):
        most[speaker_id] = min(most.get(speaker_id, k), max_shots(corpus, target, setting, label=label))
    thin = {speaker_id: shots for speaker_id, shots in most.items() if shots < k}
    if not thin or (thin_speakers == "leave_out" and len(thin) == len(most)):
        return corpus
    logger.warning(
        "%s %d of %d speakers, who lack utterances for %d shots: %s.",
        "Left out" if thin_speakers == "leave_out" else "Fewer shots for",
        len(thin),
        len(most),
        k,
        ", ".join(f"{speaker_id} (at most {shots})" for speaker_id, shots in thin.items()),
    )
    if thin_speakers == "fewer_shots":
        return corpus
    return Corpus(utterance for utterance in corpus if utterance.speaker_id not in thin)


def _usable_controls(corpus: Corpus, controls: Sequence[str]) -> list[str]:
    if unknown := [control for control in controls if control not in ALL_CONTROLS]:
        raise ValueError(f"There is no control {', '.join(unknown)}; choose from {', '.join(ALL_CONTROLS)}.")
    if len(corpus.by_speaker) == 1 and "other_speaker" in controls:
        logger.warning("Left out the control with another speaker's enrollment: the corpus has one speaker.")
        return [control for control in controls if control != "other_speaker"]
    return list(controls)


def check_labels(corpus: Corpus, candidates: Sequence[str]) -> None:
    """Refuses a corpus with other labels than the candidates."""
    if unknown := sorted(set(corpus.labels) - set(candidates)):
        raise ValueError(
            f"The corpus has labels that the recognizer does not ask for: {', '.join(unknown)}. Leave them out with "
            "`load_corpus(..., labels=...)`, or add them to its candidate labels."
        )
