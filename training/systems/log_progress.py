"""Progress of a training where nobody watches."""

import sys
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from emoicl.training.data.progress import progress


class LogProgress(TrainerCallback):
    """
    Tells the progress of a training in the log; on a terminal a trainer has bars of its own.

    Args:
        desc (`str`): What is trained.
    """

    def __init__(self, desc: str):
        self.desc = desc
        self.bar: tqdm | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        if state.is_world_process_zero and not sys.stderr.isatty():
            self.bar = progress(desc=self.desc, unit="steps", total=state.max_steps, initial=state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        if self.bar is not None:
            self.bar.close()
