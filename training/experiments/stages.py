"""A stage of training: a Trainer run that goes on where it was interrupted and keeps its best checkpoint."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel, Trainer
from transformers.trainer_utils import get_last_checkpoint

from emoicl.training.publishing.provenance import carry_provenance


Model = TypeVar("Model", bound=PreTrainedModel)


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
        "metric_for_best_model": "ua_spk",
        "greater_is_better": True,
        "report_to": "none",
        "disable_tqdm": not sys.stderr.isatty(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        # Without it, half precision is refused on a machine that has no accelerator.
        "use_cpu": not torch.cuda.is_available(),
    }


def run_stage(stage_dir: str | Path, model: Model, make_trainer: Callable[[Model], Trainer]) -> Model:
    """
    Trains a model, unless that was done before. Run again after an interruption, it goes on at the last checkpoint.

    Args:
        stage_dir (`str` or `Path`): Where checkpoints, the log and the finished model go.
        model (`PreTrainedModel`): The model to start from.
        make_trainer (`Callable`): Makes the trainer of a model. Its `output_dir` is `stage_dir`.

    Returns:
        `PreTrainedModel`: The model at its best checkpoint, as read from `stage_dir/model`, beside its processor.
    """
    stage_dir = Path(stage_dir)
    finished = stage_dir / "model"
    if not finished.exists():
        trainer = make_trainer(model)
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(stage_dir)) if stage_dir.exists() else None)
        trainer.save_state()
        if trainer.is_world_process_zero():
            (stage_dir / "log.json").write_text(json.dumps(trainer.state.log_history, indent=1))
            # Renamed when it is complete, because it tells that the stage is done.
            unfinished = stage_dir / "unfinished_model"
            model.save_pretrained(unfinished)
            if trainer.processing_class is not None:
                trainer.processing_class.save_pretrained(unfinished)
            carry_provenance(stage_dir, unfinished)
            unfinished.rename(finished)
        trainer.accelerator.wait_for_everyone()
    return type(model).from_pretrained(finished)
