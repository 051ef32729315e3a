"""Time and memory of preparing a corpus of many clips.

python benchmarks/corpus_preparation.py 5000 --seconds 3 --workers 2
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from emoicl.training.corpora.generic import SpeakerFolders
from emoicl.training.corpora.prepare import prepare


EMOTIONS = ("neutral", "surprise", "sadness", "joy", "fear", "disgust", "anger")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("num_clips", type=int)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--format", choices=["parquet", "jsonl"], default="parquet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        num_bytes = write_clips(source, options.num_clips, options.seconds)
        before = peak_mebibytes()
        start = time.perf_counter()
        report = prepare(
            SpeakerFolders(source, "noise"), Path(folder) / "out", format=options.format, workers=options.workers
        )
        seconds = time.perf_counter() - start
    print(
        f"{report.num_prepared} clips, {num_bytes / 2**20:.0f} MiB, {options.workers} workers, {options.format}: "
        f"{seconds:.1f} s, {report.num_prepared / seconds:.0f} clips/s, peak memory {peak_mebibytes():.0f} MiB "
        f"({before:.0f} before)"
    )


def write_clips(folder: Path, num_clips: int, seconds: float) -> int:
    """Writes wav files of noise; returns their size in bytes."""
    rng = np.random.default_rng(0)
    num_bytes = 0
    for number in range(num_clips):
        path = folder / f"{number % 20:02}" / EMOTIONS[number % 7] / f"{number:06}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.integers(-3000, 3000, round(seconds * 16000), dtype=np.int16), 16000)
        num_bytes += path.stat().st_size
    return num_bytes


def peak_mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
