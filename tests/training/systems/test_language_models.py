"""A model composed with a pretrained language model of each type does all that one from scratch does."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import LABELS
from tiny_checkpoints import LANGUAGE_MODELS, edit_config, randomize, save_language_model
from tiny_corpus import MODEL_FIELDS, SIZES, THREE_STEPS
from torch.testing import assert_close
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    AutoTokenizer,
    BitsAndBytesConfig,
)

import emoicl  # noqa: F401 (the auto classes)
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.training.data.features import FeatureCache
from emoicl.training.systems.composition import compose
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer
from emoicl.training.systems.tokenizer import load_tokenizer


QFORMER = SIZES["qformer"]
WAVEFORMS = [
    np.random.default_rng(i).normal(0, 0.1, length).astype(np.float32) for i, length in enumerate((4000, 5600, 3300))
]


@pytest.fixture(scope="module", params=LANGUAGE_MODELS)
def language_model(request, tmp_path_factory):
    """Folder of a tiny pretrained language model."""
    return save_language_model(request.param, tmp_path_factory.mktemp(request.param), LABELS)


@pytest.fixture(scope="module")
def composed(language_model, whisper):
    """Composed of tiny parts, all of its weights far from zero."""
    model, processor = compose_with(language_model, whisper)
    randomize(model)
    return model, processor


def compose_with(language_model, speech_encoder, labels=LABELS, **fields):
    return compose(
        str(speech_encoder), labels, language_model=str(language_model), qformer=QFORMER, **(MODEL_FIELDS | fields)
    )


def inputs_of(processor, *shots, labels=None):
    """Prompts for the first utterance, one for each number of shots."""
    enrollment = [{"audio": waveform, "label": label} for waveform, label in zip(WAVEFORMS[1:], LABELS, strict=False)]
    return processor([WAVEFORMS[0]] * len(shots), enrollment=[enrollment[:count] for count in shots], labels=labels)


@pytest.fixture
def enrollment():
    return [{"audio": waveform, "label": label} for waveform, label in zip(WAVEFORMS[1:], LABELS, strict=False)]


def test_the_pretrained_weights_and_tokens_are_taken_over(language_model, whisper):
    model, processor = compose_with(language_model, whisper)
    tokenizer, config = processor.tokenizer, model.config
    auto_class = AutoModelForSeq2SeqLM if config.text_config.is_encoder_decoder else AutoModelForCausalLM
    pretrained = auto_class.from_pretrained(language_model).state_dict()
    old_size = len(tokenizer) - 1
    for name, weight in model.model.language_model.state_dict().items():
        # Tokens that are new to the model have rows of their own.
        rows = slice(0, old_size) if weight.shape != pretrained[name].shape else slice(None)
        where = (..., rows) if name == "final_logits_bias" else rows
        assert torch.equal(weight[where], pretrained[name][where]), name
        if weight.shape != pretrained[name].shape and name != "final_logits_bias":
            assert_close(weight[old_size:], pretrained[name].mean(0, keepdim=True))
    assert config.audio_token_id == tokenizer.convert_tokens_to_ids("<audio>") == old_size
    assert model.get_input_embeddings().num_embeddings >= len(tokenizer)
    assert (config.pad_token_id, config.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert 0 <= config.decoder_start_token_id < old_size
    label_ids = config.adaptation_config.label_token_ids
    assert [ids[ids >= 0].tolist() for ids in processor.label_ids(list(LABELS))] == label_ids
    assert tokenizer.decode([config.audio_token_id] + label_ids[0], skip_special_tokens=True) == "Joy"


def test_gradients_reach_the_qformer_and_the_language_model(composed):
    model, processor = composed
    model.zero_grad()
    model(**inputs_of(processor, 0, 2, labels=["Joy", "Anger"])).loss.backward()
    for part in (
        model.model.qformer.query_tokens,
        model.model.qformer.projection.weight,
        model.model.segment_embeddings.weight,
    ):
        assert part.grad.any()
    assert all(weight.grad is not None for weight in model.model.language_model.parameters())
    assert all(
        weight.grad.any() for weight in model.model.language_model.get_encoder().parameters() if weight.dim() > 1
    )
    assert all(weight.grad is None for weight in model.model.speech_encoder.parameters())


def test_saved_and_loaded(composed, tmp_path):
    model, processor = composed
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    reloaded = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    inputs = inputs_of(processor, 2, labels=["Joy"])
    same_inputs = inputs_of(again, 2, labels=["Joy"])
    assert all(torch.equal(inputs[name], same_inputs[name]) for name in inputs)
    with torch.no_grad():
        assert_close(reloaded(**same_inputs).logits, model(**inputs).logits)
    for name in ("pad_token_id", "eos_token_id", "decoder_start_token_id", "audio_token_id"):
        assert getattr(reloaded.config, name) == getattr(model.config, name)
    assert again.tokenizer.decode([again.audio_token_id], skip_special_tokens=True) == ""
    # As a Trainer saves it, which reads it without what transformers changes of names.
    reloaded.save_pretrained(tmp_path / "again")
    saved = load_file(tmp_path / "again" / "model.safetensors")
    assert saved.keys() == reloaded.state_dict().keys() - reloaded.all_tied_weights_keys.keys()


@torch.no_grad()
def test_scores_are_those_of_teacher_forcing(composed):
    model, processor = composed
    inputs = inputs_of(processor, 2)
    scores = model.score_labels(processor.label_ids(list(LABELS)), **inputs)[0]
    likelihoods = []
    for label in LABELS:
        labels = processor.label_ids([label])
        likelihoods.append(-model(**inputs, labels=labels).loss * labels.numel())
    assert_close(scores, torch.stack(likelihoods).log_softmax(0), atol=1e-4, rtol=1e-4)
    assert_close(scores.exp().sum(), torch.tensor(1.0))
    assert scores.exp().max() < 1


@torch.no_grad()
def test_a_prompt_alone_is_as_in_a_batch(composed):
    model, processor = composed
    label_ids = processor.label_ids(list(LABELS))
    batch = model.score_labels(label_ids, **inputs_of(processor, 0, 2, 1))
    for row, shots in enumerate((0, 2, 1)):
        alone = model.score_labels(label_ids, **inputs_of(processor, shots))
        assert_close(batch[row : row + 1], alone, atol=1e-4, rtol=1e-4)
    assert (batch[0] - batch[1]).abs().max() > 1e-3


@torch.no_grad()
def test_generation_takes_the_best_token_at_each_step_and_none_is_forced(composed):
    model, processor = composed
    inputs = inputs_of(processor, 1)
    written = torch.tensor([[model.config.decoder_start_token_id]])
    for _ in range(3):
        logits = model(**inputs, decoder_input_ids=written).logits[:, -1]
        written = torch.cat([written, logits.argmax(-1, keepdim=True)], dim=1)
        if written[0, -1] == model.config.eos_token_id:
            break
    greedy = model.generate(**inputs, num_beams=1, max_new_tokens=3)
    assert greedy.tolist() == written.tolist()
    beams = model.generate(**inputs, num_beams=3, max_new_tokens=3)
    assert beams.shape[0] == 1 and beams[0, 0] == model.config.decoder_start_token_id


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_decoder_is_asked_as_in_a_chat_where_it_was_taught_to(kind, whisper, tmp_path):
    model, processor = compose_with(save_language_model(kind, tmp_path, LABELS), whisper)
    inputs = inputs_of(processor, 1)
    asked = processor.tokenizer.decode(inputs["input_ids"][0]).replace("<audio>", "")
    question = (
        f"Please select the appropriate emotion for the input speech from the following: {', '.join(LABELS)}.Joy"
    )
    begin, end = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant") if kind == "llama" else ("<s>", "")
    assert asked == begin + question + end
    assert processor.tokenizer.decode([model.config.decoder_start_token_id]) == ("\n" if kind == "llama" else "</s>")
    # What comes after the target is of the instruction, and the model is asked to go on from the last token of all.
    after_target = inputs["sequence_ids"][0].tolist()[::-1].index(1)
    assert after_target == len(processor.tokenizer.encode(end))
    assert inputs["segment_ids"].equal(inputs["sequence_ids"] % 2)


def test_a_profile_answers_as_the_enrollment_itself(composed, enrollment, tmp_path):
    model, processor = composed
    recognizer = EmoIclPipeline(model=model, processor=processor)
    profile = recognizer.enroll(enrollment)
    profile.save(tmp_path / "me.profile")
    for settings in ({}, {"candidate_labels": [*LABELS[::-1], "Joy and Anger"][:3]}, {"decoding": "beam"}):
        expected = recognizer(WAVEFORMS[0], enrollment=enrollment, **settings)
        for kept in (profile, profile, str(tmp_path / "me.profile")):
            assert scores_of(recognizer(WAVEFORMS[0], profile=kept, **settings)) == close_to(expected)
    targets = [WAVEFORMS[0][start:] for start in (0, 200, 400, 600)]
    one_by_one = [recognizer(target, profile=profile) for target in targets]
    for speaker in ({"profile": profile}, {"enrollment": enrollment}):
        together = recognizer(targets, batch_size=4, **speaker)
        assert [scores_of(answer) for answer in together] == [close_to(answer) for answer in one_by_one]


def scores_of(answers):
    return {answer["label"]: answer["score"] for answer in answers}


def close_to(answers):
    return pytest.approx(scores_of(answers), abs=1e-4)


def test_a_changed_profile_is_read_again(composed, enrollment):
    model, processor = composed
    recognizer = EmoIclPipeline(model=model, processor=processor)
    profile: Any = recognizer.enroll(enrollment)
    recognizer(WAVEFORMS[0], profile=profile)
    assert profile.prefix is not None
    assert (profile.prefix[1] is None) == model.config.text_config.is_encoder_decoder
    assert copy.deepcopy(profile).prefix is None and pickle.loads(pickle.dumps(profile)).prefix is None
    profile.remove(0)
    expected = recognizer(WAVEFORMS[0], enrollment=enrollment[1:])
    assert scores_of(recognizer(WAVEFORMS[0], profile=profile)) == close_to(expected)
    profile.add(recognizer.enroll(enrollment[:1]))
    expected = recognizer(WAVEFORMS[0], enrollment=[*enrollment[1:], enrollment[0]])
    assert scores_of(recognizer(WAVEFORMS[0], profile=profile)) == close_to(expected)
    with torch.no_grad():
        model.model.qformer.projection.weight.mul_(1.1)
    with pytest.raises(ValueError, match="made with another model"):
        recognizer(WAVEFORMS[0], profile=profile)


def test_a_profile_is_read_again_for_another_instruction(composed, enrollment):
    model, processor = composed
    recognizer = EmoIclPipeline(model=model, processor=copy.copy(processor))
    profile = recognizer.enroll(enrollment)
    for text in (processor.instruction, "Which of {labels}?", "Which of {labels}!"):
        recognizer.processor.instruction = text
        expected = recognizer(WAVEFORMS[0], enrollment=enrollment)
        assert scores_of(recognizer(WAVEFORMS[0], profile=profile)) == close_to(expected)


def test_it_is_trained(language_model, whisper, corpus, tmp_path, caplog):
    torch.manual_seed(0)
    model, processor = compose_with(language_model, whisper)
    trainer = MetaIclTrainer(
        model=model,
        args=MetaIclTrainingArguments(**THREE_STEPS, output_dir=str(tmp_path / "run"), eval_shots=[2]),
        train_dataset=corpus,
        eval_dataset=corpus,
        processing_class=processor,
        features=FeatureCache(model, processor.feature_extractor, tmp_path / "cache"),
    )
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    trainer.train()
    assert "The tokenizer has new PAD/BOS/EOS tokens" not in caplog.text
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.isfinite(losses).all()
    changed = {name.split(".")[1] for name, weight in model.state_dict().items() if not weight.equal(before[name])}
    assert {"qformer", "segment_embeddings", "sequence_embeddings", "language_model"} <= changed
    assert 0 <= trainer.evaluate()["eval_ua_spk_2_shot"] <= 1


def test_labels_that_cannot_be_spelled_are_refused(whisper, tmp_path):
    folder = save_language_model("t5", tmp_path, LABELS)
    with pytest.raises(ValueError, match="cannot spell '喜び', 'Quiz': a part of it is no token"):
        compose_with(folder, whisper, labels=["Joy", "喜び", "Quiz"])
    with pytest.raises(ValueError, match="cannot spell '喜び'"):
        compose_with(folder, whisper, known_labels=["Joy", "喜び"])


def test_bytes_spell_any_label(whisper, tmp_path):
    folder = save_language_model("bart", tmp_path, LABELS)
    _, processor = compose_with(folder, whisper, labels=["喜び", "Quiz"])
    ids = processor.label_ids(["喜び"])[0]
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == "喜び"


def test_a_prompt_longer_than_learned_positions_says_so(whisper, tmp_path):
    folder = save_language_model("bart", tmp_path, LABELS)
    model, processor = compose_with(folder, whisper, num_query_tokens=100)
    with pytest.raises(ValueError, match=r"prompt has \d+ tokens; this language model has positions for 300. Give"):
        model.score_labels(processor.label_ids(list(LABELS)), **inputs_of(processor, 2))


def test_sizes_of_a_new_model_do_not_go_with_a_pretrained_one(whisper, tmp_path):
    with pytest.raises(ValueError, match=r"t5 has sizes of its own: leave out those of `text` \(d_model\)"):
        compose(str(whisper), LABELS, language_model="t5", text={"d_model": 24})


def test_a_label_beyond_learned_positions_says_so(whisper, tmp_path):
    folder = save_language_model("gpt2", tmp_path, LABELS)
    _, processor = compose_with(folder, whisper, num_query_tokens=1)
    num_words = inputs_of(processor, 2)["input_ids"].shape[1] - 3
    # Of three utterances: so that the prompt fits in, and a label after it does not.
    model, processor = compose_with(folder, whisper, num_query_tokens=(400 - num_words) // 3)
    label_ids = processor.label_ids(["Joy", "Happiness"])
    model.score_labels(label_ids, **inputs_of(processor, 1))
    message = r"The prompt and a label have 4\d\d tokens; this language model has positions for 400. Give fewer shots"
    with pytest.raises(ValueError, match=message):
        model.score_labels(label_ids, **inputs_of(processor, 2))
    with pytest.raises(ValueError, match=message):
        model.generate(**inputs_of(processor, 2), min_new_tokens=10)


# Of no language model; one that looks ahead; one with a state in place of attention; two that go by a token's place in
# the row in place of its position, of which one does so only where the row is longer than its window.
SIZES_OF = {
    "gpt_neo": {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": 40},
    "mpt": {"d_model": 24, "n_layers": 2, "n_heads": 2},
}


@pytest.mark.parametrize("model_type", ["whisper", "bert", "mamba", "gpt_neo", "mpt"])
def test_other_language_models_are_refused_by_name(model_type, whisper, tmp_path):
    load_tokenizer(str(save_language_model("t5", tmp_path, LABELS)))
    if model_type == "whisper":
        AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    else:
        sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        sizes = SIZES_OF["mpt"] if model_type == "mpt" else sizes | SIZES_OF.get(model_type, {})
        config = AutoConfig.for_model(model_type, vocab_size=100, **sizes)
        randomize(AutoModelForCausalLM.from_config(config)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"is of type '{model_type}', which is not supported as a language model.*t5"):
        compose_with(tmp_path, whisper)


def test_missing_weights_are_not_made_up(whisper, tmp_path):
    folder = save_language_model("t5", tmp_path, LABELS)
    edit_config(folder, num_layers=3)
    with pytest.raises(ValueError, match=r"lacks weights of the language model: encoder\.block\.2"):
        compose_with(folder, whisper)


def test_a_language_model_that_is_quantized_is_taken_in_full_precision(whisper, tmp_path):
    pytest.importorskip("bitsandbytes")
    folder = save_language_model("llama", tmp_path / "full", LABELS)
    config = BitsAndBytesConfig(load_in_4bit=True)
    AutoModelForCausalLM.from_pretrained(folder, quantization_config=config).save_pretrained(tmp_path / "quantized")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "quantized")
    (model, _), (full, _) = (compose_with(tmp_path / name, whisper) for name in ("quantized", "full"))
    assert "quantization_config" not in model.config.text_config.to_dict()
    name = "model.language_model.model.layers.0.mlp.up_proj.weight"
    found, expected = (of.get_parameter(name) for of in (model, full))
    assert found.dtype == torch.float32 and not found.equal(expected)
    assert (found - expected).norm() < 0.2 * expected.norm()
