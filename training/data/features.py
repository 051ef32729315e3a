"""Features of the frozen speech encoder, computed once for each clip and kept on disk."""

import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from emoicl.modeling.pretrained_emoicl import EmoIclPreTrainedModel
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.processing.profile_emoicl import digest_weights
from emoicl.training.data.corpus import Utterance
from emoicl.training.data.writing import write_aside


logger = logging.getLogger(__name__)

DTYPE = torch.float16


def default_cache_folder() -> Path:
    """Where features are kept if nothing else is said: `$EMOICL_CACHE`, or `~/.cache/emoicl`."""
    return Path(os.environ.get("EMOICL_CACHE", Path.home() / ".cache" / "emoicl"))


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

    Raises:
        `ValueError`: If the speech encoder of `model` is trained.
    """

    def __init__(
        self,
        model: EmoIclPreTrainedModel,
        feature_extractor: EmoIclFeatureExtractor,
        folder: str | Path | None = None,
    ):
        if not model.config.freeze_speech_encoder:
            raise ValueError("Only features of a frozen speech encoder can be cached; this model trains it.")
        self.model = model
        self.feature_extractor = feature_extractor
        root = default_cache_folder() if folder is None else Path(folder)
        self.folder = root / "speech_features" / fingerprint(model, feature_extractor)

    def path(self, utterance: Utterance) -> Path:
        digest = utterance.audio_sha256
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def fill(self, utterances: Iterable[Utterance], batch_size: int = 8) -> None:
        """Computes the features that are missing, with a progress bar. Interrupted, it goes on where it stopped."""
        missing = [utterance for utterance in utterances if not self.path(utterance).exists()]
        if not missing:
            return
        logger.info("Computing the speech features of %d utterances into %s.", len(missing), self.folder)
        with tqdm(total=len(missing), desc="Speech features", unit="utt", disable=None) as progress:
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                for utterance, features in zip(batch, self._compute(batch), strict=True):
                    self._save(utterance, features)
                progress.update(len(batch))

    def load(self, utterances: Sequence[Utterance]) -> dict[str, torch.Tensor]:
        """Reads the features of a batch, after computing what is missing.

        Returns:
            `dict` of `speech_features`, float16 of shape `(num_utterances, num_frames, speech_hidden_size)`, and
            `speech_features_mask` of shape `(num_utterances, num_frames)`.
        """
        self.fill(utterances)
        features = [self._read(utterance) for utterance in utterances]
        lengths = torch.tensor([len(of_utterance) for of_utterance in features])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        return {"speech_features": padded, "speech_features_mask": mask.long()}

    def _read(self, utterance: Utterance) -> torch.Tensor:
        """Features `(num_frames, speech_hidden_size)` as they were kept, or anew where the file is damaged."""
        path = self.path(utterance)
        with suppress(SafetensorError, KeyError, OSError):
            features = load_file(path)["features"]
            width = self.model.config.speech_config.hidden_size
            if features.dtype == DTYPE and features.dim() == 2 and features.shape[1] == width and len(features):
                return features
        logger.warning("%s is damaged: the features of %s are computed again.", path, utterance.name)
        [features] = self._compute([utterance])
        self._save(utterance, features)
        return features

    @torch.no_grad()
    def _compute(self, utterances: Sequence[Utterance]) -> list[torch.Tensor]:
        extractor = self.feature_extractor
        waveforms = [extractor.decode(utterance.audio, name=utterance.name) for utterance in utterances]
        inputs = extractor(waveforms).to(self.model.device)
        features, mask = self.model.get_speech_features(**inputs)
        lengths = mask.sum(1).tolist()
        return [row[:length].to(DTYPE).cpu() for row, length in zip(features, lengths, strict=True)]

    def _save(self, utterance: Utterance, features: torch.Tensor) -> None:
        with write_aside(self.path(utterance)) as unfinished:
            save_file({"features": features.contiguous()}, unfinished)


def fingerprint(model: EmoIclPreTrainedModel, feature_extractor: EmoIclFeatureExtractor) -> str:
    """Identity of all that turns a clip into features, as 16 hexadecimal digits."""
    settings = feature_extractor.to_dict()
    # Saving adds where its code is.
    settings.pop("auto_map", None)
    parts = [settings, model.config.speech_config.model_type, model.config.speech_layer, DTYPE]
    return digest_weights(model.get_encoder(modality="audio"), {"features": parts})[:16]
