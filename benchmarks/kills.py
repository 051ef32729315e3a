"""Kills tiny runs of training with -9 at random moments, and tells what was lost.

python benchmarks/kills.py --kills 80

Of eight moments, five are points in processor time, from the start of a run to its end, and three lie within saves,
between two changes of its files. After each kill the run is started again, and its end is compared with that of a run
that was not killed: weights and optimizer, byte for byte. It trains in context, and tunes a speech encoder.
"""

import argparse
import os
import random
import resource
import sys
import tempfile
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm.auto import tqdm


sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tiny_corpus import save_tiny_whisper  # noqa: E402
from tiny_killed_runs import RUNS, in_child, kill_at  # noqa: E402


END = ("model/model.safetensors", "checkpoint-4/model.safetensors", "checkpoint-4/optimizer.pt")
# About as many changes of files as a run makes.
CHANGES = {"in_context": 200, "encoder": 130}


def outcome(stage_dir: Path) -> list[bytes | None]:
    return [path.read_bytes() if (path := stage_dir / name).is_file() else None for name in END]


def run(kind: str, whisper: Path, stage_dir: Path, seconds: float | None = None, event: int = 0) -> int:
    """Status of a run that is killed after some seconds of a processor or at an event, unless it ends before."""

    def silently() -> None:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, sys.stdout.fileno())
        os.dup2(silence, sys.stderr.fileno())
        kill_at(event, stage_dir)
        RUNS[kind](whisper, stage_dir)

    return in_child(silently, killed_after=seconds)


def seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=80, help="number of kills")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    counts: dict[tuple[str, str], Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder, tqdm(total=options.kills, unit="kill") as progress:
        whisper = Path(folder) / "whisper"
        in_child(lambda: save_tiny_whisper(whisper) and None)
        expected: dict[str, list[bytes | None]] = {}
        seconds: dict[str, float] = {}
        for kind in RUNS:
            start = seconds_of_children()
            run(kind, whisper, Path(folder) / kind)
            seconds[kind] = seconds_of_children() - start
            expected[kind] = outcome(Path(folder) / kind)
        for number in count():
            if progress.n == options.kills:
                break
            kind, within = list(RUNS)[number % 2], number // 2 % 8 in (1, 4, 6)
            moment: dict[str, Any] = (
                {"event": rng.randint(1, CHANGES[kind])} if within else {"seconds": rng.uniform(0, seconds[kind])}
            )
            stage_dir = Path(folder) / f"{kind}-{number}"
            status = run(kind, whisper, stage_dir, **moment)
            progress.update(status < 0)
            resumed = run(kind, whisper, stage_dir)
            counter = counts.setdefault((kind, "within a save" if within else "any"), Counter())
            counter["killed"] += status < 0
            counter["ended before"] += status == 0
            counter["never ended"] += resumed != 0
            counter["ended otherwise"] += resumed == 0 and outcome(stage_dir) != expected[kind]
    columns = ("killed", "ended before", "never ended", "ended otherwise")
    rows = [[*key, *(counter[column] for column in columns)] for key, counter in counts.items()]
    print(tabulate(rows, headers=["run", "moment", *columns], tablefmt="github"))
    return int(any(row[-2] or row[-1] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
