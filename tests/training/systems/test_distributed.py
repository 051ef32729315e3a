import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_distributed_run
import torch
from safetensors.torch import load_file


@pytest.fixture(scope="module")
def runs(whisper, tmp_path_factory):
    """Folders of the same training by one process, and by two that `accelerate launch` starts."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    for folder in (one, two):
        shutil.copytree(whisper, folder / "whisper")
    tiny_distributed_run.run(one, batch_size=10)
    script = Path(tiny_distributed_run.__file__)
    # The repository first, because `tests/face` would be taken for the package.
    search_path = os.pathsep.join(map(str, (script.parents[1], script.parent)))
    launch = "accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0"
    settings = "--mixed_precision no --dynamo_backend no"
    subprocess.run(
        [sys.executable, "-m", *launch.split(), *settings.split(), str(script), str(two), "5"],
        env=os.environ | {"PYTHONPATH": search_path, "CUDA_VISIBLE_DEVICES": ""},
        check=True,
    )
    return one, two


def log(folder, field):
    entries = json.loads((folder / "stage" / "log.json").read_text())
    return torch.tensor([entry[field] for entry in entries if field in entry], dtype=torch.double)


def weights(folder, checkpoint):
    return load_file(folder / checkpoint / "model.safetensors")


@pytest.mark.parametrize("field", ["loss", "grad_norm", "eval_ua_spk", "epoch"])
def test_two_processes_train_as_one_with_the_same_batch(runs, field):
    one, two = (log(folder, field) for folder in runs)
    assert len(one) >= 2
    torch.testing.assert_close(two, one, rtol=1e-4, atol=0)


def test_two_processes_end_at_the_weights_of_one(runs):
    one, two = (weights(folder, "stage/checkpoint-6") for folder in runs)
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-5)


def test_two_processes_resume_within_an_epoch(runs):
    for folder in runs:
        # Of 4 steps an epoch.
        whole, resumed = weights(folder, "stage/checkpoint-6"), weights(folder, "resumed/checkpoint-6")
        torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


def test_two_processes_write_one_model_and_each_feature_once(runs):
    one, two = ({str(path.relative_to(folder)) for path in (folder / "stage/model").rglob("*")} for folder in runs)
    assert one == two
    assert "stage/model/model.safetensors" in two
    # Each writes shards of its own, of other clips.
    sizes = [sum(path.stat().st_size for path in (folder / "cache").rglob("*.safetensors")) for folder in runs]
    assert sizes[0] <= sizes[1] < 1.2 * sizes[0]
