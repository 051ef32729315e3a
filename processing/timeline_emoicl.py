"""One utterance, or a recording of any length and the windows of it: what the pipelines have in common."""

import math
import types
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from transformers.pipelines.base import ChunkPipeline

from .audio_emoicl import AudioLike, decode_audio, is_silent
from .enrollment_emoicl import digest_waveform, refuse_enrolled


class TimelinePipeline(ChunkPipeline):
    """
    A pipeline that answers for an utterance, or with `window_s` for every window of a recording. Windows of several
    recordings share a batch.

    The speech recognition pipeline of transformers has `chunk_length_s` and `stride_length_s` for this. The names
    differ because the meaning does: its stride is context that is thrown away where chunks are joined to one text.
    Here every window has its own answer, and the hop is the time from the start of one to the start of the next.
    """

    def __call__(self, audio: Any, **kwargs: Any) -> Any:  # pyright: ignore
        if isinstance(audio, list):
            if not audio:
                return []
            audio = list(named_requests(audio))
        elif isinstance(audio, types.GeneratorType):
            # A generator again: that is how transformers tells a stream.
            audio = named_requests(audio)
        return super().__call__(audio, **kwargs)

    def _sanitize_parameters(self, top_k=None, window_s=None, hop_s=None, **unknown):  # pyright: ignore
        if unknown:
            raise TypeError(f"Unknown parameters: {', '.join(unknown)}.")
        if top_k is not None and top_k < 1:
            raise ValueError(f"`top_k` is the number of labels to return, at least 1; got {top_k}.")
        return given(window_s=window_s, hop_s=hop_s), {}, given(top_k=top_k)

    def preprocess(self, input_, window_s=None, hop_s=None, **parameters) -> Iterator[dict]:  # pyright: ignore
        window, hop = self.window_samples(window_s, hop_s)
        request = as_request(input_)
        try:
            shots = self.shots_of(request, **parameters)
            recording = self._decode_target(request["audio"], whole=window is not None)
            spans = window_spans(len(recording), window or len(recording), hop or len(recording))
            self._refuse_enrolled(recording, spans, shots)
        except ValueError as error:
            raise ValueError(f"{request.get('name', '')}{error}") from error

        # A recording that is silent from end to end is refused above, so that one window at least can be heard.
        audible = [not is_silent(recording[start:end]) for start, end in spans]
        last = max(i for i, is_audible in enumerate(audible) if is_audible)
        for i, (start, end) in enumerate(spans):
            if audible[i]:
                timeline = self._timeline(spans, audible) if window is not None and i == last else None
                yield {"audio": recording[start:end], **shots, "timeline": timeline, "is_last": i == last}

    def window_samples(self, window_s: float | None, hop_s: float | None = None) -> tuple[int | None, int | None]:
        """
        Checks the windows that recordings are to be answered for.

        Args:
            window_s (`float`, *optional*): Length of a window, in seconds.
            hop_s (`float`, *optional*, defaults to half of `window_s`): From one start to the next, in seconds.

        Returns:
            `tuple[int, int]`: both in samples, or None where there are to be no windows.

        Raises:
            `ValueError`: If the model cannot take such a window, or there would be gaps between windows.
        """
        if window_s is None and hop_s is None:
            return None, None
        if window_s is None:
            raise ValueError("`hop_s` is the time between windows: give `window_s`, their length, too.")
        extractor: Any = self.feature_extractor
        if not extractor.min_duration <= window_s <= extractor.max_duration:
            raise ValueError(
                f"`window_s` is the length of a window, {extractor.min_duration:g} to {extractor.max_duration:g} s; "
                f"got {window_s!r}."
            )
        hop_s = window_s / 2 if hop_s is None else hop_s
        hop = round(hop_s * extractor.sampling_rate) if math.isfinite(hop_s) else 0
        if hop < 1 or hop_s > window_s:
            raise ValueError(
                "`hop_s` is the time between the starts of windows, more than 0 s and at most `window_s` "
                f"({window_s:g} s), or parts of the recording would be passed over; got {hop_s!r}."
            )
        return round(window_s * extractor.sampling_rate), hop

    def _decode_target(self, audio: AudioLike, whole: bool) -> np.ndarray:
        extractor: Any = self.feature_extractor
        max_duration = math.inf if whole else extractor.max_duration
        return decode_audio(audio, extractor.sampling_rate, "audio", extractor.min_duration, max_duration)

    def _refuse_enrolled(self, recording: np.ndarray, spans: list[tuple[int, int]], shots: dict) -> None:
        digests = [digest_waveform(shot["audio"]) for shot in shots["enrollment"]]
        if shots.get("profile") is not None:
            digests += shots["profile"].digests
        if digests:
            refuse_enrolled(recording, digests)
        if digests and len(spans) > 1:
            rate = self.feature_extractor.sampling_rate  # pyright: ignore[reportOptionalMemberAccess]
            for start, end in spans:
                name = f"the target from {start / rate:g} to {end / rate:g} s"
                refuse_enrolled(recording[start:end], digests, name)

    def _timeline(self, spans: list[tuple[int, int]], audible: list[bool]) -> list[dict]:
        rate = self.feature_extractor.sampling_rate  # pyright: ignore[reportOptionalMemberAccess]
        return [
            {"start": start / rate, "end": end / rate, "audible": is_audible}
            for (start, end), is_audible in zip(spans, audible, strict=True)
        ]

    def _forward(self, input_tensors, **parameters):  # pyright: ignore
        # A trainer leaves the model in training mode.
        self.model.eval()
        if isinstance(input_tensors["is_last"], list):  # several inputs in a batch
            episodes = [
                dict(zip(input_tensors, values, strict=True)) for values in zip(*input_tensors.values(), strict=True)
            ]
        else:
            episodes = [input_tensors]
        outputs = self.recognize(episodes, **parameters)
        return {**outputs, "timeline": input_tensors["timeline"], "is_last": input_tensors["is_last"]}

    def postprocess(self, model_outputs, top_k=None, **parameters):  # pyright: ignore
        answers = [
            sorted(self.answers(output, **parameters), key=lambda answer: answer["score"], reverse=True)[:top_k]
            for output in model_outputs
        ]
        timeline = model_outputs[-1]["timeline"]
        if timeline is None:
            return answers[0]
        heard = iter(answers)
        return [
            {"start": window["start"], "end": window["end"], "labels": next(heard) if window["audible"] else []}
            for window in timeline
        ]

    @abstractmethod
    def shots_of(self, request: dict, **parameters: Any) -> dict:
        """The enrollment of a request: `enrollment`, a list of `{"audio": waveform, "label": label}`, and what else
        [`~TimelinePipeline.recognize`] needs.
        """

    @abstractmethod
    def recognize(self, episodes: list[dict], **parameters: Any) -> dict:
        """Runs the model on a batch of targets, each with its shots, to tensors of shape `(batch_size, ...)`."""

    @abstractmethod
    def answers(self, output: dict, **parameters: Any) -> list[dict]:
        """The labels with their scores, from the row of one target, tensors `(1, ...)`."""


