"""What the page does for one visitor, without a browser: enroll, remove, recognize."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from emoicl.processing.audio_emoicl import decode_audio
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.processing.profile_emoicl import SpeakerProfile


# A recording longer than two windows is answered window by window.
WINDOW_S = 4.0
HOP_S = 2.0
BATCH_SIZE = 8
# So that an answer takes well under a minute on two cores. `emoicl predict` has no limit.
MAX_RECORDING_S = 300.0

Recording = str | Path | bytes
Scores = dict[str, float]


@dataclass(frozen=True, eq=False)
class Session:
    """
    A visitor's enrollment. It never changes: a new one takes its place, and an answer on its way keeps its own.

    Args:
        profile ([`SpeakerProfile`], *optional*): What the model keeps of the utterances; none before the first.
        durations_s (`tuple[float, ...]`, *optional*): Length of each utterance, in seconds.
    """

    profile: SpeakerProfile | None = None
    durations_s: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.durations_s)

    @property
    def labels(self) -> list[str | None]:
        """The label of each utterance; None for one without."""
        return list(self.profile.labels) if self.profile is not None else []


@dataclass(frozen=True)
class Window:
    """
    The answer about a part of a long recording.

    Args:
        start_s (`float`): Where it begins, in seconds.
        end_s (`float`): Where it ends, in seconds.
        scores (`dict[str, float]`): Probability of each label; empty where nothing is heard.
    """

    start_s: float
    end_s: float
    scores: Scores


@dataclass(frozen=True)
class Answer:
    """
    The answer about a recording. Its scores are means over the windows where there are any.

    Args:
        duration_s (`float`): Length of the recording, in seconds.
        shots (`int`): Number of utterances in the enrollment.
        without (`dict[str, float]`): Probability of each label, zero-shot.
        personalized (`dict[str, float]`, *optional*): Probability of each label with the enrollment, if there is one.
        windows (`tuple[Window, ...]`, *optional*): The timeline of a long recording, personalized if possible.
        familiarity (`float`, *optional*): How familiar it sounds, of a long one the median window, if the model tells.
    """

    duration_s: float
    shots: int
    without: Scores
    personalized: Scores | None = None
    windows: tuple[Window, ...] = ()
    familiarity: float | None = None


def enroll(pipe: EmoIclPipeline, session: Session, examples: Sequence[tuple[Recording, str | None]]) -> Session:
    """
    Adds utterances.

    Args:
        pipe ([`EmoIclPipeline`]): The recognizer.
        session ([`Session`]): What is enrolled so far.
        examples (`list[tuple]`):
            Utterances, each a file or its bytes, with its label, one of the candidates, or None if it is not known.

    Returns:
        [`Session`]

    Raises:
        `ValueError`: If a recording cannot be used or the profile has no room for them.
    """
    max_shots = pipe.processor.max_shots
    if len(session) + len(examples) > max_shots:
        raise ValueError(f"The profile is full: this model takes at most {max_shots} utterances. Remove one first.")
    extractor = pipe.processor.feature_extractor
    waveforms = [extractor.decode(named(recording)) for recording, _ in examples]
    labels = [label for _, label in examples]
    added = pipe.enroll([{"audio": x, "label": label} for x, label in zip(waveforms, labels, strict=True)])
    profile = deepcopy(session.profile)
    if profile is not None:
        profile.add(added)
    durations_s = (len(waveform) / extractor.sampling_rate for waveform in waveforms)
    return Session(profile or added, (*session.durations_s, *durations_s))


def remove(session: Session, index: int) -> Session:
    """Takes one utterance out."""
    if session.profile is None or len(session) == 1:
        return Session()
    profile = deepcopy(session.profile)
    profile.remove(index)
    return Session(profile, session.durations_s[:index] + session.durations_s[index + 1 :])


def recognize(pipe: EmoIclPipeline, session: Session, recording: Recording) -> Answer:
    """
    Recognizes the emotion of a recording with and without the visitor's enrollment.

    Args:
        pipe ([`EmoIclPipeline`]): The recognizer.
        session ([`Session`]): The enrollment, which may be empty.
        recording (`str`, `Path` or `bytes`): The target, a file or its bytes, of 0.1 to 300 s.

    Returns:
        [`Answer`]

    Raises:
        `ValueError`: If the recording cannot be used.
    """
    sampling_rate = pipe.processor.feature_extractor.sampling_rate
    waveform = decode_audio(named(recording), sampling_rate, max_duration=MAX_RECORDING_S)
    duration_s = len(waveform) / sampling_rate
    labels = pipe.processor.candidate_labels
    ways: list[dict[str, Any]] = [{}, {"profile": session.profile}] if len(session) else [{}]
    told = {"return_familiarity": True} if pipe.tells_familiarity else {}
    windows: list[Window] = []
    if duration_s <= 2 * WINDOW_S:
        parts = [
            [answer if told else {"labels": answer}] for answer in (pipe(waveform, **way, **told) for way in ways)
        ]
        scores = [scores_of(part["labels"], labels) for [part] in parts]
    else:
        spans = {"window_s": WINDOW_S, "hop_s": HOP_S, "batch_size": BATCH_SIZE}
        parts = [pipe(waveform, **spans, **way, **told) for way in ways]
        timelines = [
            [Window(part["start"], part["end"], scores_of(part["labels"], labels)) for part in of_way]
            for of_way in parts
        ]
        scores, windows = [mean_scores(timeline) for timeline in timelines], timelines[-1]
    shares = [part["familiarity"] for part in parts[0] if part.get("familiarity") is not None]
    personalized = scores[1] if len(session) else None
    familiarity = median(shares) if shares else None
    return Answer(duration_s, len(session), scores[0], personalized, tuple(windows), familiarity)


def named(recording: Recording) -> dict[str, Any]:
    """The recording under the name that its visitor knows, not that of the server's copy."""
    if isinstance(recording, bytes):
        return {"bytes": recording}
    return {"bytes": Path(recording).read_bytes(), "path": Path(recording).name}


def scores_of(answers: Sequence[dict[str, Any]], labels: Sequence[str]) -> Scores:
    """The pipeline's answers in the order of the candidate labels, which stays where probabilities change."""
    scores = {answer["label"]: answer["score"] for answer in answers}
    return {label: scores[label] for label in labels if label in scores}


def mean_scores(windows: Sequence[Window]) -> Scores:
    """The mean probability of each label over the windows in which something is heard."""
    heard = [window.scores for window in windows if window.scores]
    return {label: sum(scores[label] for scores in heard) / len(heard) for label in heard[0]}
