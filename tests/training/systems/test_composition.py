import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import LABELS, tiny_speech_config
from tiny_checkpoints import SELF_SUPERVISED, published_encoder, save_speech_encoder, self_supervised_config
from tiny_corpus import SIZES, compose_tiny
from transformers import (
    AutoModelForCTC,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    WhisperForConditionalGeneration,
    WhisperModel,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from emoicl.training.systems.composition import compose, compose_classifier


@pytest.fixture(scope="module")
def whole_config():
    config = tiny_speech_config("whisper")
    config.update({"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "vocab_size": 60})
    config.update({"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1})
    return config


@pytest.mark.parametrize("kind", [WhisperEncoder, WhisperModel, WhisperForConditionalGeneration])
def test_weights_of_an_encoder_or_of_a_whole_model(kind, whole_config, tmp_path):
    pretrained = kind(whole_config)
    pretrained.save_pretrained(tmp_path)
    encoder = pretrained if kind is WhisperEncoder else pretrained.get_encoder()
    model, _ = compose_tiny(tmp_path, speech_layer=None)
    weights = model.model.speech_encoder.state_dict()
    assert weights.keys() == encoder.state_dict().keys()
    assert all(torch.equal(weights[name], weight) for name, weight in encoder.state_dict().items())


def test_layers_above_the_one_that_is_used_are_absent(whisper, tmp_path):
    pretrained = load_file(whisper / "model.safetensors")
    model, _ = compose_tiny(whisper, speech_layer=2)
    weights = model.model.speech_encoder.state_dict()
    assert {name for name in pretrained if name not in weights} == {
        name for name in pretrained if name.startswith(("layers.2.", "layer_norm."))
    }
    assert all(torch.equal(weight, pretrained[name]) for name, weight in weights.items())
    model.save_pretrained(tmp_path)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "model.speech_encoder.layers.2" in name]


def test_missing_weights_are_not_made_up(whisper, tmp_path):
    weights = load_file(whisper / "model.safetensors")
    del weights["layers.1.fc1.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((whisper / "config.json").read_bytes())
    with pytest.raises(ValueError, match="lacks weights of the speech encoder: .*layers.1.fc1.weight"):
        compose_tiny(tmp_path)


@pytest.mark.parametrize("kind", SELF_SUPERVISED)
def test_weights_of_a_self_supervised_encoder(kind, tmp_path):
    pretrained = published_encoder(kind).state_dict()
    model, processor = compose_tiny(save_speech_encoder(kind, tmp_path), speech_layer=2)
    weights = model.model.speech_encoder.state_dict()
    assert all(torch.equal(weight, pretrained[name]) for name, weight in weights.items())
    is_above = ("encoder.layers.2.", "masked_spec_embed") + (("encoder.layer_norm.",) if "large" in kind else ())
    assert pretrained.keys() - weights.keys() == {name for name in pretrained if name.startswith(is_above)}
    extractor = processor.feature_extractor
    expected = ("filterbank", 20) if kind == "wav2vec2-bert" else ("waveform", 1)
    assert (extractor.input_type, extractor.feature_size) == expected


def test_what_is_left_away_is_no_cause_for_alarm(whisper, tmp_path, caplog):
    config = self_supervised_config("wav2vec2")
    config.update({"vocab_size": 20, "pad_token_id": 0})
    with_head = AutoModelForCTC.from_config(config)
    with_head.save_pretrained(tmp_path)
    # As checkpoints had it before torch parametrized it.
    weights = load_file(tmp_path / "model.safetensors")
    renamed = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, old in renamed.items():
        name = f"wav2vec2.encoder.pos_conv_embed.conv.{new}"
        weights[name.replace(new, old)] = weights.pop(name)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    transformers_logger = logging.getLogger("transformers")
    transformers_logger.addHandler(caplog.handler)
    model, _ = compose_tiny(tmp_path, speech_layer=1)
    compose_tiny(whisper, speech_layer=1)
    transformers_logger.removeHandler(caplog.handler)
    assert "REPORT" not in caplog.text
    pretrained = with_head.wav2vec2.state_dict()
    assert all(
        torch.equal(pretrained[name], weight) for name, weight in model.model.speech_encoder.state_dict().items()
    )


@pytest.mark.parametrize("do_normalize", [True, False])
def test_waveforms_are_normalized_where_the_checkpoint_says_so(do_normalize, tmp_path):
    _, processor = compose_tiny(save_speech_encoder("wavlm", tmp_path, do_normalize=do_normalize))
    assert processor.feature_extractor.do_normalize is do_normalize
    (tmp_path / "preprocessor_config.json").unlink()
    assert compose_tiny(tmp_path)[1].feature_extractor.do_normalize is True


def test_all_else_is_random_and_reproducible(whisper):
    torch.manual_seed(0)
    first, _ = compose_tiny(whisper)
    torch.manual_seed(0)
    again, _ = compose_tiny(whisper)
    other, _ = compose_tiny(whisper)
    same, different = (
        [torch.equal(a, b) for a, b in zip(first.parameters(), m.parameters(), strict=True)] for m in (again, other)
    )
    assert all(same)
    assert not all(different)


def test_model_and_processor_fit(composed, corpus):
    model, processor = composed
    inputs = processor([corpus[0].audio], enrollment=[[{"audio": corpus[1].audio, "label": "Joy"}]], labels=["Joy"])
    assert model(**inputs).loss.isfinite()
    tokens = [ids[ids >= 0].tolist() for ids in processor.label_ids(list(LABELS))]
    assert tokens == model.config.adaptation_config.label_token_ids
    assert model.config.adaptation_config.label_words == processor.candidate_labels == list(LABELS)
    assert model.config.text_config.vocab_size == len(processor.tokenizer)


def test_labels_may_be_known_without_being_candidates(whisper):
    model, processor = compose(str(whisper), LABELS[:2], known_labels=LABELS, adaptation_config={"size": 3}, **SIZES)
    assert processor.candidate_labels == list(LABELS[:2])
    assert model.config.adaptation_config.label_words == list(LABELS)
    assert model.state_dict()["model.adaptation.label_means"].shape == (1, 3, 3)


def test_saved_and_loaded_by_the_auto_classes(composed, tmp_path):
    model, processor = composed
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    assert type(AutoProcessor.from_pretrained(tmp_path)) is type(processor)


def test_reserved_tokens_and_the_trim_are_saved_and_loaded(whisper, corpus, tmp_path):
    model, processor = compose_tiny(whisper, num_open_labels=2, audio={"trim_silence": 30.0, "level": -26.0})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    for same in (processor, loaded):
        assert (same.known_labels, same.open_labels) == (list(LABELS), ["<label_0>", "<label_1>"])
        assert same.feature_extractor.trim_silence == 30.0
        written = same.label_ids(["Awe", "Joy"], ["Awe", "Joy"])
        assert written[0, :2].tolist() == [same.tokenizer.convert_tokens_to_ids("<label_0>"), 1]
    assert model.config.text_config.vocab_size == len(processor.tokenizer)
    inputs = [
        same([corpus[0].audio], enrollment=[[{"audio": corpus[1].audio, "label": "Awe"}]], candidate_labels=["Awe"])
        for same in (processor, loaded)
    ]
    assert inputs[0].keys() == inputs[1].keys()
    assert all(torch.equal(inputs[0][name], inputs[1][name]) for name in inputs[0])


def test_without_them_all_words_are_written_as_they_are(composed):
    _, processor = composed
    assert processor.known_labels is None and processor.open_labels == []
    assert processor.feature_extractor.trim_silence is None


def test_a_classifiers_utterances_are_trimmed_too(whisper):
    for encoder in (str(whisper), None):
        _, extractor = compose_classifier(encoder, LABELS, audio={"trim_silence": 25.0})
        assert extractor.trim_silence == 25.0


def test_a_pretrained_language_model_has_no_tokens_for_unknown_words(whisper):
    with pytest.raises(ValueError, match="some/model knows words: leave out `num_open_labels`"):
        compose(str(whisper), LABELS, language_model="some/model", num_open_labels=3)
