"""The layout that made-up speakers teach: one token an utterance, its label bound to it, and a target that nothing
sees."""

import functools
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import (
    READER,
    label_ids,
    log_likelihoods,
    tiny_adaptation,
    tiny_batch,
    tiny_config,
    tiny_model,
    tiny_prompts,
    tiny_speech,
)
from torch.testing import assert_close

from emoicl.modeling.configuration_emoicl import EmoIclConfig
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.modeling.pretrained_emoicl import EmoIclPreTrainedModel


JOY, SADNESS, ANGER = [10], [11, 12], [13, 14, 15]
CANDIDATES = label_ids([10, 1], [11, 12, 1], [13, 14, 15, 1])
TEXTS = ["t5", "bart", "t5gemma"]
SILENT = tiny_adaptation(probe_weight=0.0, prototype_weight=0.0)
reader_prompts = functools.partial(tiny_prompts, num_query_tokens=1)


def tiny_reader(**fields: Any) -> Any:
    return tiny_model(**(READER | fields))


@torch.no_grad()
def embedded(model, batch):
    """The prompt as the language model is given it."""
    layout = (batch["input_ids"], batch["sequence_ids"], batch["segment_ids"], batch["utterance_index"])
    audio = model.get_audio_features(batch["input_features"], batch["input_features_mask"])
    return model.model.embed_prompt(*layout, audio.query_embeds)


@torch.no_grad()
def encoded(model, batch):
    return model.model.encode(**batch).last_hidden_state


@torch.no_grad()
def scores_of(model, batch):
    return model.score_labels(CANDIDATES, **batch)


