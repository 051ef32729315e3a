import argparse

import pytest
from tiny_corpus import compose_tiny, save_tiny_whisper, tiny_corpus, write_corpus

from emoicl.commands import corpus
from emoicl.training.recipe import save_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Folder of a saved tiny model and its processor."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model, processor = compose_tiny(save_tiny_whisper(folder / "whisper"))
    save_checkpoint(model, processor, folder / "model")
    return folder / "model"


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """The table of a tiny corpus, beside its clips."""
    utterances = tiny_corpus(num_speakers=2, takes=2)
    return write_corpus(utterances, tmp_path_factory.mktemp("corpus") / "corpus.csv")


@pytest.fixture
def emoicl():
    """Runs `emoicl` with the command `corpus` alone."""
    parser = argparse.ArgumentParser("emoicl")
    corpus.add_parser(parser.add_subparsers(required=True))

    def run(*arguments):
        options = parser.parse_args(list(map(str, arguments)))
        options.run(options)

    return run
