"""The pipeline for personalized speech emotion recognition: utterance and enrollment in, labels with scores out."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from .audio_emoicl import AudioLike
from .base_pipeline_emoicl import EmoIclBasePipeline, given, saved_beside
from .enrollment_emoicl import Utterance, as_words, index_utterances
from .processing_emoicl import EmoIclProcessor
from .profile_emoicl import ModelIdentity, SpeakerProfile, join_profiles


# `Any`, because transformers types `pipeline` by the names of its own tasks alone.
TASK: Any = "personalized-speech-emotion-recognition"


class EmoIclPipeline(EmoIclBasePipeline):
    """
    Personalized speech emotion recognition with [`EmoIclForConditionalGeneration`]: the emotion of an utterance, given
    a few labeled utterances of the same speaker, its enrollment. Without enrollment it is zero-shot.

    Example:

    ```python
    >>> from emoicl import TASK
    >>> from transformers import pipeline

    >>> recognizer = pipeline(TASK, model="path/to/model")
    >>> enrollment = [{"audio": "calm.wav", "label": "Neutral"}, {"audio": "great.wav", "label": "Joy"}]
    >>> recognizer("what.wav", enrollment=enrollment, top_k=2)
    [{'label': 'Surprise', 'score': 0.81}, {'label': 'Fear', 'score': 0.11}]
    >>> profile = recognizer.enroll(enrollment)  # the same, encoded once for all later calls
    >>> profile.save("me.profile")
    >>> recognizer("meeting.wav", profile=profile, window_s=4.0, hop_s=2.0, top_k=1)
    [{'start': 0.0, 'end': 4.0, 'labels': [{'label': 'Joy', 'score': 0.64}]}, ...]
    ```

    The task identifier is `"personalized-speech-emotion-recognition"` where the package is installed. What a folder is
    saved with is `"audio-classification"`, as the Hub has it.
    """

    processor: EmoIclProcessor

    auto_model = "AutoModelForSpeechSeq2Seq"

    # As far as transformers can: it does not ask a model that is loaded already where it came from.
    _load_processor = None
    # The processor brings its own.
    _load_feature_extractor = False
    _load_tokenizer = False
    _load_image_processor = False

    _model_identity: ModelIdentity | None = None

    def __init__(self, model: Any, *args: Any, processor: EmoIclProcessor | None = None, **kwargs: Any):
        found: Any = saved_beside(model, EmoIclProcessor) if processor is None else processor
        # Where users look for them.
        model.config.id2label = dict(enumerate(found.candidate_labels))
        model.config.label2id = {label: number for number, label in model.config.id2label.items()}
        # transformers takes them from the processor when its constructor has ended: too late for an enrollment or a
        # profile that is given to it.
        parts = {"tokenizer": found.tokenizer, "feature_extractor": found.feature_extractor}
        super().__init__(model, *args, processor=found, **parts | kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # Of the model as it is here: a copy has its own.
        return self.__dict__ | {"_model_identity": None}

    def __call__(self, audio: AudioLike | Iterable, **kwargs: Any) -> Any:
        """
        Recognizes the emotion of one utterance or of several.

        Args:
            audio (`str`, `os.PathLike`, `bytes`, `np.ndarray`, `torch.Tensor`, `dict`, a `list` or data set of these):
                The utterances, in any form that [`decode_audio`] reads, or dictionaries `{"audio": ...,
                "enrollment": ...}` or `{"audio": ..., "profile": ...}` for utterances of different speakers. A row of
                a data set is one of an utterance. A `datasets.Dataset` with the column `audio` is streamed, with a
                progress bar, and so is an iterator or a [`~transformers.pipelines.pt_utils.KeyDataset`]: the answers
                come one by one.
            enrollment (`list[dict]`, *optional*):
                Utterances `{"audio": ..., "label": ...}` of the speaker, or rows of a data set with "audio" and
                "emotion", for every utterance that does not bring its own. They are encoded once for all of them. One
                whose label is not known is `{"audio": ...}`: it tells of the voice alone.
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
            sampling_rate (`int`, *optional*):
                Sampling rate of arrays and tensors, the enrollment's too, by default that of the model. Files and
                dictionaries carry their own.
            function_to_apply (`str`, *optional*, defaults to `"softmax"`):
                `"softmax"` for probabilities, `"none"` for their logarithms.
            abstain_below (`float`, *optional*):
                Gives no labels where the most probable one is less probable than this.
            min_familiarity (`float`, *optional*):
                Gives no labels where the recording sounds less familiar than this: 0.01 leaves out what is further
                from the training recordings than 99 in 100 of them, as heard by those of others.
            return_familiarity (`bool`, *optional*, defaults to `False`):
                Whether to tell how familiar each target sounds.
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

            With `return_familiarity`, a dictionary with such `labels` in place of the list, as of a window, and in
            both:

            - **familiarity** (`float`) -- From 0, unlike all that the model was trained on, to 1; see
              [`EmoIclFamiliarity`]. None of a silent window. It says nothing of whether an answer is right among
              recordings that sound familiar: the probabilities do.

        Raises:
            `ValueError`: If an utterance, its enrollment or profile cannot be used. The message names the item. If
                the model has no statistics of what is familiar, and these are asked for.
        """
        return super().__call__(audio, **kwargs)

    def enroll(
        self, examples: list[dict], candidate_labels: list[str] | None = None, sampling_rate: int | None = None
    ) -> SpeakerProfile:
        """
        Encodes the enrollment of a speaker, to be used again and again, saved and loaded. Answers with it are those
        with the enrollment itself. Enroll a person only with their consent.

        Args:
            examples (`list[dict]`):
                Utterances `{"audio": ..., "label": ...}` of the speaker, in the order of the prompt, or
                `{"audio": ...}` where the label is not known.
            candidate_labels (`list[str]`, *optional*):
                The labels that those of the examples are among, by default those of the pipeline.
            sampling_rate (`int`, *optional*):
                Sampling rate of arrays and tensors, by default that of the pipeline, or else of the model.

        Returns:
            [`SpeakerProfile`]

        Raises:
            `ValueError`: If there are no examples or more than `max_shots` of the processor, or one cannot be used.
                The message names it.
        """
        shots = self.decode_enrollment(examples, sampling_rate)
        if not shots:
            raise ValueError("No utterances to enroll: the list is empty.")
        candidates = self._preprocess_params.get("candidate_labels") if candidate_labels is None else candidate_labels
        labels = self.processor.match_enrollment_labels([shot.label for shot in shots], candidates)
        self.model.eval()
        with self.device_placement(), torch.no_grad():
            embeddings = {name: tensor.cpu() for name, tensor in self._embed(shots, self.model_identity).items()}
        digests, fingerprints = [shot.digest for shot in shots], [shot.fingerprint for shot in shots]
        return SpeakerProfile(self.model_identity, labels, digests, embeddings, fingerprints)

    @property
    def model_identity(self) -> ModelIdentity:
        """The model with its present weights. After training it is another, and profiles made before are refused."""
        if self._model_identity is None or not self._model_identity.is_of(self.model):
            self._model_identity = ModelIdentity(self.model, self.feature_extractor)
        return self._model_identity

    @property
    def model_fingerprint(self) -> str:
        """Identity of the model with its present weights; see [`fingerprint_model`]."""
        return self.model_identity.fingerprint

    def _sanitize_parameters(self, profile=None, candidate_labels=None, decoding=None, **common):
        preprocess, forward, postprocess = super()._sanitize_parameters(**common)
        if decoding not in (None, "labels", "beam"):
            raise ValueError(f'`decoding` is "labels" or "beam", not {decoding!r}.')
        if "enrollment" in preprocess and profile is not None:
            raise ValueError(
                "`enrollment` and `profile` are both given. Put the utterances in the profile: "
                "`profile.add(pipe.enroll(enrollment))`."
            )
        # What is given takes the place of what the constructor was given, be it the one or the other.
        if "enrollment" in preprocess:
            preprocess["profile"] = None
        elif profile is not None:
            preprocess |= {"profile": self._check_profile(profile), "enrollment": None}
        words = None if candidate_labels is None else as_words(candidate_labels, "Candidate")
        labels = given(candidate_labels=words)
        return preprocess | labels, forward | given(decoding=decoding) | labels, postprocess | labels

    def _check_profile(self, profile: Any) -> SpeakerProfile:
        if isinstance(profile, (str, os.PathLike)):
            profile = SpeakerProfile.load(profile)
        # Not its class: that of an installed package and that of a checkpoint from the Hub are not the same.
        if not hasattr(profile, "embeddings"):
            raise ValueError(
                f"`profile` is what `enroll` returned, or the file it was saved to; got {type(profile).__name__!r}."
            )
        profile.check_model(self.model_identity)
        return profile

    def speaker_of(self, request, enrollment=None, profile=None, candidate_labels=None, sampling_rate=None) -> dict:
        if "enrollment" in request and "profile" in request:
            raise ValueError('"enrollment" and "profile" are both given; put the utterances in the profile')
        if "enrollment" in request:
            enrollment, profile = self.decode_enrollment(request["enrollment"] or [], sampling_rate), None
        elif "profile" in request:
            enrollment, profile = None, request["profile"] and self._check_profile(request["profile"])
        speaker = {"enrollment": enrollment or [], "profile": profile}
        self.processor.match_enrollment_labels(labels_of(**speaker), candidate_labels)
        return speaker

    def digests_of(self, enrollment, profile) -> list[str]:
        return super().digests_of(enrollment) if profile is None else profile.digests

    def fingerprints_of(self, enrollment, profile) -> list[str]:
        return [] if profile is None else profile.fingerprints

    def recognize(self, episodes, candidate_labels=None, decoding="labels") -> dict:
        # Prompts are built here, not in `preprocess`, because it is here that a batch is together: the utterances its
        # targets share are encoded once.
        utterances, index = index_utterances([[*episode["enrollment"], episode["target"]] for episode in episodes])
        identity = self.model_identity
        embeddings = self._embed(utterances, identity)
        targets = {}
        if self.tells_familiarity:
            familiarity = self.model.get_familiarity(embeddings["voice_embeds"])
            targets["familiarity"] = familiarity[[rows[-1] for rows in index]]
        embeddings, index = join_profiles(embeddings, index, [episode["profile"] for episode in episodes])
        labels = [labels_of(episode["enrollment"], episode["profile"]) for episode in episodes]
        prompts = self.processor.build_prompts(index, labels, candidate_labels).to(self.device)
        candidates = candidate_labels or self.processor.candidate_labels
        profiles = [episode["profile"] for episode in episodes]
        read_for = (identity, (self.processor.instruction, *self.processor.prompt_frame, *candidates), self.device)
        prefix = self._prefix_of(profiles, read_for, prompts, embeddings)
        inputs = {**prompts, **embeddings, "prefix": prefix}
        if decoding == "beam":
            output = self.model.generate(**inputs, return_dict_in_generate=True, output_scores=True)
            return {"sequences": output.sequences, "scores": output.sequences_scores, **targets}
        label_ids = self.processor.label_ids(candidates, candidates)
        return {"scores": self.model.score_labels(label_ids.to(self.device), **inputs), **targets}

    def _prefix_of(self, profiles: list, read_for: tuple, prompts: Mapping, embeddings: Mapping) -> Any:
        """What the language model has read of the profile that all prompts of a batch begin with, if it is one and the
        language model keeps that. It is read when the profile is first used, and kept with it, with all that it was
        read for."""
        profile = profiles[0]
        if profile is None or any(other is not profile for other in profiles):
            return None
        # Looked at once: another thread may ask about the same profile with other candidates.
        prefix = profile.prefix
        if prefix is None or prefix[0] != read_for:
            first = {name: tensor[:1] for name, tensor in prompts.items()}
            profile.prefix = prefix = read_for, self.model.encode_prefix(**first, **embeddings)
        return prefix[1]

    def _embed(self, utterances: list[Utterance], model: ModelIdentity) -> dict[str, torch.Tensor]:
        """What the model makes of utterances, a row for each: those that it has not met before are encoded."""
        new = [utterance for utterance in utterances if utterance.encoded is None or utterance.encoded[0] is not model]
        if new:
            features = self.feature_extractor.extract([utterance.waveform for utterance in new])
            speech, mask = self.model.model.get_speech_features(**features.to(self.device))
            embeddings = dict(self.model.get_audio_features(speech_features=speech, speech_features_mask=mask))
            for i, utterance in enumerate(new):
                utterance.encoded = model, {name: tensor[i] for name, tensor in embeddings.items()}
        rows = [utterance.encoded[1] for utterance in utterances if utterance.encoded is not None]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def answers(self, output, candidate_labels=None) -> list[dict]:
        if "sequences" in output:
            labels = self.processor.decode_labels(output["sequences"], candidate_labels)
            scores = output["scores"]
        else:
            labels = candidate_labels or self.processor.candidate_labels
            scores = output["scores"][0]
        return [{"label": label, "score": score} for label, score in zip(labels, scores.tolist(), strict=True)]


def labels_of(enrollment: list[Utterance], profile: SpeakerProfile | None) -> list:
    """Label of each utterance that is enrolled, here or there; None for one without."""
    return [shot.label for shot in enrollment] if profile is None else profile.labels


__all__ = ["TASK", "EmoIclPipeline"]
