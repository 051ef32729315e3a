"""What `evaluate` evaluates: anything that scores candidate labels, and the speech language model as such."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

import numpy as np
import torch

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.episodes import Episode


Decoding = Literal["labels", "beam"]


class Recognizer(Protocol):
    """Anything that scores candidate labels: what `evaluate` evaluates."""

    @property
    def candidate_labels(self) -> list[str]:
        """The labels to choose from."""
        ...

    def score(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        """
        Scores the candidate labels of each episode's target.

        Args:
            corpus ([`Corpus`]): What `target` and `enrollment` of the episodes index.
            episodes (`Sequence[Episode]`): The targets, with `enrollment` and `enrollment_labels` as the shots. Under
                a control the labels are rotated, or the shots are of another speaker. The true `label` of the target
                is there for training; it must not be looked at.

        Returns:
            `np.ndarray` of shape `(num_episodes, num_labels)`, float64: probabilities in the order of
            `candidate_labels`, the answer being the most probable one. Rows sum to 1. Of a system that writes text,
            only the label that was written has a probability, and a row of zeros is a text that is no candidate.
        """
        ...


class SpeechLmRecognizer:
    """
    The speech language model as a [`Recognizer`].

    Each utterance of a corpus goes through the Q-Former once, for all episodes it will stand in. So make a new
    recognizer when the weights of the model have changed.

    Args:
        model ([`EmoIclForConditionalGeneration`]): The model.
        processor ([`EmoIclProcessor`]): Lays out the prompts; its `candidate_labels` are the labels.
        features ([`FeatureCache`], *optional*): Where speech features are kept; by default the default folder.
        decoding (`str`, *optional*, defaults to `"labels"`):
            `"labels"` for the exact probability of each label among the candidates, `"beam"` for the paper's beam
            search: the text with its own probability, which counts only if it equals a candidate exactly.
        batch_size (`int`, *optional*, defaults to 64): Prompts, or utterances, in a batch.

    Raises:
        `ValueError`: If `decoding` is neither of the two, or the model trains its speech encoder.
    """

    def __init__(
        self,
        model: EmoIclForConditionalGeneration,
        processor: EmoIclProcessor,
        features: FeatureCache | None = None,
        decoding: Decoding = "labels",
        batch_size: int = 64,
    ):
        if decoding not in ("labels", "beam"):
            raise ValueError(f'`decoding` is "labels" or "beam", not {decoding!r}.')
        self.model = model
        self.processor = processor
        self.features = features or FeatureCache(model, processor.feature_extractor)
        self.decoding = decoding
        self.batch_size = batch_size
        self._embedded: tuple[Corpus, dict[str, torch.Tensor]] | None = None

    @property
    def candidate_labels(self) -> list[str]:
        return self.processor.candidate_labels

    @torch.no_grad()
    def score(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        """Probabilities of the candidate labels; see [`Recognizer`]."""
        score_batch = self._score_labels if self.decoding == "labels" else self._score_written_labels
        with evaluation_mode(self.model):
            utterances = self.embed(corpus)
            batches = [
                score_batch(self._prompts(episodes[start : start + self.batch_size]) | utterances)
                for start in range(0, len(episodes), self.batch_size)
            ]
        return np.concatenate(batches)

    def embed(self, corpus: Corpus) -> dict[str, torch.Tensor]:
        """Embeddings of all utterances of a corpus, which are kept until another corpus is asked for."""
        if self._embedded is None or self._embedded[0] is not corpus:
            self.features.fill(corpus)
            embedded: dict[str, list[torch.Tensor]] = {}
            for start in range(0, len(corpus), self.batch_size):
                batch = self.features.load(corpus.utterances[start : start + self.batch_size])
                batch = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
                for name, embeds in self.model.get_audio_features(**batch).items():
                    embedded.setdefault(name, []).append(embeds)
            self._embedded = corpus, {name: torch.cat(embeds) for name, embeds in embedded.items()}
        return self._embedded[1]

    def _prompts(self, episodes: Sequence[Episode]) -> dict[str, torch.Tensor]:
        """Prompts with utterances named by their index in the corpus."""
        index = [[*episode.enrollment, episode.target] for episode in episodes]
        prompts = self.processor.build_prompts(index, [episode.enrollment_labels for episode in episodes])
        return {name: tensor.to(self.model.device) for name, tensor in prompts.items()}

    def _score_labels(self, inputs: dict[str, torch.Tensor]) -> np.ndarray:
        scores = self.model.score_labels(self.processor.label_ids(self.candidate_labels), **inputs)
        return scores.double().softmax(-1).cpu().numpy()

    def _score_written_labels(self, inputs: dict[str, torch.Tensor]) -> np.ndarray:
        output = self.model.generate(**inputs, return_dict_in_generate=True, output_scores=True)
        texts = self.processor.tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
        written = np.array(texts)[:, None] == np.array(self.candidate_labels)
        return written * output.sequences_scores.double().exp().cpu().numpy()[:, None]


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Switches a model to evaluation, and back to its mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