@pytest.mark.parametrize("text", TEXTS)
def test_a_prompt_alone_is_as_in_a_batch(text):
    model, batch = tiny_reader(text=text), tiny_batch(num_query_tokens=1)
    together = scores_of(model, batch)
    speech = {name: batch[name] for name in ("input_features", "input_features_mask")}
    alone = [([(0, JOY), (1, SADNESS)], 2), ([(3, JOY), (1, ANGER), (0, ANGER)], 4), ([], 2)]
    for row, prompt in enumerate(alone):
        assert_close(scores_of(model, reader_prompts(prompt) | speech)[0], together[row], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("text", TEXTS)
def test_a_reloaded_model_answers_alike(tmp_path, text):
    model, batch = tiny_reader(text=text), tiny_batch(num_query_tokens=1)
    model.save_pretrained(tmp_path)
    reloaded: Any = EmoIclForConditionalGeneration.from_pretrained(tmp_path)
    assert not hasattr(reloaded.model, "qformer")
    assert {name: getattr(reloaded.config, name) for name in READER} == READER
    assert_close(scores_of(reloaded, batch), scores_of(model, batch), atol=0, rtol=0)
    written = model.generate(**batch, num_beams=4, max_new_tokens=4)
    assert written.equal(reloaded.generate(**batch, num_beams=4, max_new_tokens=4))


def test_what_a_checkpoint_lacks_is_initialized(tmp_path):
    """Loading builds the model without memory: a weight that no initialization knows would hold whatever lay there."""
    tiny_reader().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    absent = ("model.voice_token.", "model.unlabeled_embedding.")
    kept = {name: weight for name, weight in weights.items() if not name.startswith(absent)}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model: Any = super(EmoIclPreTrainedModel, EmoIclForConditionalGeneration).from_pretrained(tmp_path)
    base = model.model
    assert (base.voice_token.feature_scale == 1).all() and not base.voice_token.projection.bias.any()
    for weight in (base.voice_token.projection.weight, base.unlabeled_embedding.weight):
        assert weight.std().item() == pytest.approx(model.config.initializer_range, rel=0.4)


def test_an_utterances_token_is_that_of_all_sources_as_one():
    model = tiny_reader(adaptation_config=tiny_adaptation(sources=["a", "b"]))
    audio = model.get_audio_features(**tiny_speech(30, 41))
    token = model.model.voice_token
    assert audio.voice_embeds.shape == (2, 18) and audio.query_embeds.shape == (2, 1, 24)
    expected = token.projection(audio.voice_embeds[:, :6] * token.feature_scale)
    assert_close(audio.query_embeds[:, 0], expected)


def test_a_label_changes_its_own_tokens_and_those_of_its_utterance_alone():
    model, speech = tiny_reader(), tiny_speech(30, 41, 26)
    of_joy, of_sadness = (
        embedded(model, reader_prompts(([(0, JOY), (1, [label])], 2)) | speech)[0] for label in (20, 21)
    )
    # The instruction, its two utterances and labels, and the target.
    changed = (of_joy - of_sadness).abs().amax(-1) > 1e-4
    assert changed.tolist() == [False, False, False, False, True, True, False]
    table = model.get_input_embeddings()
    assert_close(of_sadness[4] - of_joy[4], (table.weight[21] - table.weight[20]).detach())


def test_a_label_of_several_tokens_counts_by_their_mean():
    model, speech = tiny_reader(), tiny_speech(30, 41)
    prompt = reader_prompts(([(0, ANGER)], 1)) | speech
    table, audio = model.get_input_embeddings().weight, model.get_audio_features(**speech)
    base = model.model
    expected = audio.query_embeds[0, 0] + table[ANGER].mean(0)
    expected = expected + base.segment_embeddings.weight[1] + base.sequence_embeddings.weight[3]
    assert_close(embedded(model, prompt)[0, 2], expected.detach())


def test_shots_without_a_label_and_targets_have_the_embedding_of_none():
    model, speech = tiny_reader(), tiny_speech(30, 41, 26)
    prompt = reader_prompts(([(0, []), (1, JOY)], 2), ([], 2)) | speech
    before = embedded(model, prompt)
    with torch.no_grad():
        model.model.unlabeled_embedding.weight += 1
    moved = embedded(model, prompt) - before
    # Without the label of the first shot: instruction, shot, shot, label, target; and instruction, target.
    expected = torch.tensor([[0, 0, 1, 0, 0, 1], [0, 0, 1, 0, 0, 0]])
    assert_close(moved, expected[..., None].expand_as(moved).float())


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("fields", [{}, {"num_query_tokens": 3, "voice_token": False}], ids=["voice", "queries"])
def test_the_enrollment_is_encoded_the_same_whatever_the_target(text, fields):
    model, speech = tiny_reader(text=text, **fields), tiny_speech(30, 30, 30, 30)
    queries = fields.get("num_query_tokens", 1)
    prompts = tiny_prompts(([(0, JOY), (1, ANGER)], 2), ([(0, JOY), (1, ANGER)], 3), num_query_tokens=queries)
    one, other = encoded(model, prompts | speech)
    assert_close(one[:-queries], other[:-queries], atol=1e-5, rtol=1e-5)
    assert (one[-queries:] - other[-queries:]).abs().max() > 1e-3
    sees = tiny_reader(text=text, **fields, enrollment_sees_target=True)
    one, other = encoded(sees, prompts | speech)
    assert (one[:-queries] - other[:-queries]).abs().max() > 1e-3


@pytest.mark.parametrize("fields", [{}, {"num_query_tokens": 2, "voice_token": False}], ids=["voice", "queries"])
def test_several_targets_share_a_prompt(fields):
    """Each is encoded as if it were alone, but for the language model's relative positions."""
    model, speech = tiny_reader(**fields), tiny_speech(30, 41, 26, 33, 28)
    positions = model.model.language_model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias
    torch.nn.init.zeros_(positions.weight)
    queries = fields.get("num_query_tokens", 1)
    shots = [(0, JOY), (1, ANGER)]
    alone = [
        encoded(model, tiny_prompts((shots, target), num_query_tokens=queries) | speech)[0] for target in (2, 3, 4)
    ]
    prompt = tiny_prompts((shots, 2), num_query_tokens=queries)
    last = {name: prompt[name][:, -queries:].repeat(1, 2) for name in prompt if name != "utterance_index"}
    prompt = {name: torch.cat([prompt[name], tokens], 1) for name, tokens in last.items()}
    together = model.model.encode(**prompt, utterance_index=torch.arange(5)[None], **speech)
    context, *targets = together.last_hidden_state[0].split([len(alone[0]) - queries, *[queries] * 3])
    for row, target in zip(alone, targets, strict=True):
        assert_close(torch.cat([context, target]), row, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"adaptation_config": None}, "`voice_token` makes .* of the speaker adaptation: give an `adaptation_config`"),
        ({"num_query_tokens": 8}, "`voice_token` makes one token .* set `num_query_tokens` to 1 instead of 8"),
        ({"voice_token_size": 0}, "`voice_token_size` is 0; it must be from 1 to"),
        ({"voice_token_size": 10_000}, "`voice_token_size` is 10000; it must be from 1 to .*, the size of the voice"),
    ],
)
def test_a_voice_token_needs_an_adaptation_and_is_one(fields, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**(READER | fields))


