"""A corpus of tones, and all it takes to train a tiny model on it: `from tiny_corpus import tiny_corpus`."""

import csv
import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
from tiny import LABELS, tiny_speech_config
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing import EmoIclProcessor
from emoicl.training.data.corpus import Corpus, Utterance
from emoicl.training.systems.composition import compose


SPEAKERS = ("ann", "bob", "cy", "dee", "eve", "fay", "gil", "hal")
SIZES: dict[str, Any] = {
    "qformer": {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24},
    "text": {"d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2},
}
# Training arguments of a short run that saves nothing.
THREE_STEPS: dict[str, Any] = {
    "max_steps": 3,
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
    "report_to": "none",
    "use_cpu": True,
}
MODEL_FIELDS: dict[str, Any] = {
    "speech_layer": 2,
    "num_query_tokens": 2,
    "max_shots": 7,
    "adaptation_config": {"size": 4},
}


def tone(frequency: float, seconds: float = 0.2, seed: int = 0) -> bytes:
    """A wav file of a noisy tone."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * 16000)) / 16000
    waveform = 0.3 * np.sin(2 * np.pi * frequency * times) + 0.02 * rng.standard_normal(len(times))
    file = io.BytesIO()
    soundfile.write(file, waveform, 16000, format="WAV")
    return file.getvalue()


def tiny_corpus(num_speakers: int = 4, takes: int = 3) -> Corpus:
    """Some takes of each label by each speaker: the label sets the octave, the speaker shifts it."""
    return Corpus(
        Utterance(
            audio=tone(200 * 3**octave + 20 * speaker, 0.2 + 0.03 * take, seed=take),
            label=label,
            speaker_id=SPEAKERS[speaker],
            name=f"{SPEAKERS[speaker]}_{label}_{take}.wav",
        )
        for speaker in range(num_speakers)
        for octave, label in enumerate(LABELS)
        for take in range(takes)
    )


def write_corpus(corpus: Corpus, table: Path) -> Path:
    """Writes the clips and the CSV table of a corpus."""
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["audio", "emotion", "speaker_id"])
        for utterance in corpus:
            assert isinstance(utterance.audio, bytes)
            (table.parent / utterance.name).write_bytes(utterance.audio)
            rows.writerow([utterance.name, utterance.label, utterance.speaker_id])
    return table


def save_tiny_whisper(folder: Path) -> Path:
    """Saves a Whisper encoder with random weights and 3 layers."""
    WhisperEncoder(cast(WhisperConfig, tiny_speech_config("whisper"))).save_pretrained(folder)
    return folder


def compose_tiny(speech_encoder: Path, **fields: Any) -> tuple[EmoIclForConditionalGeneration, EmoIclProcessor]:
    """A tiny model for `LABELS` on a saved speech encoder, and its processor."""
    return compose(str(speech_encoder), LABELS, **(SIZES | MODEL_FIELDS | fields))
