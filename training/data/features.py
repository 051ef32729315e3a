"""Features of the frozen speech encoder, computed once for each clip and kept on disk."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from emoicl.modeling.pretrained_emoicl import EmoIclPreTrainedModel
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.processing.profile_emoicl import digest_weights
from emoicl.training.data.augmentation import Augmentation
from emoicl.training.data.corpus import Utterance
from emoicl.training.data.feature_shards import FeatureShards
from emoicl.training.data.progress import progress
from emoicl.training.data.writing import default_cache_folder


logger = logging.getLogger(__name__)

DTYPE = torch.float16


class FeatureCache:
    """
    Speech features by clip. The key holds all they depend on: the bytes of the clip, the weights of the speech
    encoder, the layer, the settings of the feature extractor and the dtype. So that one folder serves any number of
    models and corpora, and nothing stale is ever read.

    Args:
        model ([`EmoIclForConditionalGeneration`] or [`EmoIclForAudioClassification`]):
            Its speech encoder is used, which must be frozen.
        feature_extractor ([`EmoIclFeatureExtractor`]): Turns clips into log-mel features.
        folder (`str` or `Path`, *optional*): Where to keep the features; see [`default_cache_folder`].
        copy (`int`, *optional*): Which of the copies of each speaker is heard, see [`Augmentation`], in place of the
            speaker.

    Raises:
        `ValueError`: If the speech encoder of `model` is trained.
    """

    def __init__(
        self,
        model: EmoIclPreTrainedModel,
        feature_extractor: EmoIclFeatureExtractor,
        folder: str | Path | None = None,
        copy: int | None = None,
    ):
        if not model.config.freeze_speech_encoder:
            raise ValueError("Only features of a frozen speech encoder can be cached; this model trains it.")
        self.model = model
        self.feature_extractor = feature_extractor
        self.copy = copy
        self.root = default_cache_folder() if folder is None else Path(folder)
        self.folder = self.root / "speech_features" / fingerprint(model, feature_extractor, copy)
        self.shards = FeatureShards(self.folder, model.config.speech_feature_size)

    def copies(self, number: int) -> list["FeatureCache"]:
        """Those of so many copies of each speaker, beside its own."""
        return [FeatureCache(self.model, self.feature_extractor, self.root, copy) for copy in range(number)]

    def fill(self, utterances: Iterable[Utterance], batch_size: int = 8) -> None:
        """Computes the features that are missing, with a progress bar. Interrupted, it goes on where it stopped."""
        by_key = {self._key(utterance): utterance for utterance in utterances}
        absent = self.shards.absent(list(by_key))
        missing = [utterance for key, utterance in by_key.items() if key in absent]
        if not missing:
            return
        logger.info("Computing the speech features of %d utterances into %s.", len(missing), self.folder)
        bar = progress(total=len(missing), desc="Speech features", unit="utterances")
        with self.shards.writer() as writer, bar:
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                for utterance, features in zip(batch, self._compute(batch), strict=True):
                    writer.add(self._key(utterance), features)
                bar.update(len(batch))

    def fill_together(self, utterances: Sequence[Utterance]) -> None:
        """[`fill`] by all processes that `accelerate launch` started, each of which computes a share on its device."""
        processes = PartialState()
        with placed(self.model, processes.device):
            self.fill(utterances[processes.process_index :: processes.num_processes])
        processes.wait_for_everyone()

    def load(self, utterances: Sequence[Utterance]) -> dict[str, torch.Tensor]:
        """Reads the features of a batch, after computing what is missing or damaged.

        Returns:
            `dict` of `speech_features`, float16 of shape `(num_utterances, num_frames, speech_feature_size)`, and
            `speech_features_mask` of shape `(num_utterances, num_frames)`.
        """
        self.fill(utterances)
        keys = [self._key(utterance) for utterance in utterances]
        found = self.shards.read(keys)
        frames = [of_utterance for of_utterance in found if of_utterance is not None]
        if len(frames) < len(found):
            names = ", ".join(u.name for u, frames in zip(utterances, found, strict=True) if frames is None)
            logger.warning("%s: features in %s are damaged, and are computed again.", names, self.folder)
            return self.load(utterances)
        lengths = torch.tensor([len(of_utterance) for of_utterance in frames])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
        return {"speech_features": padded, "speech_features_mask": mask.long()}

    def _key(self, utterance: Utterance) -> bytes:
        if self.copy is None:
            return key_of(utterance)
        # What a copy sounds like depends on whose it is.
        return hashlib.sha256(key_of(utterance) + utterance.speaker_id.encode()).digest()

    @torch.no_grad()
    def _compute(self, utterances: Sequence[Utterance]) -> list[torch.Tensor]:
        extractor = self.feature_extractor
        waveforms = [extractor.decode(utterance.audio, name=utterance.name) for utterance in utterances]
        if self.copy is not None:
            speakers = [utterance.speaker_id for utterance in utterances]
            voices = {speaker: Augmentation.of_speaker(speaker, self.copy) for speaker in set(speakers)}
            # Before it is trimmed, the noise would pass for the end of the utterance.
            waveforms = [
                voices[who](extractor.trim(waveform)) for who, waveform in zip(speakers, waveforms, strict=True)
            ]
        inputs = extractor.extract(waveforms).to(self.model.device)
        features, mask = self.model.get_speech_features(**inputs)
        lengths = mask.sum(1).tolist()
        return [row[:length].to(DTYPE).cpu() for row, length in zip(features, lengths, strict=True)]


@contextmanager
def placed(model: Any, device: torch.device | None) -> Iterator[None]:
    """Has a model that is still on the CPU compute on an accelerator for a while. A Trainer has placed others."""
    if model.device.type != "cpu" or device is None or device.type == "cpu":
        yield
        return
    model.to(device)
    try:
        yield
    finally:
        model.to("cpu")


def key_of(utterance: Utterance) -> bytes:
    """What the features of an utterance are kept under: the same for equal clips."""
    return bytes.fromhex(utterance.audio_sha256)


def fingerprint(model: EmoIclPreTrainedModel, feature_extractor: EmoIclFeatureExtractor, copy: int | None) -> str:
    """Identity of all that turns a clip into features, as 16 hexadecimal digits."""
    settings = feature_extractor.to_dict()
    # Saving adds where its code is.
    settings.pop("auto_map", None)
    parts = [settings, model.config.speech_config.model_type, model.config.speech_layer, DTYPE]
    # So that features of former versions are found.
    parts += [] if copy is None else [copy]
    return digest_weights(model.get_encoder(modality="audio"), {"features": parts})[:16]
