"""How a pretraining runs: what its stages have in common."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoicl.training.experiments.stage_running import stage_arguments


@dataclass(frozen=True)
class Schedule:
    """
    How long and how fast a stage trains.

    Args:
        max_steps (`int`): Number of steps of the optimizer.
        batch_size (`int`): Number of items in a step.
        learning_rate (`float`): Largest learning rate: it rises over the first 5 % of the steps, then falls to 0.
    """

    max_steps: int
    batch_size: int
    learning_rate: float


def pretraining_arguments(stage_dir: str | Path, schedule: Schedule, seed: int) -> dict[str, Any]:
    """
    Training arguments of a stage of pretraining: AdamW, and ten checkpoints on the way, of which the last two are
    kept. RAdam is the paper's for the speech LM; from random weights it takes its first hundred steps too slowly.

    Args:
        stage_dir (`str` or `Path`): Where checkpoints go.
        schedule ([`Schedule`]): How long and how fast to train.
        seed (`int`): Seed of the stage.

    Returns:
        `dict`: Fields of [`~transformers.TrainingArguments`].
    """
    return stage_arguments(stage_dir, seed) | {
        "max_steps": schedule.max_steps,
        "per_device_train_batch_size": schedule.batch_size,
        "learning_rate": schedule.learning_rate,
        "warmup_steps": schedule.max_steps // 20,
        "save_steps": max(schedule.max_steps // 10, 1),
        "logging_steps": max(schedule.max_steps // 50, 1),
        "remove_unused_columns": False,
        # There are no speakers to choose a checkpoint by.
        "eval_strategy": "no",
        "load_best_model_at_end": False,
    }
