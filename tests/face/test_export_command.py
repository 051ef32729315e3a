import json

import pytest

from emoicl.training.publishing import export as export_module
from emoicl_commands.cli import main


@pytest.fixture
def unverified(monkeypatch):
    monkeypatch.setattr(export_module, "verify", lambda *args: None)


def test_export_tells_what_it_wrote(checkpoint, tmp_path, capsys, unverified):
    out = tmp_path / "my-model"
    assert (
        main(["export", str(checkpoint), "--output", str(out), "--dtype", "float16", "--max-shard-size", "30KB"]) == 0
    )
    printed = capsys.readouterr().out
    assert f"Wrote {out}." in printed
    assert [path.name for path in out.iterdir() if f"  {path.name} " not in printed] == []
    assert "Published" not in printed
    shards = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(shards.values())) > 1
    assert export_module.stored_dtype(out) == export_module.torch.float16


def test_export_publishes_what_it_is_told_to(checkpoint, tmp_path, capsys, unverified, monkeypatch):
    published = []
    monkeypatch.setattr(export_module, "publish", lambda *args: published.append(args))
    out = tmp_path / "my-model"
    assert main(["export", str(checkpoint), "--output", str(out), "--push-to-hub", "org/name", "--private"]) == 0
    assert published == [(out.resolve(), "org/name", True)]
    assert "Published it as org/name." in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["{folder}", "--output", "{folder}"], "the folder is not empty"),
        (["{folder}", "--output", "{folder}/out", "--private"], "name it with --push-to-hub"),
        (["{folder}", "--output", "{folder}/out", "--push-to-hub", "a//b"], "a//b"),
        (["{folder}/gone", "--output", "{folder}/out"], "gone"),
    ],
)
def test_export_refuses(checkpoint, capsys, arguments, message, unverified):
    before = sorted(path.name for path in checkpoint.iterdir())
    assert main(["export", *(argument.format(folder=checkpoint) for argument in arguments)]) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert sorted(path.name for path in checkpoint.iterdir()) == before


def test_export_stores_no_other_precision(checkpoint, capsys):
    with pytest.raises(SystemExit):
        main(["export", str(checkpoint), "--output", "out", "--dtype", "int8"])
    assert "float16" in capsys.readouterr().err
