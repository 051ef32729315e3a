"""Two processes that hold a part of the weights each (FSDP2), on CPUs, by the configuration that comes with the
package."""

import json
from pathlib import Path

import pytest
import tiny_sharded_run
import torch
from accelerate import FullyShardedDataParallelPlugin
from safetensors.torch import load_file
from tiny import tiny_config
from two_processes import train_twice

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.training import experiments
from emoicl.training.systems.sharding import sharded_by_layers


CONFIGURATION = Path(experiments.__file__).parents[1] / "accelerate/fsdp2-2-gpus.yaml"


@pytest.fixture(scope="module")
def runs(whisper, tmp_path_factory):
    """Folders of the same training by one process, and by two."""
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    launch = ["--config_file", str(CONFIGURATION)]
    train_twice(tiny_sharded_run, whisper, folders, launch, ACCELERATE_TORCH_DEVICE="cpu")
    return folders


def losses(folder, field):
    entries = json.loads((folder / "log.json").read_text())
    return torch.tensor([entry[field] for entry in entries if field in entry], dtype=torch.double)


@pytest.mark.parametrize("field", ["loss", "grad_norm", "eval_ua_spk", "eval_loss"])
def test_parts_of_the_weights_train_as_all_of_them(runs, field):
    of_one, of_two = (losses(folder / "stage", field) for folder in runs)
    assert len(of_one) == (2 if field.startswith("eval") else 6)
    torch.testing.assert_close(of_two, of_one, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["adapters", "encoder", "made_up"])
def test_parts_of_the_weights_train_so_by_each_trainer(runs, name):
    of_one, of_two = (losses(folder / name, "loss") for folder in runs)
    assert len(of_one) == 5
    torch.testing.assert_close(of_two, of_one, rtol=2e-3, atol=1e-6)
    if name != "adapters":
        of_one, of_two = (losses(folder / name, "eval_loss") for folder in runs)
        torch.testing.assert_close(of_two, of_one, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("model", ["stage/model", "adapters/model", "encoder", "made_up"])
def test_all_weights_are_saved(runs, model):
    one, two = (load_file(folder / model / "model.safetensors") for folder in runs)
    torch.testing.assert_close(two, one, rtol=1e-2, atol=2e-3)


def test_all_weights_are_taken_up(runs):
    whole, resumed = (load_file(runs[1] / name / "checkpoint-6/model.safetensors") for name in ("stage", "resumed"))
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


def test_a_language_model_keeps_one_embedding(runs):
    one, two = (load_file(folder / "language_model/model/model.safetensors") for folder in runs)
    assert one.keys() == two.keys()
    of_one, of_two = (losses(folder / "language_model/denoising", "loss") for folder in runs)
    # Each process draws its own dropout.
    torch.testing.assert_close(of_two[0], of_one[0], rtol=0.01, atol=0)


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("t5", ["T5Block"]),
        ("bart", ["BartDecoderLayer", "BartEncoderLayer"]),
        ("llama", ["LlamaDecoderLayer"]),
    ],
)
def test_the_layers_of_a_language_model_need_no_naming(text, layers):
    model = EmoIclForConditionalGeneration(tiny_config(text=text))
    before = dict(vars(model))
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="transformer_based_wrap")
    with sharded_by_layers(model):
        plugin.set_auto_wrap_policy(model)
    assert plugin.transformer_cls_names_to_wrap == layers
    assert vars(model) == before
