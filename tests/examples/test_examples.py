"""The examples run as they are, on a bundled model and the bundled clips."""

import ast
import runpy
import shutil
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from bundled_models import needs_bundled
from datasets import load_dataset
from huggingface_hub import HfApi
from safetensors.torch import load_file

from emoicl.bundled import BUNDLED_CLIPS, SPEECH_MODEL


EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = needs_bundled


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def run_example(tmp_path, monkeypatch, capsys, features):
    """Runs an example in an empty folder: its trainer, and what it prints at its end of the time before and after."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMOICL_CACHE", str(features))

    def run(name):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            names = runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        # What a user sees; others are hidden by default.
        assert [str(one.message) for one in caught if one.category in (UserWarning, FutureWarning)] == []
        return names["trainer"], ast.literal_eval(capsys.readouterr().out.splitlines()[-1])

    return run


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def test_every_example_is_tested():
    tests = Path(__file__).read_text()
    examples = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert examples
    assert [name for name in examples if f'"{name}"' not in tests] == []


@pytest.fixture
def predict_dataset(tmp_path, monkeypatch):
    """Runs the job over a data set of four bundled clips, one of which is damaged, and gives its answers."""
    rows = pyarrow.parquet.read_table(BUNDLED_CLIPS, columns=["audio", "emotion"]).slice(0, 4).to_pylist()
    rows[2]["audio"]["bytes"] = b"nonsense"
    (tmp_path / "clips").mkdir()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "clips" / "train.parquet")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))

    def predict(output, *options):
        arguments = [str(tmp_path / "clips"), str(output), "--model", "bursts", "--batch-size", "2", *options]
        monkeypatch.setattr("sys.argv", ["predict_hub_dataset.py", *arguments])
        runpy.run_path(str(EXAMPLES / "predict_hub_dataset.py"), run_name="__main__")

    return predict


def test_a_job_over_a_data_set(predict_dataset, tmp_path):
    (tmp_path / "out").mkdir()
    for shard in ("0", "1"):
        predict_dataset(tmp_path / "out", "--num-shards", "2", "--shard", shard)
    answers: Any = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert answers.num_rows == 4 and answers.column_names == ["emotion", "prediction", "scores", "error"]
    assert [row["error"] is None for row in answers] == [True, True, False, True]
    assert "8 bytes that are not readable audio" in answers[2]["error"] and answers[2]["prediction"] is None
    assert [answer["label"] for answer in answers[0]["scores"]][0] == answers[0]["prediction"]


def test_a_job_pushes_its_answers(predict_dataset, monkeypatch):
    pushed = []
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **options: pushed.append((name, options)))
    monkeypatch.setattr(HfApi, "upload_file", lambda self, **options: pushed.append(options))
    predict_dataset("my-org/answers")
    (name, created), uploaded = pushed
    assert name == uploaded["repo_id"] == "my-org/answers"
    assert created["repo_type"] == uploaded["repo_type"] == "dataset" and created["private"]
    assert uploaded["path_in_repo"] == "data/train-00000-of-00001.parquet"


def test_seq2seq_trainer(run_example):
    trainer, measured = run_example("finetune_with_seq2seq_trainer.py")
    assert trainer.state.global_step == trainer.args.max_steps
    assert all(measured["after"][shots] > accuracy for shots, accuracy in measured["before"].items())
    before, after = weights(SPEECH_MODEL), weights("outputs/seq2seq/model")
    frozen = ("model.speech_encoder.", "model.adaptation.familiarity.")
    same = {name for name in before if torch.equal(before[name].float(), after[name])}
    assert same == {name for name in before if name.startswith(frozen)}


def test_meta_icl_trainer(run_example):
    trainer, measured = run_example("finetune_with_meta_icl_trainer.py")
    assert measured["eval_loss"]["after"] < measured["eval_loss"]["before"]
    epochs = [entry.get("epoch") for entry in trainer.state.log_history if "eval_ua_spk" in entry]
    assert set(epochs) >= set(range(1, 9))
    whole = weights("outputs/meta_icl/model")
    # As if it had been interrupted.
    shutil.rmtree(f"outputs/meta_icl/checkpoint-{trainer.state.global_step}")
    shutil.rmtree("outputs/meta_icl/model")
    run_example("finetune_with_meta_icl_trainer.py")
    torch.testing.assert_close(weights("outputs/meta_icl/model"), whole, rtol=0, atol=1e-5)


def test_lora(run_example):
    pytest.importorskip("peft")
    _, measured = run_example("finetune_with_lora.py")
    assert measured["after"]["0-shot"] < measured["before"]["0-shot"]
    before, after = weights(SPEECH_MODEL), weights("outputs/lora/model")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].float(), after[name])}
    assert changed
    assert {name.rpartition(".")[0][-2:] for name in changed} == {".q", ".k", ".v", ".o"}
    adapter = Path("outputs/lora/adapter/adapter_model.safetensors")
    assert adapter.stat().st_size < SPEECH_MODEL.joinpath("model.safetensors").stat().st_size / 50
