from typing import Any

import pytest
import torch
from tiny import tiny_adaptation, tiny_model, tiny_speech
from torch.testing import assert_close

from emoicl.modeling.configuration_emoicl import EmoIclAdaptationConfig
from emoicl.modeling.familiarity_emoicl import NUM_QUANTILES, EmoIclFamiliarity
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration


@pytest.fixture
def familiarity():
    """Distances of training utterances are evenly spread over 1 to e, by their logarithm."""
    module = EmoIclFamiliarity(2, 1)
    module.weight.copy_(torch.tensor([[2.0, 0.0]]))
    module.log_distances.copy_(torch.linspace(0, 1, NUM_QUANTILES))
    return module


@pytest.mark.parametrize(
    ("log_distance", "share"), [(-3.0, 1.0), (0.0, 1.0), (0.25, 0.75), (0.7512, 0.2488), (1.0, 0.0), (7.0, 0.0)]
)
def test_it_is_the_share_of_training_utterances_that_are_as_far(familiarity, log_distance, share):
    # Along the one direction: (2 x)^2 is the squared distance, and the other feature is not looked at.
    x = torch.tensor([[float(torch.tensor(log_distance / 2).exp()) / 2, 9.0]])
    assert_close(familiarity(x), torch.tensor([share]), atol=1e-5, rtol=0)


def test_half_precision_changes_little(familiarity):
    x = torch.tensor([[0.55, 1.0], [0.7, -1.0]])
    assert_close(familiarity.half()(x), EmoIclFamiliarity.forward(familiarity.float(), x), atol=2e-3, rtol=0)


def familiarity_of(model, features, mask):
    audio = model.get_audio_features(speech_features=features, speech_features_mask=mask)
    return model.get_familiarity(audio.voice_embeds)


def test_a_model_without_statistics_tells_nothing_and_loads_into_nothing_else(tmp_path):
    model = tiny_model()
    features, mask = model.get_speech_features(**tiny_speech(40, 30))
    assert familiarity_of(model, features, mask) is None
    model.save_pretrained(tmp_path)
    loaded, info = EmoIclForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert loaded.config.adaptation_config.familiarity_size == 0


def test_statistics_are_stored(tmp_path):
    model: Any = tiny_model(adaptation_config=tiny_adaptation(familiarity_size=4))
    statistics = model.model.adaptation.familiarity
    statistics.weight.normal_()
    statistics.log_distances.copy_(torch.linspace(-5, 15, NUM_QUANTILES))
    features, mask = model.get_speech_features(**tiny_speech(40, 30))
    shares = familiarity_of(model, features, mask)
    assert shares.shape == (2,) and ((shares > 0) & (shares < 1)).all()
    # Padding is not heard.
    assert_close(familiarity_of(model, features[1:, : int(mask[1].sum())], mask[1:, : int(mask[1].sum())]), shares[1:])
    model.save_pretrained(tmp_path)
    loaded = EmoIclForConditionalGeneration.from_pretrained(tmp_path)
    assert_close(familiarity_of(loaded, features, mask), shares)


def test_more_directions_than_features_are_refused():
    with pytest.raises(ValueError, match="familiarity_size"):
        EmoIclAdaptationConfig(size=2, feature_size=4, familiarity_size=5)
