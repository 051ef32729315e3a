"""The configurations of `accelerate launch` that come with the package."""

from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser

from emoicl.training import experiments


CONFIGURATIONS = sorted((Path(experiments.__file__).parents[1] / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_configurations_are_what_their_names_say(path):
    config: Any = load_config_from_file(str(path))
    number = {"one-gpu": 1, "ddp-2-gpus": 2, "ddp-8-gpus": 8, "fsdp2-2-gpus": 2, "fsdp2-8-gpus": 8}[path.stem]
    assert config.num_processes == number
    kind = {"one": "NO", "ddp": "MULTI_GPU", "fsdp2": "FSDP"}[path.stem.partition("-")[0]]
    assert config.distributed_type == kind
    # Options that launch does not know would be passed over.
    options = vars(launch_command_parser().parse_args(["script.py"]))
    assert set(config.fsdp_config) <= options.keys()


def test_there_are_some_for_1_2_and_8_devices():
    assert len(CONFIGURATIONS) == 5
