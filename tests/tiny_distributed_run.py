"""Stages of training, and commands, that one process can run, or several that share the work:
`accelerate launch tiny_distributed_run.py FOLDER BATCH_SIZE`, with a tiny Whisper in `FOLDER/whisper`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import torch
from accelerate import PartialState
from tiny import LABELS, READER
from tiny_classifier import SIZES as CLASSIFIER_SIZES
from tiny_corpus import SIZES, compose_tiny, tiny_corpus, write_corpus

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.classifier_inputs import InputCache
from emoicl.training.experiments.stage_running import run_stage, stage_arguments
from emoicl.training.systems.base_trainer import EmoIclTrainer
from emoicl.training.systems.classifier_config import ClassifierTrainingArguments
from emoicl.training.systems.classifier_trainer import ClassifierTrainer
from emoicl.training.systems.composition import compose_classifier
from emoicl.training.systems.encoder_config import EncoderTrainingArguments
from emoicl.training.systems.encoder_trainer import EncoderTrainer, start_adaptation
from emoicl.training.systems.made_up_config import MadeUpTrainingArguments
from emoicl.training.systems.made_up_trainer import MadeUpTrainer
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer
from emoicl_commands.cli import main


# Each process draws its own dropout.
WITHOUT_DROPOUT = {
    "qformer": SIZES["qformer"] | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "text": SIZES["text"] | {"dropout_rate": 0.0},
    "feature_dropout": 0.0,
}
WITHOUT_EVALUATION = {
    "max_steps": 5,
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
}
CORPUS = tiny_corpus()


def run(folder: Path, batch_size: int) -> None:
    """Trains with each trainer: through an epoch's end into `FOLDER/stage` and once more from its middle into
    `FOLDER/resumed`, and for some steps into `FOLDER/encoder`, `FOLDER/made_up` and `FOLDER/classifier`. Then runs
    commands, of which the answers are in `FOLDER/report`, `FOLDER/answers.jsonl` and `FOLDER/language_model`.

    Args:
        folder (`Path`): Holds the Whisper, and what is written.
        batch_size (`int`): Items of a process's part of a batch. An epoch of 36 is no multiple of it.
    """
    arguments: dict[str, Any] = {
        "per_device_train_batch_size": batch_size,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "use_cpu": True,
    }
    train_in_context(folder, arguments | {"max_steps": 6, "eval_steps": 3, "save_steps": 3, "eval_shots": "0,2"})
    arguments |= WITHOUT_EVALUATION
    for name, make_trainer in (("encoder", encoder), ("made_up", made_up), ("classifier", classifier)):
        torch.manual_seed(0)
        train_and_evaluate(folder / name, make_trainer(folder, stage_arguments(folder / name, seed=0) | arguments))
    run_commands(folder)


def train_in_context(folder: Path, arguments: dict[str, Any]) -> None:
    model, make_trainer = in_context(folder, folder / "stage", arguments)
    run_stage(folder / "stage", model, make_trainer)
    model, make_trainer = in_context(folder, folder / "resumed", arguments)
    make_trainer(model).train(resume_from_checkpoint=str(folder / "stage" / "checkpoint-3"))


def in_context(
    folder: Path, stage_dir: Path, arguments: dict[str, Any], **fields: Any
) -> tuple[EmoIclForConditionalGeneration, Callable[[EmoIclForConditionalGeneration], MetaIclTrainer]]:
    """A model, the same each time, and what makes its trainer."""
    torch.manual_seed(0)
    model, processor = compose_tiny(folder / "whisper", **(WITHOUT_DROPOUT | fields))

    def make_trainer(model: EmoIclForConditionalGeneration) -> MetaIclTrainer:
        return MetaIclTrainer(
            model=model,
            args=MetaIclTrainingArguments(**(stage_arguments(stage_dir, seed=0) | arguments)),
            train_dataset=CORPUS,
            eval_dataset=CORPUS,
            processing_class=processor,
            features=FeatureCache(model, processor.feature_extractor, folder / "cache"),
        )

    return model, make_trainer


def encoder(folder: Path, arguments: dict[str, Any]) -> EncoderTrainer:
    model, processor = compose_tiny(folder / "whisper", freeze_speech_encoder=False)
    start_adaptation(model, CORPUS, processor.feature_extractor, folder / "cache")
    args = EncoderTrainingArguments(**(arguments | {"eval_shots": "0,2", "learning_rate": 1e-3}))
    return EncoderTrainer(model, args, CORPUS, LABELS, InputCache(processor.feature_extractor), CORPUS)


def made_up(folder: Path, arguments: dict[str, Any]) -> MadeUpTrainer:
    fields = READER | WITHOUT_DROPOUT | {"max_shots": 12, "num_open_labels": len(LABELS)}
    model, processor = compose_tiny(folder / "whisper", **fields)
    features = FeatureCache(model, processor.feature_extractor, folder / "cache")
    of_run = {"eval_shots": "0,2", "contexts_per_epoch": 24, "matching_steps": 2, "num_targets": 3}
    return MadeUpTrainer(model, MadeUpTrainingArguments(**(arguments | of_run)), CORPUS, processor, CORPUS, features)


def classifier(folder: Path, arguments: dict[str, Any]) -> ClassifierTrainer:
    fields = {"speech_layer": 2, "feature_dropout": 0.0, **CLASSIFIER_SIZES, "dropout": 0.0}
    model, extractor = compose_classifier(str(folder / "whisper"), LABELS, LABELS, **fields)
    return ClassifierTrainer(
        model,
        ClassifierTrainingArguments(**arguments),
        CORPUS,
        extractor,
        CORPUS,
        FeatureCache(model, extractor, folder / "cache"),
    )


def train_and_evaluate(folder: Path, trainer: EmoIclTrainer) -> None:
    trainer.train()
    trainer.evaluate()
    trainer.save_model(str(folder))
    if PartialState().is_main_process:
        (folder / "log.json").write_text(json.dumps(trainer.state.log_history))


def run_commands(folder: Path) -> None:
    clips = folder / "clips"
    if PartialState().is_main_process:
        clips.mkdir()
        write_corpus(Corpus(CORPUS.utterances[:18]), clips / "corpus.csv")
        write_split(folder / "tones")
        (clips / "texts.txt").write_text("\n".join(f"{a} and {b}." for a in LABELS for b in LABELS))
    PartialState().wait_for_everyone()
    corpus, model = str(clips / "corpus.csv"), ["--model", str(folder / "stage" / "model")]
    cache, report = str(folder / "cache"), str(folder / "report")
    assert not main(
        ["evaluate", *model, "--corpus", corpus, "--shots", "0", "2", "--cache-folder", cache, "--output", report]
    )
    answers = str(folder / "answers.jsonl")
    assert not main(["predict", *model, str(clips), "--output", answers, "--batch-size", "4"])
    pretrain = ["pretrain", "language-model", "--text", str(clips / "texts.txt"), "--max-steps", "2"]
    assert not main([*pretrain, "--batch-size", "2", "--output", str(folder / "language_model")])
    prepare = ["corpus", "prepare", "generic", "--source", corpus, "--output", str(folder / "prepared")]
    assert not main(prepare)
    compared = ["--systems", "linear_probe", "prototypes", "zero_shot", "--labels", *LABELS, "--cache-folder", cache]
    sizes = ["--speech-encoder", str(folder / "whisper"), "--speech-layer", "2", "--enrollment-seeds", "1"]
    stage = [f"--stages.zero_shot.{name}" for name in ("max-steps", "eval-steps", "save-steps")]
    steps = [part for option in stage for part in (option, "2")] + ["--stages.zero_shot.use-cpu", "true"]
    reproduce = ["reproduce", "--corpus", str(folder / "tones"), "--output", str(folder / "reproduced")]
    assert not main([*reproduce, *compared, *sizes, *steps])


def write_split(folder: Path) -> None:
    """Tables of four training speakers, one for validation and one for the test."""
    folder.mkdir()
    utterances = tiny_corpus(num_speakers=6)
    names = list(utterances.by_speaker)
    for split, speakers in (("train", names[:4]), ("validation", names[4:5]), ("test", names[5:])):
        rows = [
            {"audio": {"bytes": row.audio, "path": row.name}, "emotion": row.label, "speaker_id": row.speaker_id}
            for row in utterances
            if row.speaker_id in speakers
        ]
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
