"""How a stage is trained: once, from the newest whole checkpoint, by one process or several."""

import json
import logging
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from transformers import PreTrainedModel, set_seed

from emoicl.training.data.processes import sole_run
from emoicl.training.data.writing import explain_full_disk, write_aside
from emoicl.training.publishing.provenance import carry_provenance
from emoicl.training.systems.checkpoints import ResumableTrainer, take_up
from emoicl.training.systems.log_progress import LogProgress
from emoicl.training.systems.lora import adapt
from emoicl.training.systems.sharding import whole_weights


logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=PreTrainedModel)

START_NAME = "start"


def stage_arguments(stage_dir: str | Path, seed: int) -> dict[str, Any]:
    """
    Training arguments that all stages share: checkpoints as often as evaluations, of which the one that is best for
    the validation speakers is kept.

    Args:
        stage_dir (`str` or `Path`): Where checkpoints go.
        seed (`int`): Seed of the stage.

    Returns:
        `dict`: Fields of [`~transformers.TrainingArguments`].
    """
    return {
        "output_dir": str(stage_dir),
        "seed": seed,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "report_to": "none",
        "disable_tqdm": not sys.stderr.isatty(),
        # Memory that is pinned means nothing to a Mac, where CPU and GPU share theirs.
        "dataloader_pin_memory": torch.accelerator.is_available() and not torch.backends.mps.is_available(),
        # Without it, half precision is refused on a machine that has no accelerator.
        "use_cpu": not torch.accelerator.is_available(),
    }


def run_stage(
    stage_dir: Path,
    model: Model,
    make_trainer: Callable[[Model], ResumableTrainer],
    start: Callable[[Model], None] | None = None,
    lora: Mapping[str, Any] | None = None,
) -> Model:
    """
    Trains a model, unless that was done before. Run again after an interruption, at whatever moment, it goes on at the
    newest whole checkpoint, and ends as if there had been none.

    Args:
        stage_dir (`Path`): Where checkpoints, the log and the finished model go.
        model (`PreTrainedModel`): The model to start from.
        make_trainer (`Callable`): Makes the trainer of a model. Its `output_dir` is `stage_dir`.
        start (`Callable`, *optional*):
            Sets weights that training starts from, in place. What takes long is done once, however often a run is
            interrupted.
        lora (`Mapping`, *optional*):
            Low-rank adapters to train in place of the weights of a speech language model's language model, see
            [`adapt`]. Checkpoints have them beside the weights, and the finished model has them merged.

    Returns:
        `PreTrainedModel`: The model at its best checkpoint, as read from `stage_dir/model`, beside its processor.

    Raises:
        `ValueError`: If another run is training the stage.
        `OSError`: If the disk is full.
    """
    # FSDP makes another class of it.
    finished, kind = stage_dir / "model", type(model)
    if not finished.exists():
        if start is not None:
            take_start(stage_dir / START_NAME, model, start)
        # Before the lock, because it tells accelerate which of several processes this is.
        trainer = make_trainer(model)
        merge = None
        if lora:
            # They begin alike, whether the run was interrupted before or not.
            set_seed(trainer.args.seed)
            merge = adapt(model, lora, torch.bfloat16 if trainer.args.bf16 else model.dtype)
        with sole_run(stage_dir), explain_full_disk(stage_dir):
            train_stage(stage_dir, trainer)
            with whole_weights(model):
                if merge is not None:
                    merge()
                if trainer.is_world_process_zero():
                    keep_model(finished, model, trainer.processing_class)
                    shutil.rmtree(stage_dir / START_NAME, ignore_errors=True)
                trainer.accelerator.wait_for_everyone()
    return kind.from_pretrained(finished)


def take_start(folder: Path, model: PreTrainedModel, start: Callable[[Any], None]) -> None:
    """Gives a model the weights that its training starts from, which are in the folder if that was done before."""
    processes = PartialState()
    if not folder.exists():
        start(model)
        if processes.is_main_process:
            keep_model(folder, model, None)
    processes.wait_for_everyone()
    # All processes start as the main one.
    model.load_state_dict(type(model).from_pretrained(folder).state_dict())


def train_stage(stage_dir: Path, trainer: ResumableTrainer) -> None:
    """Trains a model from the newest whole checkpoint, if there is one, and saves the log."""
    logger.info("Training %s.", stage_dir)
    trainer.add_callback(LogProgress(f"Training {stage_dir.name}"))
    with PartialState().main_process_first():
        checkpoint = take_up(stage_dir)
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_state()
    if trainer.is_world_process_zero():
        with write_aside(stage_dir / "log.json") as aside:
            aside.write_text(json.dumps(trainer.state.log_history, indent=1))


def keep_model(folder: Path, model: PreTrainedModel, processor: Any) -> None:
    """Saves the model at the end of a stage. It is renamed when complete, because it tells that the stage is done."""
    for of_killed_run in folder.parent.glob(".*.unfinished"):
        shutil.rmtree(of_killed_run)
    with write_aside(folder) as unfinished:
        model.save_pretrained(unfinished)
        if processor is not None:
            processor.save_pretrained(unfinished)
        carry_provenance(folder.parent, unfinished)
