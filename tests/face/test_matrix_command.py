import json

import pytest
from tiny_corpus import tiny_corpus, write_corpus

from emoicl_commands.cli import main


@pytest.fixture
def arguments(checkpoint, classifier, table, tmp_path):
    models = ["--models", checkpoint, classifier]
    folders = ["--output", tmp_path / "out", "--cache-folder", tmp_path / "cache"]
    draws = ["--shots", 0, 2, "--seeds", 1]
    return [*map(str, ["matrix", *models, "--corpora", table, *folders, *draws])]


def test_models_and_baselines_on_a_corpus(arguments, checkpoint, tmp_path, capsys):
    (tmp_path / "train").mkdir()
    training = write_corpus(tiny_corpus(num_speakers=6), tmp_path / "train" / "train.csv")
    encoder = ["--baseline-encoder", str(checkpoint.parent / "whisper"), "--baseline-layer", "2"]
    assert main([*arguments, "--baseline-train", str(training), *encoder]) == 0
    printed = capsys.readouterr().out
    matrix = json.loads((tmp_path / "out" / "matrix.json").read_text())
    names = [system["name"] for system in matrix["systems"]]
    on_shots = ["shots alone", "contrastive shots"]
    assert names[0] == str(checkpoint) and names[2:] == ["probe + prototypes", "normalized probe", *on_shots]
    # Two of the speakers that the baseline is fitted to are those of the corpus.
    assert [cell["mark"] for cell in matrix["cells"]] == ["?", "?", "!", "!", "", ""]
    assert (tmp_path / "out" / "matrix.md").read_text() in printed
    for name in ("matrix.md", "matrix.json"):
        assert f"{tmp_path / 'out'}/{name}" in printed

    assert main(arguments) == 0
    assert "shots alone" not in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 6


def test_what_cannot_be_measured(complaint, checkpoint, table, tmp_path):
    arguments = ["matrix", "--output", tmp_path / "out", "--corpora"]
    assert "there is no such file" in complaint(*arguments, "gone.csv", "--models", checkpoint)
    assert "holds no checkpoint" in complaint(*arguments, table, "--models", checkpoint, tmp_path)
    assert not (tmp_path / "out").exists()
    assert "'TU' is no enrollment setting" in complaint(*arguments, table, "--models", checkpoint, "--setting", "TU")
