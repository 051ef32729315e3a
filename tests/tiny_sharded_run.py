"""Stages of training of which each process holds a part of the weights, on CPUs:
`accelerate launch --config_file fsdp2-2-gpus.yaml tiny_sharded_run.py FOLDER BATCH_SIZE`, with `FOLDER/whisper`."""

import os
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType


# accelerate would run DDP in its place where there is no GPU (1.15); all else is as it is with some.
if os.environ.get("ACCELERATE_USE_FSDP") == "true":
    PartialState._prepare_backend = lambda self, *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)

from tiny import LABELS  # noqa: E402
from tiny_checkpoints import save_language_model  # noqa: E402
from tiny_distributed_run import (  # noqa: E402
    WITHOUT_EVALUATION,
    encoder,
    in_context,
    made_up,
    train_and_evaluate,
    train_in_context,
)

from emoicl.training.experiments.stage_running import run_stage, stage_arguments  # noqa: E402
from emoicl_commands.cli import main  # noqa: E402


def run(folder: Path, batch_size: int) -> None:
    """Trains in context into `FOLDER/stage`, and once more from its middle into `FOLDER/resumed`, with an evaluation
    of which one process has no batch; trains adapters of a decoder-only language model into `FOLDER/adapters`, a
    speech encoder into `FOLDER/encoder` and by made-up speakers into `FOLDER/made_up`; and pretrains a language model
    into `FOLDER/language_model`.

    Args:
        folder (`Path`): Holds the Whisper, and what is written.
        batch_size (`int`): Items of a process's part of a batch.
    """
    arguments = {"per_device_train_batch_size": batch_size, "learning_rate": 1e-2, "logging_steps": 1}
    arguments |= {"use_cpu": os.environ.get("ACCELERATE_USE_FSDP") != "true", "per_device_eval_batch_size": 64}
    train_in_context(folder, arguments | {"max_steps": 6, "eval_steps": 3, "save_steps": 3, "eval_shots": "2"})
    arguments |= WITHOUT_EVALUATION
    decoder = folder / "decoder"
    if PartialState().is_main_process:
        save_language_model("qwen3", decoder, LABELS)
    PartialState().wait_for_everyone()
    published = {"language_model": str(decoder), "text": None, "adaptation_config": None}
    model, make_trainer = in_context(folder, folder / "adapters", arguments, **published)
    run_stage(folder / "adapters", model, make_trainer, lora={"r": 2})
    for name, make in (("encoder", encoder), ("made_up", made_up)):
        torch.manual_seed(0)
        train_and_evaluate(folder / name, make(folder, stage_arguments(folder / name, seed=0) | arguments))
    texts = folder / "texts.txt"
    if PartialState().is_main_process:
        texts.write_text("\n".join(f"{a} and {b}." for a in LABELS for b in LABELS))
    PartialState().wait_for_everyone()
    pretrain = ["pretrain", "language-model", "--text", str(texts), "--max-steps", "2"]
    assert not main([*pretrain, "--batch-size", str(batch_size), "--output", str(folder / "language_model")])


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
