"""Pseudo-speakers: one acoustic change for all utterances of an episode, as if another person had said them."""

from dataclasses import dataclass

import numpy as np
import torch
from transformers.audio_utils import hertz_to_mel, mel_to_hertz


# Whisper's filterbank, up to half of 16 kHz.
MEL_SCALE = "slaney"
HIGHEST_FREQUENCY = 8000.0
# In frames, at least that of the shortest utterance that is accepted.
FEWEST_FRAMES = 10


@dataclass(frozen=True)
class PseudoSpeaker:
    """
    A voice that differs from the recorded one in the length of its vocal tract and in its tempo.

    The change is made to log-mel features: frequencies are scaled (vocal tract length perturbation, Jaitly and Hinton
    2013), and frames are interpolated over time. Both are linear, so that 1 leaves an utterance as it is.

    Args:
        warp (`float`): Factor of all frequencies at which the new voice is heard; above 1 the tract is longer.
        tempo (`float`): Factor of the number of frames; above 1 the speech is slower.
    """

    warp: float = 1.0
    tempo: float = 1.0

    @classmethod
    def draw(cls, spread: float, rng: np.random.Generator) -> "PseudoSpeaker":
        """Draws both factors uniformly from `1 - spread` to `1 + spread`."""
        warp, tempo = rng.uniform(1 - spread, 1 + spread, 2)
        return cls(float(warp), float(tempo))

    def __call__(self, log_mel: torch.Tensor) -> torch.Tensor:
        """
        Args:
            log_mel (`torch.Tensor` of shape `(num_mel_bins, num_frames)`): Log-mel features of an utterance.

        Returns:
            `torch.Tensor` of shape `(num_mel_bins, round(tempo * num_frames))`, of at least 10 frames.
        """
        num_bins, num_frames = log_mel.shape
        highest = float(hertz_to_mel(HIGHEST_FREQUENCY, MEL_SCALE))
        mels = np.linspace(0.0, highest, num_bins + 2)[1:-1]
        heard = hertz_to_mel(mel_to_hertz(mels, MEL_SCALE) * self.warp, MEL_SCALE)
        places = np.interp(heard, mels, np.arange(num_bins))
        below = np.minimum(places.astype(int), num_bins - 2)
        share = torch.from_numpy(places - below).to(log_mel.dtype)[:, None]
        warped = log_mel[below] * (1 - share) + log_mel[below + 1] * share
        length = max(FEWEST_FRAMES, round(self.tempo * num_frames))
        if length == num_frames:
            return warped
        return torch.nn.functional.interpolate(warped[None], size=length, mode="linear")[0]


def cut_frames(log_mel: torch.Tensor, longest: int, rng: np.random.Generator) -> torch.Tensor:
    """At most `longest` frames of an utterance, from where chance has it."""
    start = int(rng.integers(max(0, log_mel.shape[1] - longest) + 1))
    return log_mel[:, start : start + longest]


def hide_bands(log_mel: torch.Tensor, share: float, rng: np.random.Generator) -> torch.Tensor:
    """
    Hides a band of frequencies and a stretch of time behind the mean of the utterance (SpecAugment, Park et al. 2019).

    Args:
        log_mel (`torch.Tensor` of shape `(num_mel_bins, num_frames)`): Log-mel features of an utterance.
        share (`float`): Largest share of the bins, and of the frames, to hide; how many is drawn uniformly.
        rng (`np.random.Generator`): Draws how many, and which.

    Returns:
        `torch.Tensor` of the same shape.
    """
    hidden = log_mel.clone()
    for rows in (hidden, hidden.T):
        width = int(rng.integers(int(share * len(rows)) + 1))
        start = int(rng.integers(len(rows) - width + 1))
        rows[start : start + width] = log_mel.mean()
    return hidden
