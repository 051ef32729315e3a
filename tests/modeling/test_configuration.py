import copy
import json
from typing import Any

import pytest
import torch
from tiny import tiny_adaptation, tiny_config, tiny_speech_config, tiny_text_config
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from emoicl.modeling.configuration_emoicl import EmoIclConfig, EmoIclSpeechEncoderConfig
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration


PARTS = ("speech_config", "qformer_config", "text_config", "adaptation_config")


def test_parts_default_to_the_papers_encoder_a_qformer_and_t5():
    config = EmoIclConfig()
    assert isinstance(config.speech_config, EmoIclSpeechEncoderConfig)
    assert config.qformer_config.model_type == "blip_2_qformer"
    assert config.text_config.model_type == "t5"


def test_parts_are_built_from_dicts():
    config = EmoIclConfig(
        speech_config={"model_type": "whisper", "d_model": 64},
        qformer_config={"num_hidden_layers": 1},
        text_config={"model_type": "mt5", "d_model": 32},
    )
    assert (config.speech_config.model_type, config.speech_config.hidden_size) == ("whisper", 64)
    assert (config.qformer_config.model_type, config.qformer_config.num_hidden_layers) == ("blip_2_qformer", 1)
    assert (config.text_config.model_type, config.text_config.d_model) == ("mt5", 32)


def test_the_qformer_reads_what_the_speech_encoder_writes():
    config = EmoIclConfig(speech_config={"hidden_size": 48, "num_attention_heads": 4})
    assert config.qformer_config.encoder_hidden_size == 48


@pytest.mark.parametrize("speech", ["whisper", "emoicl"])
@pytest.mark.parametrize("text", ["t5", "bart", "t5gemma"])
def test_save_and_load_gives_an_equal_configuration(tmp_path, speech, text):
    config = tiny_config(speech=speech, text=text, feature_dropout=0.2, freeze_speech_encoder=False)
    config.save_pretrained(tmp_path)
    reloaded = EmoIclConfig.from_pretrained(tmp_path)
    assert reloaded.to_dict() == EmoIclConfig.from_dict(config.to_dict()).to_dict()
    for name in PARTS:
        assert type(getattr(reloaded, name)) is type(getattr(config, name))
        saved, loaded = getattr(config, name).to_dict(), getattr(reloaded, name).to_dict()
        assert {key: loaded[key] for key in saved} == saved
    fields = "num_query_tokens max_shots speech_layer feature_dropout"
    for name in [*fields.split(), "freeze_speech_encoder", "audio_token_id", "decoder_start_token_id"]:
        assert getattr(reloaded, name) == getattr(config, name)


def test_dicts_and_configurations_mean_the_same():
    config = tiny_config()
    parts = {name: getattr(config, name).to_dict() for name in PARTS}
    from_dicts = tiny_config(**copy.deepcopy(parts))
    for name, part in parts.items():
        assert getattr(from_dicts, name).to_dict() == part


@pytest.mark.parametrize("speech", ["whisper", "emoicl"])
def test_speech_layer_cuts_the_encoder_short(speech):
    whole = tiny_speech_config(speech, num_layers=3)
    assert EmoIclConfig(speech_config=whole, speech_layer=1).speech_config.num_hidden_layers == 1
    assert EmoIclConfig(speech_config=whole).speech_config.num_hidden_layers == 3, "the caller's own has changed"


@pytest.mark.parametrize("layer", [-1, 4])
def test_speech_layer_must_exist(layer):
    with pytest.raises(ValueError, match=f"`speech_layer` is {layer}, but the speech encoder has 3 layers"):
        tiny_config(speech_layer=layer)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "`speech_layer` is \\[\\]; several layers are in ascending order"),
        ([2, 1], "`speech_layer` is \\[2, 1\\]; several layers are in ascending order"),
        ([2, 2], "each of them once"),
        ([1, 4], "`speech_layer` is \\[1, 4\\], but the speech encoder has 3 layers"),
        ([-1, 2], "the speech encoder has 3 layers"),
    ],
)
def test_several_speech_layers_are_in_order_and_exist(layers, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(speech_layer=layers)


def test_what_reads_several_speech_layers_is_as_wide_as_all_of_them():
    config = tiny_config(speech_layer=[1, 3], adaptation_config=tiny_adaptation(size=None))
    assert (config.speech_config.num_hidden_layers, config.speech_feature_size) == (3, 32)
    assert config.adaptation_config.feature_size == 64
    assert config.qformer_config.encoder_hidden_size == 32
    assert tiny_config(speech_layer=[2]).speech_feature_size == tiny_config(speech_layer=2).speech_feature_size == 16


def test_the_speaker_adaptation_is_as_wide_as_what_it_reads():
    whole = tiny_config(adaptation_config=tiny_adaptation(size=None)).adaptation_config
    assert whole.size == whole.feature_size == 32
    assert tiny_config().adaptation_config.size == 6
    assert EmoIclConfig().adaptation_config is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 33}, "`adaptation_config.size` is 33; it must be from 1 to 32"),
        ({"size": 0}, "size` is 0; it must be from 1 to "),
        ({"probe_weight": float("nan")}, "probe_weight` is nan; it must be 0 or a number above"),
        ({"language_model_weight": float("inf")}, "language_model_weight` is inf"),
        ({"prototype_weight": -0.1}, "prototype_weight` is -0.1"),
        ({"enrolled_share_exponent": -1}, "enrolled_share_exponent` is -1"),
        ({"enrolled_penalty": float("nan")}, "enrolled_penalty` is nan"),
        ({"sources": ["ravdess", "ravdess"]}, "sources` are ravdess, ravdess; name each of them once"),
        ({"label_words": ["Joy"]}, "has 1 `label_words` and tokens of 2 in `label_token_ids`"),
        ({"label_token_ids": [[10, 1], []]}, "has 2 `label_words` and tokens of 1 in `label_token_ids`"),
    ],
)
def test_a_speaker_adaptation_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(adaptation_config=tiny_adaptation(**fields))


