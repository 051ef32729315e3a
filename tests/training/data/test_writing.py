import pytest

from emoicl.training.data.writing import write_aside


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
