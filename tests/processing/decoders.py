"""What torchcodec's `AudioDecoder` is to this package, without torchcodec: `from decoders import Decoder`."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class AudioSamples:
    data: torch.Tensor
    sample_rate: int


@dataclass
class AudioStreamMetadata:
    duration_seconds_from_header: float | None


class Decoder:
    """
    A decoder of `samples`, of shape `(n,)` or `(channels, n)`.

    Like that of `datasets`, it can be asked for `"array"` and `"sampling_rate"`, and is no mapping.
    """

    def __init__(self, samples: np.ndarray, sampling_rate: int = 16000, announced: float | None = None):
        self.samples = AudioSamples(torch.from_numpy(np.atleast_2d(samples)), sampling_rate)
        self.metadata = AudioStreamMetadata(announced)

    def get_all_samples(self) -> AudioSamples:
        return self.samples

    def __getitem__(self, key: str):
        return {"array": self.samples.data.numpy().mean(0), "sampling_rate": self.samples.sample_rate}[key]