def window_spans(num_samples: int, window: int, hop: int) -> list[tuple[int, int]]:
    """
    Cuts a recording into windows that reach from its first to its last sample. All have the same length, the last too:
    it starts earlier than a hop after the one before. A recording that is not longer than a window is one.

    Args:
        num_samples (`int`): Length of the recording.
        window (`int`): Length of a window, in samples.
        hop (`int`): From the start of a window to that of the next, in samples; at most `window`.

    Returns:
        `list[tuple[int, int]]`: first sample of each window, and the one after its last.
    """
    last = max(num_samples - window, 0)
    return [(start, min(start + window, num_samples)) for start in (*range(0, last, hop), last)]


def as_request(item: Any) -> dict:
    """A dictionary with "audio" asks about an utterance with its own enrollment; any other input is an utterance."""
    return dict(item) if isinstance(item, Mapping) and "audio" in item else {"audio": item}


def named_requests(items: Iterable) -> Iterator[dict]:
    """The requests of a list or stream, which know their place in it: an error is to name it."""
    for i, item in enumerate(items):
        yield {**as_request(item), "name": f"inputs[{i}]: "}


def given(**parameters) -> dict:
    """Drops the parameters that were not given, so that the defaults of the pipeline stand."""
    return {name: value for name, value in parameters.items() if value is not None}


__all__ = ["TimelinePipeline", "window_spans"]
