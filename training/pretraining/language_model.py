"""Pretrains a T5-style language model from scratch: UL2's denoising of plain text, then instruction tuning."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from accelerate import PartialState
from torch.utils.data import Dataset
from transformers import (
    AutoConfig,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
    TrainingArguments,
    set_seed,
)

from emoicl.modeling.configuration_emoicl import EmoIclConfig
from emoicl.training.data.writing import write_aside
from emoicl.training.experiments.recipe import keep_settings
from emoicl.training.experiments.stage_running import run_stage
from emoicl.training.pretraining.denoising import MODES, DenoisingDataset
from emoicl.training.pretraining.instruction import InstructionDataset, read_triples
from emoicl.training.pretraining.running import Schedule, pretraining_arguments
from emoicl.training.pretraining.texts import read_texts
from emoicl.training.pretraining.tokenizer import NEWLINE, SENTINELS, train_unigram_tokenizer
from emoicl.training.systems.base_trainer import EpochCallback, mean_loss
from emoicl.training.systems.checkpoints import ResumableTrainer


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LanguageModelSize:
    """
    A language model and how it is pretrained.

    Args:
        text (`dict`): Sizes of the model, fields of `T5Config`.
        vocab_size (`int`): Largest number of tokens; the model has as many as could be learned from the text.
        block_size (`int`): Number of tokens of a text that is denoised.
        denoising ([`Schedule`]): How the first stage trains.
        instruction ([`Schedule`]): How the second stage trains.
    """

    text: dict[str, Any]
    vocab_size: int
    block_size: int
    denoising: Schedule
    instruction: Schedule


def paper_text_sizes() -> dict[str, Any]:
    """Sizes of the paper's language model, but for the vocabulary."""
    names = ("d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads", "dropout_rate")
    config = EmoIclConfig.paper().text_config
    return {name: getattr(config, name) for name in names}


LANGUAGE_MODEL_SIZES = {
    # That of the bundled model.
    "tiny": LanguageModelSize(
        text={"d_model": 192, "d_kv": 32, "d_ff": 768, "num_layers": 3, "num_decoder_layers": 1, "num_heads": 4},
        vocab_size=1024,
        block_size=64,
        denoising=Schedule(max_steps=1000, batch_size=32, learning_rate=1e-3),
        instruction=Schedule(max_steps=300, batch_size=32, learning_rate=1e-3),
    ),
    "base": LanguageModelSize(
        text={"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_decoder_layers": 2, "num_heads": 8},
        vocab_size=16384,
        block_size=256,
        denoising=Schedule(max_steps=100_000, batch_size=64, learning_rate=5e-4),
        instruction=Schedule(max_steps=5_000, batch_size=64, learning_rate=2e-4),
    ),
    "paper": LanguageModelSize(
        text=paper_text_sizes(),
        vocab_size=37156,
        block_size=512,
        denoising=Schedule(max_steps=500_000, batch_size=128, learning_rate=2e-4),
        instruction=Schedule(max_steps=20_000, batch_size=64, learning_rate=1e-4),
    ),
}


@dataclass
class LanguageModelPretraining:
    """
    All of a pretraining of a language model.

    Args:
        texts (`list[str]`): Tables with a column `text`, and text files, to denoise.
        output_dir (`str`): Where the tokenizer, checkpoints and the model go.
        instructions (`list[str]`): Tables for instruction tuning, see [`read_triples`]. Without any, that stage is
            left out.
        size ([`LanguageModelSize`]): The model and how it is trained.
        seed (`int`): Seed of the weights and of all draws.
    """

    texts: list[str]
    output_dir: str
    instructions: list[str] = field(default_factory=list)
    size: LanguageModelSize = LANGUAGE_MODEL_SIZES["tiny"]
    seed: int = 0


