"""What the pipelines have in common: one utterance, or a recording and the windows of it, and the enrollment."""

import math
import numbers
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from transformers.dynamic_module_utils import custom_object_save
from transformers.pipelines.base import ChunkPipeline
from transformers.pipelines.pt_utils import KeyDataset
from transformers.utils import logging

from .audio_emoicl import AudioLike, check_not_shorter, is_silent, naming, stream_audio, with_rate
from .enrollment_emoicl import (
    ARGUMENTS,
    NAME,
    DigestedBlocks,
    EnrolledTargetError,
    Utterance,
    as_request,
    decode_enrollment,
    decode_target,
    encoded,
    is_data_set,
    refuse_digest,
    refuse_enrolled,
)
from .feature_extraction_emoicl import EmoIclFeatureExtractor
from .windows_emoicl import cut_windows


# The one task in a folder that a pipeline is saved to, so that it need not be named: that of the Hub's pages, which
# tell everybody to ask for it. The speech language models' own is known to the installed package alone, which then
# takes its own classes and asks for no trust.
SAVED_TASK = "audio-classification"


# How the scores of labels are told: `"softmax"` for probabilities, `"none"` for their logarithms.
FUNCTIONS = ("softmax", "none")


class EmoIclBasePipeline(ChunkPipeline):
    """
    A pipeline that answers for an utterance, or with `window_s` for every window of a recording. Windows of several
    recordings share a batch.

    The speech recognition pipeline of transformers has `chunk_length_s` and `stride_length_s` for this. The names
    differ because the meaning does: its stride is context that is thrown away where chunks are joined to one text.
    Here every window has its own answer, and the hop is the time from the start of one to the start of the next.
    """

    # Of the other island, which this one cannot import.
    model: Any
    processor: Any
    feature_extractor: EmoIclFeatureExtractor

    # The auto class that loads its model from a folder that it is saved to.
    auto_model: str

    # What the constructor was given; while it runs, nothing.
    _preprocess_params: dict[str, Any] = {}

    def __call__(self, audio: AudioLike | Iterable, **kwargs: Any) -> Any:
        if isinstance(audio, list):
            if not audio:
                return []
            audio = list(named_requests(audio))
        elif isinstance(audio, Iterator) and not hasattr(audio, "read"):
            # A generator: that is how transformers tells a stream.
            audio = named_requests(audio)
        elif (column := column_of(audio)) is not None:
            answers = super().__call__(named_requests(encoded_column(*column)), **kwargs)
            total = getattr(column[0], "num_rows", None)
            return logging.tqdm(answers, total=total, desc="Recognizing", unit="utterance", disable=None)
        return super().__call__(audio, **kwargs)

    def _sanitize_parameters(
        self,
        enrollment=None,
        top_k=None,
        window_s=None,
        hop_s=None,
        sampling_rate=None,
        function_to_apply=None,
        abstain_below=None,
        min_familiarity=None,
        return_familiarity=None,
        **unknown,
    ):
        if unknown:
            raise TypeError(f"Unknown parameters: {', '.join(unknown)}.")
        if function_to_apply not in (None, *FUNCTIONS):
            raise ValueError(
                '`function_to_apply` is "softmax" for probabilities or "none" for their logarithms; labels exclude '
                f"each other. Got {function_to_apply!r}."
            )
        for name, value in (("abstain_below", abstain_below), ("min_familiarity", min_familiarity)):
            if value is not None and not (isinstance(value, numbers.Real) and 0 <= float(value) <= 1):
                raise ValueError(f"`{name}` is a number from 0 to 1; got {value!r}.")
        if (min_familiarity or return_familiarity) and not self.tells_familiarity:
            raise ValueError(
                "This model has no statistics of what is familiar to it: leave out `min_familiarity` and "
                "`return_familiarity`. The stage `adaptation` of a recipe fits them (`emoicl train --help`)."
            )
        if top_k is not None and (not isinstance(top_k, numbers.Integral) or isinstance(top_k, bool) or top_k < 1):
            raise ValueError(f"`top_k` is the number of labels to return, an integer of at least 1; got {top_k!r}.")
        # Decoded here, once for all targets of the call.
        shots = None if enrollment is None else self.decode_enrollment(enrollment, sampling_rate)
        return (
            given(enrollment=shots, window_s=window_s, hop_s=hop_s, sampling_rate=sampling_rate),
            {},
            given(
                top_k=top_k,
                function_to_apply=function_to_apply,
                abstain_below=abstain_below,
                min_familiarity=min_familiarity,
                return_familiarity=return_familiarity,
            ),
        )

    @property
    def tells_familiarity(self) -> bool:
        """Whether the model has statistics of what is familiar to it; see `return_familiarity`."""
        adaptation_config = getattr(self.model.config, "adaptation_config", None)
        return getattr(adaptation_config, "familiarity_size", 0) > 0

    def decode_enrollment(self, enrollment: list, sampling_rate: int | None = None) -> list[Utterance]:
        """
        Decodes and checks an enrollment, so that several calls can share it.

        Args:
            enrollment (`list[dict]`):
                Utterances `{"audio": ..., "label": ...}` of the speaker; those without a label are `{"audio": ...}`.
            sampling_rate (`int`, *optional*):
                Sampling rate of arrays and tensors, by default that of the pipeline, or else of the model.

        Returns:
            `list[Utterance]`: an enrollment again.

        Raises:
            `ValueError`: If an utterance cannot be used or its label is unknown. The message names the item.
        """
        if sampling_rate is None:
            sampling_rate = self._preprocess_params.get("sampling_rate")
        return decode_enrollment(self.feature_extractor, enrollment, sampling_rate)

    def preprocess(self, input_, window_s=None, hop_s=None, sampling_rate=None, **parameters) -> Iterator[dict]:
        window, hop = self.window_samples(window_s, hop_s)
        request = as_request(input_)
        try:
            if unknown := request.keys() - {"audio", "enrollment", "profile", NAME}:
                of_call = "; it is an argument of the call, for all of them" if min(unknown) in ARGUMENTS else ""
                raise ValueError(
                    f'unknown key {min(unknown)!r}; a request has "audio", and "enrollment" or "profile"{of_call}'
                )
            audio = with_rate(request["audio"], sampling_rate)
            speaker = self.speaker_of(request, sampling_rate=sampling_rate, **parameters)
            if window is None or hop is None:
                target = decode_target(self.feature_extractor, audio)
                digests, fingerprints = self.digests_of(**speaker), self.fingerprints_of(**speaker)
                refuse_enrolled(target, speaker["enrollment"], digests, fingerprints)
                yield {"target": target, **speaker, "timeline": None, "is_last": True}
                return
            for target, timeline in self._windows(audio, window, hop, speaker):
                yield {"target": target, **speaker, "timeline": timeline, "is_last": timeline is not None}
        except EnrolledTargetError as error:
            raise EnrolledTargetError(f"{request.get(NAME, '')}{error}") from error
        except ValueError as error:
            raise ValueError(f"{request.get(NAME, '')}{error}") from error

    def _windows(
        self, audio: AudioLike, window: int, hop: int, speaker: dict
    ) -> Iterator[tuple[Utterance, list[dict] | None]]:
        """The windows that can be heard, and with the last of them the timeline of all."""
        rate, min_duration = self.feature_extractor.sampling_rate, self.feature_extractor.min_duration
        shots = speaker["enrollment"]
        digests, fingerprints = self.digests_of(**speaker), self.fingerprints_of(**speaker)
        blocks = DigestedBlocks(stream_audio(audio, rate, "audio"))
        timeline: list[dict] = []
        heard = None
        for start, samples in cut_windows(blocks, window, hop):
            span = {"start": start / rate, "end": (start + len(samples)) / rate}
            target = Utterance(samples)
            name = f"the target from {span['start']:g} to {span['end']:g} s"
            refuse_enrolled(target, shots, digests, fingerprints, name)
            timeline.append({**span, "audible": not is_silent(samples)})
            if timeline[-1]["audible"]:
                # One behind: which of them is the last shows at the end of the recording.
                if heard is not None:
                    yield heard, None
                heard = target
        refuse_digest(blocks.digest, digests, "the target")
        with naming(audio, "audio"):
            check_not_shorter(timeline[-1]["end"], min_duration)
            if heard is None:
                raise ValueError("silent from its first to its last window; record it again")
        yield heard, timeline

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
        for name, seconds in (("window_s", window_s), ("hop_s", hop_s)):
            if seconds is not None and not isinstance(seconds, numbers.Real):
                raise ValueError(f"`{name}` is a number of seconds; got {seconds!r}.")
        extractor = self.feature_extractor
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

    def _forward(self, input_tensors, **parameters):
        # A trainer leaves the model in training mode.
        if self.model.training:
            self.model.eval()
        if isinstance(input_tensors["is_last"], list):  # several inputs in a batch
            episodes = [
                dict(zip(input_tensors, values, strict=True)) for values in zip(*input_tensors.values(), strict=True)
            ]
        else:
            episodes = [input_tensors]
        outputs = self.recognize(episodes, **parameters)
        return {**outputs, "timeline": input_tensors["timeline"], "is_last": input_tensors["is_last"]}

    def postprocess(
        self,
        model_outputs,
        top_k=None,
        function_to_apply="softmax",
        abstain_below=0,
        min_familiarity=0,
        return_familiarity=False,
        **parameters,
    ):
        answers = []
        for output in model_outputs:
            is_unsure = output["scores"].max().exp().item() < abstain_below
            told = {"familiarity": output["familiarity"].item()} if self.tells_familiarity else {}
            if function_to_apply == "softmax":
                output = {**output, "scores": output["scores"].exp()}
            labels = sorted(self.answers(output, **parameters), key=lambda answer: answer["score"], reverse=True)
            if is_unsure or told.get("familiarity", 1) < min_familiarity:
                labels = []
            answers.append((told if return_familiarity else {}) | {"labels": labels[:top_k]})
        timeline = model_outputs[-1]["timeline"]
        if timeline is None:
            return answers[0] if return_familiarity else answers[0]["labels"]
        heard = iter(answers)
        silent = ({"familiarity": None} if return_familiarity else {}) | {"labels": []}
        return [
            {"start": window["start"], "end": window["end"]} | (next(heard) if window["audible"] else silent)
            for window in timeline
        ]

    @abstractmethod
    def speaker_of(self, request: dict, **parameters: Any) -> dict:
        """What is known of the speaker of a request: `enrollment`, a list of [`Utterance`], and what else
        [`~EmoIclBasePipeline.recognize`] needs.
        """

    def digests_of(self, enrollment: list[Utterance]) -> list[str]:
        """Digest of each utterance that is enrolled."""
        return [shot.digest for shot in enrollment]

    def fingerprints_of(self, **speaker: Any) -> list[str]:
        """Fingerprint of each utterance that is enrolled without its audio."""
        return []

    @abstractmethod
    def recognize(self, episodes: list[dict], **parameters: Any) -> dict:
        """Runs the model on a batch of episodes, `target` and what is known of its speaker, to tensors of shape
        `(batch_size, ...)`, among them the `scores` of labels or texts, logarithms of probabilities.
        """

    @abstractmethod
    def answers(self, output: dict, **parameters: Any) -> list[dict]:
        """The labels with their scores, from the row of one target, tensors `(1, ...)`."""

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """
        Saves the model, the processor or feature extractor and the code of all, so that `pipeline(model=
        save_directory, trust_remote_code=True)`, with the task `"audio-classification"` or none, loads it where this
        package is absent. It works there too: transformers leaves processors away, and the code of pipelines that it
        has loaded from a folder.

        Args:
            save_directory (`str` or `os.PathLike`):
                Directory to save to. It is created if it does not exist.
            kwargs (`dict[str, Any]`, *optional*):
                Passed to the `save_pretrained` of the model.
        """
        implementation = f"{type(self).__module__.rpartition('.')[2]}.{type(self).__name__}"
        self.model.config.custom_pipelines = {SAVED_TASK: {"impl": implementation, "pt": [self.auto_model]}}
        self.model.save_pretrained(save_directory, **kwargs)
        # A processor brings its feature extractor.
        (self.processor or self.feature_extractor).save_pretrained(save_directory)
        custom_object_save(self, save_directory)


