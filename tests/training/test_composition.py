import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import LABELS, tiny_speech_config
from tiny_corpus import SIZES, compose_tiny
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, WhisperForConditionalGeneration, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from emoicl.training.composition import compose


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
    weights = model.speech_encoder.state_dict()
    assert weights.keys() == encoder.state_dict().keys()
    assert all(torch.equal(weights[name], weight) for name, weight in encoder.state_dict().items())


def test_layers_above_the_one_that_is_used_are_absent(whisper, tmp_path):
    pretrained = load_file(whisper / "model.safetensors")
    model, _ = compose_tiny(whisper, speech_layer=2)
    weights = model.speech_encoder.state_dict()
    assert {name for name in pretrained if name not in weights} == {
        name for name in pretrained if name.startswith(("layers.2.", "layer_norm."))
    }
    assert all(torch.equal(weight, pretrained[name]) for name, weight in weights.items())
    model.save_pretrained(tmp_path)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "speech_encoder.layers.2" in name]


def test_missing_weights_are_not_made_up(whisper, tmp_path):
    weights = load_file(whisper / "model.safetensors")
    del weights["layers.1.fc1.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((whisper / "config.json").read_bytes())
    with pytest.raises(ValueError, match="lacks weights of the speech encoder: .*layers.1.fc1.weight"):
        compose_tiny(tmp_path)


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
    assert tokens == model.config.label_token_ids
    assert model.config.label_words == processor.candidate_labels == list(LABELS)
    assert model.config.text_config.vocab_size == len(processor.tokenizer)


def test_labels_may_be_known_without_being_candidates(whisper):
    model, processor = compose(str(whisper), LABELS[:2], known_labels=LABELS, adaptation_size=3, **SIZES)
    assert processor.candidate_labels == list(LABELS[:2])
    assert model.config.label_words == list(LABELS)
    assert model.state_dict()["adaptation.label_means"].shape == (3, 3)


def test_saved_and_loaded_by_the_auto_classes(composed, tmp_path):
    model, processor = composed
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    assert type(AutoProcessor.from_pretrained(tmp_path)) is type(processor)
