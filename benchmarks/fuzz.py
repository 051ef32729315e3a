"""Reads thousands of damaged files of every kind, and keeps those that are not answered as they should be.

python benchmarks/fuzz.py
python benchmarks/fuzz.py --kind audio --files 10000 --seed 0

Each is read, or refused by a ValueError of one line that names the file: within 5 seconds of a processor and 300 MB
more memory, and with no traceback on the terminal. It runs on Linux. `--first 123 --files 1` makes number 123 again.
"""

import argparse
import logging
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
from tabulate import tabulate
from tqdm.auto import tqdm


sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fuzzed_files import KINDS, Kind, make_file  # noqa: E402


# In seconds of a processor, and bytes beyond what the process had before.
MAX_SECONDS, MAX_MEMORY = 5.0, 300 * 2**20
# In seconds on the clock, which other processes may make go faster: then it hangs.
HANGS = 120.0
# In bytes of addresses, so that no file takes the memory of all.
MAX_ADDRESSES = 16 * 2**30
READ, REFUSED = "read", "refused"


class Outcome(NamedTuple):
    """
    What became of a file.

    Args:
        number (`int`): Which one.
        result (`str`): `"read"`, `"refused"`, or in a few words what is wrong with the answer.
        details (`str`): The message or the traceback.
        seconds (`float`): Processor time.
        memory (`int`): Bytes beyond those of the process before.
    """

    number: int
    result: str
    details: str = ""
    seconds: float = 0.0
    memory: int = 0


def resident_memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak_memory() -> int:
    """The largest that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def examine(path: Path, kind: Kind, number: int, errors: Path) -> Outcome:
    """Reads a file and judges the answer."""
    before, earlier_peak, start = resident_memory(), peak_memory(), time.process_time()
    result, details = READ, ""
    try:
        kind.read(path)
    except ValueError as error:
        result, details = REFUSED, str(error)
        if not any(name in details for name in (path.name, *kind.others)):
            result = "names no file"
        elif len(details.splitlines()) > 1:
            result = "more than a line"
        if result != REFUSED:
            details = traceback.format_exc()
    except BaseException as error:
        result, details = f"{type(error).__name__}", traceback.format_exc()
    seconds = time.process_time() - start
    memory = max(0, peak_memory() - before) if peak_memory() > earlier_peak else 0
    if "Traceback" in (printed := errors.read_text(errors="replace")):
        result, details = "prints a traceback", printed
    os.truncate(errors, 0)
    if seconds > MAX_SECONDS:
        result = f"takes more than {MAX_SECONDS:g} s"
    elif memory > MAX_MEMORY:
        result = f"takes more than {MAX_MEMORY >> 20} MB"
    return Outcome(number, result, details, seconds, memory)


def work(kind: str, seed: int, numbers: range, folder: Path, connection: Connection) -> None:
    """Makes and reads files until one takes much memory, after which the peak of this process tells nothing."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESSES, MAX_ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable()
    errors = folder.with_suffix(".stderr")
    handle = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    # What libraries print, and what Python does.
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout = sys.stderr = os.fdopen(handle, "w", 1)
    # Nobody is asked.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in numbers:
        path = make_file(kind, seed, number, folder)
        outcome = examine(path, KINDS[kind], number, errors)
        connection.send(outcome)
        if outcome.memory > MAX_MEMORY // 2:
            break


def outcomes(kind: str, seed: int, numbers: range, folder: Path) -> Iterator[Outcome]:
    """
    What becomes of damaged files, each read in a fork of this process, which may crash or hang.

    Args:
        kind (`str`): One of `KINDS`.
        seed (`int`): Of the random numbers.
        numbers (`range`): Which files.
        folder (`Path`): Where each is while it is read.

    Yields:
        [`Outcome`]: of each, in order.
    """
    # What the files are made of is made once, before the forks.
    make_file(kind, seed, numbers.start, folder)
    context = multiprocessing.get_context("fork")
    while numbers:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(kind, seed, numbers, folder, theirs))
        process.start()
        theirs.close()
        try:
            while numbers and ours.poll(HANGS):
                yield ours.recv()
                numbers = numbers[1:]
            if numbers:
                process.kill()
                process.join()
                yield Outcome(numbers[0], f"hangs for {HANGS:g} s")
                numbers = numbers[1:]
        except EOFError:
            process.join()
            if process.exitcode:
                yield Outcome(numbers[0], f"ends the process with {process.exitcode}", errors_of(folder))
                numbers = numbers[1:]
        finally:
            process.kill()
            process.join()


def errors_of(folder: Path) -> str:
    errors = folder.with_suffix(".stderr")
    return errors.read_text(errors="replace")[-5000:] if errors.is_file() else ""


def keep(outcome: Outcome, kind: str, seed: int, folder: Path, failures: Path) -> None:
    """Puts what was not answered as it should be into a folder with its seed and number."""
    target = failures / f"{kind}-{seed}-{outcome.number}"
    shutil.rmtree(target, ignore_errors=True)
    make_file(kind, seed, outcome.number, target)
    (target / "outcome.txt").write_text(f"{outcome.result}\n{outcome.details}", errors="backslashreplace")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", nargs="+", choices=list(KINDS), default=list(KINDS), help="by default all")
    parser.add_argument("--files", type=int, default=1000, help="number of files of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("outputs/fuzz"), help="where failing files are kept")
    options = parser.parse_args()
    rows: list[list] = []
    with tempfile.TemporaryDirectory() as temporary:
        for kind in options.kind:
            numbers = range(options.first, options.first + options.files)
            folder = Path(temporary) / "files"
            counts: Counter[str] = Counter()
            slowest, largest = 0.0, 0
            for outcome in tqdm(outcomes(kind, options.seed, numbers, folder), kind, len(numbers), unit="file"):
                counts[outcome.result] += 1
                slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.memory)
                if outcome.result not in (READ, REFUSED):
                    keep(outcome, kind, options.seed, folder, options.output)
            failed = {name: count for name, count in counts.items() if name not in (READ, REFUSED)}
            words = ", ".join(f"{count} {name}" for name, count in sorted(failed.items()))
            measured = (f"{slowest:.2f} s", f"{largest / 2**20:.0f} MB")
            rows.append([kind, len(numbers), counts[READ], counts[REFUSED], *measured, sum(failed.values()), words])
    headers = ["kind", "files", READ, REFUSED, "slowest", "most memory", "failures", "of which"]
    print(tabulate(rows, headers=headers, tablefmt="github"))
    return int(any(row[6] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
