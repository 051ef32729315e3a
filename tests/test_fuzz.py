"""A few damaged files of every kind are read or refused as they should be; `benchmarks/fuzz.py` takes thousands."""

import os
import signal
import sys
import time

import numpy as np
import pytest
from fuzzed_files import KINDS, Kind, make_file

from benchmarks.fuzz import READ, REFUSED, outcomes


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
FILES = {"audio": 500, "checkpoint": 40, "corpus": 60, "foreign": 40}


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused_in_a_line(kind, tmp_path):
    results = list(outcomes(kind, 1, range(FILES.get(kind, 100)), tmp_path / "files"))
    assert [outcome for outcome in results if outcome.result not in (READ, REFUSED)] == []
    # All of one would tell nothing. A cache makes anew what is damaged.
    assert {outcome.result for outcome in results} == ({READ} if kind == "features" else {READ, REFUSED})


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_and_a_number_make_the_same_file_again(kind, tmp_path):
    contents = []
    for _ in range(2):
        make_file(kind, 3, 7, tmp_path / "files")
        files = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
        # A cache names its shards by the time.
        contents.append(list(files.values()) if kind == "features" else files)
    assert contents[0] == contents[1]
    assert contents[0]


def read_badly(path):
    match int(path.read_text()):
        case 1:
            raise ValueError(f"{path}: is damaged")
        case 2:
            raise KeyError(path.name)
        case 3:
            raise ValueError("is damaged")
        case 4:
            raise ValueError(f"{path}: is damaged\nhere")
        case 5:
            np.ones(50 * 2**20).sum()
        case 6:
            os.kill(os.getpid(), signal.SIGKILL)
        case 7:
            time.sleep(60)
        case 8:
            os.write(2, b"Traceback (most recent call last):")


def test_what_a_reader_must_not_do_is_found(tmp_path, monkeypatch):
    def write_number(kind, seed, number, folder):
        folder.mkdir(exist_ok=True)
        (folder / "a.txt").write_text(str(number))
        return folder / "a.txt"

    monkeypatch.setattr("benchmarks.fuzz.make_file", write_number)
    # Less than what hangs, and more than the others take on a busy machine.
    monkeypatch.setattr("benchmarks.fuzz.HANGS", 10.0)
    monkeypatch.setitem(KINDS, "bad", Kind(lambda rng, folder: folder, read_badly))
    assert [outcome.result for outcome in outcomes("bad", 0, range(9), tmp_path / "files")] == [
        READ,
        REFUSED,
        "KeyError",
        "names no file",
        "more than a line",
        "takes more than 300 MB",
        "ends the process with -9",
        "hangs for 10 s",
        "prints a traceback",
    ]
