"""All files of a folder are found, each once, through links too; a folder that cannot be read is named."""

import os

import pytest

from emoicl.training.corpora import base
from emoicl.training.corpora.base import files_below
from emoicl.training.corpora.generic import SpeakerFolders


@pytest.fixture
def folder(tmp_path):
    for name in ("disk/ann/joy/1.wav", "corpus/bob/joy/2.wav", "corpus/.trash/3.wav", "corpus/__MACOSX/4.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "corpus/ann").symlink_to(tmp_path / "disk/ann")
    return tmp_path / "corpus"


def test_links_are_followed_once(folder):
    # Each in its own way back: to what is above, to itself, and to what was found already.
    (folder / "bob/up").symlink_to("..")
    (folder / "bob/self").symlink_to("self")
    (folder / "again").symlink_to("bob")
    names = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    # A link that leads to itself is a file that cannot be read.
    assert names == ["ann/joy/1.wav", "bob/joy/2.wav", "bob/self"]


def test_speakers_on_another_disk_are_in_the_corpus(folder):
    assert {recording.speaker_id for recording in SpeakerFolders(folder, "mine").recordings()} == {"ann", "bob"}


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("bob"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    # Whoever runs the tests may be allowed everything.
    monkeypatch.setattr(base.os, "scandir", refuse)
    with pytest.raises(ValueError, match="bob: the folder cannot be read: Permission denied$"):
        files_below(folder)
