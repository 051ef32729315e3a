"""Time of answers on this machine, from encoded audio to label scores: without and with an enrollment or its profile,
of one target and of many of one speaker. Of the bundled model `bursts`, or of any models.

python benchmarks/latency.py [MODEL ...]
"""

import itertools
import statistics
import sys
import time
from typing import Any

from emoicl import load_corpus, load_pipeline
from emoicl.bundled import BUNDLED_CLIPS


RUNS = 20
TARGETS = (1, 32)
SHOTS = (0, 1, 7, 20)


def main(models: list[str]) -> None:
    clips = load_corpus(BUNDLED_CLIPS).utterances
    others, targets = clips[: max(SHOTS)], [clip.audio for clip in clips[max(SHOTS) :]]
    for model in models:
        recognizer: Any = load_pipeline(model)
        print(model)
        for shots in SHOTS:
            enrollment = [{"audio": clip.audio, "label": clip.label} for clip in others[:shots]]
            ways: dict[str, dict[str, Any]] = {"enrollment": {"enrollment": enrollment}}
            if shots:
                ways["profile"] = {"profile": recognizer.enroll(enrollment)}
            for way, decoding, count in itertools.product(ways, ("labels", "beam"), TARGETS):
                seconds = []
                for _ in range(RUNS + 1):
                    start = time.perf_counter()
                    recognizer(targets[:count], batch_size=count, decoding=decoding, **ways[way])
                    seconds.append(time.perf_counter() - start)
                # The first run warms up.
                milliseconds = [1000 * second / count for second in seconds[1:]]
                print(
                    f"{shots:>2} shots, {way:<10}, {decoding:<6}, {count:>2} targets: median of one "
                    f"{statistics.median(milliseconds):6.1f} ms, min {min(milliseconds):.1f}, "
                    f"max {max(milliseconds):.1f}, {RUNS} runs"
                )
            if shots and (prefix := ways["profile"]["profile"].prefix[1]) is not None:
                print(f"{shots:>2} shots: {prefix.num_bytes / 2**20:.1f} MiB of keys and values")


if __name__ == "__main__":
    main(sys.argv[1:] or ["bursts"])