def test_a_speech_language_model_writes_labels_after_prompts_whatever_its_language_model_is():
    for model_type in ("t5", "llama"):
        config = EmoIclConfig(text_config={"model_type": model_type, "decoder_start_token_id": 7})
        assert config.is_encoder_decoder and config.decoder_start_token_id == 7


def test_an_unsupported_speech_encoder_is_named():
    config = tiny_config(speech_config=AutoConfig.for_model("unispeech"), speech_layer=None)
    with pytest.raises(ValueError, match="'unispeech' are not supported; supported are emoicl_speech_encoder, hubert"):
        EmoIclForConditionalGeneration(config)


@pytest.mark.parametrize(("text", "start"), [("t5", 0), ("bart", 1), ("t5gemma", 2)])
def test_decoding_starts_as_the_language_model_wants(text, start):
    assert tiny_config(text=text).decoder_start_token_id == start


def test_t5_starts_at_padding_where_nothing_is_named():
    assert EmoIclConfig().decoder_start_token_id == EmoIclConfig().pad_token_id == 0


def test_the_papers_sizes():
    with torch.device("meta"):
        model = EmoIclForConditionalGeneration(EmoIclConfig.paper())
    count = {
        name: sum(weight.numel() for weight in part.parameters()) / 1e6 for name, part in model.model.named_children()
    }
    assert 540 < count["language_model"] < 600
    assert count["speech_encoder"] == pytest.approx(19.8, abs=0.1)
    assert count["qformer"] == pytest.approx(9.0, abs=0.1)
    assert model.model.qformer.query_tokens.shape == (150, 512)


def test_paper_takes_other_fields():
    config = EmoIclConfig.paper(num_query_tokens=8, max_shots=3)
    assert (config.num_query_tokens, config.max_shots, config.text_config.d_model) == (8, 3, 1024)


def test_a_configuration_cannot_ask_for_remote_code(tmp_path):
    fields = tiny_config().to_dict()
    remote = {"auto_map": {"AutoConfig": "evil.Evil", "AutoModelForSeq2SeqLM": "evil.Evil", "AutoModel": "evil.Evil"}}
    for part in (fields, fields["text_config"], fields["qformer_config"], fields["speech_config"]):
        part.update(remote, trust_remote_code=True)
    (tmp_path / "config.json").write_text(json.dumps(fields))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Evil: pass\n")
    config = EmoIclConfig.from_pretrained(tmp_path)
    model = EmoIclForConditionalGeneration(config)
    assert type(config.text_config) is type(tiny_text_config())
    assert type(model.model.language_model) is type(AutoModelForSeq2SeqLM.from_config(tiny_text_config()))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", [None, "speech_config", "qformer_config", "text_config"])
@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_a_file_cannot_ask_for_code_of_the_hub(tmp_path, part, name):
    config = tiny_config()
    config.save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    (fields[part] if part else fields)[name] = "org/kernel"
    (tmp_path / "config.json").write_text(json.dumps(fields))
    asked: dict[str, Any]
    for asked in ({}, {"attn_implementation": "sdpa"}):
        with pytest.raises(ValueError, match=f"asks for code of 'org/kernel' in its `{name}`"):
            EmoIclConfig.from_pretrained(tmp_path, **asked)


def test_a_caller_can_ask_for_code_of_the_hub(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    config = EmoIclConfig.from_pretrained(tmp_path, attn_implementation="org/kernel")
    assert config._attn_implementation == config.text_config._attn_implementation == "org/kernel"
    config.save_pretrained(tmp_path)
    assert EmoIclConfig.from_pretrained(tmp_path)._attn_implementation is None
