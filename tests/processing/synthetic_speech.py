"""Waveforms and audio files made in memory."""

import io

import numpy as np
import soundfile


def tone(frequency=440.0, seconds=0.5, sampling_rate=16000, amplitude=0.3):
    times = np.arange(round(seconds * sampling_rate)) / sampling_rate
    return (amplitude * np.sin(2 * np.pi * frequency * times)).astype(np.float32)


def encoded(waveform, sampling_rate=16000, format="WAV", subtype="PCM_16"):
    file = io.BytesIO()
    soundfile.write(file, waveform, sampling_rate, format=format, subtype=subtype)
    return file.getvalue()


def log_rms(waveform):
    return 10 * np.log10(np.mean(np.square(waveform)) + 1e-20)
