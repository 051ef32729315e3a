import json

import pytest
from tone_tables import speakers, write_table

from emoicl_commands.cli import main


@pytest.fixture
def arguments(checkpoint, classifier, table, tmp_path):
    models = ["--models", checkpoint, classifier]
    folders = ["--output", tmp_path / "out", "--cache-folder", tmp_path / "cache"]
    draws = ["--shots", 0, 2, "--seeds", 1]
    return [*map(str, ["matrix", *models, "--corpora", table, *folders, *draws])]


def test_models_and_what_is_trained(arguments, checkpoint, table, tmp_path, capsys):
    for number, split in enumerate(("train", "validation", "test")):
        write_table(speakers(2 * number, 2 * number + 1), tmp_path / "tones" / f"{split}.parquet")
    corpora = ["--corpora", str(table), str(tmp_path / "tones")]
    encoder = ["--speech-encoder", str(checkpoint.parent / "whisper"), "--speech-layer", "1", "2"]
    trained = [*arguments, *corpora, "--systems", "linear_probe", "baselines", *encoder]
    assert main(trained) == 0
    printed = capsys.readouterr().out
    matrix = json.loads((tmp_path / "out" / "matrix.json").read_text())
    names = [system["name"] for system in matrix["systems"]]
    assert names[0] == str(checkpoint) and names[2:] == [
        "linear_probe on tones",
        "contrastive_shots",
        "normalized_probe on tones",
        "shots_alone",
    ]
    assert [cell["mark"] for cell in matrix["cells"]][::2] == ["?", "?", "", "", "", ""]
    assert [cell["mark"] for cell in matrix["cells"]][1::2] == ["?", "?", "*", "", "*", ""]
    assert (tmp_path / "out" / "matrix.md").read_text() in printed
    for name in ("matrix.md", "matrix.json"):
        assert f"{tmp_path / 'out'}/{name}" in printed

    assert main(arguments) == 0
    assert "shots_alone" not in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 12


def test_what_cannot_be_measured(complaint, checkpoint, table, tmp_path, capsys):
    arguments = ["matrix", "--output", tmp_path / "out", "--corpora"]
    assert "there is no such file" in complaint(*arguments, "gone.csv", "--models", checkpoint)
    assert "holds no checkpoint" in complaint(*arguments, table, "--models", checkpoint, tmp_path)
    assert not (tmp_path / "out").exists()
    for option in ("--modles", "--train-on"):
        with pytest.raises(SystemExit):
            main([*map(str, [*arguments, table]), option, "tones"])
        assert f"unrecognized arguments: {option}" in capsys.readouterr().err
    assert "'TU' is no enrollment setting" in complaint(*arguments, table, "--models", checkpoint, "--setting", "TU")
