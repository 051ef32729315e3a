"""The pipeline of the paper's classifiers: utterance and enrollment in, labels with scores out."""

from collections.abc import Iterable
from typing import Any

import torch
from transformers.feature_extraction_utils import BatchFeature

from .audio_emoicl import AudioLike
from .base_pipeline_emoicl import EmoIclBasePipeline, saved_beside
from .enrollment_emoicl import Utterance, index_utterances, match_label
from .feature_extraction_emoicl import EmoIclFeatureExtractor


class EmoIclClassificationPipeline(EmoIclBasePipeline):
    """
    Speech emotion recognition with [`EmoIclForAudioClassification`]. A personalized classifier is given labeled
    utterances of the speaker, of the emotions that it was trained with; without them it answers too.

    Classifiers without enrollment also work in transformers' own pipeline of the task `"audio-classification"`
    (`pipeline_class=AudioClassificationPipeline`), which reads files with FFmpeg and takes utterances one by one.

    Example:

    ```python
    >>> from emoicl import TASK
    >>> from transformers import pipeline

    >>> recognizer = pipeline(TASK, model="path/to/model")
    >>> recognizer("what.wav", enrollment=[{"audio": "calm.wav", "label": "Neutral"}], top_k=2)
    [{'label': 'Surprise', 'score': 0.61}, {'label': 'Fear', 'score': 0.21}]
    ```
    """

    auto_model = "AutoModelForAudioClassification"

    _load_processor = False
    # As far as transformers can: it does not ask a model that is loaded already where it came from.
    _load_feature_extractor = None
    _load_tokenizer = False
    _load_image_processor = False

    def __init__(self, model: Any, *args: Any, feature_extractor: EmoIclFeatureExtractor | None = None, **kwargs: Any):
        if feature_extractor is None:
            feature_extractor = saved_beside(model, EmoIclFeatureExtractor)
        super().__init__(model, *args, feature_extractor=feature_extractor, **kwargs)

    def __call__(self, audio: AudioLike | Iterable, **kwargs: Any) -> Any:
        """
        Recognizes the emotion of one utterance or of several.

        Args:
            audio (`str`, `os.PathLike`, `bytes`, `np.ndarray`, `torch.Tensor`, `dict`, a `list` or data set of these):
                The utterances, in any form that [`decode_audio`] reads, or dictionaries `{"audio": ...,
                "enrollment": ...}` for utterances of different speakers. A `datasets.Dataset` with the column `audio`
                is streamed, with a progress bar.
            enrollment (`list[dict]`, *optional*):
                Labeled utterances `{"audio": ..., "label": ...}` of the speaker, for every utterance that does not
                bring its own. The labels are among the `enrollment_labels` of the model. It learns nothing from
                utterances without a label, which are refused.
            top_k (`int`, *optional*):
                Number of labels to return, by default all of them.
            abstain_below (`float`, *optional*):
                Gives no labels where the most probable one is less probable than this.
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

        Return:
            A list of dictionaries, or for a list of inputs a list of such lists, most probable label first:

            - **label** (`str`) -- The label.
            - **score** (`float`) -- Its probability. All labels sum to 1.

            With `window_s`, a list of windows `{"start": ..., "end": ..., "labels": ...}` in place of it, as
            [`EmoIclPipeline`] has it.

        Raises:
            `ValueError`: If an utterance or its enrollment cannot be used. The message names the item.
        """
        return super().__call__(audio, **kwargs)

    def decode_enrollment(self, enrollment: list, sampling_rate: int | None = None) -> list[Utterance]:
        shots = super().decode_enrollment(enrollment, sampling_rate)
        known = self.model.config.enrollment_labels
        if shots and known is None:
            raise ValueError("enrollment: this classifier takes none (its `config.enrollment_labels` is None)")
        for i, shot in enumerate(shots):
            if shot.label is None:
                raise ValueError(
                    f"enrollment[{i}]: has no label, and a classifier learns nothing from an utterance without one; "
                    "take it out, or use a speech language model"
                )
            try:
                shot.label = match_label(shot.label, known, "enrollment")
            except ValueError as error:
                raise ValueError(f"enrollment[{i}]: {error}") from None
        return shots

    def speaker_of(self, request, enrollment=None, sampling_rate=None) -> dict:
        if "enrollment" in request:
            enrollment = self.decode_enrollment(request["enrollment"] or [], sampling_rate)
        return {"enrollment": enrollment or []}

    def recognize(self, episodes) -> dict:
        utterances, index = index_utterances([[*episode["enrollment"], episode["target"]] for episode in episodes])
        most_shots = max(len(rows) for rows in index) - 1
        known = self.model.config.enrollment_labels
        label_ids = [[known.index(shot.label) for shot in episode["enrollment"]] for episode in episodes]
        inputs = {
            **self.feature_extractor.extract([utterance.waveform for utterance in utterances]),
            # Absent shots on the left: the target is last.
            "utterance_index": torch.tensor([[-1] * (most_shots + 1 - len(rows)) + rows for rows in index]),
            "enrollment_label_ids": torch.tensor([[0] * (most_shots - len(ids)) + ids for ids in label_ids]).long(),
        }
        return {"scores": self.model(**BatchFeature(inputs).to(self.device)).logits.float().log_softmax(-1)}

    def answers(self, output) -> list[dict]:
        labels = self.model.config.id2label
        return [{"label": labels[i], "score": score} for i, score in enumerate(output["scores"][0].tolist())]


__all__ = ["EmoIclClassificationPipeline"]
