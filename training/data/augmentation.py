"""Utterances as another person would have said them in another room, so that statistics are not of one room alone."""

from dataclasses import dataclass

import numpy as np
import torch
from torchaudio.functional import add_noise, fftconvolve, speed


# Between them, in Hz, gains are interpolated along the logarithm of the frequency.
BAND_FREQUENCIES = (60, 150, 300, 600, 1200, 2400, 4800, 8000)
BAND_GAIN = 4.0  # dB, the standard deviation
SPEED = 0.08  # of its logarithm, the standard deviation: a voice that is one or two semitones higher or lower
REVERBERATION_TIME = (0.1, 0.6)  # s, until an echo is 60 dB below the voice
REVERBERATION = (0.1, 0.6)  # amplitude, relative to the voice
SIGNAL_TO_NOISE = (15.0, 45.0)  # dB
FILTER_LENGTH = 512  # taps at 16 kHz


@dataclass(frozen=True)
class Augmentation:
    """
    A voice and a room, which all utterances of a speaker share: they then count as those of another speaker.

    Args:
        speed (`float`): Factor of tempo and pitch together.
        impulse_response (`np.ndarray` of shape `(num_taps,)`): Microphone and echo, of waveforms at 16 kHz.
        noise (`np.ndarray` of shape `(num_samples,)`): What else is heard there, over and over.
        signal_to_noise (`float`): How much louder the voice is, in dB.
    """

    speed: float
    impulse_response: np.ndarray
    noise: np.ndarray
    signal_to_noise: float

    @classmethod
    def of_speaker(cls, speaker_id: str, number: int) -> "Augmentation":
        """One of those of a speaker, the same each time."""
        rng = np.random.default_rng([number, *speaker_id.encode()])
        factor = round(float(np.exp(SPEED * rng.standard_normal())), 2)
        return cls(factor, _draw_impulse_response(rng), rng.standard_normal(16000), rng.uniform(*SIGNAL_TO_NOISE))

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """
        Args:
            waveform (`np.ndarray` of shape `(n,)`): An utterance at 16 kHz, without the silence around it.

        Returns:
            `np.ndarray` of shape `(round(n / speed),)`, float32.
        """
        faster, _ = speed(torch.from_numpy(waveform), 16000, self.speed)
        heard = fftconvolve(faster, torch.from_numpy(self.impulse_response).float())
        # The filter of the microphone is in the middle of its taps.
        heard = heard[FILTER_LENGTH // 2 :][: len(faster)]
        noise = torch.from_numpy(np.resize(self.noise, len(heard))).float()
        return add_noise(heard, noise, torch.tensor(self.signal_to_noise)).numpy().astype(np.float32)


def _draw_impulse_response(rng: np.random.Generator) -> np.ndarray:
    """First the microphone, whose gains are smooth over frequency, then the echo, which fades."""
    frequencies = np.fft.rfftfreq(FILTER_LENGTH, 1 / 16000)
    gains = BAND_GAIN * rng.standard_normal(len(BAND_FREQUENCIES))
    decibels = np.interp(np.log(np.maximum(frequencies, 1)), np.log(BAND_FREQUENCIES), gains)
    microphone = np.roll(np.fft.irfft(10 ** (decibels / 20)), FILTER_LENGTH // 2) * np.hanning(FILTER_LENGTH)
    num_taps = int(16000 * rng.uniform(*REVERBERATION_TIME))
    echo = rng.standard_normal(num_taps) * 10 ** (-3 * np.arange(num_taps) / num_taps)
    echo *= rng.uniform(*REVERBERATION) / np.linalg.norm(echo)
    echo[0] = 1.0
    return np.convolve(microphone, echo)
