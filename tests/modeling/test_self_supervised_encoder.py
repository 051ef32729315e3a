"""wav2vec 2.0, HuBERT, WavLM and wav2vec2-BERT: the published features, alone as in any batch."""

from typing import Any

import pytest
import torch
from tiny import tiny_config
from tiny_checkpoints import SELF_SUPERVISED, published_encoder, randomize, self_supervised_config
from torch.testing import assert_close
from transformers import BertConfig

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.modeling.speech_encoder_emoicl import build_speech_encoder


def speech(kind, *lengths):
    """Random input of utterances with so many samples, or frames of the filterbank, padded with noise."""
    generator = torch.Generator().manual_seed(0)
    channels = 20 if kind == "wav2vec2-bert" else 1
    features = torch.randn(len(lengths), channels, max(lengths), generator=generator)
    return features, (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def lengths_of(kind):
    return (40, 23, 9) if kind == "wav2vec2-bert" else (1200, 617, 90)


def encoder_like(published, layer=None):
    """Ours, with the weights of the published model, up to a layer."""
    config = type(published.config)(**published.config.to_dict())
    if layer is not None:
        config.num_hidden_layers = layer
    encoder = build_speech_encoder(config, normalize=layer is None).eval()
    weights = published.state_dict()
    encoder.load_state_dict({name: weights[name] for name in encoder.state_dict()})
    return encoder


def publish(published, kind, features):
    """Output of the published model for one utterance without padding, all layers of it."""
    inputs = features.transpose(1, 2) if kind == "wav2vec2-bert" else features[:, 0]
    with torch.no_grad():
        return published(inputs, output_hidden_states=True)


@torch.no_grad()
def encode(encoder, features, mask):
    return encoder(features, attention_mask=mask).last_hidden_state


@pytest.mark.parametrize("kind", SELF_SUPERVISED)
def test_without_padding_it_is_the_published_model(kind):
    published = published_encoder(kind)
    encoder = encoder_like(published)
    for length in lengths_of(kind):
        features, mask = speech(kind, length)
        assert_close(encode(encoder, features, mask), publish(published, kind, features).last_hidden_state)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("kind", SELF_SUPERVISED)
def test_a_middle_layer_is_that_of_the_published_model(kind, layer):
    published = published_encoder(kind)
    encoder = encoder_like(published, layer)
    assert len(encoder.encoder.layers) == layer
    features, mask = speech(kind, max(lengths_of(kind)))
    expected = publish(published, kind, features).hidden_states[layer]
    assert_close(encode(encoder, features, mask), expected)


@pytest.mark.parametrize("kind", SELF_SUPERVISED)
def test_an_utterance_alone_is_as_in_a_padded_batch(kind):
    encoder = encoder_like(published_encoder(kind))
    features, mask = speech(kind, *lengths_of(kind))
    batch = encode(encoder, features, mask)
    for row, length in enumerate(lengths_of(kind)):
        one = slice(row, row + 1)
        alone = encode(encoder, features[one, :, :length], mask[one, :length])
        assert_close(batch[one, : alone.shape[1]], alone, atol=1e-5, rtol=1e-4)
    # What it says depends on the utterance, or the above would show nothing.
    first, second = (batch[row, : alone.shape[1]] for row in (0, 1))
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize("kind", SELF_SUPERVISED)
def test_the_mask_fits_the_features(kind):
    encoder = encoder_like(published_encoder(kind))
    features, mask = speech(kind, *lengths_of(kind))
    feature_mask = encoder.feature_mask(mask)
    assert encode(encoder, features, mask).shape == (*feature_mask.shape, 16)
    alone = [
        encode(encoder, features[row : row + 1, :, :length], mask[row : row + 1, :length]).shape[1]
        for row, length in enumerate(lengths_of(kind))
    ]
    assert feature_mask.sum(1).tolist() == alone
    assert feature_mask.tolist() == [[1] * length + [0] * (max(alone) - length) for length in alone]


@pytest.mark.parametrize(("samples", "frames"), [(400, 1), (719, 1), (720, 2), (16000, 49), (160000, 499)])
def test_the_published_sizes_have_49_frames_a_second(samples, frames):
    """The convolutions of wav2vec 2.0 see 25 ms and move by 20 ms."""
    config = self_supervised_config("wav2vec2")
    config.conv_kernel, config.conv_stride = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
    config.conv_dim, config.num_feat_extract_layers = (4,) * 7, 7
    encoder = build_speech_encoder(config)
    mask = torch.ones(1, samples, dtype=torch.long)
    assert encoder.feature_lengths(samples) == frames == encoder.feature_mask(mask).sum()
    if samples < 1000:
        assert encode(encoder, mask[:, None].float(), mask).shape[1] == frames


def test_less_than_a_frame_is_refused():
    encoder = encoder_like(published_encoder("wav2vec2"))
    features, mask = speech("wav2vec2", 300, 20)
    with pytest.raises(ValueError, match="An utterance has 20 samples, fewer than one frame"):
        encode(encoder, features, mask)


@pytest.mark.parametrize("kind", SELF_SUPERVISED)
def test_every_weight_learns_where_the_encoder_is_not_frozen(kind):
    encoder = encoder_like(published_encoder(kind)).train()
    features, mask = speech(kind, *lengths_of(kind))
    encoder(features, attention_mask=mask).last_hidden_state.square().sum().backward()
    assert not [name for name, weight in encoder.named_parameters() if weight.grad is None]


@pytest.mark.parametrize("kind", SELF_SUPERVISED)
@pytest.mark.parametrize("layer", [None, 2])
def test_in_a_model_it_is_saved_and_loaded_alike(kind, layer, tmp_path):
    config = tiny_config(speech_config=self_supervised_config(kind), speech_layer=layer)
    model: Any = randomize(EmoIclForConditionalGeneration(config))
    features, mask = speech(kind, *lengths_of(kind))
    expected, feature_mask = model.get_speech_features(features, mask)
    assert expected.shape == (*feature_mask.shape, 16) and not expected.requires_grad
    model.save_pretrained(tmp_path)
    reloaded = EmoIclForConditionalGeneration.from_pretrained(tmp_path)
    assert_close(reloaded.get_speech_features(features, mask)[0], expected)
    names = list(model.model.speech_encoder.state_dict())
    assert any(name.startswith("encoder.layers.2.") for name in names) == (layer is None)
    assert "masked_spec_embed" not in names


def test_other_types_are_refused_by_name():
    with pytest.raises(ValueError, match="type 'bert' are not supported; .* hubert, wav2vec2, wav2vec2-bert, wavlm"):
        build_speech_encoder(BertConfig())