def saved_beside(model: Any, kind: Any) -> Any:
    """The processor or feature extractor that lies where a model was loaded from.

    Raises:
        `ValueError`: If it was loaded from nowhere.
    """
    if not model.name_or_path:
        name = "feature_extractor" if issubclass(kind, EmoIclFeatureExtractor) else "processor"
        raise ValueError(f"`{name}` is missing: this model was not loaded from a folder or the Hub, so give one.")
    # Where this itself is code of a checkpoint, that of its processor is trusted too.
    trusted = __name__.startswith("transformers_modules")
    revision = getattr(model.config, "_commit_hash", None)
    return kind.from_pretrained(model.name_or_path, revision=revision, trust_remote_code=trusted)


def column_of(audio: Any) -> tuple[Any, str] | None:
    """The data set of `datasets` that audio is of, and the column, if it is a whole one."""
    if isinstance(audio, KeyDataset):
        dataset, column = audio.dataset, audio.key
    else:
        # `dataset["audio"]` knows what it is a column of.
        dataset, column = getattr(audio, "source", audio), getattr(audio, "column_name", "audio")
    return (dataset, column) if is_data_set(dataset) else None


def encoded_column(dataset: Any, column: str) -> Iterator[Any]:
    """The clips of a data set, which are not decoded."""
    # Those of a stream may not be known.
    columns = dataset.column_names or [column]
    if column not in columns:
        raise ValueError(
            f"The data set lacks the column {column!r}; it has {columns}. Rename the one that holds audio, or give "
            "`KeyDataset(dataset, column)`."
        )
    for row in encoded(dataset, column).select_columns([column]):
        yield row[column]


def named_requests(items: Iterable) -> Iterator[dict]:
    """The requests of a list or stream, which know their place in it: an error is to name it."""
    for i, item in enumerate(items):
        yield {**as_request(item), NAME: f"inputs[{i}]: "}


def given(**parameters: Any) -> dict[str, Any]:
    """Drops the parameters that were not given, so that the defaults of the pipeline stand."""
    return {name: value for name, value in parameters.items() if value is not None}


__all__ = ["EmoIclBasePipeline", "given", "saved_beside"]