def pretrain_language_model(pretraining: LanguageModelPretraining) -> T5ForConditionalGeneration:
    """
    Runs a pretraining: tokenizer, denoising, instruction tuning. Run again after an interruption, it goes on at the
    checkpoint that it was at. Several processes (`accelerate launch`) each take a batch of a step.

    Args:
        pretraining ([`LanguageModelPretraining`]): What to run.

    Returns:
        [`T5ForConditionalGeneration`]: The model; also in `output_dir/model` with its tokenizer, for
        `emoicl init --language-model`.

    Raises:
        `ValueError`: If texts or instructions cannot be used, or `output_dir` holds a run with other settings.
    """
    output_dir, size = Path(pretraining.output_dir), pretraining.size
    texts = read_texts(pretraining.texts)
    triples = read_triples(pretraining.instructions, pretraining.seed)
    keep_settings(asdict(pretraining), output_dir / "settings.yaml")
    taught = [text for triple in triples for text in (triple.prompt, triple.output)]
    with PartialState().main_process_first():
        tokenizer = make_tokenizer([*texts, *taught], size.vocab_size, output_dir / "tokenizer")
    blocks = denoising_dataset(texts, tokenizer, size.block_size, pretraining.seed)
    tasks = InstructionDataset(triples, tokenizer) if triples else None
    set_seed(pretraining.seed)
    model = new_language_model(tokenizer, size.text)
    model = train_stage(output_dir / "denoising", model, tokenizer, blocks, size.denoising, pretraining.seed)
    if tasks is not None:
        model = train_stage(output_dir / "instruction", model, tokenizer, tasks, size.instruction, pretraining.seed)
    # Trainer turns it off.
    model.config.use_cache = True
    if PartialState().is_main_process:
        model.save_pretrained(output_dir / "model")
        tokenizer.save_pretrained(output_dir / "model")
    PartialState().wait_for_everyone()
    return model


def make_tokenizer(texts: Sequence[str], vocab_size: int, folder: Path) -> PreTrainedTokenizerBase:
    """Trains the tokenizer, or reads the one that was trained before an interruption."""
    if not folder.exists():
        with write_aside(folder) as unfinished:
            train_unigram_tokenizer(texts, vocab_size).save_pretrained(unfinished)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if len(tokenizer) < vocab_size:
        logger.info("The text is too small for %d tokens: the vocabulary has %d.", vocab_size, len(tokenizer))
    return tokenizer


def new_language_model(tokenizer: PreTrainedTokenizerBase, sizes: dict[str, Any]) -> T5ForConditionalGeneration:
    """A T5 with random weights and the vocabulary of a tokenizer."""
    config = AutoConfig.for_model(
        "t5",
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        **sizes,
    )
    return T5ForConditionalGeneration(cast(T5Config, config))


def denoising_dataset(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, block_size: int, seed: int
) -> DenoisingDataset:
    """Joins texts by line breaks and cuts them into blocks."""
    vocabulary = tokenizer.get_vocab()
    encoded = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    tokens = np.concatenate([np.array([*text, vocabulary[NEWLINE]], dtype=np.int32) for text in encoded])
    return DenoisingDataset(
        tokens,
        block_size,
        mode_ids={mode: vocabulary[mode] for mode in MODES},
        sentinel_ids=[vocabulary[sentinel] for sentinel in SENTINELS],
        eos_id=vocabulary["</s>"],
        seed=seed,
    )


def train_stage(
    stage_dir: Path,
    model: T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    schedule: Schedule,
    seed: int,
) -> T5ForConditionalGeneration:
    """Trains a language model on pairs of inputs and labels."""
    args = TrainingArguments(**pretraining_arguments(stage_dir, schedule, seed))

    def make_trainer(model: T5ForConditionalGeneration) -> ResumableTrainer:
        trainer = ResumableTrainer(
            model=model,
            args=args,
            train_dataset=dataset,
            data_collator=DataCollatorForSeq2Seq(tokenizer, model),
            # The model's own is a mean, which transformers takes times the number of processes (5.23).
            compute_loss_func=mean_loss,
        )
        if isinstance(dataset, DenoisingDataset):
            trainer.add_callback(EpochCallback(dataset))
        return trainer

    return run_stage(stage_dir, model, make_trainer)
