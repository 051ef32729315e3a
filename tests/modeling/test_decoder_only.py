"""What is other about a decoder-only language model: prompt and label in one pass, and prefixes that are kept."""

from typing import Any

import pytest
import torch
from tiny import (
    ANGER,
    EOS,
    JOY,
    SADNESS,
    label_ids,
    log_likelihoods,
    moved_padding,
    one_speaker,
    prompt_of,
    tiny_batch,
    tiny_model,
    tiny_prompts,
    tiny_speech,
)
from torch.testing import assert_close
from transformers import AutoModelForSpeechSeq2Seq

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration


CANDIDATES = label_ids([*JOY, EOS], [*SADNESS, EOS], [11, 13, EOS], [*ANGER, EOS])
# What is read of them, each with what leads to it: the start token, 10, 11, 12 and 13 after 11, 13, 14, 15.
NUM_STEPS = 8
KINDS = ["llama", "gemma3_text"]


@pytest.fixture(scope="module", params=KINDS)
def model(request) -> EmoIclForConditionalGeneration:
    return tiny_model(text=request.param)


def tokens_read(model: Any) -> list[int]:
    """Grows by the number of tokens of each pass of the language model: rows times their length."""
    counts: list[int] = []
    model.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: counts.append(kwargs["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    return counts


@torch.no_grad()
def test_padding_on_either_side_is_not_seen(model):
    batch = tiny_batch()
    moved = moved_padding(batch)
    assert not moved["attention_mask"].equal(batch["attention_mask"])
    labels = CANDIDATES[:3]
    assert_close(model(**moved, labels=labels).logits, model(**batch, labels=labels).logits, atol=1e-4, rtol=1e-4)
    expected = model.score_labels(CANDIDATES, **batch)
    assert_close(model.score_labels(CANDIDATES, **moved), expected, atol=1e-4, rtol=1e-4)
    assert model.generate(**moved).equal(model.generate(**batch))


@torch.no_grad()
def test_a_prompt_alone_is_as_in_a_batch(model):
    together = model.score_labels(CANDIDATES, **tiny_batch())
    alone = tiny_prompts(([], 2)) | tiny_speech(40, 37, 51, 26, 33)
    assert_close(model.score_labels(CANDIDATES, **alone), together[2:], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_targets_of_one_speaker_share_what_is_read_of_the_enrollment(model):
    batch = one_speaker()
    expected = torch.cat([model.score_labels(CANDIDATES, **prompt_of(batch, row)) for row in range(4)])
    counts = tokens_read(model)
    assert_close(model.score_labels(CANDIDATES, **batch), expected, atol=1e-4, rtol=1e-4)
    instruction, enrollment, target = 2, 3 + 1 + 3 + 2, 3
    assert counts == [instruction + enrollment, 4 * (target + NUM_STEPS)]


@torch.no_grad()
def test_speakers_of_a_batch_share_no_prefix_but_their_own(model):
    mine, theirs = ([(0, JOY)], [(1, SADNESS)]), ([(0, JOY)], [(0, SADNESS)])
    batch = tiny_prompts((mine[0], 2), (theirs[1], 3), (mine[0], 3), (mine[1], 2)) | tiny_speech(40, 37, 26, 33)
    for row in range(4):
        alone = model.score_labels(CANDIDATES, **prompt_of(batch, row))
        assert_close(model.score_labels(CANDIDATES, **batch)[row], alone[0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_prefix_that_is_kept_answers_the_same_and_is_not_read_again(model):
    batch: Any = dict(one_speaker())
    expected, written = model.score_labels(CANDIDATES, **batch), model.generate(**batch, num_beams=3)
    prefix = model.encode_prefix(**prompt_of(batch, 0))
    assert prefix.num_bytes == 2 * 2 * 11 * 8 * 4  # keys and values, layers, tokens, size of the one head, float32
    counts = tokens_read(model)
    for _ in range(2):
        scores = model.score_labels(CANDIDATES, **batch | {"prefix": prefix})
        assert_close(scores, expected, atol=1e-4, rtol=1e-4)
    assert counts == [4 * (3 + NUM_STEPS)] * 2
    counts.clear()
    assert model.generate(**batch | {"prefix": prefix}, num_beams=3).equal(written)
    # The targets once, then a token of each of 3 beams at a time.
    assert counts[0] == 4 * 3 and set(counts[1:]) == {4 * 3}
    other = tiny_prompts(([(0, ANGER), (1, SADNESS)], 2)) | {n: batch[n] for n in batch if n.startswith("input_f")}
    assert (model.score_labels(CANDIDATES, **other) - expected[:1]).abs().max() > 1e-3


@torch.no_grad()
def test_a_cache_holds_a_prefix_once_whatever_follows_on_it(model):
    prefix = model.encode_prefix(**prompt_of(dict(one_speaker()), 0))
    keys = prefix.keys_and_values[0][0]
    cache = prefix.to_cache(2)
    follows = torch.randn(2, *keys.shape[1:2], 3, keys.shape[3])
    assert cache.get_seq_length() == keys.shape[2] == 11
    read, _ = cache.update(follows, follows, 0)
    assert read.equal(torch.cat([keys.expand(2, -1, -1, -1), follows], dim=2))
    cache.layers = cache.layers[:1]
    cache.batch_repeat_interleave(3)
    cache.reorder_cache(torch.tensor([0, 0, 1, 3, 3, 4]))
    step = torch.randn(6, *keys.shape[1:2], 1, keys.shape[3])
    read, _ = cache.update(step, step, 0)
    assert read.equal(torch.cat([keys.expand(6, -1, -1, -1), follows[[0, 0, 0, 1, 1, 1]], step], dim=2))
    assert cache.get_seq_length() == 11 + 3 + 1
    layer = cache.layers[0]
    assert layer.keys.shape[2] == 3 + 1 and layer.prefixes[0] is keys


@torch.no_grad()
def test_generation_reads_the_prompt_once_and_then_token_by_token(model):
    batch = tiny_batch()
    asked: Any = {"num_beams": 4, "max_new_tokens": 5, "min_new_tokens": 5}
    asked |= {"return_dict_in_generate": True, "output_scores": True}
    counts = tokens_read(model)
    cached = model.generate(**batch, **asked)
    assert counts == [batch["input_ids"].numel()] + [12] * 5
    plain = model.generate(**batch, **asked, use_cache=False)
    assert cached.sequences.equal(plain.sequences)
    assert_close(cached.scores, plain.scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("text", ["llama", "t5"])
def test_a_cache_of_another_kind_is_refused(text):
    with pytest.raises(ValueError, match="leave out `cache_implementation='static'`"):
        tiny_model(text=text).generate(**tiny_batch(), cache_implementation="static")


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_candidates_side_by_side_are_scored_as_each_alone(kind):
    """Some begin alike. The tiny prompts are longer than a window, so that one too wide or too narrow shows."""
    model, batch = tiny_model(text=kind), tiny_batch()
    model.config.adaptation_config.probe_weight = model.config.adaptation_config.prototype_weight = 0.0
    scores = model.score_labels(CANDIDATES, **batch)
    assert_close(scores, log_likelihoods(model, CANDIDATES, **batch).log_softmax(1), atol=1e-4, rtol=1e-4)
    if kind == "gemma3_text":
        assert model.config.text_config.sliding_window < batch["input_ids"].shape[1]
        model.config.text_config.sliding_window = model.model.language_model.config.sliding_window = 7
        assert (model.score_labels(CANDIDATES, **batch) - scores).abs().max() > 1e-4


@torch.no_grad()
def test_saved_and_loaded_in_half_precision(model, tmp_path):
    model.save_pretrained(tmp_path)
    batch = one_speaker()
    expected = model.score_labels(CANDIDATES, **batch)
    loaded = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)
    assert_close(loaded.score_labels(CANDIDATES, **batch), expected, atol=1e-5, rtol=1e-5)
    halved = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path, dtype=torch.bfloat16)
    scores = halved.score_labels(CANDIDATES, **batch)
    assert scores.dtype == torch.float32
    assert_close(scores.exp().sum(1), torch.ones(4))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_answers_in_half_precision_are_near_those_in_full(kind, tmp_path):
    model, batch = tiny_model(text=kind), one_speaker()
    # Of smaller weights and labels as long as each other, a model is not sure of anything: there rounding shows.
    candidates = label_ids(*([token, EOS] for token in (10, 11, 13, 15)))
    for weight in model.parameters():
        weight.data.mul_(0.3)
    model.save_pretrained(tmp_path)
    halved = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path, dtype=torch.bfloat16)
    expected = model.score_labels(candidates, **batch).exp()
    assert expected.max() < 0.9
    first = halved.encode_prefix(**prompt_of(batch, 0))
    for prefix in (None, first):
        found = halved.score_labels(candidates, prefix=prefix, **batch).exp()
        assert not found.equal(expected)
        assert_close(found, expected, atol=0.02, rtol=0)


@torch.no_grad()
def test_attention_is_fused_and_answers_as_written_out(model, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path)
    batch, fused = one_speaker(), []
    sdpa = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: fused.append(a) or sdpa(*a, **k)
    )
    loaded = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)
    expected = loaded.score_labels(CANDIDATES, **batch)
    assert len(fused) >= 2 * len(loaded.get_decoder().layers)  # the prefix, and what follows on it
    fused.clear()
    eager = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path, attn_implementation="eager")
    assert_close(eager.score_labels(CANDIDATES, **batch), expected, atol=1e-4, rtol=1e-4)
    assert fused == []
