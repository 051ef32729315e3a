import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import label_ids, tiny_batch, tiny_config, tiny_model
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForSpeechSeq2Seq
from transformers.models.whisper.modeling_whisper import sinusoids

import emoicl
from emoicl.modeling.configuration_emoicl import EmoIclConfig
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.modeling.pretrained_emoicl import EmoIclPreTrainedModel


TARGETS = label_ids([10, 1], [11, 12, 1], [13, 14, 15, 1])
PARTS = [("whisper", "t5"), ("emoicl", "t5"), ("whisper", "bart"), ("whisper", "t5gemma")]


def logits_of(model):
    with torch.no_grad():
        return model(**tiny_batch(), labels=TARGETS).logits


def drop_weights(folder, *prefixes):
    """Takes the weights that start so out of a checkpoint, and returns those that stay."""
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith(prefixes)}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return kept


def load_in_part(folder):
    """Loads as transformers does, which makes missing weights anew."""
    return super(EmoIclPreTrainedModel, EmoIclForConditionalGeneration).from_pretrained(folder)


def test_a_checkpoint_without_some_weights_is_refused(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    drop_weights(tmp_path, "model.qformer.projection", "model.adaptation.label_means")
    with pytest.raises(
        ValueError, match="lacks 3 weights .* such as model.adaptation.label_means, model.qformer.proj"
    ):
        AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)


@pytest.mark.parametrize(("speech", "text"), PARTS)
@pytest.mark.parametrize(
    "fields", [{}, {"adaptation_config": None, "speech_layer": None}], ids=["all parts", "the paper's"]
)
def test_a_reloaded_model_gives_the_same_logits(tmp_path, speech, text, fields):
    model = tiny_model(speech=speech, text=text, **fields)
    model.save_pretrained(tmp_path)
    loaded: Any = EmoIclForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    reloaded, info = loaded
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert_close(logits_of(reloaded), logits_of(model), atol=0, rtol=0)


def test_a_reloaded_model_is_still_frozen_and_decodes_alike(tmp_path):
    model = tiny_model()
    model.generation_config.num_beams = 2
    model.save_pretrained(tmp_path)
    reloaded = EmoIclForConditionalGeneration.from_pretrained(tmp_path)
    assert not any(weight.requires_grad for weight in reloaded.model.speech_encoder.parameters())
    assert reloaded.model.qformer.query_tokens.requires_grad
    assert (reloaded.generation_config.num_beams, reloaded.generation_config.length_penalty) == (2, 0.0)


def test_a_new_model_is_frozen_before_anyone_calls_train():
    model = EmoIclForConditionalGeneration(tiny_config())
    assert not any(weight.requires_grad for weight in model.model.speech_encoder.parameters())
    assert model.training and not model.model.speech_encoder.training


def test_layers_above_are_not_saved(tmp_path):
    tiny_model(speech_layer=2).save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors")
    assert any(name.startswith("model.speech_encoder.layers.1.") for name in names)
    assert not any(
        name.startswith(("model.speech_encoder.layers.2.", "model.speech_encoder.layer_norm")) for name in names
    )


def test_float16_weights_load_as_the_float32_that_the_configuration_says(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path, state_dict={name: weight.half() for name, weight in model.state_dict().items()})
    assert load_file(tmp_path / "model.safetensors")["model.qformer.query_tokens"].dtype == torch.float16
    reloaded = EmoIclForConditionalGeneration.from_pretrained(tmp_path)
    assert {weight.dtype for weight in reloaded.parameters()} == {torch.float32}
    assert_close(logits_of(reloaded), logits_of(model), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("speech", "text"), PARTS[:3])
def test_a_model_in_half_precision_scores_nearly_alike(tmp_path, dtype, speech, text):
    model = tiny_model(speech=speech, text=text)
    model.save_pretrained(tmp_path)
    halved = EmoIclForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype)
    with torch.no_grad():
        candidates = label_ids([10, 1], [11, 12, 1], [13, 14, 15, 1])
        scores = halved.score_labels(candidates, **tiny_batch())
        expected = model.score_labels(candidates, **tiny_batch())
    assert scores.dtype == torch.float32 and halved.dtype == dtype
    assert_close(scores.exp(), expected.exp(), atol=0.15, rtol=0)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("speech", ["whisper", "emoicl"])
def test_attention_implementations_agree(tmp_path, implementation, speech):
    model = tiny_model(speech=speech)
    model.save_pretrained(tmp_path)
    reloaded = EmoIclForConditionalGeneration.from_pretrained(tmp_path, attn_implementation=implementation)
    assert reloaded.model.qformer.qformer.config._attn_implementation == implementation
    assert_close(logits_of(reloaded), logits_of(model), atol=1e-4, rtol=1e-4)


