import pytest
import yaml
from tiny_corpus import save_tiny_whisper, tiny_corpus, write_corpus

from emoicl.training.experiments.loading import load_recipe
from emoicl_commands.cli import main


def test_list(capsys):
    assert main(["recipe", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("base-emogator  ") and "two layers of Whisper-base" in lines[0]
    assert any(line.startswith("systems/proposed  ") for line in lines)
    assert not any(line.startswith("sizes/") for line in lines)


def test_copy(tmp_path, capsys):
    mine = tmp_path / "mine.yaml"
    assert main(["recipe", "copy", "base-emogator", str(mine)]) == 0
    assert f"emoicl train {mine}" in capsys.readouterr().out
    assert load_recipe(mine).stages == load_recipe("base-emogator").stages
    assert main(["recipe", "copy", "base-emogator", str(mine)]) == 1
    assert "is there already" in capsys.readouterr().err


@pytest.fixture
def arguments(tmp_path):
    whisper = save_tiny_whisper(tmp_path / "whisper")
    table = write_corpus(tiny_corpus(num_speakers=2), tmp_path / "corpus.csv")
    tables = [part for split in ("train", "validation", "test") for part in (f"--{split}", f"[{table}]")]
    return [
        "recipe",
        "check",
        "systems/proposed",
        "--speech-encoder",
        str(whisper),
        *tables,
        "--speech-layer",
        "2",
        "--labels",
    ]


def test_check(arguments, capsys):
    assert main([*arguments, "Joy", "Anger", "Sadness"]) == 0
    printed = capsys.readouterr().out
    content, _, rest = printed.partition("\ntraining: ")
    assert yaml.safe_load(content)["labels"] == ["Joy", "Anger", "Sadness"]
    assert "18 utterances of 2 speakers" in rest and "proposed can be run." in rest


@pytest.mark.parametrize(
    "change, message",
    [
        (["Joy", "Anger", "Fear"], "No training utterance is labeled Fear"),
        (["Joy", "Anger", "--test", "[absent.csv]"], "absent.csv: there is no such file"),
        (["Joy", "Anger", "--test", "[]"], "has no tables for `test`"),
        (["Joy", "Anger", "--stages.in_context.eval-steps", "7"], "stages.in_context: "),
    ],
)
def test_what_cannot_be_run(arguments, change, message, capsys):
    assert main([*arguments, *change]) == 1
    assert message in capsys.readouterr().err
