"""Raw audio -> what the speech encoder reads, at the utterance's real length, with its mask."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, SeamlessM4TFeatureExtractor, SequenceFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from .audio_emoicl import MAX_RATE, MIN_RATE, AudioLike, decode_audio, set_level, trim_silence, with_rate


INPUT_TYPES = ("log_mel", "waveform", "filterbank")
# Of a frame, in values or in samples: more than 4 s at 16 kHz.
MAX_SIZE = 2**16
# Values of a filterbank, of which one with 128 filters of a frame of that size has half.
MAX_FILTERS = 2**23


class EmoIclFeatureExtractor(SequenceFeatureExtractor):
    r"""
    Constructs an emoicl feature extractor: what the speech encoder reads, computed for each utterance at its real
    length. Whisper pads the waveform to 30 s first; here the features of a batch are padded after they are computed,
    so an utterance has the same features alone and in any batch, to the bit. There are three types of them:

    - `"log_mel"` -- the log-mel filterbank of Whisper (Radford et al., 2022), for Whisper and the paper's encoder;
    - `"waveform"` -- the samples themselves, for wav2vec 2.0, HuBERT and WavLM;
    - `"filterbank"` -- the Kaldi filterbank of [`SeamlessM4TFeatureExtractor`], each filter normalized over the
      utterance and two frames of 10 ms joined into one, for wav2vec2-BERT.

    Args:
        feature_size (`int`, *optional*, defaults to 80):
            Number of values of a frame: of mel filters, twice the number of filters of the filterbank, or 1 for a
            waveform.
        sampling_rate (`int`, *optional*, defaults to 16000):
            Sampling rate the features are computed at, in Hz. Audio at another rate is resampled.
        hop_length (`int`, *optional*, defaults to 160):
            Shift between log-mel frames, in samples (10 ms).
        n_fft (`int`, *optional*, defaults to 400):
            Size of the Fourier transform of log-mel features and of its Hann window, in samples (25 ms).
        padding_value (`float`, *optional*, defaults to 0.0):
            Value of the features beyond the end of an utterance.
        min_duration (`float`, *optional*, defaults to 0.1):
            Shortest utterance accepted, in seconds.
        max_duration (`float`, *optional*, defaults to 30.0):
            Longest utterance accepted, in seconds.
        input_type (`str`, *optional*, defaults to `"log_mel"`):
            `"log_mel"`, `"waveform"` or `"filterbank"`: `input_type` of the speech encoder.
        do_normalize (`bool`, *optional*, defaults to `True`):
            Whether a waveform gets zero mean and unit variance, as [`Wav2Vec2FeatureExtractor`] has it.
        trim_silence (`float`, *optional*):
            How far below its loudest frame, in dB, the start and the end of an utterance may be before they are cut;
            see [`trim_silence`]. `None` leaves them.
        level (`float`, *optional*):
            Root mean square that each utterance is brought to after that, in dB of full scale, so that the same
            recording has the same features however loud it is. `None` leaves it as it was recorded.
        pad_silence (`float`, *optional*, defaults to 0.0):
            Seconds of digital silence that are put before and after each utterance then, as far as `max_duration`
            leaves room: a speech encoder that was trained on recordings with pauses hears a voice better between two.

    Raises:
        `ValueError`: If `input_type` is none of the three, `feature_size` does not go with it, or another field is not
            what it should be.
    """

    model_input_names = ["input_features", "input_features_mask"]

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = 16000,
        hop_length: int = 160,
        n_fft: int = 400,
        padding_value: float = 0.0,
        min_duration: float = 0.1,
        max_duration: float = 30.0,
        input_type: str = "log_mel",
        do_normalize: bool = True,
        trim_silence: float | None = None,
        level: float | None = None,
        pad_silence: float = 0.0,
        **kwargs,
    ):
        _check_input_type(input_type, feature_size)
        _check_sizes(sampling_rate, feature_size=feature_size, n_fft=n_fft, hop_length=hop_length)
        _check_durations(min_duration, max_duration)
        if type(do_normalize) is not bool:
            raise ValueError(f"`do_normalize` is true or false; got {do_normalize!r}.")
        _check_decibels("trim_silence", trim_silence, "above 0", lambda value: value > 0)
        _check_decibels("level", level, "from -100 to 0", lambda value: -100 <= value <= 0)
        if type(pad_silence) not in (int, float) or not 0 <= pad_silence <= max_duration:
            raise ValueError(f"`pad_silence` is a number of seconds from 0 to `max_duration`; got {pad_silence!r}.")
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        self.hop_length = hop_length
        self.n_fft = n_fft
        self.min_duration = min_duration
        self.max_duration = max_duration
        self.input_type = input_type
        self.do_normalize = do_normalize
        self.trim_silence = trim_silence
        self.level = level
        self.pad_silence = pad_silence
        # `to_dict` leaves `mel_filters` out: they follow from the other fields.
        self.mel_filters = None
        if input_type == "log_mel":
            self.mel_filters = mel_filter_bank(
                num_frequency_bins=1 + n_fft // 2,
                num_mel_filters=feature_size,
                min_frequency=0.0,
                max_frequency=sampling_rate / 2,
                sampling_rate=sampling_rate,
                norm="slaney",
                mel_scale="slaney",
            )

    def __call__(
        self,
        audio: AudioLike | list[Any],
        sampling_rate: int | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """
        Computes the features of one utterance or of several.

        Args:
            audio (`str`, `os.PathLike`, `bytes`, `dict`, `np.ndarray`, `torch.Tensor`, or a `list` of these):
                The utterances, in any form that [`decode_audio`] reads. A list is a batch; an array is one utterance.
            sampling_rate (`int`, *optional*):
                Sampling rate of bare arrays and tensors, in Hz, by default that of the feature extractor. Files and
                dictionaries carry their own.
            return_tensors (`str`, *optional*, defaults to `"pt"`):
                `"pt"` for PyTorch tensors, `"np"` for NumPy arrays.

        Returns:
            [`BatchFeature`] with `input_features` of shape `(batch_size, feature_size, num_frames)`, float32, and
            `input_features_mask` of shape `(batch_size, num_frames)`: 1 for real frames, 0 for padding. A frame of a
            waveform is a sample.

        Raises:
            `ValueError`: If an utterance cannot be used; see [`decode_audio`].
        """
        is_batched = isinstance(audio, (list, tuple))
        utterances = audio if is_batched else [audio]
        if len(utterances) == 0:
            raise ValueError("No audio: the list is empty.")
        return self.extract(
            [self.decode(x, sampling_rate, f"audio[{i}]" if is_batched else None) for i, x in enumerate(utterances)],
            return_tensors,
        )

    def extract(self, waveforms: Sequence[np.ndarray], return_tensors: str = "pt") -> BatchFeature:
        """
        Computes the features of utterances that are decoded.

        Args:
            waveforms (`list[np.ndarray]`):
                What [`~EmoIclFeatureExtractor.decode`] returned for each.
            return_tensors (`str`, *optional*, defaults to `"pt"`):
                `"pt"` for PyTorch tensors, `"np"` for NumPy arrays.

        Returns:
            [`BatchFeature`] as [`~EmoIclFeatureExtractor.__call__`].
        """
        compute = {"log_mel": self._log_mel, "waveform": self._waveform, "filterbank": self._filterbank}
        prepared = (self.pad_with_silence(self.set_level(self.trim(waveform))) for waveform in waveforms)
        features = [compute[self.input_type](waveform).mT for waveform in prepared]
        num_frames = torch.tensor([len(feature) for feature in features])
        padded = pad_sequence(features, batch_first=True, padding_value=self.padding_value)
        mask = torch.arange(padded.shape[1]) < num_frames[:, None]
        data = {"input_features": padded.mT.contiguous(), "input_features_mask": mask.long()}
        return BatchFeature(data, tensor_type=return_tensors)

    def decode(self, audio: AudioLike, sampling_rate: int | None = None, name: str | None = None) -> np.ndarray:
        """
        Decodes one utterance to what the features are computed from.

        Args:
            audio (`str`, `os.PathLike`, `bytes`, `dict`, `np.ndarray` or `torch.Tensor`):
                The utterance, in any form that [`decode_audio`] reads.
            sampling_rate (`int`, *optional*):
                Sampling rate of a bare array or tensor, in Hz, by default that of the feature extractor.
            name (`str`, *optional*):
                What to call this utterance in error messages.

        Returns:
            `np.ndarray` of shape `(n,)`, float32: the mono waveform at `self.sampling_rate`.

        Raises:
            `ValueError`: If the utterance cannot be used; see [`decode_audio`].
        """
        return decode_audio(
            with_rate(audio, sampling_rate), self.sampling_rate, name, self.min_duration, self.max_duration
        )

    def trim(self, waveform: np.ndarray) -> np.ndarray:
        """The waveform `(n,)` without the silence around it, if `trim_silence` says so."""
        if self.trim_silence is None:
            return waveform
        return trim_silence(waveform, self.sampling_rate, self.trim_silence)

    def set_level(self, waveform: np.ndarray) -> np.ndarray:
        """The waveform `(n,)` at `level`, if there is one."""
        return waveform if self.level is None else set_level(waveform, self.level)

    def pad_with_silence(self, waveform: np.ndarray) -> np.ndarray:
        """The waveform `(n,)` between two silences of `pad_silence`, or shorter ones if it would get too long."""
        room = int(self.max_duration * self.sampling_rate) - len(waveform)
        return np.pad(waveform, max(0, min(int(self.pad_silence * self.sampling_rate), room // 2)))

    def _log_mel(self, waveform: np.ndarray) -> torch.Tensor:
        """Log-mel features `(feature_size, n // hop_length)` of a waveform `(n,)`, with Whisper's dynamic range."""
        window = torch.hann_window(self.n_fft)
        stft = torch.stft(torch.from_numpy(waveform), self.n_fft, self.hop_length, window=window, return_complex=True)
        power = (stft[..., :-1].abs() ** 2).contiguous()
        mel = torch.from_numpy(self.mel_filters).to(torch.float32).T @ power
        log_mel = mel.clamp(min=1e-10).log10()
        return (torch.maximum(log_mel, log_mel.max() - 8.0) + 4.0) / 4.0

    def _waveform(self, waveform: np.ndarray) -> torch.Tensor:
        """The samples `(1, n)` of a waveform `(n,)`."""
        if self.do_normalize:
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        return torch.from_numpy(waveform)[None]

    def _filterbank(self, waveform: np.ndarray) -> torch.Tensor:
        """Kaldi filterbank `(feature_size, num_frames)` of a waveform `(n,)`, with 20 ms between frames."""
        extractor = _filterbank_extractor(self.feature_size // 2, self.sampling_rate)
        features = extractor(waveform, sampling_rate=self.sampling_rate, pad_to_multiple_of=None, return_tensors="np")[
            "input_features"
        ]
        return torch.from_numpy(features[0].astype(np.float32).T)


def _check_input_type(input_type: str, feature_size: int) -> None:
    if input_type not in INPUT_TYPES:
        raise ValueError(f"`input_type` is one of {', '.join(INPUT_TYPES)}; got {input_type!r}.")
    if input_type == "waveform" and feature_size != 1:
        raise ValueError(f"A waveform has one value at a time: `feature_size` must be 1; got {feature_size}.")
    if input_type == "filterbank" and feature_size % 2:
        raise ValueError(f"Filterbanks join two frames: `feature_size` must be even; got {feature_size}.")


def _check_sizes(sampling_rate: int, **sizes: int) -> None:
    if type(sampling_rate) is not int or not MIN_RATE <= sampling_rate <= MAX_RATE:
        raise ValueError(
            f"`sampling_rate` is a whole number of {MIN_RATE} to {MAX_RATE}, in Hz; got {sampling_rate!r}."
        )
    for name, size in sizes.items():
        if type(size) is not int or not 1 <= size <= MAX_SIZE:
            raise ValueError(f"`{name}` is a whole number of 1 to {MAX_SIZE}; got {size!r}.")
    if (size := sizes["n_fft"] * sizes["feature_size"] // 2) > MAX_FILTERS:
        raise ValueError(f"`n_fft` and `feature_size` make filters of {size} values; at most {MAX_FILTERS} are made.")


def _check_durations(min_duration: float, max_duration: float) -> None:
    are_numbers = all(type(duration) in (int, float) for duration in (min_duration, max_duration))
    if not are_numbers or not 0 < min_duration <= max_duration:
        raise ValueError(
            "`min_duration` and `max_duration` are numbers of seconds, above 0 and the second not less; got "
            f"{min_duration!r} and {max_duration!r}."
        )


def _check_decibels(name: str, value: float | None, bounds: str, is_within: Callable[[float], bool]) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and is_within(value)):
        raise ValueError(f"`{name}` is a number of dB {bounds}, or None; got {value!r}.")


@lru_cache
def _filterbank_extractor(num_mel_bins: int, sampling_rate: int) -> SeamlessM4TFeatureExtractor:
    # Not a field of the feature extractor, for that would be saved with it.
    return SeamlessM4TFeatureExtractor(num_mel_bins, sampling_rate, num_mel_bins)


__all__ = ["EmoIclFeatureExtractor"]
