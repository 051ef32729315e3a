"""Checkpoints that a kill cannot break: which of them are whole, and at which a run goes on."""

import json
import logging
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput, rotate_checkpoints

from emoicl.training.data.writing import write_aside
from emoicl.training.systems.sharding import sharded_by_layers


logger = logging.getLogger(__name__)

MARK_NAME = "complete.json"
_NUMBERED = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")


class CheckpointKeeper(TrainerCallback):
    """
    Marks a checkpoint when all of it is written, and deletes older ones only then. Trainer itself deletes them before.

    Args:
        limit (`int`, *optional*): The number of checkpoints to keep, the best one among them; by default all.
    """

    def __init__(self, limit: int | None):
        self.limit = limit

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        # Each process writes a part.
        PartialState().wait_for_everyone()
        if args.should_save:
            folder = str(args.output_dir)
            mark_whole(Path(folder) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
            rotate_checkpoints(folder, self.limit, state.best_model_checkpoint, use_mtime=True)


class ResumableTrainer(Trainer):
    """A Trainer that can be interrupted at any moment: resumed, it ends as if it had not been. It takes the arguments
    of [`~transformers.Trainer`]."""

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """
        Trains, as [`~transformers.Trainer.train`] does.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*):
                Folder of a checkpoint to go on at. With `True`, the newest whole one in `args.output_dir`.

        Raises:
            `ValueError`: If there is none.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = take_up(str(self.args.output_dir))
            if resume_from_checkpoint is None:
                raise ValueError(f"{self.args.output_dir} holds no whole checkpoint to go on at.")
        mark_last(self)
        sharded = sharded_by_layers(cast(Any, self.model)) if self.is_fsdp_enabled else nullcontext()
        with sharded, without_cudnn_attention():
            return super().train(resume_from_checkpoint, *args, **kwargs)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list, Any]:
        # Resumed at its last step within an epoch, Trainer would take one more (transformers 5.23).
        if self.state.global_step >= self.state.max_steps:
            return [], None
        return super().get_batch_samples(*args, **kwargs)


@contextmanager
def without_cudnn_attention() -> Iterator[None]:
    """Has PyTorch take another attention than cuDNN's, whose gradients are NaN on Hopper where a batch with a mask is
    64 tokens long, or 128 n more, and a token sees none, as padding on the left does (PyTorch 2.11,
    pytorch/pytorch#196678). One such batch ends a training."""
    enabled = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(enabled)


def mark_last(trainer: Trainer) -> None:
    """Has a trainer mark its checkpoints, after all its other callbacks have written into them."""
    keeper = trainer.pop_callback(CheckpointKeeper)
    if keeper is None:
        keeper = CheckpointKeeper(trainer.args.save_total_limit)
        # A copy, for the caller's arguments may be another trainer's too.
        trainer.args = copy(trainer.args)
        trainer.args.save_total_limit = None
    trainer.add_callback(keeper)


def mark_whole(checkpoint: Path) -> None:
    """Writes down the files of a checkpoint, each with its CRC-32: what is not so any more is damaged."""
    # A card is for people, who may edit it.
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.suffix != ".md"]
    checksums = {path.relative_to(checkpoint).as_posix(): _checksum(path) for path in files if path.name != MARK_NAME}
    with write_aside(checkpoint / MARK_NAME) as aside:
        aside.write_text(json.dumps(checksums, indent=1))


def take_up(folder: str | Path) -> str | None:
    """
    Finds the checkpoint at which an interrupted run goes on, and clears away what is newer but broken: what was
    being written is deleted, what was damaged later is renamed to `damaged-checkpoint-...`.

    Args:
        folder (`str` or `Path`): The `output_dir` of the run.

    Returns:
        `str`, *optional*: The newest whole checkpoint, if there is one.
    """
    folder = Path(folder)
    numbers = {path: _NUMBERED.fullmatch(path.name) for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")}
    by_age = sorted((int(match[1]), path) for path, match in numbers.items() if match and path.is_dir())
    for _, checkpoint in reversed(by_age):
        flaw = find_flaw(checkpoint) or _flaw_of_best(checkpoint)
        if flaw is None:
            return str(checkpoint)
        logger.warning("%s is passed over: %s.", checkpoint, flaw)
        if (checkpoint / MARK_NAME).exists():
            aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
            shutil.rmtree(aside, ignore_errors=True)
            checkpoint.rename(aside)
        else:
            shutil.rmtree(checkpoint)
    if by_age:
        logger.warning("%s has no whole checkpoint: training begins anew.", folder)
    return None


def find_flaw(checkpoint: Path) -> str | None:
    """What a checkpoint lacks to be whole, if anything."""
    try:
        checksums: dict[str, str] = json.loads((checkpoint / MARK_NAME).read_text())
    except FileNotFoundError:
        return "it was not written to its end"
    except ValueError:
        return f"{MARK_NAME} is damaged"
    for name, checksum in checksums.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if _checksum(path) != checksum:
            return f"{name} is damaged"
    return None


def _flaw_of_best(checkpoint: Path) -> str | None:
    """Training ends with the best checkpoint, so that a run cannot go on without it."""
    best = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME)).best_model_checkpoint
    if best is None or Path(best).name == checkpoint.name:
        return None
    flaw = find_flaw(checkpoint.with_name(Path(best).name))
    return flaw and f"of the best one until then, {Path(best).name}, {flaw}"


def _checksum(path: Path) -> str:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return f"{path.stat().st_size} bytes, {checksum:08x}"
