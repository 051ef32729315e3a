"""What `evaluate` evaluates: anything that scores candidate labels, and the models of this package as such."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
import torch

from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.data.processes import map_shared
from emoicl.training.episodes.classifier_inputs import InputCache, SpeechSource, index_shots, speech_source
from emoicl.training.episodes.episodes import Episode
from emoicl.training.episodes.speaker_blocks import index_slots


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
                a control the labels are rotated, the shots are of another speaker, or they have no labels: None. The
                true `label` of the target is there for training; it must not be looked at.

        Returns:
            `np.ndarray` of shape `(num_episodes, num_labels)`, float64: probabilities in the order of
            `candidate_labels`, the answer being the most probable one. Rows sum to 1. Of a system that writes text,
            only the label that was written has a probability, and a row of zeros is a text that is no candidate.
        """
        ...


@runtime_checkable
class TellsFamiliarity(Protocol):
    """A [`Recognizer`] that may tell how familiar utterances sound to it."""

    def familiarity(self, corpus: Corpus) -> np.ndarray | None:
        """From 0 to 1, of shape `(num_utterances,)`; None if the system has no statistics of it."""
        ...


class CorpusRecognizer:
    """
    A model as a [`Recognizer`]. It computes each utterance of a corpus once, for all episodes it will stand in; so
    make a new recognizer when the weights of the model have changed.

    Args:
        model (`torch.nn.Module`): The model.
        speech ([`FeatureCache`] or [`InputCache`]): Where utterances are taken from.
        candidate_labels (`Sequence[str]`): The labels to choose from.
        batch_size (`int`): Prompts, or utterances, in a batch.
    """

    model: Any

    def __init__(self, model: torch.nn.Module, speech: SpeechSource, candidate_labels: Sequence[str], batch_size: int):
        self.model = model
        self.speech = speech
        self.candidate_labels = list(candidate_labels)
        self.batch_size = batch_size
        self._embedded: tuple[Corpus, dict[str, torch.Tensor]] | None = None

    @torch.no_grad()
    def score(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        """Probabilities of the candidate labels; see [`Recognizer`]."""
        with evaluation_mode(self.model):
            utterances = self.embed(corpus)
            batches = [
                self.score_batch(utterances, episodes[start : start + self.batch_size])
                for start in range(0, len(episodes), self.batch_size)
            ]
        return np.concatenate(batches)

    @torch.no_grad()
    def embed_together(self, corpus: Corpus) -> None:
        """Embeds all utterances of a corpus beforehand, of which each process that shares the work takes some."""
        with evaluation_mode(self.model):
            self.speech.fill_together(corpus.utterances)
            self.embed(corpus, map_shared)

    def score_together(self, corpus: Corpus, batches: Sequence[Sequence[Episode]]) -> np.ndarray:
        """[`score`] of some batches, of which each process that shares the work takes some."""
        self.embed_together(corpus)
        return np.concatenate(map_shared(lambda batch: self.score(corpus, batch), batches))

    def embed(
        self, corpus: Corpus, map_batches: Callable[[Any, Sequence[Any]], Iterable[dict[str, torch.Tensor]]] = map
    ) -> dict[str, torch.Tensor]:
        """Embeddings of all utterances of a corpus, which are kept until another corpus is asked for."""
        if self._embedded is None or self._embedded[0] is not corpus:
            if map_batches is map:
                self.speech.fill(corpus)

            def embed_from(start: int) -> dict[str, torch.Tensor]:
                batch = self.speech.load(corpus.utterances[start : start + self.batch_size])
                return self.embed_batch(self.on_device(batch))

            parts = list(map_batches(embed_from, range(0, len(corpus), self.batch_size)))
            embedded = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            self._embedded = corpus, self.on_device(embedded)
        return self._embedded[1]

    def on_device(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.model.device) for name, tensor in inputs.items()}

    def embed_batch(self, speech: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Embeddings of some utterances, by name of the argument that takes them."""
        raise NotImplementedError

    def score_batch(self, utterances: dict[str, torch.Tensor], episodes: Sequence[Episode]) -> np.ndarray:
        """Probabilities of the candidate labels of some episodes, given the embeddings of all utterances."""
        raise NotImplementedError


class SpeechLmRecognizer(CorpusRecognizer):
    """
    The speech language model as a [`Recognizer`]; see [`CorpusRecognizer`].

    Args:
        model ([`EmoIclForConditionalGeneration`]): The model.
        processor ([`EmoIclProcessor`]): Lays out the prompts.
        features ([`FeatureCache`], *optional*): Where speech features are kept; by default the default folder.
        decoding (`str`, *optional*, defaults to `"labels"`):
            `"labels"` for the exact probability of each label among the candidates, `"beam"` for the paper's beam
            search: the text with its own probability, which counts only if it equals a candidate exactly.
        batch_size (`int`, *optional*, defaults to 64): Prompts, or utterances, in a batch.
        candidate_labels (`Sequence[str]`, *optional*): The labels to choose from, by default the processor's.

    Raises:
        `ValueError`: If `decoding` is neither of the two, or the model trains its speech encoder.
    """

    model: EmoIclForConditionalGeneration

    def __init__(
        self,
        model: EmoIclForConditionalGeneration,
        processor: EmoIclProcessor,
        features: FeatureCache | None = None,
        decoding: Decoding = "labels",
        batch_size: int = 64,
        candidate_labels: Sequence[str] | None = None,
    ):
        if decoding not in ("labels", "beam"):
            raise ValueError(f'`decoding` is "labels" or "beam", not {decoding!r}.')
        features = features or FeatureCache(model, processor.feature_extractor)
        super().__init__(model, features, candidate_labels or processor.candidate_labels, batch_size)
        self.processor = processor
        self.decoding = decoding

    def embed_batch(self, speech: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return dict(self.model.get_audio_features(**speech))

    @torch.no_grad()
    def familiarity(self, corpus: Corpus) -> np.ndarray | None:
        """How familiar each utterance sounds, if the model tells; see [`TellsFamiliarity`]."""
        if not getattr(self.model.config.adaptation_config, "familiarity_size", 0):
            return None
        with evaluation_mode(self.model):
            familiarity: Any = self.model.get_familiarity(self.embed(corpus)["voice_embeds"])
        return familiarity.float().cpu().numpy()

    def score_batch(self, utterances: dict[str, torch.Tensor], episodes: Sequence[Episode]) -> np.ndarray:
        # Utterances are named by their index in the corpus.
        index = [[*episode.enrollment, episode.target] for episode in episodes]
        labels = [episode.enrollment_labels for episode in episodes]
        prompts = self.processor.build_prompts(index, labels, self.candidate_labels)
        inputs = self.on_device(prompts) | utterances
        return self._score_labels(inputs) if self.decoding == "labels" else self._score_written_labels(inputs)

    def _score_labels(self, inputs: dict[str, torch.Tensor]) -> np.ndarray:
        label_ids = self.processor.label_ids(self.candidate_labels, self.candidate_labels)
        scores = self.model.score_labels(label_ids, **inputs)
        return probabilities(scores)

    def _score_written_labels(self, inputs: dict[str, torch.Tensor]) -> np.ndarray:
        output = self.model.generate(**inputs, return_dict_in_generate=True, output_scores=True)
        texts = self.processor.decode_labels(output.sequences, self.candidate_labels)
        written = np.array(texts)[:, None] == np.array(self.candidate_labels)
        return written * output.sequences_scores.cpu().double().exp().numpy()[:, None]


class ClassifierRecognizer(CorpusRecognizer):
    """
    A classifier as a [`Recognizer`]; see [`CorpusRecognizer`]. Shots without a label, or with one that is not among
    the `enrollment_labels` of the model, are passed over; all others join the attention, also several of one label.

    Args:
        model ([`EmoIclForAudioClassification`]): The model.
        feature_extractor ([`EmoIclFeatureExtractor`]): Turns clips into what the speech encoder reads.
        speech ([`FeatureCache`] or [`InputCache`], *optional*):
            Where utterances are taken from; by default see [`speech_source`].
        batch_size (`int`, *optional*, defaults to 64): Episodes, or utterances, in a batch.
    """

    model: EmoIclForAudioClassification

    def __init__(
        self,
        model: EmoIclForAudioClassification,
        feature_extractor: EmoIclFeatureExtractor,
        speech: SpeechSource | None = None,
        batch_size: int = 64,
    ):
        id2label: Any = model.config.id2label
        labels = [id2label[number] for number in range(len(id2label))]
        super().__init__(model, speech or speech_source(model, feature_extractor), labels, batch_size)

    def embed_batch(self, speech: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"utterance_embeds": cast(torch.Tensor, self.model.get_audio_features(**speech).pooler_output)}

    def score_batch(self, utterances: dict[str, torch.Tensor], episodes: Sequence[Episode]) -> np.ndarray:
        shots = index_shots(episodes, self.model.config.enrollment_labels or [])
        return probabilities(self.model(**utterances, **self.on_device(shots)).logits)


class EncoderRecognizer(CorpusRecognizer):
    """
    A speech encoder with its speaker adaptation alone, without a language model, as a [`Recognizer`]; see
    [`CorpusRecognizer`].

    Args:
        model ([`EmoIclForConditionalGeneration`]): A model with a speaker adaptation.
        inputs ([`InputCache`]): Holds what its speech encoder reads.
        candidate_labels (`Sequence[str]`): The labels to choose from, some of the model's `label_words`.
        batch_size (`int`, *optional*, defaults to 64): Episodes, or utterances, in a batch.
    """

    model: EmoIclForConditionalGeneration

    def __init__(
        self,
        model: EmoIclForConditionalGeneration,
        inputs: InputCache,
        candidate_labels: Sequence[str],
        batch_size: int = 64,
    ):
        super().__init__(model, inputs, candidate_labels, batch_size)
        self.known_labels = model.config.adaptation_config.label_words

    def embed_batch(self, speech: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        adaptation: Any = self.model.model.adaptation
        features, mask = self.model.get_speech_features(**speech)
        return {"voice_embeds": adaptation.embed(features.float(), mask)}

    def score_batch(self, utterances: dict[str, torch.Tensor], episodes: Sequence[Episode]) -> np.ndarray:
        adaptation: Any = self.model.model.adaptation
        where = index_slots(episodes, self.known_labels)
        num_slots = where.pop("num_slots")
        evidence = adaptation.evidence(**utterances, **self.on_device(where), num_slots=num_slots)
        columns = [self.known_labels.index(label) for label in self.candidate_labels]
        return probabilities(evidence[:, columns])


def probabilities(scores: torch.Tensor) -> np.ndarray:
    """What scores are the logarithms of, up to a factor; float64, which Apple's GPUs do not have."""
    return scores.cpu().double().softmax(-1).numpy()


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Switches a model to evaluation, and back to its mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
