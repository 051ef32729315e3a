"""Episodes -> a batch of the model, in which an utterance stands once however many episodes share it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from emoicl.modeling.modeling_emoicl import IGNORED, EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.data.corpus import Corpus, Utterance
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.episodes import Episode


class EpisodeCollator:
    """
    Collates episodes of a corpus into the arguments of [`EmoIclForConditionalGeneration`].

    Args:
        corpus ([`Corpus`]): The corpus that the episodes index.
        processor ([`EmoIclProcessor`]): Lays out the prompts.
        model ([`EmoIclForConditionalGeneration`]): Shifts the labels for the decoder.
        features ([`FeatureCache`], *optional*):
            Holds the speech features of the corpus; by default those of `model`, in the default folder.
        frame_share (`float`, *optional*, defaults to 1.0):
            Share of the frames of each utterance that is kept, drawn anew each time: less to compute, and the model
            cannot rely on single frames.
    """

    def __init__(
        self,
        corpus: Corpus,
        processor: EmoIclProcessor,
        model: EmoIclForConditionalGeneration,
        features: FeatureCache | None = None,
        frame_share: float = 1.0,
    ):
        self.corpus = corpus
        self.processor = processor
        self.model = model
        self.features = features or FeatureCache(model, processor.feature_extractor)
        self.frame_share = frame_share

    def __call__(self, episodes: Sequence[Episode]) -> dict[str, torch.Tensor]:
        rows, speech = load_speech(self.features, self.corpus, episodes, self.frame_share)
        prompts = self.processor.build_prompts(
            utterance_index=[[rows[i] for i in (*episode.enrollment, episode.target)] for episode in episodes],
            enrollment_labels=[episode.enrollment_labels for episode in episodes],
            candidate_labels=[episode.candidate_labels for episode in episodes],
            labels=[episode.label for episode in episodes],
        )
        # Label smoothing takes the labels away before the model sees them.
        prompts["decoder_input_ids"] = self.model.prepare_decoder_input_ids_from_labels(prompts["labels"])
        prompts["labels"][torch.tensor([not episode.counts for episode in episodes])] = IGNORED
        return {**prompts, **speech}


class SpeechStore(Protocol):
    """Where the speech of utterances is taken from, such as a [`FeatureCache`]."""

    def load(self, utterances: Sequence[Utterance]) -> dict[str, torch.Tensor]: ...


def load_speech(
    store: SpeechStore, corpus: Corpus, episodes: Sequence[Episode], frame_share: float
) -> tuple[dict[int, int], dict[str, torch.Tensor]]:
    """
    The speech of a batch, in which an utterance stands once however many episodes share it.

    Args:
        store ([`SpeechStore`]): Holds the speech of the corpus.
        corpus ([`Corpus`]): What the episodes index.
        episodes (`Sequence[Episode]`): The batch.
        frame_share (`float`): Share of the frames of each utterance that is kept.

    Returns:
        `tuple`: the row of each utterance, by its index in the corpus, and what `store` loads.
    """
    rows: dict[int, int] = {}
    for episode in episodes:
        for index in (*episode.enrollment, episode.target):
            rows.setdefault(index, len(rows))
    speech = store.load([corpus[index] for index in rows])
    if frame_share < 1:
        # Not torch's generator: a data loader works ahead of the step at which its state is saved.
        rng = np.random.default_rng([number for episode in episodes for number in episode.seed])
        speech = keep_frames(speech, frame_share, rng)
    return rows, speech


def keep_frames(speech: dict[str, torch.Tensor], share: float, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Keeps a share of each utterance's frames, drawn uniformly and in their order, at least one of each."""
    mask = speech["speech_features_mask"]
    kept = (mask.sum(1, keepdim=True) * share).ceil()
    # Padding is ranked last, so that the best-ranked frames are real ones.
    rank = torch.from_numpy(rng.random(mask.shape)).masked_fill(mask == 0, 2.0).argsort(1).argsort(1)
    order = torch.where(rank < kept, torch.arange(mask.shape[1]), mask.shape[1]).sort(1).values
    order = order[:, : int(kept.max())]
    real = order < mask.shape[1]
    index = order.clamp(max=mask.shape[1] - 1)[..., None].expand(-1, -1, speech["speech_features"].shape[2])
    return {
        "speech_features": speech["speech_features"].gather(1, index),
        "speech_features_mask": real.long(),
    }
