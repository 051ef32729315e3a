"""Time and memory until `emoicl --help` is printed, the package is imported and the first answer is given.

python benchmarks/start.py

Of several runs the least is told: seconds on the clock and of the processor, and memory. An installation elsewhere
is measured with it on PYTHONPATH.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


CLIP = """
from pathlib import Path
from emoicl import load_corpus
from emoicl.bundled import BUNDLED_CLIPS
Path({path!r}).write_bytes(load_corpus(BUNDLED_CLIPS)[0].audio)
"""


def measure(arguments: list[str]) -> tuple[float, float, float]:
    """Seconds on the clock and of the processor, and MiB, of a Python process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(arguments)} failed.")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="default: 3")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = str(Path(folder) / "clip.flac")
        subprocess.run([sys.executable, "-c", CLIP.format(path=clip)], check=True)
        command = ["-c", "import sys; from emoicl_commands.cli import main; sys.exit(main(sys.argv[1:]))"]
        for name, arguments in (
            ("emoicl --help", [*command, "--help"]),
            ("import emoicl", ["-c", "import emoicl"]),
            ("first answer", [*command, "predict", clip]),
        ):
            runs = [measure(arguments) for _ in range(options.runs)]
            seconds, of_processor, memory = map(min, zip(*runs, strict=True))
            print(f"{name:<16}{seconds:6.2f} s {of_processor:6.2f} s of the processor {memory:7.0f} MiB")


if __name__ == "__main__":
    main()
