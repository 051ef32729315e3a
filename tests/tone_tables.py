"""Tables of the tiny corpus with a neutral emotion: `from tone_tables import speakers`."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tiny_corpus import tiny_corpus

from emoicl.training.data.corpus import Corpus


LABELS = ["Neutral", "Sadness", "Anger"]
SPLITS = {"train": (0, 1, 2, 3), "validation": (4,), "test": (5,)}


def speakers(*numbers: int, corpus: str = "tones") -> Corpus:
    """Some of the speakers of the tiny corpus, with Neutral in place of Joy."""
    utterances = tiny_corpus(num_speakers=6)
    names = [list(utterances.by_speaker)[number] for number in numbers]
    return Corpus(
        replace(
            utterance,
            label=utterance.label.replace("Joy", "Neutral"),
            speaker_id=f"{corpus}/{utterance.speaker_id}",
            # Other bytes, for a clip cannot be of two speakers.
            audio=bytes(utterance.audio) + corpus.encode(),  # pyright: ignore[reportArgumentType]
        )
        for utterance in utterances
        if utterance.speaker_id in names
    )


def write_table(corpus: Corpus, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "audio": [{"bytes": utterance.audio, "path": utterance.name} for utterance in corpus],
        "emotion": [utterance.label for utterance in corpus],
        "speaker_id": [utterance.speaker_id for utterance in corpus],
    }
    pq.write_table(pa.table(columns), path)
    return path
