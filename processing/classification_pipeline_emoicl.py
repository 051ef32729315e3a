"""The pipeline of the paper's classifiers: utterance and enrollment in, labels with scores out."""

from typing import Any

import torch
from transformers import Pipeline
from transformers.feature_extraction_utils import BatchFeature

from .audio_emoicl import AudioLike
from .enrollment_emoicl import decode_episode, index_utterances, unknown_label
from .pipeline_emoicl import as_request, given, named_requests


class EmoIclClassificationPipeline(Pipeline):
    """
    Speech emotion recognition with [`EmoIclForAudioClassification`]. A personalised classifier is given labelled
    utterances of the speaker, of the emotions that it was trained with; without them it answers too.

    Classifiers without enrollment also work in transformers' own pipeline of the task `"audio-classification"`, which
    reads files with FFmpeg and takes utterances one by one.

    Example:

    ```python
    >>> from emoicl import EmoIclClassificationPipeline
    >>> from transformers import pipeline

    >>> recognizer = pipeline(
    ...     "audio-classification", model="path/to/model", pipeline_class=EmoIclClassificationPipeline
    ... )
    >>> recognizer("what.wav", enrollment=[{"audio": "calm.wav", "label": "Neutral"}], top_k=2)
    [{'label': 'Surprise', 'score': 0.61}, {'label': 'Fear', 'score': 0.21}]
    ```
    """

    model: Any
    feature_extractor: Any

    _load_processor = False
    _load_feature_extractor = True
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
                bring its own. The labels are among the `enrollment_labels` of the model.
            top_k (`int`, *optional*):
                Number of labels to return, by default all of them.

        Return:
            A list of dictionaries, or for a list of inputs a list of such lists, most probable label first:

            - **label** (`str`) -- The label.
            - **score** (`float`) -- Its probability. All labels sum to 1.

        Raises:
            `ValueError`: If an utterance or its enrollment cannot be used. The message names the item.
        """
        if isinstance(audio, list):
            if not audio:
                return []
            audio = named_requests(audio)
        return super().__call__(audio, **kwargs)

    def _sanitize_parameters(self, enrollment=None, top_k=None, **unknown):
        if unknown:
            raise TypeError(f"Unknown parameters: {', '.join(unknown)}.")
        if top_k is not None and top_k < 1:
            raise ValueError(f"`top_k` is the number of labels to return, at least 1; got {top_k}.")
        return given(enrollment=enrollment), {}, given(top_k=top_k)

    def preprocess(self, input_, enrollment=None):  # pyright: ignore
        request = as_request(input_)
        try:
            episode = decode_episode(self.feature_extractor, request["audio"], request.get("enrollment", enrollment))
            self._check_labels([shot["label"] for shot in episode["enrollment"]])
        except ValueError as error:
            raise ValueError(f"{request.get('name', '')}{error}") from error
        return {"episode": episode}

    def _check_labels(self, labels: list[str]) -> None:
        known = self.model.config.enrollment_labels
        if labels and known is None:
            raise ValueError("enrollment: this classifier takes none (its `config.enrollment_labels` is None)")
        for i, label in enumerate(labels):
            if label not in known:
                raise ValueError(f"enrollment[{i}]: {unknown_label(label, known, 'enrollment')}")

    def _forward(self, input_tensors):  # pyright: ignore
        # A list where the pipeline has put several inputs in a batch.
        episodes = input_tensors["episode"]
        episodes = episodes if isinstance(episodes, list) else [episodes]
        waveforms, index = index_utterances(episodes)
        most_shots = max(len(rows) for rows in index) - 1
        known = self.model.config.enrollment_labels
        label_ids = [[known.index(shot["label"]) for shot in episode["enrollment"]] for episode in episodes]
        inputs = {
            **self.feature_extractor(waveforms),
            # Absent shots on the left: the target is last.
            "utterance_index": torch.tensor([[-1] * (most_shots + 1 - len(rows)) + rows for rows in index]),
            "enrollment_label_ids": torch.tensor([[0] * (most_shots - len(ids)) + ids for ids in label_ids]).long(),
        }
        return {"scores": self.model(**BatchFeature(inputs).to(self.device)).logits.float().softmax(-1)}

    def postprocess(self, model_outputs, top_k=None):  # pyright: ignore
        labels = self.model.config.id2label
        answers = [{"label": labels[i], "score": score} for i, score in enumerate(model_outputs["scores"][0].tolist())]
        return sorted(answers, key=lambda answer: answer["score"], reverse=True)[:top_k]


__all__ = ["EmoIclClassificationPipeline"]
