"""Tiny stages of training that are killed with -9, and run again until they end.

`python tiny_killed_runs.py FOLDER KIND EVENT...`, with a tiny Whisper in `FOLDER/whisper`: each run is killed at the
given event, such as the 20th change of a file in its folder. What came out lies in `FOLDER/KIND-EVENT/model`.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from tiny import LABELS
from tiny_corpus import compose_tiny, tiny_corpus
from transformers import modeling_utils

from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.classifier_inputs import InputCache
from emoicl.training.experiments.stage_running import run_stage, stage_arguments
from emoicl.training.systems.encoder_config import EncoderTrainingArguments
from emoicl.training.systems.encoder_trainer import EncoderTrainer, start_adaptation
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer


ARGUMENTS: dict[str, Any] = {
    "max_steps": 4,
    "save_steps": 1,
    "logging_steps": 1,
    "learning_rate": 1e-2,
    "use_cpu": True,
    "disable_tqdm": True,
}
# What changes a file or a folder, with its path as the first argument.
CHANGES = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}


def run_in_context(whisper: Path, stage_dir: Path, **arguments: Any) -> None:
    """A stage of meta-training, which ends with its best checkpoint."""
    torch.manual_seed(0)
    (model, processor), corpus = compose_tiny(whisper), tiny_corpus()
    of_run = {"eval_steps": 1, "eval_shots": [0], "per_device_train_batch_size": 8}
    args = MetaIclTrainingArguments(**(stage_arguments(stage_dir, 0) | ARGUMENTS | of_run | arguments))
    features = FeatureCache(model, processor.feature_extractor, whisper.parent / "cache")
    run_stage(stage_dir, model, lambda model: MetaIclTrainer(model, args, corpus, processor, corpus, features))


def run_encoder(whisper: Path, stage_dir: Path, **arguments: Any) -> None:
    """A stage that tunes the speech encoder, with no evaluation."""
    torch.manual_seed(0)
    (model, processor), corpus = compose_tiny(whisper, freeze_speech_encoder=False), tiny_corpus(6)
    of_run = {"eval_strategy": "no", "load_best_model_at_end": False, "learning_rate": 1e-3}
    args = EncoderTrainingArguments(**(stage_arguments(stage_dir, 0) | ARGUMENTS | of_run | arguments))
    extractor = processor.feature_extractor
    run_stage(
        stage_dir,
        model,
        lambda model: EncoderTrainer(model, args, corpus, LABELS, InputCache(extractor)),
        lambda model: start_adaptation(model, corpus, extractor, whisper.parent / "cache"),
    )


RUNS = {"in_context": run_in_context, "encoder": run_encoder}


def in_child(task: Callable[[], None], killed_after: float | None = None) -> int:
    """Runs a task in a fork, as imports take longer than it does, and perhaps kills it after some seconds of a
    processor. Gives the status of its end."""
    child = os.fork()
    if child == 0:
        try:
            if killed_after is not None:
                # Nothing handles its signal, which ends a process as -9 does.
                signal.setitimer(signal.ITIMER_PROF, killed_after)
            task()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(event: int, folder: Path) -> None:
    """Lets this process be killed at the event with that number; with 0, never."""
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen == event:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_audit(name: str, arguments: tuple) -> None:
        if name not in CHANGES or not str(arguments[0]).startswith(str(folder)):
            return
        if name != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR):
            count()

    def half_written(save: Callable) -> Callable:
        def save_half_first(content: Any, path: Any, *args: Any, **kwargs: Any) -> None:
            save(content, path, *args, **kwargs)
            os.truncate(path, os.path.getsize(path) // 2)
            count()
            save(content, path, *args, **kwargs)

        return save_half_first

    sys.addaudithook(on_audit)
    # Their files are not written by Python, so that it tells of no event.
    torch.save = half_written(torch.save)
    modeling_utils.safe_save_file = half_written(safetensors.torch.save_file)  # pyright: ignore[reportPrivateImportUsage]


def main(folder: Path, kind: str, events: list[int]) -> int:
    """Gives the number of runs that did not end as they should."""
    failed = 0
    for event in events:
        stage_dir = folder / f"{kind}-{event}"

        def run(event: int = event, stage_dir: Path = stage_dir) -> None:
            kill_at(event, stage_dir)
            RUNS[kind](folder / "whisper", stage_dir)

        status = in_child(run)
        if event and status != -signal.SIGKILL:
            print(f"{kind} ended with {status} before event {event}.", file=sys.stderr)
            failed += 1
        if event:
            failed += in_child(lambda at=stage_dir: RUNS[kind](folder / "whisper", at)) != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], [int(event) for event in sys.argv[3:]]))
