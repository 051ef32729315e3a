"""The paper's classifiers: what reaches their answer, what is trained, and what a checkpoint holds."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import LABELS, tiny_speech, tiny_speech_config
from tiny_classifier import SYSTEMS, tiny_classifier, tiny_classifier_batch, tiny_classifier_config
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForAudioClassification

import emoicl
from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.modeling.configuration_emoicl import EmoIclClassifierConfig


TARGETS = torch.tensor([0, 2, 1])


@pytest.fixture(params=SYSTEMS)
def system(request):
    return request.param


def logits_of(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def test_the_loss_is_the_cross_entropy_of_the_labels(system):
    output = tiny_classifier(**SYSTEMS[system])(**tiny_classifier_batch(system), labels=TARGETS)
    assert output.logits.shape == (3, len(LABELS))
    expected = -output.logits.softmax(-1)[range(3), TARGETS].log().mean()
    assert_close(output.loss, expected)


def test_one_step_changes_every_trainable_weight_and_no_other(system):
    model = tiny_classifier(**SYSTEMS[system]).train()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(**tiny_classifier_batch(system), labels=TARGETS).loss.backward()
    optimizer.step()
    unchanged = {name for name, weight in model.named_parameters() if torch.equal(weight, before[name])}
    frozen = {name for name in before if name.startswith("speech_encoder.")} if system != "Scratch" else set()
    assert unchanged == frozen
    assert {name for name, weight in model.named_parameters() if not weight.requires_grad} == frozen


@pytest.mark.parametrize("speech", ["whisper", "emoicl"])
def test_an_utterance_alone_is_classified_as_in_a_batch(system, speech):
    model = tiny_classifier(**(SYSTEMS[system] | {"speech": speech}))
    lengths = (40, 37, 51, 9)
    batch = tiny_speech(*lengths)
    together = logits_of(model, batch)
    for row, length in enumerate(lengths):
        alone = {
            "input_features": batch["input_features"][row : row + 1, :, :length],
            "input_features_mask": batch["input_features_mask"][row : row + 1, :length],
        }
        assert_close(logits_of(model, alone)[0], together[row], atol=1e-5, rtol=1e-4)


def test_what_stands_in_masked_frames_does_not_matter(system):
    model = tiny_classifier(**SYSTEMS[system])
    features, mask = model.get_speech_features(**tiny_speech(40, 20))
    noisy = torch.where(mask[..., None] == 1, features, 100.0)
    one, other = (logits_of(model, {"speech_features": f, "speech_features_mask": mask}) for f in (features, noisy))
    assert_close(one, other)


def test_speech_features_and_utterance_embeddings_stand_in_for_the_input(system):
    model, batch = tiny_classifier(**SYSTEMS[system]), tiny_classifier_batch(system)
    expected = logits_of(model, batch)
    speech = {name: batch.pop(name) for name in ("input_features", "input_features_mask")}
    with torch.no_grad():
        features, mask = model.get_speech_features(**speech)
        embeds = model.get_audio_features(**speech).pooler_output
    assert_close(logits_of(model, batch | {"speech_features": features, "speech_features_mask": mask}), expected)
    assert_close(logits_of(model, batch | {"utterance_embeds": embeds}), expected)


def test_a_call_without_utterances():
    with pytest.raises(ValueError, match="give `input_features`, `speech_features` or their embeddings"):
        tiny_classifier()()


@pytest.mark.parametrize("system", ["Personalized_N", "Personalized_A"])
def test_a_target_with_shots_is_classified_alone_as_in_a_batch(system):
    model, batch = tiny_classifier(**SYSTEMS[system]), tiny_classifier_batch(system)
    together = logits_of(model, batch)
    for row in range(3):
        alone = batch | {name: batch[name][row : row + 1] for name in ("utterance_index", "enrollment_label_ids")}
        assert_close(logits_of(model, alone)[0], together[row], atol=1e-5, rtol=1e-4)


def personalized_logits(shots, target=0):
    """Logits of a target with some pairs of shot and label."""
    index = torch.tensor([[*(shot for shot, _ in shots), target]])
    label_ids = torch.tensor([[label for _, label in shots]], dtype=torch.long)
    model = tiny_classifier(**SYSTEMS["Personalized_A"])
    batch = tiny_speech(40, 37, 51, 26) | {"utterance_index": index, "enrollment_label_ids": label_ids}
    return logits_of(model, batch)


def test_the_enrollment_and_its_labels_matter_and_its_order_does_not():
    logits = personalized_logits([(1, 0), (2, 1)])
    for other in ([], [(1, 0)], [(1, 0), (3, 1)], [(1, 1), (2, 0)], [(1, 0), (2, 1), (3, 1)]):
        assert (personalized_logits(other) - logits).abs().max() > 1e-3, other
    assert_close(personalized_logits([(2, 1), (1, 0)]), logits, atol=1e-5, rtol=1e-4)
    assert_close(personalized_logits([(1, 0), (-1, 2), (2, 1)]), logits, atol=1e-5, rtol=1e-4)


def test_a_personalized_classifier_answers_without_enrollment():
    speech = tiny_speech(40, 37, 51, 26)
    without = logits_of(tiny_classifier(**SYSTEMS["Personalized_A"]), speech)
    assert_close(personalized_logits([]), without[:1])
    assert_close(personalized_logits([(-1, 0)]), without[:1])


def test_a_classifier_without_enrollment_refuses_one():
    batch = tiny_speech(40, 37) | {"utterance_index": torch.tensor([[1, 0]])}
    with pytest.raises(ValueError, match="takes no enrollment"):
        tiny_classifier()(**batch)


def test_a_frozen_encoder_stays_in_evaluation_mode():
    model = tiny_classifier().train()
    assert (model.training, model.speech_encoder.training) == (True, False)
    assert tiny_classifier(**SYSTEMS["Scratch"]).train().speech_encoder.training


def test_a_reloaded_model_gives_the_same_logits(system, tmp_path):
    model, batch = tiny_classifier(**SYSTEMS[system]), tiny_classifier_batch(system)
    model.save_pretrained(tmp_path)
    loaded: Any = EmoIclForAudioClassification.from_pretrained(tmp_path, output_loading_info=True)
    reloaded, info = loaded
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert reloaded.config.enrollment_labels == model.config.enrollment_labels
    assert reloaded.config.label2id == {label: number for number, label in enumerate(LABELS)}
    trained = {name for name, weight in reloaded.named_parameters() if weight.requires_grad}
    assert trained == {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert_close(logits_of(reloaded, batch), logits_of(model, batch))


def test_layers_above_are_not_saved(tmp_path):
    tiny_classifier(speech_layer=1).save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors")
    assert any(name.startswith("speech_encoder.layers.0.") for name in names)
    assert not any(name.startswith(("speech_encoder.layers.1.", "speech_encoder.layer_norm")) for name in names)


def test_a_checkpoint_without_some_weights_is_refused(tmp_path):
    tiny_classifier(**SYSTEMS["Personalized_A"]).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["enrollment_attention.no_enrollment"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights .* such as enrollment_attention.no_enrollment"):
        AutoModelForAudioClassification.from_pretrained(tmp_path)


def test_a_new_model_is_initialized():
    torch.manual_seed(0)
    model = EmoIclForAudioClassification(tiny_classifier_config(hidden_size=64, enrollment_labels=["Joy"]))
    weights = model.state_dict()
    assert (weights["utterance_encoder.feature_scale"] == 1).all()
    assert not weights["utterance_encoder.feature_shift"].any()
    for name in ("enrollment_attention.no_enrollment", "classifier.weight"):
        assert weights[name].std().item() == pytest.approx(0.02, rel=0.4), name


def test_the_auto_classes_know_the_installed_package(tmp_path):
    model = tiny_classifier()
    model.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is emoicl.EmoIclClassifierConfig is EmoIclClassifierConfig
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert type(loaded) is emoicl.EmoIclForAudioClassification is EmoIclForAudioClassification


def test_a_checkpoint_carries_its_code(tmp_path):
    tiny_classifier().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == {
        "AutoConfig": "configuration_emoicl.EmoIclClassifierConfig",
        "AutoModelForAudioClassification": "classification_emoicl.EmoIclForAudioClassification",
    }
    files = {path.name for path in tmp_path.glob("*.py")}
    assert {f"{n}_emoicl.py" for n in ("classification", "configuration", "pretrained", "speech_encoder")} <= files


def test_the_defaults_are_the_papers_sizes():
    config = EmoIclClassifierConfig()
    assert config.speech_config.model_type == "emoicl_speech_encoder"
    assert (config.hidden_size, config.intermediate_size, config.num_attention_heads) == (512, 2048, 8)
    assert config.freeze_speech_encoder and config.enrollment_labels is None


@pytest.mark.parametrize("enrollment_labels", [[], ["Joy", "Calm"]])
def test_enrollment_labels_are_some_of_the_labels(enrollment_labels):
    with pytest.raises(ValueError, match="must be some of the labels in `id2label`: Joy, Sadness, Anger"):
        tiny_classifier_config(enrollment_labels=enrollment_labels)


def test_a_layer_that_the_encoder_lacks():
    with pytest.raises(ValueError, match="`speech_layer` is 4, but the speech encoder has 3 layers"):
        EmoIclClassifierConfig(speech_config=tiny_speech_config(), speech_layer=4)