def test_a_voice_token_holds_the_first_dimensions():
    base: Any = tiny_model(**READER, voice_token_size=2).model
    voices = torch.randn(3, base.adaptation.config.size)
    tokens = base.voice_token(voices)
    assert_close(tokens, base.voice_token(voices.index_fill(1, torch.arange(2, voices.shape[1]), 9.0)))
    assert not torch.allclose(tokens, base.voice_token(voices.index_fill(1, torch.tensor([1]), 9.0)))


def test_the_layout_is_kept_by_the_configuration(tmp_path):
    tiny_config(**READER).save_pretrained(tmp_path)
    reloaded = EmoIclConfig.from_pretrained(tmp_path)
    assert {name: getattr(reloaded, name) for name in READER} == READER
    plain = EmoIclConfig()
    assert (plain.voice_token, plain.bind_labels, plain.enrollment_sees_target) == (False, False, True)


def test_with_weights_of_zero_the_language_model_answers_alone():
    model, batch = tiny_reader(adaptation_config=SILENT), tiny_batch(num_query_tokens=1)
    assert not model.config.adaptation_config.has_evidence
    assert tiny_reader().config.adaptation_config.has_evidence
    output = model.model.encode(**batch)
    assert output.label_tokens is None and output.label_evidence is None
    alone = log_likelihoods(model, CANDIDATES, **batch).log_softmax(-1)
    assert_close(scores_of(model, batch), alone, atol=1e-4, rtol=1e-4)
    assert (scores_of(tiny_reader(), batch) - alone).abs().max() > 1e-3
    # The weights of the language model are the same as with evidence, and so is what it says.
    personal = tiny_reader()
    steps = personal.prepare_decoder_input_ids_from_labels(CANDIDATES)
    by_model = personal.model.prompted.score(
        personal.model.encode(**batch), batch["attention_mask"], steps, CANDIDATES
    )
    assert_close(by_model.log_softmax(-1), alone, atol=1e-4, rtol=1e-4)


def test_labels_of_unlabeled_shots_are_read_as_none():
    batch = reader_prompts(([(0, []), (1, JOY), (0, [])], 2))
    labels = tiny_reader().model.shot_labels(batch["input_ids"], batch["sequence_ids"], batch["utterance_index"])
    assert (labels[0, [0, 2]] == -100).all() and labels[0, 1, :3].tolist() == [10, 1, -100]


def test_every_weight_of_the_layout_learns():
    model = tiny_reader().train()
    batch = reader_prompts(([(0, JOY), (1, [])], 2), ([(3, ANGER)], 4)) | tiny_speech(40, 37, 51, 26, 33)
    model(**batch, labels=CANDIDATES[:2]).loss.backward()
    base = model.model
    for weight in (*base.voice_token.parameters(), base.unlabeled_embedding.weight):
        assert weight.grad is not None and weight.grad.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("text", ["t5", "bart"])
def test_in_half_precision_it_answers_nearly_alike(dtype, text):
    model, batch = tiny_reader(text=text), tiny_batch(num_query_tokens=1)
    expected = scores_of(model, batch).exp()
    found = scores_of(model.to(dtype), batch).exp()
    assert found.isfinite().all()
    assert (found - expected).abs().max() < 0.2
