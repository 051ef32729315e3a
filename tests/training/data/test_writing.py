import errno
import os

import pytest
from safetensors import SafetensorError

from emoicl.training.data.writing import explain_full_disk, write_aside


def test_a_file_takes_the_place_of_an_older_one(tmp_path):
    path = tmp_path / "folder" / "file.txt"
    for text in ("older", "newer"):
        with write_aside(path) as aside:
            aside.write_text(text)
            assert not path.exists() or path.read_text() == "older"
    assert path.read_text() == "newer"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder(tmp_path):
    with write_aside(tmp_path / "out") as aside:
        (aside / "within").mkdir(parents=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "within"]


def test_an_interruption_leaves_what_there_was(tmp_path):
    (tmp_path / "file.txt").write_text("older")
    with pytest.raises(KeyboardInterrupt), write_aside(tmp_path / "file.txt") as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_a_full_disk_is_told_in_one_line(tmp_path, error):
    with pytest.raises(OSError, match="The disk is full: .*run could not be written") as raised:
        with explain_full_disk(tmp_path / "run"):
            raise error
    assert raised.value.errno == errno.ENOSPC and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
        SafetensorError("Error while serializing: I/O error: File too large (os error 27)"),
    ],
)
def test_a_file_that_may_not_be_so_large_is_told_too(tmp_path, error):
    with pytest.raises(OSError, match="No file may be so large there .*run could not be written") as raised:
        with explain_full_disk(tmp_path / "run"):
            raise error
    assert raised.value.errno == errno.EFBIG and "\n" not in str(raised.value)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), ValueError("other"), RuntimeError("other")])
def test_other_errors_are_not_a_full_disk(tmp_path, error):
    with pytest.raises(type(error)) as raised, explain_full_disk(tmp_path):
        raise error
    assert raised.value is error


def test_a_full_disk_leaves_what_there_was(tmp_path):
    (tmp_path / "file.txt").write_text("older")
    with pytest.raises(OSError, match="file.txt could not be written"), write_aside(tmp_path / "file.txt") as aside:
        aside.write_text("half")
        raise FULL
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]
