"""The pipeline for personalized speech emotion recognition: utterance and enrollment in, labels with scores out."""

import os
from typing import Any

import torch

from .audio_emoicl import AudioLike
from .enrollment_emoicl import decode_enrollment, digest_waveform, index_utterances
from .pipeline_saving_emoicl import save_pipeline
from .profile_emoicl import SpeakerProfile, fingerprint_model, join_profiles
from .timeline_emoicl import TimelinePipeline, given


# `Any`, because transformers types `pipeline` by the names of its own tasks alone.
TASK: Any = "personalized-speech-emotion-recognition"


class EmoIclPipeline(TimelinePipeline):
    """
    Personalized speech emotion recognition with [`EmoIclForConditionalGeneration`]: the emotion of an utterance, given
    a few labeled utterances of the same speaker, its enrollment. Without enrollment it is zero-shot.

    Example:

    ```python
    >>> from emoicl import EmoIclPipeline
    >>> from transformers import pipeline

    >>> recognizer = pipeline(
    ...     "personalized-speech-emotion-recognition", model="path/to/model", pipeline_class=EmoIclPipeline
    ... )
    >>> enrollment = [{"audio": "calm.wav", "label": "Neutral"}, {"audio": "great.wav", "label": "Joy"}]
    >>> recognizer("what.wav", enrollment=enrollment, top_k=2)
    [{'label': 'Surprise', 'score': 0.81}, {'label': 'Fear', 'score': 0.11}]
    >>> profile = recognizer.enroll(enrollment)  # the same, encoded once for all later calls
    >>> profile.save("me.profile")
    >>> recognizer("meeting.wav", profile=profile, window_s=4.0, hop_s=2.0, top_k=1)
    [{'start': 0.0, 'end': 4.0, 'labels': [{'label': 'Joy', 'score': 0.64}]}, ...]
    ```

    The task identifier is `"personalized-speech-emotion-recognition"`.
    """

    model: Any
    processor: Any

    _load_processor = True
    # The processor brings its own.
    _load_feature_extractor = False
    _load_tokenizer = False
    _load_image_processor = False

    _fingerprinted: tuple[list, str] = ([], "")

    def __call__(self, audio: AudioLike | list, **kwargs: Any) -> Any:  # pyright: ignore
        """
        Recognizes the emotion of one utterance or of several.

        Args:
            audio (`str`, `os.PathLike`, `bytes`, `np.ndarray`, `torch.Tensor`, `dict`, or a `list` of these):
                The utterances, in any form that [`decode_audio`] reads, or dictionaries `{"audio": ...,
                "enrollment": ...}` or `{"audio": ..., "profile": ...}` for utterances of different speakers. A
                generator, or [`~transformers.pipelines.pt_utils.KeyDataset`] of a dataset, is streamed: its answers
                are a generator too.
            enrollment (`list[dict]`, *optional*):
                Labeled utterances `{"audio": ..., "label": ...}` of the speaker, for every utterance that does not
                bring its own. They are encoded once for all of them.
            profile ([`SpeakerProfile`], `str` or `os.PathLike`, *optional*):
                In place of `enrollment`, what [`~EmoIclPipeline.enroll`] made of it, or the file it was saved to.
            candidate_labels (`list[str]`, *optional*):
                The labels to choose from, by default those of the processor.
            top_k (`int`, *optional*):
                Number of labels to return, by default all of them.
            decoding (`str`, *optional*, defaults to `"labels"`):
                `"labels"` scores every candidate label exactly; `"beam"` writes the label by beam search, as the
                paper does, and may write a text that is no candidate.
            window_s (`float`, *optional*):
                Length of the windows of a recording, in seconds: every one is answered. With it, a recording may be
                of any length, and without it of 30 s.
            hop_s (`float`, *optional*, defaults to half of `window_s`):
                Time from the start of one window to that of the next, in seconds.
            batch_size (`int`, *optional*, defaults to 1):
                Number of utterances, or windows, that the model is given at once.

        Return:
            A list of dictionaries, or for a list of inputs a list of such lists, most probable label first:

            - **label** (`str`) -- The label; with `decoding="beam"` the text that was written.
            - **score** (`float`) -- Its probability among the candidates, which sum to 1; with `decoding="beam"` the
              exponential of the score of the beam (mean log-probability of a token, if the length penalty is 1).

            With `window_s`, a list of windows in place of it, which reach to the last sample of the recording:

            - **start** (`float`) -- Where the window starts, in seconds.
            - **end** (`float`) -- Where it ends.
            - **labels** (`list[dict]`) -- The dictionaries above; none if the window is silent.

        Raises:
            `ValueError`: If an utterance, its enrollment or profile cannot be used. The message names the item.
        """
        return super().__call__(audio, **kwargs)

    def enroll(self, examples: list[dict], candidate_labels: list[str] | None = None) -> SpeakerProfile:
        """
        Encodes the enrollment of a speaker, to be used again and again, saved and loaded. Answers with it are those
        with the enrollment itself. Enroll a person only with their consent.

        Args:
            examples (`list[dict]`):
                Labeled utterances `{"audio": ..., "label": ...}` of the speaker, in the order of the prompt.
            candidate_labels (`list[str]`, *optional*):
                The labels that those of the examples are among, by default those of the pipeline.

        Returns:
            [`SpeakerProfile`]

        Raises:
            `ValueError`: If there are no examples or more than `max_shots` of the processor, or one cannot be used.
                The message names it.
        """
        if not examples:
            raise ValueError("No utterances to enroll: the list is empty.")
        shots = decode_enrollment(self.processor.feature_extractor, examples)
        candidates = candidate_labels or self._preprocess_params.get("candidate_labels")
        self.processor.check_enrollment_labels([shot["label"] for shot in shots], candidates)
        return self._encode_shots(shots)

    @property
    def model_fingerprint(self) -> str:
        """Identity of the model with its present weights; see [`fingerprint_model`]."""
        # Torch counts the changes of a tensor: after training, profiles of the model before it are refused.
        versions = [(id(weight), weight._version) for weight in self.model.parameters()]
        if versions != self._fingerprinted[0]:
            self._fingerprinted = versions, fingerprint_model(self.model, self.processor.feature_extractor)
        return self._fingerprinted[1]

    def _sanitize_parameters(  # pyright: ignore
        self, enrollment=None, profile=None, candidate_labels=None, decoding=None, **common
    ):
        preprocess, forward, postprocess = super()._sanitize_parameters(**common)
        if decoding not in (None, "labels", "beam"):
            raise ValueError(f'`decoding` is "labels" or "beam", not {decoding!r}.')
        if enrollment is not None and profile is not None:
            raise ValueError(
                "`enrollment` and `profile` are both given. Put the utterances in the profile: "
                "`profile.add(pipe.enroll(enrollment))`."
            )
        if enrollment is not None:
            # As a profile, so that it is encoded once for all targets of the call. None of no utterances, which takes
            # the place of that of the constructor.
            shots = decode_enrollment(self.processor.feature_extractor, enrollment)
            preprocess["profile"] = self._encode_shots(shots) if shots else None
        if profile is not None:
            preprocess["profile"] = self._check_profile(profile)
        labels = given(candidate_labels=candidate_labels)
        return preprocess | labels, forward | given(decoding=decoding) | labels, postprocess | labels

    def _encode_shots(self, shots: list[dict]) -> SpeakerProfile:
        self.model.eval()
        waveforms = [shot["audio"] for shot in shots]
        with self.device_placement(), torch.no_grad():
            embeddings = self._embed(waveforms)
        return SpeakerProfile(
            self.model_fingerprint,
            [shot["label"] for shot in shots],
            [digest_waveform(waveform) for waveform in waveforms],
            {name: tensor.cpu() for name, tensor in embeddings.items()},
        )

    def _embed(self, waveforms: list) -> dict[str, torch.Tensor]:
        return dict(self.model.get_audio_features(**self.processor.feature_extractor(waveforms).to(self.device)))

    def _check_profile(self, profile: Any) -> SpeakerProfile:
        if isinstance(profile, (str, os.PathLike)):
            profile = SpeakerProfile.load(profile)
        # Not its class: that of an installed package and that of a checkpoint from the Hub are not the same.
        if not hasattr(profile, "model_fingerprint"):
            raise ValueError(
                f"`profile` is what `enroll` returned, or the file it was saved to; got {type(profile).__name__!r}."
            )
        profile.check_model(self.model_fingerprint)
        return profile

    def shots_of(self, request, profile=None, candidate_labels=None) -> dict:  # pyright: ignore
        if "enrollment" in request and "profile" in request:
            raise ValueError('"enrollment" and "profile" are both given; put the utterances in the profile')
        enrollment = request.get("enrollment") or []
        if "enrollment" in request:
            profile = None
        elif "profile" in request:
            profile = request["profile"] if request["profile"] is None else self._check_profile(request["profile"])
        shots = decode_enrollment(self.processor.feature_extractor, enrollment)
        labels = [shot["label"] for shot in shots] if profile is None else profile.labels
        self.processor.check_enrollment_labels(labels, candidate_labels)
        return {"enrollment": shots, "profile": profile}

    def recognize(self, episodes, candidate_labels=None, decoding="labels") -> dict:  # pyright: ignore
        # Prompts are built here, not in `preprocess`, because it is here that a batch is together: the utterances its
        # targets share are encoded once.
        waveforms, utterance_index = index_utterances(episodes)
        profiles = [episode["profile"] for episode in episodes]
        embeddings, utterance_index = join_profiles(self._embed(waveforms), utterance_index, profiles)
        labels = [
            [shot["label"] for shot in episode["enrollment"]] if profile is None else profile.labels
            for episode, profile in zip(episodes, profiles, strict=True)
        ]
        prompts = self.processor.build_prompts(utterance_index, labels, candidate_labels).to(self.device)
        if decoding == "beam":
            output = self.model.generate(**prompts, **embeddings, return_dict_in_generate=True, output_scores=True)
            return {"sequences": output.sequences, "scores": output.sequences_scores.exp()}
        label_ids = self.processor.label_ids(candidate_labels or self.processor.candidate_labels)
        return {"scores": self.model.score_labels(label_ids.to(self.device), **prompts, **embeddings).exp()}

    def answers(self, output, candidate_labels=None) -> list[dict]:  # pyright: ignore
        if "sequences" in output:
            labels = self.processor.batch_decode(output["sequences"], skip_special_tokens=True)
            scores = output["scores"]
        else:
            labels = candidate_labels or self.processor.candidate_labels
            scores = output["scores"][0]
        return [{"label": label, "score": score} for label, score in zip(labels, scores.tolist(), strict=True)]

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """
        Saves the model, the processor and the code of all.

        Args:
            save_directory (`str` or `os.PathLike`):
                Directory to save to. It is created if it does not exist.
            kwargs (`dict[str, Any]`, *optional*):
                Passed to the `save_pretrained` of the model.
        """
        save_pipeline(self, save_directory, TASK, "AutoModelForSpeechSeq2Seq", **kwargs)


__all__ = ["TASK", "EmoIclPipeline"]
