"""What an encoder-decoder reads once: what prompts begin with where it does not see the target, and a prompt that
several labels follow on."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny import (
    ANGER,
    EOS,
    JOY,
    SADNESS,
    VOCAB_SIZE,
    label_ids,
    log_likelihoods,
    moved_padding,
    one_speaker,
    prompt_of,
    tiny_batch,
    tiny_model,
    tiny_processor,
    tiny_prompts,
    tiny_speech,
)
from tiny_checkpoints import ENCODER_DECODERS, language_model_config
from torch.testing import assert_close
from transformers import AutoModelForSpeechSeq2Seq

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.modeling.shared_attention_emoicl import CROSS_ATTENTION, attention_modules
from emoicl.processing.pipeline_emoicl import EmoIclPipeline


CANDIDATES = label_ids([*JOY, EOS], [*SADNESS, EOS], [11, 13, EOS], [*ANGER, EOS])
SPECIAL = {"pad_token_id": 0, "eos_token_id": EOS, "bos_token_id": 2, "decoder_start_token_id": 2}
INSTRUCTION, ENROLLMENT, TARGET = 2, 3 + 1 + 3 + 2, 3


def model_of(kind: str, **fields: Any) -> EmoIclForConditionalGeneration:
    text_config = language_model_config(kind, VOCAB_SIZE)
    for name, token in SPECIAL.items():
        setattr(text_config, name, token)
    return tiny_model(text_config=text_config, **{"enrollment_sees_target": False, **fields})


@pytest.fixture(scope="module", params=ENCODER_DECODERS)
def model(request) -> EmoIclForConditionalGeneration:
    return model_of(request.param)


def tokens_read(encoder: Any) -> list[int]:
    """Grows by the number of tokens of each pass of the encoder: rows times their length."""
    counts: list[int] = []
    encoder.register_forward_pre_hook(
        lambda _, args, kwargs: counts.append(kwargs["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    return counts


@torch.no_grad()
def test_labels_are_scored_as_each_alone(model):
    batch = tiny_batch()
    model.config.adaptation_config.probe_weight = model.config.adaptation_config.prototype_weight = 0.0
    scores = model.score_labels(CANDIDATES, **batch)
    assert_close(scores, log_likelihoods(model, CANDIDATES, **batch).log_softmax(1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_labels_attend_to_one_prompt(model):
    read: list[tuple] = []
    projections = {
        module
        for attention in attention_modules(model.get_decoder(), CROSS_ATTENTION)
        for name, module in attention.named_modules()
        if name in ("k", "k_proj", "q", "q_proj")
    }
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, args: read.append(tuple(args[0].shape[:2])) if module in projections else None
    )
    batch = tiny_batch()
    with hook:
        model.score_labels(CANDIDATES, **batch)
    # In each layer of the decoder: the steps of all labels of a prompt, and the prompts.
    assert read == [(3, CANDIDATES.numel()), tuple(batch["input_ids"].shape)] * 2


@torch.no_grad()
def test_a_prefix_that_is_kept_answers_the_same_and_is_not_read_again(model):
    batch: Any = dict(one_speaker())
    expected, written = model.score_labels(CANDIDATES, **batch), model.generate(**batch, num_beams=3)
    prefix = model.encode_prefix(**prompt_of(batch, 0))
    assert prefix is not None
    keys = prefix.keys_and_values[0][0]
    # Keys and values of the layers of encoder and decoder, and hidden states, in float32.
    assert prefix.num_bytes == 4 * (INSTRUCTION + ENROLLMENT) * (2 * 2 * 2 * keys[0, :, 0].numel() + 24)
    counts = tokens_read(model.get_encoder())
    for _ in range(2):
        scores = model.score_labels(CANDIDATES, **batch | {"prefix": prefix})
        assert_close(scores, expected, atol=1e-4, rtol=1e-4)
    alone = model.score_labels(CANDIDATES, **prompt_of(batch, 2) | {"prefix": prefix})
    assert_close(alone, expected[2:3], atol=1e-4, rtol=1e-4)
    assert model.generate(**batch | {"prefix": prefix}, num_beams=3).equal(written)
    assert counts == [4 * TARGET, 4 * TARGET, TARGET, 4 * TARGET]
    other = tiny_prompts(([(0, ANGER), (1, SADNESS)], 2)) | {n: batch[n] for n in batch if n.startswith("input_f")}
    assert (model.score_labels(CANDIDATES, **other) - expected[:1]).abs().max() > 1e-3


@torch.no_grad()
def test_targets_of_one_speaker_share_what_is_read_of_the_enrollment(model):
    batch = one_speaker()
    expected = torch.cat([model.score_labels(CANDIDATES, **prompt_of(batch, row)) for row in range(4)])
    counts = tokens_read(model.get_encoder())
    assert_close(model.score_labels(CANDIDATES, **batch), expected, atol=1e-4, rtol=1e-4)
    assert counts == [INSTRUCTION + ENROLLMENT, 4 * TARGET]
    # Of two speakers, too, if their prompts are as long.
    theirs = tiny_prompts(*[([(0, JOY), (0, ANGER[1:])], target) for target in (2, 3)])
    both = {name: torch.cat([batch[name], tokens]) for name, tokens in theirs.items()}
    speech = {name: batch[name] for name in batch if name.startswith("input_features")}
    expected = torch.cat(
        [expected, *(model.score_labels(CANDIDATES, **prompt_of(theirs | speech, i)) for i in (0, 1))]
    )
    counts.clear()
    assert_close(model.score_labels(CANDIDATES, **both, **speech), expected, atol=1e-4, rtol=1e-4)
    assert counts == [2 * (INSTRUCTION + ENROLLMENT), 6 * TARGET]


@torch.no_grad()
def test_speakers_of_a_batch_share_no_prefix_but_their_own(model):
    mine, theirs, longer = [(0, JOY)], [(1, JOY)], [(0, JOY), (1, SADNESS)]
    for episodes in ([(mine, 2), (theirs, 3), (mine, 3)], [(mine, 2), (longer, 3), (mine, 3)]):
        batch = tiny_prompts(*episodes) | tiny_speech(40, 37, 26, 33)
        together = model.score_labels(CANDIDATES, **batch)
        for row, episode in enumerate(episodes):
            alone = model.score_labels(CANDIDATES, **tiny_prompts(episode) | tiny_speech(40, 37, 26, 33))
            assert_close(together[row], alone[0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_padding_on_either_side_is_not_seen(model):
    if model.config.text_config.model_type in ("bart", "mbart"):
        pytest.skip("its positions are those in the row")
    shots = [(0, JOY), (1, SADNESS)]
    batch = tiny_prompts((shots, 2), (shots, 3), ([*shots, (0, ANGER)], 3)) | tiny_speech(40, 37, 26, 33)
    expected = model.score_labels(CANDIDATES, **batch)
    moved = moved_padding(batch)
    assert not moved["attention_mask"].equal(batch["attention_mask"])
    assert_close(model.score_labels(CANDIDATES, **moved), expected, atol=1e-4, rtol=1e-4)
    # The first two, which begin alike, with the padding of the third.
    for padded in (batch, moved):
        rows = {name: padded[name][:2] for name in padded if not name.startswith("input_f")}
        counts = tokens_read(model.get_encoder())
        found = model.score_labels(CANDIDATES, **padded | rows)
        assert_close(found, expected[:2], atol=1e-4, rtol=1e-4)
        assert len(counts) == 2


def test_nothing_is_kept_where_it_hangs_on_the_target():
    assert model_of("t5", enrollment_sees_target=True).encode_prefix(**one_speaker()) is None
    assert model_of("t5").encode_prefix(**one_speaker()) is not None


@torch.no_grad()
def test_saved_and_loaded_in_half_precision(model, tmp_path):
    for weight in model.parameters():
        weight.data.mul_(0.3)
    model.save_pretrained(tmp_path)
    candidates, batch = label_ids(*([token, EOS] for token in (10, 11, 13, 15))), one_speaker()
    expected = model.score_labels(candidates, **batch)
    loaded = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)
    first = loaded.encode_prefix(**prompt_of(batch, 0))
    assert_close(loaded.score_labels(candidates, prefix=first, **batch), expected, atol=1e-4, rtol=1e-4)
    halved = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path, dtype=torch.bfloat16)
    first = halved.encode_prefix(**prompt_of(batch, 0))
    assert first.encoded.dtype == torch.bfloat16
    for prefix in (None, first):
        found = halved.score_labels(candidates, prefix=prefix, **batch)
        assert_close(found.exp(), expected.exp(), atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_what_is_shared_learns(kind):
    model: Any = tiny_model(text=kind, enrollment_sees_target=False)
    batch, gradients = one_speaker(2), []
    for prompts in ([batch], [prompt_of(batch, row) for row in range(2)]):
        model.zero_grad()
        for part in prompts:
            model.score_labels(CANDIDATES, **part)[:, 0].sum().backward()
        gradients.append(model.model.sequence_embeddings.weight.grad.clone())
    # Those of the enrollment, too.
    assert gradients[0][2:6].abs().sum(1).all()
    assert_close(*gradients, atol=1e-4, rtol=1e-3)


def test_a_profile_answers_as_the_enrollment_itself(model):
    recognizer = EmoIclPipeline(model=model, processor=tiny_processor())
    clips = [np.random.default_rng(i).normal(0, 0.1, 4000 + 800 * i).astype(np.float32) for i in range(5)]
    enrollment = [{"audio": clips[0], "label": "Joy"}, {"audio": clips[1], "label": "Anger"}]
    profile = recognizer.enroll(enrollment)
    for settings in ({}, {"decoding": "beam"}):
        expected = [recognizer(clip, enrollment=enrollment, **settings) for clip in clips[2:]]
        for speaker in ({"profile": profile}, {"enrollment": enrollment}):
            answers = recognizer(clips[2:], batch_size=3, **speaker, **settings)
            for found, alone in zip(answers, expected, strict=True):
                assert scores_of(found) == pytest.approx(scores_of(alone), abs=1e-4)
    kept: Any = profile.prefix
    assert kept[1] is not None


def scores_of(answers: list[dict]) -> dict[str, float]:
    return {answer["label"]: answer["score"] for answer in answers}
