"""What `emoicl pretrain` writes is what `emoicl init` takes."""

import argparse
from pathlib import Path

import pytest
import torch
from tiny_corpus import MODEL_FIELDS, SIZES, tiny_corpus, write_corpus
from transformers import AutoModelForSeq2SeqLM

from emoicl.modeling.speech_encoder_emoicl import EmoIclSpeechEncoder
from emoicl.training.systems.composition import compose
from emoicl_commands import pretrain


LABELS = ["Joy", "Sadness", "Anger"]
LICENSE = Path(__file__).parents[3] / "LICENSE"


def run_command(*arguments) -> None:
    parser = argparse.ArgumentParser()
    pretrain.add_parser(parser.add_subparsers())
    options = parser.parse_args(["pretrain", *map(str, arguments)])
    options.run(options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a language model and a speech encoder after one step of the tiny size."""
    folder = tmp_path_factory.mktemp("pretrained")
    table = write_corpus(tiny_corpus(), folder / "corpus.csv")
    shared = ["--max-steps", 1, "--batch-size", 2, "--learning-rate", "1e-3", "--seed", 1]
    instruction = ["--instructions", table, "--instruction-steps", 1]
    run_command("language-model", "--text", LICENSE, *instruction, "--output", folder / "lm", *shared)
    run_command("speech-encoder", "--corpus", table, "--output", folder / "encoder", *shared)
    return folder


def test_composed(folder):
    encoder, language_model = folder / "encoder" / "model", folder / "lm" / "model"
    fields = {"qformer": SIZES["qformer"]} | MODEL_FIELDS
    model, processor = compose(str(encoder), LABELS, language_model=str(language_model), **fields)
    weights = EmoIclSpeechEncoder.from_pretrained(encoder).state_dict()
    taken = model.model.speech_encoder.state_dict()
    assert taken
    assert all(torch.equal(weights[name], weight) for name, weight in taken.items())
    assert model.config.text_config.d_model == 192
    assert len(processor.tokenizer) == model.config.text_config.vocab_size
    taught = AutoModelForSeq2SeqLM.from_pretrained(language_model)
    assert taught.config.use_cache
    torch.testing.assert_close(model.model.language_model.shared.weight, taught.shared.weight, rtol=0, atol=0)
    inputs = processor(audio=tiny_corpus()[0].audio, enrollment=None)
    scores = model.score_labels(processor.label_ids(LABELS), **inputs)
    assert scores.shape == (1, 3)


def test_what_is_written_where_is_said(folder, capsys):
    # Run again, a finished pretraining is read.
    run_command(
        *("speech-encoder", "--corpus", folder / "corpus.csv", "--output", folder / "encoder"),
        *("--max-steps", 1, "--batch-size", 2, "--learning-rate", "1e-3", "--seed", 1),
    )
    said = capsys.readouterr().out
    assert f"Wrote {folder}/encoder/model (for `emoicl init --speech-encoder {folder}/encoder/model`)" in said


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["language-model", "--text", LICENSE, "--instruction-steps", 3], "no meaning without --instructions"),
        (["language-model", "--text", LICENSE, "--max-steps", 0], "--max-steps is 0; it should be above 0"),
        (["speech-encoder", "--corpus", "x.csv", "--task-weights", "age=much"], "'age=much' is no TASK=NUMBER"),
        (["speech-encoder", "--corpus", "x.csv", "--tasks", "accent"], "no task accent"),
    ],
)
def test_mistaken_options(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_command(*arguments, "--output", tmp_path)
