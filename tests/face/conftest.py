import pytest
from tiny import LABELS
from tiny_classifier import tiny_classifier
from tiny_corpus import compose_tiny, save_tiny_whisper, tiny_corpus, write_corpus

from emoicl.processing import EmoIclFeatureExtractor
from emoicl.training.experiments.recipe import save_checkpoint
from emoicl_commands import corpus
from emoicl_commands.cli import main
from emoicl_commands.parser import CommandParser


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


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """Folder of a saved tiny personalized classifier and its feature extractor."""
    folder = tmp_path_factory.mktemp("classifier")
    model = tiny_classifier(enrollment_labels=list(LABELS))
    model.save_pretrained(folder)
    EmoIclFeatureExtractor(feature_size=model.config.speech_config.num_mel_bins).save_pretrained(folder)
    return folder


@pytest.fixture
def enroll(table):
    """Writes an enrollment beside the clips."""

    def enroll(text, encoding="utf-8"):
        path = table.parent / "enrollment.csv"
        path.write_text(text, encoding=encoding)
        return path

    return enroll


@pytest.fixture
def complaint(capsys):
    """Runs a command that fails, and returns its message, which is one line."""

    def complaint(*arguments):
        assert main([str(argument) for argument in arguments]) == 1
        error = capsys.readouterr().err
        assert "Traceback" not in error
        lines = error[error.index("emoicl: ") :].splitlines()
        assert len(lines) == 1
        return lines[0]

    return complaint


@pytest.fixture
def emoicl():
    """Runs `emoicl` with the command `corpus` alone."""
    parser = CommandParser("emoicl")
    corpus.add_parser(parser.add_subparsers(required=True))

    def run(*arguments):
        options = parser.parse_args(list(map(str, arguments)))
        options.run(options)

    return run
