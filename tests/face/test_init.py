"""`emoicl init` composes a model from named parts, and says how to train it."""

import shlex
import shutil
from typing import Any

import pytest
import torch
from safetensors.torch import save
from tiny import LABELS
from tiny_checkpoints import SPEECH_ENCODERS, save_language_model, save_speech_encoder
from tiny_corpus import tone
from transformers import pipeline

from emoicl import EmoIclPipeline
from emoicl.training.experiments.loading import load_recipe
from emoicl_commands.cli import main
from emoicl_commands.overrides import parse_overrides


SIZES = ["--labels", *LABELS, "--num-query-tokens", "2", "--max-shots", "3", "--qformer-size", "64"]


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return save_language_model("flan-t5", tmp_path_factory.mktemp("language_model"), LABELS)


def init(*arguments):
    return main(["init", *map(str, arguments), *SIZES])


def recognizer(folder) -> Any:
    task: Any = "personalized-speech-emotion-recognition"
    return pipeline(task, model=str(folder), pipeline_class=EmoIclPipeline)


@pytest.mark.parametrize("kind", SPEECH_ENCODERS)
def test_any_speech_encoder_recognizes_after_it_was_saved(kind, language_model, tmp_path, capsys):
    parts = save_speech_encoder(kind, tmp_path / "encoder"), "--language-model", language_model
    arguments = (
        "--speech-encoder",
        *parts,
        "--speech-layer",
        2,
        "--adaptation-size",
        4,
        "--output",
        tmp_path / "model",
    )
    assert init(*arguments) == 0
    assert f"Wrote {tmp_path / 'model'}" in capsys.readouterr().out
    enrollment = [{"audio": tone(300, seed=1), "label": "Joy"}, {"audio": tone(200, 0.4, seed=2), "label": "Anger"}]
    answers = recognizer(tmp_path / "model")(tone(250, 0.3), enrollment=enrollment)
    assert {answer["label"] for answer in answers} == set(LABELS)
    assert sum(answer["score"] for answer in answers) == pytest.approx(1, abs=1e-4)


def test_it_tells_the_sizes_and_the_next_step(language_model, tmp_path, capsys):
    encoder = save_speech_encoder("whisper", tmp_path / "encoder")
    init(
        "--speech-encoder",
        encoder,
        "--language-model",
        language_model,
        "--speech-layer",
        2,
        "--output",
        tmp_path / "m",
    )
    output = capsys.readouterr().out
    assert "whisper, 2 layers, frozen, 50 frames a second" in output
    assert "new, 2 query tokens for an utterance" in output
    command = output.partition("emoicl train ")[2].replace("\\\n", " ")
    config, *overrides = shlex.split(command)
    recipe = load_recipe(config, parse_overrides(overrides))
    assert (recipe.speech_encoder, recipe.language_model) == (str(encoder), str(language_model))
    assert recipe.run == ["speech_encoder", "zero_shot", "in_context"]
    assert (recipe.labels, recipe.speech_layer) == (list(LABELS), 2)
    assert (recipe.qformer["hidden_size"], recipe.model["num_query_tokens"]) == (64, 2)


def test_the_next_step_keeps_the_whole_encoder(language_model, tmp_path, capsys):
    encoder = save_speech_encoder("whisper", tmp_path / "encoder")
    init("--speech-encoder", encoder, "--language-model", language_model, "--output", tmp_path / "m")
    command = capsys.readouterr().out.partition("emoicl train ")[2].replace("\\\n", " ")
    config, *overrides = shlex.split(command)
    assert load_recipe(config, parse_overrides(overrides)).speech_layer is None


def test_equal_seeds_make_equal_models(language_model, tmp_path):
    encoder = save_speech_encoder("whisper", tmp_path / "encoder")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        init(
            "--speech-encoder",
            encoder,
            "--language-model",
            language_model,
            "--seed",
            seed,
            "--output",
            tmp_path / name,
        )
    first, again, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert first == again != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speech-layer", "9"], "--speech-layer is 9, but the speech encoder has 3 layers"),
        (["--qformer-size", "100"], "--qformer-size must be a multiple of 64, not 100"),
    ],
)
def test_what_is_wrong_is_said(arguments, message, language_model, tmp_path, capsys):
    encoder = save_speech_encoder("whisper", tmp_path / "encoder")
    parts = [
        "--speech-encoder",
        str(encoder),
        "--language-model",
        str(language_model),
        "--output",
        str(tmp_path / "m"),
    ]
    assert main(["init", *parts, *SIZES, *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_a_language_model_is_no_speech_encoder(language_model, tmp_path, capsys):
    assert init("--speech-encoder", language_model, "--output", tmp_path / "m") == 1
    assert "type 't5' are not supported; supported are emoicl_speech_encoder, hubert" in capsys.readouterr().err


def test_real_speech_through_whisper_base(shared, language_model, tmp_path):
    import pyarrow.parquet as pq

    encoder = shared / "models" / "whisper-base-encoder"
    if not encoder.is_dir():
        pytest.skip("needs the encoder of Whisper-base")
    init(
        "--speech-encoder",
        encoder,
        "--speech-layer",
        3,
        "--language-model",
        language_model,
        "--output",
        tmp_path / "m",
    )
    clips = pq.read_table(shared / "data" / "emogator" / "test.parquet", columns=["audio"]).slice(0, 2).to_pylist()
    target, shot = (clip["audio"]["bytes"] for clip in clips)
    answers = recognizer(tmp_path / "m")(target, enrollment=[{"audio": shot, "label": "Joy"}])
    assert {answer["label"] for answer in answers} == set(LABELS)
    assert sum(answer["score"] for answer in answers) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("part", "name", "content"),
    [
        ("encoder", "model.safetensors", b"\xff" * 64),
        ("encoder", "config.json", b'{"model_type": "whisper", "d_model": "wide"}'),
        ("encoder", "config.json", b"[]"),
        ("lm", "model.safetensors", b""),
        ("lm", "config.json", b"{"),
        ("lm", "adapter_config.json", b"{"),
        ("lm", "added_tokens.json", b"{"),
        ("encoder", "adapter_config.json", b"{"),
        ("lm", "tokenizer.json", b'{"model": 3}'),
        ("lm", "tokenizer_config.json", b'{"eos_token": "</s>", "pad_token": ""}'),
        ("encoder", "model.safetensors", save({"conv1.weight": torch.zeros(16, 80, 3)})),
    ],
)
def test_a_damaged_file_of_another_checkpoint_is_named(part, name, content, language_model, tmp_path, capsys):
    encoder = save_speech_encoder("whisper", tmp_path / "encoder")
    shutil.copytree(language_model, tmp_path / "lm")
    (tmp_path / part / name).write_bytes(content)
    parts = ["--speech-encoder", encoder, "--language-model", tmp_path / "lm"]
    assert init(*parts, "--output", tmp_path / "m") == 1
    [message] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("emoicl: ")]
    assert str(tmp_path / part) in message and name in message and "download it again" in message
    assert not (tmp_path / "m").exists()
