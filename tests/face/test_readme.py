"""The README's Python snippets run, one after the other, as a newcomer would type them."""

import re
import shutil
from pathlib import Path

import datasets
from bundled_models import needs_bundled

from emoicl.bundled import BUNDLED_CLIPS
from emoicl_commands.cli import build_parser


README = (Path(__file__).parents[2] / "README.md").read_text()


@needs_bundled
def test_the_python_snippets_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMOICL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    shutil.copy(BUNDLED_CLIPS, tmp_path / "my_corpus.parquet")
    snippets = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(snippets) == 7
    names = {}
    for snippet in snippets:
        if "my-org/my-model" in snippet:
            names["recognizer"].save_pretrained("published")
            snippet = snippet.replace("my-org/my-model", "published")
        # One step shows that training runs; ten take their time.
        exec(snippet.replace("max_steps=10", 'max_steps=1, per_device_train_batch_size=4, report_to="none"'), names)
    answers = capsys.readouterr().out
    assert answers.count("'label'") >= 5 and "{'start': 0.0, 'end': 1.0" in answers
    assert not Path("me.profile").exists()
    assert "transformers_modules" in type(names["recognizer"]).__module__
    assert names["trainer"].state.global_step == 1
    assert "| 3-shot | 0." in answers


def test_the_commands_are_known():
    commands = set(re.findall(r"^emoicl (\w+)", README, flags=re.MULTILINE))
    assert commands == {
        "app",
        "card",
        "corpus",
        "evaluate",
        "export",
        "init",
        "matrix",
        "predict",
        "pretrain",
        "reproduce",
        "train",
    }
    for command in commands:
        assert command in build_parser().format_help()
