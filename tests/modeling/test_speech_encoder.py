from typing import Any

import pytest
import torch
from tiny import tiny_model, tiny_speech, tiny_speech_config
from torch.testing import assert_close
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from emoicl.modeling.speech_encoder_emoicl import EmoIclWhisperEncoder, build_speech_encoder


ENCODERS = ["whisper", "emoicl"]
# Log-mel frames for a frame of features.
TIME_REDUCTION = {"whisper": 2, "emoicl": 4}


def tiny_encoder(kind, **kwargs):
    torch.manual_seed(0)
    encoder = build_speech_encoder(tiny_speech_config(kind), **kwargs).eval()
    for parameter in encoder.parameters():
        parameter.data.normal_(std=0.3)
    return encoder


def encode(encoder, features, mask):
    with torch.no_grad():
        return encoder(features, attention_mask=mask).last_hidden_state


@pytest.fixture
def whisper():
    torch.manual_seed(0)
    config: Any = tiny_speech_config("whisper")
    return config, WhisperEncoder(config).eval()


def test_at_30_s_it_is_whisper(whisper):
    config, original = whisper
    encoder = EmoIclWhisperEncoder(config).eval()
    encoder.load_state_dict(original.state_dict())
    speech = tiny_speech(3000, 3000)
    expected = original(speech["input_features"]).last_hidden_state
    assert_close(encode(encoder, *speech.values()), expected)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_middle_layer_is_whispers_before_the_normalization(whisper, layer):
    config, original = whisper
    speech = tiny_speech(3000)
    expected = original(speech["input_features"], output_hidden_states=True).hidden_states[layer]
    config.encoder_layers = layer
    encoder = build_speech_encoder(config, normalize=False).eval()
    encoder.load_state_dict(original.state_dict(), strict=False)
    assert_close(encode(encoder, *speech.values()), expected)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 13, 30, 31, 32, 33, 61, 62])
def test_an_utterance_alone_is_as_in_a_padded_batch(kind, length):
    encoder = tiny_encoder(kind)
    features, mask = tiny_speech(length, 63).values()
    alone = encode(encoder, features[:1, :, :length], mask[:1, :length])
    assert alone.shape[1] == -(-length // TIME_REDUCTION[kind])
    in_batch = encode(encoder, features, mask)[:1, : alone.shape[1]]
    assert_close(in_batch, alone, atol=1e-5, rtol=1e-4)


def test_the_papers_encoder_does_not_look_at_padding():
    encoder = tiny_encoder("emoicl")
    features, mask = tiny_speech(30, 63).values()
    noise = features + 9 * (1 - mask[:, None])
    assert_close(encode(encoder, noise, mask)[0, :8], encode(encoder, features, mask)[0, :8])


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("length", range(1, 14))
def test_features_come_with_a_mask_that_fits(kind, length):
    model = tiny_model(speech=kind)
    features, mask = model.get_speech_features(**tiny_speech(*range(1, length + 1)))
    assert features.shape == (length, *mask.shape[1:], 16)
    assert mask.sum(1).tolist() == [-(-frames // TIME_REDUCTION[kind]) for frames in range(1, length + 1)]


def test_whisper_says_when_an_utterance_is_too_long(whisper):
    encoder = EmoIclWhisperEncoder(whisper[0])
    encode(encoder, *tiny_speech(3000).values())
    with pytest.raises(ValueError, match="3001 frames.*positions for 3000 .*Cut the recording"):
        encode(encoder, *tiny_speech(3001).values())


@pytest.mark.parametrize("kind", ENCODERS)
def test_positions_tell_equal_frames_apart(kind):
    encoder = tiny_encoder(kind)
    features, mask = tiny_speech(1).values()
    hidden_states = encode(encoder, features.expand(-1, -1, 32), mask.expand(-1, 32))[0]
    middle = hidden_states[2:-2]  # beyond the convolutions' reach of the ends
    assert (middle[1:] - middle[:-1]).abs().amax(1).min() > 1e-3


@pytest.mark.parametrize("kind", ENCODERS)
def test_every_weight_learns_where_the_encoder_is_not_frozen(kind):
    model = tiny_model(speech=kind, freeze_speech_encoder=False, speech_layer=None).train()
    features, _ = model.get_speech_features(**tiny_speech(20, 33))
    features.square().sum().backward()
    still = {name for name, weight in model.model.speech_encoder.named_parameters() if weight.grad is None}
    assert still == ({"embed_positions.weight"} if kind == "whisper" else set()), "Whisper's sinusoids are constants"


@pytest.mark.parametrize("kind", ENCODERS)
def test_layers_above_are_neither_built_nor_normalized(kind):
    model = tiny_model(speech=kind, speech_layer=2)
    assert len(model.model.speech_encoder.layers) == 2
    names = {name for name, _ in model.model.speech_encoder.named_parameters()}
    assert not any(name.startswith(("layers.2", "layer_norm")) for name in names)
    assert len(tiny_model(speech=kind, speech_layer=None).model.speech_encoder.layers) == 3


@pytest.mark.parametrize("kind", ENCODERS)
def test_several_layers_stand_side_by_side(kind):
    speech = tiny_speech(20, 33)
    both, mask = tiny_model(speech=kind, speech_layer=[1, 2]).get_speech_features(**speech)
    for place, layer in enumerate((1, 2)):
        model = tiny_model(speech=kind, speech_layer=layer)
        # The weights of the layers that both have.
        of_both = tiny_model(speech=kind, speech_layer=[1, 2]).model.speech_encoder.state_dict()
        model.model.speech_encoder.load_state_dict(
            {name: of_both[name] for name in model.model.speech_encoder.state_dict()}
        )
        alone, mask_alone = model.get_speech_features(**speech)
        size = alone.shape[-1]
        assert_close(both[..., place * size : (place + 1) * size], alone)
        assert mask.equal(mask_alone)


def test_loading_whisper_leaves_the_upper_layers_behind(whisper, tmp_path):
    config, original = whisper
    original.save_pretrained(tmp_path)
    config.encoder_layers = 2
    encoder = EmoIclWhisperEncoder.from_pretrained(tmp_path, config=config)
    assert_close(dict(encoder.state_dict()), {name: original.state_dict()[name] for name in encoder.state_dict()})


def test_pretrained_whisper_at_30_s(shared):
    folder = shared / "models" / "whisper-tiny.en-encoder"
    if not folder.is_dir():
        pytest.skip("needs the encoder of Whisper-tiny.en")
    original = WhisperEncoder.from_pretrained(folder, dtype="float32").eval()
    encoder = EmoIclWhisperEncoder.from_pretrained(folder, dtype="float32").eval()
    speech = tiny_speech(3000)
    with torch.no_grad():
        expected = original(speech["input_features"]).last_hidden_state
    assert_close(encode(encoder, *speech.values()), expected, atol=1e-3, rtol=1e-3)
