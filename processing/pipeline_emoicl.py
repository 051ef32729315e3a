"""The pipeline for personalized speech emotion recognition: utterance and enrollment in, labels with scores out."""

import os
from collections.abc import Mapping
from typing import Any

from transformers import Pipeline

from .audio_emoicl import AudioLike


class EmoIclPipeline(Pipeline):
    """
    Personalized speech emotion recognition with [`EmoIclForConditionalGeneration`]: the emotion of an utterance, given
    a few labelled utterances of the same speaker, its enrollment. Without enrollment it is zero-shot.

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

    def __call__(self, audio: AudioLike | list, **kwargs: Any) -> Any:  # pyright: ignore
        """
        Recognizes the emotion of one utterance or of several.

        Args:
            audio (`str`, `os.PathLike`, `bytes`, `np.ndarray`, `torch.Tensor`, `dict`, or a `list` of these):
                The utterances, in any form that [`decode_audio`] reads, or dictionaries `{"audio": ...,
                "enrollment": ...}` for utterances of different speakers.
            enrollment (`list[dict]`, *optional*):
                Labelled utterances `{"audio": ..., "label": ...}` of the speaker, for every utterance that does not
                bring its own.
            candidate_labels (`list[str]`, *optional*):
                The labels to choose from, by default those of the processor.
            top_k (`int`, *optional*):
                Number of labels to return, by default all of them.
            decoding (`str`, *optional*, defaults to `"labels"`):
                `"labels"` scores every candidate label exactly; `"beam"` writes the label by beam search, as the
                paper does, and may write a text that is no candidate.

        Return:
            A list of dictionaries, or for a list of inputs a list of such lists, most probable label first:

            - **label** (`str`) -- The label; with `decoding="beam"` the text that was written.
            - **score** (`float`) -- Its probability among the candidates, which sum to 1; with `decoding="beam"` the
              exponential of the score of the beam (mean log-probability of a token, if the length penalty is 1).

        Raises:
            `ValueError`: If an utterance or its enrollment cannot be used. The message names the item.
        """
        if isinstance(audio, list):
            if not audio:
                return []
            audio = named_requests(audio)
        return super().__call__(audio, **kwargs)

    def _sanitize_parameters(self, enrollment=None, candidate_labels=None, top_k=None, decoding=None, **unknown):
        if unknown:
            raise TypeError(f"Unknown parameters: {', '.join(unknown)}.")
        if decoding not in (None, "labels", "beam"):
            raise ValueError(f'`decoding` is "labels" or "beam", not {decoding!r}.')
        if top_k is not None and top_k < 1:
            raise ValueError(f"`top_k` is the number of labels to return, at least 1; got {top_k}.")
        labels = given(candidate_labels=candidate_labels)
        return given(enrollment=enrollment) | labels, given(decoding=decoding) | labels, given(top_k=top_k) | labels

    def preprocess(self, input_, enrollment=None, candidate_labels=None):  # pyright: ignore
        request = as_request(input_)
        try:
            return self.processor.decode_episode(
                request["audio"], request.get("enrollment", enrollment), candidate_labels
            )
        except ValueError as error:
            raise ValueError(f"{request.get('name', '')}{error}") from error

    def _forward(self, input_tensors, candidate_labels=None, decoding="labels"):  # pyright: ignore
        # Prompts are built here, not in `preprocess`, because it is here that a batch is together: the utterances its
        # targets share are encoded once.
        inputs = self.processor(**input_tensors, candidate_labels=candidate_labels).to(self.device)
        if decoding == "beam":
            output = self.model.generate(**inputs, return_dict_in_generate=True, output_scores=True)
            return {"sequences": output.sequences, "scores": output.sequences_scores.exp()}
        label_ids = self.processor.label_ids(candidate_labels or self.processor.candidate_labels)
        return {"scores": self.model.score_labels(label_ids.to(self.device), **inputs).exp()}

    def postprocess(self, model_outputs, candidate_labels=None, top_k=None):  # pyright: ignore
        if "sequences" in model_outputs:
            labels = self.processor.batch_decode(model_outputs["sequences"], skip_special_tokens=True)
            scores = model_outputs["scores"]
        else:
            labels = candidate_labels or self.processor.candidate_labels
            scores = model_outputs["scores"][0]
        answers = [{"label": label, "score": score} for label, score in zip(labels, scores.tolist(), strict=True)]
        return sorted(answers, key=lambda answer: answer["score"], reverse=True)[:top_k]

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """
        Saves the model and the processor.

        Args:
            save_directory (`str` or `os.PathLike`):
                Directory to save to. It is created if it does not exist.
            kwargs (`dict[str, Any]`, *optional*):
                Passed to the `save_pretrained` of both.
        """
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def as_request(item: Any) -> dict:
    """A dictionary with "audio" asks about an utterance with its own enrollment; any other input is an utterance."""
    return dict(item) if isinstance(item, Mapping) and "audio" in item else {"audio": item}


def named_requests(items: list) -> list[dict]:
    """The requests of a list, which know their place in it: an error is to name it."""
    return [{**as_request(item), "name": f"inputs[{i}]: "} for i, item in enumerate(items)]


def given(**parameters) -> dict:
    """Drops the parameters that were not given, so that the defaults of the pipeline stand."""
    return {name: value for name, value in parameters.items() if value is not None}


__all__ = ["EmoIclPipeline"]
