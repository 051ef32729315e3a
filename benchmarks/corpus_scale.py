"""Time and memory of a corpus at the paper's size, 225,050 clips, and beyond.

python benchmarks/corpus_scale.py 225050
python benchmarks/corpus_scale.py 1000000 --clip-bytes 1000
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from emoicl import Corpus, EpisodeDataset, evaluate, load_corpus
from emoicl.training.episodes.episodes import Episode
from emoicl.training.episodes.sampling import ShotsSampler


LABELS = ["Neutral", "Surprise", "Sadness", "Joy", "Fear", "Disgust", "Anger"]
# As the paper's 643 speakers have of 225,050.
PER_SPEAKER = 350
SHARD, ROW_GROUP = 50_000, 1000


class Uniform:
    """A system that knows nothing, at no cost."""

    candidate_labels = LABELS

    def score(self, corpus: Corpus, episodes: Sequence[Episode]) -> np.ndarray:
        return np.full((len(episodes), len(LABELS)), 1 / len(LABELS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("num_clips", type=int)
    parser.add_argument("--clip-bytes", type=int, default=6000)
    parser.add_argument("--draws", type=int, default=2000, help="episodes whose drawing is timed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EMOICL_CACHE"] = str(Path(folder) / "cache")
        # By another process, whose memory is not counted.
        writer = get_context("fork").Process(
            target=write_tables, args=(Path(folder), options.num_clips, options.clip_bytes)
        )
        writer.start()
        writer.join()
        measure(sorted(Path(folder).glob("*.parquet")), options.draws)


def write_tables(folder: Path, num_clips: int, clip_bytes: int) -> None:
    """Tables of clips that nobody decodes, no two of which are the same."""
    for first in range(0, num_clips, SHARD):
        numbers = range(first, min(first + SHARD, num_clips))
        table = pa.table(
            {
                "audio": pa.array((number.to_bytes(8, "big") * (clip_bytes // 8) for number in numbers), pa.binary()),
                "emotion": [LABELS[number % 7].lower() for number in numbers],
                "speaker_id": [f"made-up/{number // PER_SPEAKER:05}" for number in numbers],
            }
        )
        pyarrow.parquet.write_table(
            table, folder / f"{first:08}.parquet", row_group_size=ROW_GROUP, compression="none", use_dictionary=False
        )


def measure(tables: list[Path], num_draws: int) -> None:
    imports = peak()
    with timed("loading for the first time"):
        load_corpus(tables)
    with timed("loading again"):
        corpus = load_corpus(tables)
    print(report_memory(imports))
    with timed("first batch of 64 episodes, with their audio"):
        episodes = EpisodeDataset(corpus, LABELS)
        items = iter(ShotsSampler(episodes, batch_size=64))
        batch = [episodes[next(items)] for _ in range(64)]
        for episode in batch:
            assert all(corpus[index].audio for index in (*episode.enrollment, episode.target))
    with timed(f"drawing {num_draws} episodes"):
        for _ in range(num_draws):
            episodes[next(items)]
    with timed("evaluation of all at 3 shots, but for the model"):
        evaluate(Uniform(), corpus, shots=[3], seeds=[0], controls=[])
    print(report_memory(imports))


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints how long something took, and of that how long on a processor: the machine may be busy."""
    start, worked = time.perf_counter(), time.process_time()
    yield
    print(f"{what}: {time.perf_counter() - start:.1f} s ({time.process_time() - worked:.1f} s of work)")


def peak() -> float:
    """The most memory that this process has held at once, mapped files included, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def report_memory(before: float) -> str:
    return f"at most {peak() - before:.2f} GiB above the imports ({before:.2f})"


if __name__ == "__main__":
    main()
