"""A stage of training that one process can run, or several that share each batch:
`accelerate launch tiny_distributed_run.py FOLDER BATCH_SIZE`, with a tiny Whisper in `FOLDER/whisper`."""

import sys
from pathlib import Path

import torch
from tiny_corpus import SIZES, compose_tiny, tiny_corpus

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.training.data.features import FeatureCache
from emoicl.training.experiments.stages import run_stage, stage_arguments
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer


# Each process draws its own dropout.
WITHOUT_DROPOUT = {
    "qformer": SIZES["qformer"] | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "text": SIZES["text"] | {"dropout_rate": 0.0},
    "feature_dropout": 0.0,
}


def run(folder: Path, batch_size: int) -> None:
    """Trains through an epoch's end into `FOLDER/stage`, and once more from its middle into `FOLDER/resumed`.

    Args:
        folder (`Path`): Holds the Whisper, and what is written.
        batch_size (`int`): Episodes of a process's part of a batch. An epoch of 36 is no multiple of it.
    """
    torch.manual_seed(0)
    model, processor = compose_tiny(folder / "whisper", **WITHOUT_DROPOUT)
    initial = {name: weight.clone() for name, weight in model.state_dict().items()}
    corpus = tiny_corpus()

    def make_trainer(model: EmoIclForConditionalGeneration, stage_dir: Path = folder / "stage") -> MetaIclTrainer:
        arguments = {
            "max_steps": 6,
            "per_device_train_batch_size": batch_size,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "eval_steps": 3,
            "eval_shots": "0,2",
            "save_steps": 3,
            "use_cpu": True,
        }
        return MetaIclTrainer(
            model=model,
            args=MetaIclTrainingArguments(**(stage_arguments(stage_dir, seed=0) | arguments)),
            train_dataset=corpus,
            eval_dataset=corpus,
            processing_class=processor,
            features=FeatureCache(model, processor.feature_extractor, folder / "cache"),
        )

    run_stage(folder / "stage", model, make_trainer)
    model.load_state_dict(initial)
    make_trainer(model, folder / "resumed").train(resume_from_checkpoint=str(folder / "stage" / "checkpoint-3"))


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