def test_what_a_checkpoint_lacks_is_initialized(tmp_path):
    """Loading builds the model without memory: a weight that no initialization knows would hold whatever lay there."""
    tiny_model(speech="emoicl", speech_layer=None).save_pretrained(tmp_path)
    kept = drop_weights(
        tmp_path,
        "model.speech_encoder.",
        "model.qformer.",
        "model.adaptation.",
        "model.segment_embeddings.",
        "model.sequence_embeddings.",
    )
    torch.manual_seed(0)
    model = load_in_part(tmp_path)
    weights = model.state_dict()
    assert_close({name: weights[name] for name in kept}, kept)
    std = model.config.initializer_range
    for name, weight in weights.items():
        if name in kept or name.startswith("model.language_model."):
            continue
        if name.endswith(("bias", "shift")) or "log_" in name:
            assert not weight.any(), name
        elif name.endswith("scale") or "norm" in name.lower():
            assert (weight == 1).all(), name
        else:
            usual = {"model.qformer.query_tokens": 1.0}.get(name, std)
            if "convolutions" in name:  # Kaiming
                usual = (2 / weight[0].numel()) ** 0.5
            assert weight.std().item() == pytest.approx(usual, rel=0.4), name


def test_whisper_without_weights_has_its_sinusoids(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    name = "model.speech_encoder.embed_positions.weight"
    drop_weights(tmp_path, name)
    positions = load_in_part(tmp_path).get_parameter(name)
    assert_close(positions.detach(), sinusoids(*positions.shape))
    positions = EmoIclForConditionalGeneration(tiny_config()).get_parameter(name)
    assert_close(positions.detach(), sinusoids(*positions.shape))


@pytest.mark.parametrize(
    "dropped",
    [
        "model.adaptation.label_means",
        "model.adaptation.log_variances",
        "model.qformer.query_tokens",
        "model.speech_encoder.layers.0.fc1",
    ],
)
def test_initializing_one_weight_leaves_its_neighbors_alone(tmp_path, dropped):
    tiny_model(speech="emoicl").save_pretrained(tmp_path)
    kept = drop_weights(tmp_path, dropped)
    weights = load_in_part(tmp_path).state_dict()
    assert_close({name: weights[name] for name in kept}, kept, atol=0, rtol=0)
    if "log_variances" in dropped:
        assert not any(weight.any() for name, weight in weights.items() if name.startswith(dropped))


@pytest.mark.parametrize("text", ["t5", "bart"])
def test_tokens_can_be_added(tmp_path, text):
    model = tiny_model(text=text)
    before = logits_of(model)
    model.resize_token_embeddings(330)
    assert_close(logits_of(model)[..., :320], before)
    model.save_pretrained(tmp_path)
    reloaded = EmoIclForConditionalGeneration.from_pretrained(tmp_path)
    assert reloaded.get_input_embeddings().num_embeddings == reloaded.config.text_config.vocab_size == 330
    assert_close(logits_of(reloaded), logits_of(model))


def test_the_auto_classes_know_the_installed_package(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is emoicl.EmoIclConfig is EmoIclConfig
    loaded = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)
    assert type(loaded) is emoicl.EmoIclForConditionalGeneration is EmoIclForConditionalGeneration
    assert_close(logits_of(loaded), logits_of(model))
    built = AutoModelForSpeechSeq2Seq.from_config(tiny_config())
    assert type(built) is EmoIclForConditionalGeneration


def test_a_checkpoint_carries_its_code(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    assert auto_map == {
        "AutoConfig": "configuration_emoicl.EmoIclConfig",
        "AutoModelForSpeechSeq2Seq": "modeling_emoicl.EmoIclForConditionalGeneration",
    }
    files = {path.name for path in tmp_path.glob("*.py")}
    assert files == {
        f"{n}_emoicl.py"
        for n in (
            "adaptation",
            "blend",
            "configuration",
            "familiarity",
            "language_model",
            "lengths",
            "modeling",
            "outputs",
            "pretrained",
            "prompt",
            "qformer",
            "self_supervised_encoder",
            "shared_attention",
            "speaker_posterior",
            "speech_encoder",
        )
    }


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1"])
def test_damaged_weights_are_named(tmp_path, content):
    tiny_model().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model.safetensors is damaged \(.*\); download it again"):
        EmoIclForConditionalGeneration.from_pretrained(tmp_path)
