import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5Config, T5ForConditionalGeneration

from emoicl.modeling.configuration_emoicl import EmoIclConfig
from emoicl.training.pretraining.language_model import (
    LANGUAGE_MODEL_SIZES,
    LanguageModelPretraining,
    LanguageModelSize,
    pretrain_language_model,
)
from emoicl.training.pretraining.running import Schedule


LICENSE = Path(__file__).parents[3] / "LICENSE"
TINY = LanguageModelSize(
    text={"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2},
    vocab_size=450,
    block_size=32,
    denoising=Schedule(max_steps=50, batch_size=8, learning_rate=1e-2),
    instruction=Schedule(max_steps=100, batch_size=8, learning_rate=1e-2),
)
FEW_STEPS = Schedule(max_steps=10, batch_size=2, learning_rate=1e-2)


@pytest.fixture
def sentences(tmp_path):
    """A dozen lines of text."""
    lines = [line for line in LICENSE.read_text().splitlines() if len(line.strip()) > 60]
    (tmp_path / "sentences.txt").write_text("\n".join(lines[:12]))
    return tmp_path / "sentences.txt"


@pytest.fixture
def triples(tmp_path):
    rows = [{"instruction": f"Please write {word}.", "output": word} for word in ("Joy", "Anger", "Fear", "Neutral")]
    (tmp_path / "triples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "triples.jsonl"


def test_denoising_and_instruction_tuning(triples, tmp_path, losses):
    output = tmp_path / "run"
    model = pretrain_language_model(
        LanguageModelPretraining([str(LICENSE)], str(output), instructions=[str(triples)], size=TINY)
    )
    before, after = losses(output / "denoising")
    assert after < 0.9 * before
    before, after = losses(output / "instruction")
    assert after < 0.5 * before
    tokenizer = AutoTokenizer.from_pretrained(output / "model")
    loaded: Any = AutoModelForSeq2SeqLM.from_pretrained(output / "model")
    assert loaded.config.model_type == "t5"
    assert loaded.config.vocab_size == len(tokenizer) == TINY.vocab_size
    weights = model.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in loaded.state_dict().items())
    written = loaded.generate(**tokenizer(["Please write Anger."], return_tensors="pt"), max_new_tokens=20)
    assert tokenizer.batch_decode(written, skip_special_tokens=True)[0] in ("Joy", "Anger", "Fear", "Neutral")


def test_without_instructions_there_is_no_second_stage(sentences, tmp_path):
    size = replace(TINY, denoising=replace(FEW_STEPS, max_steps=1))
    pretrain_language_model(LanguageModelPretraining([str(sentences)], str(tmp_path / "run"), size=size))
    folders = {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()}
    assert folders == {"tokenizer", "denoising", "model"}


@pytest.mark.parametrize("stage", ["denoising", "instruction"])
def test_interrupted_is_uninterrupted(stage, sentences, triples, tmp_path, interrupt):
    size = replace(TINY, denoising=FEW_STEPS, instruction=FEW_STEPS)
    if stage == "instruction":
        size = replace(size, denoising=replace(FEW_STEPS, max_steps=1))

    def run(name):
        instructions = [str(triples)] if stage == "instruction" else []
        return pretrain_language_model(
            LanguageModelPretraining([str(sentences)], str(tmp_path / name), instructions, size)
        ).state_dict()

    # In a later epoch than the first: each corrupts the text anew.
    interrupted, steps = interrupt(lambda: run("interrupted"), at_step=8)
    assert steps == [8, 9]
    uninterrupted = run("uninterrupted")
    assert all(torch.equal(uninterrupted[name], weight) for name, weight in interrupted.items())


def test_the_seed_draws_weights_and_spans(sentences, tmp_path):
    size = replace(TINY, denoising=replace(FEW_STEPS, max_steps=2))
    first, same, other = (
        pretrain_language_model(
            LanguageModelPretraining([str(sentences)], str(tmp_path / name), size=size, seed=seed)
        ).state_dict()
        for name, seed in [("first", 0), ("same", 0), ("other", 1)]
    )
    assert all(torch.equal(first[name], weight) for name, weight in same.items())
    assert any(not torch.equal(first[name], weight) for name, weight in other.items())


def test_another_run_is_not_taken_up(sentences, tmp_path):
    pretraining = LanguageModelPretraining([str(sentences)], str(tmp_path), size=replace(TINY, denoising=FEW_STEPS))
    pretrain_language_model(pretraining)
    with pytest.raises(ValueError, match="another"):
        pretrain_language_model(replace(pretraining, seed=1))


def test_the_papers_size():
    size = LANGUAGE_MODEL_SIZES["paper"]
    assert size.vocab_size == EmoIclConfig.paper().text_config.vocab_size == 37156
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(vocab_size=size.vocab_size, **size.text))
    assert (model.config.num_layers, model.config.num_decoder_layers) == (32, 6)
    # 0.6 B in the paper.
    assert 0.5e9 < model.num_parameters() < 0.65e9


def test_real_sentences(shared, tmp_path, losses):
    tables = [str(shared / "data" / name / "train.parquet") for name in ("nemo", "ravdess")]
    size = replace(TINY, vocab_size=600, block_size=24, denoising=replace(TINY.denoising, max_steps=40))
    pretrain_language_model(LanguageModelPretraining(tables, str(tmp_path / "run"), size=size))
    before, after = losses(tmp_path / "run" / "denoising")
    assert after < 0.9 * before
