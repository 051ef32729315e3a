"""Time of one answer of the bundled model, from encoded audio to label scores, on this machine.

python benchmarks/latency.py
"""

import itertools
import statistics
import time
from typing import Any

from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from emoicl import EmoIclPipeline, load_corpus
from emoicl.bundled import BUNDLED_CLIPS, BURSTS_MODEL


RUNS = 20


def main() -> None:
    recognizer = EmoIclPipeline(
        model=AutoModelForSpeechSeq2Seq.from_pretrained(BURSTS_MODEL),
        processor=AutoProcessor.from_pretrained(BURSTS_MODEL),
    )
    target, *others = load_corpus(BUNDLED_CLIPS).utterances[:21]
    for shots in (0, 1, 7, 20):
        enrollment = [{"audio": clip.audio, "label": clip.label} for clip in others[:shots]]
        ways: dict[str, dict[str, Any]] = {"enrollment": {"enrollment": enrollment}}
        if shots:
            ways["profile"] = {"profile": recognizer.enroll(enrollment)}
        for way, decoding in itertools.product(ways, ("labels", "beam")):
            seconds = []
            for _ in range(RUNS + 1):
                start = time.perf_counter()
                recognizer(target.audio, decoding=decoding, **ways[way])
                seconds.append(time.perf_counter() - start)
            # The first run warms up.
            milliseconds = [1000 * second for second in seconds[1:]]
            print(
                f"{shots:>2} shots, {way:<10}, {decoding:<6}: median {statistics.median(milliseconds):6.1f} ms, "
                f"min {min(milliseconds):.1f}, max {max(milliseconds):.1f}, {RUNS} runs"
            )


if __name__ == "__main__":
    main()
