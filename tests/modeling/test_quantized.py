"""Quantized loading by bitsandbytes: the language model takes fewer bits, all that hears stays as it is."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny import EOS, READER, label_ids, one_speaker, tiny_batch, tiny_config, tiny_model, tiny_processor
from torch.testing import assert_close
from transformers import BitsAndBytesConfig

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.processing.profile_emoicl import SpeakerProfile


bitsandbytes = pytest.importorskip("bitsandbytes")

BITS = {"load_in_4bit": bitsandbytes.nn.Linear4bit, "load_in_8bit": bitsandbytes.nn.Linear8bitLt}
CANDIDATES = label_ids(*([token, EOS] for token in (10, 11, 13, 15)))
TARGETS = label_ids([10, EOS], [11, 12, EOS], [13, 14, 15, EOS])
CLIPS = [np.random.default_rng(i).normal(0, 0.1, 4000 + 800 * i).astype(np.float32) for i in range(3)]


@pytest.fixture(params=BITS)
def bits(request) -> str:
    return request.param


@pytest.fixture
def base(tmp_path) -> EmoIclForConditionalGeneration:
    """A model that is not sure of anything, so that rounding shows; saved in `tmp_path / "base"`."""
    return saved(tmp_path, text="llama", adaptation_config=None)


def saved(tmp_path, **fields: Any) -> EmoIclForConditionalGeneration:
    model = tiny_model(**fields)
    for weight in model.parameters():
        weight.data.mul_(0.3)
    model.save_pretrained(tmp_path / "base")
    return model


def load(folder, bits: str, **kwargs: Any) -> EmoIclForConditionalGeneration:
    fields: dict[str, Any] = {bits: True}
    config = BitsAndBytesConfig(**fields)
    return EmoIclForConditionalGeneration.from_pretrained(folder, quantization_config=config, **kwargs)


def batch_for(model: Any, **batch: Any) -> dict[str, Any]:
    """A batch where the model is: weights in 8 or 4 bits are loaded onto a GPU, where there is one."""
    return {name: part.to(model.device) for name, part in (batch or tiny_batch()).items()}


@torch.no_grad()
def probabilities(model: Any) -> torch.Tensor:
    return model.score_labels(CANDIDATES, **batch_for(model)).exp().cpu()


@pytest.mark.parametrize("fields", [{"text": "llama"}, {"text": "llama", **READER}, {"text": "t5"}], ids=str)
def test_the_language_model_is_quantized_but_its_head_and_nothing_else(tmp_path, bits, fields):
    model = saved(tmp_path, **fields)
    linear = {name for name, layer in model.named_modules() if type(layer) is torch.nn.Linear}
    expected = {name for name in linear if name.startswith("model.language_model.") and "lm_head" not in name}
    if fields["text"] == "t5":  # which transformers never quantizes
        expected = {name for name in expected if not name.endswith(".wo")}
    quantized = load(tmp_path / "base", bits)
    assert {name for name, layer in quantized.named_modules() if isinstance(layer, BITS[bits])} == expected
    weights, others = dict(model.named_parameters()), 0
    for name, weight in quantized.named_parameters():
        if name.removesuffix(".weight") not in expected:
            assert weight.cpu().equal(weights[name]), name
            others += 1
    assert expected and others == len(weights) - len(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_answers_are_near_those_in_full_precision(base, tmp_path, bits, dtype):
    expected, found = probabilities(base), probabilities(load(tmp_path / "base", bits, dtype=dtype))
    assert expected.max() < 0.9 and not found.equal(expected)
    assert_close(found, expected, atol=0.05, rtol=0)


def test_a_trained_model_keeps_what_it_has_learned(tmp_path, bits):
    """Ten targets of one speaker, whose labels it was taught until it knew them."""
    torch.manual_seed(0)
    model: Any = EmoIclForConditionalGeneration(tiny_config(text="llama", adaptation_config=None))
    batch: Any = {name: part for name, part in one_speaker(10).items() if not name.startswith("input_features")}
    batch["query_embeds"] = torch.randn(12, 3, 24)
    answers = torch.arange(10) % len(CANDIDATES)
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    for _ in range(80):
        model(**batch, labels=CANDIDATES[answers]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(tmp_path / "base")
    quantized = load(tmp_path / "base", bits)
    with torch.no_grad():
        expected, found = (of.score_labels(CANDIDATES, **batch_for(of, **batch)).cpu() for of in (model, quantized))
    assert expected.argmax(1).equal(answers) and found.argmax(1).equal(answers)
    of_answers = [scores.gather(1, answers[:, None]) for scores in (found, expected)]
    assert of_answers[1].exp().min() > 0.8 and not found.equal(expected)
    assert_close(*of_answers, atol=0.05, rtol=0)


def test_saved_after_it_has_answered_it_reloads_as_it_was(base, tmp_path, bits):
    """On some CPUs bitsandbytes would put weights in another order at the first answer."""
    quantized = load(tmp_path / "base", bits)
    expected, written = probabilities(quantized), quantized.generate(**batch_for(quantized))
    quantized.save_pretrained(tmp_path / "saved")
    assert probabilities(quantized).equal(expected)
    reloaded = EmoIclForConditionalGeneration.from_pretrained(tmp_path / "saved")
    assert reloaded.get_memory_footprint() == quantized.get_memory_footprint() < base.get_memory_footprint()
    assert probabilities(reloaded).equal(expected)
    assert reloaded.generate(**batch_for(reloaded)).equal(written)


def test_a_profile_of_a_quantized_model_is_one_of_the_model_that_is_reloaded(base, tmp_path, bits):
    def ask(model, profile=None):
        recognizer = EmoIclPipeline(model=model, processor=tiny_processor())
        shots = [{"audio": CLIPS[0], "label": "Joy"}, {"audio": CLIPS[1], "label": "Anger"}]
        profile = profile or recognizer.enroll(shots)
        return recognizer, profile, recognizer({"audio": CLIPS[2], "profile": profile})

    recognizer, profile, answer = ask(load(tmp_path / "base", bits))
    profile.save(tmp_path / "me.profile")
    recognizer.model.save_pretrained(tmp_path / "saved")
    assert recognizer({"audio": CLIPS[2], "profile": profile}) == answer
    assert recognizer({"audio": CLIPS[2]}) != answer
    reloaded = EmoIclForConditionalGeneration.from_pretrained(tmp_path / "saved")
    assert ask(reloaded, SpeakerProfile.load(tmp_path / "me.profile"))[2] == answer


def test_low_rank_adapters_learn_on_a_quantized_model_that_has_answered(base, tmp_path, bits):
    peft = pytest.importorskip("peft")
    quantized: Any = load(tmp_path / "base", bits)
    probabilities(quantized)
    adapted = peft.get_peft_model(
        quantized, peft.LoraConfig(r=2, target_modules=r".*language_model\..*\.(q|v)_proj")
    ).train()
    trained = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    optimizer = torch.optim.Adam(trained.values(), lr=1e-2)
    losses = []
    for _ in range(5):
        loss = adapted(**batch_for(quantized), labels=TARGETS.to(quantized.device)).loss
        loss.backward()
        # In the first step A gets none, for B is zero.
        assert all(weight.grad.any() for name, weight in trained.items() if losses or "lora_B" in name)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    expected, untrained = probabilities(adapted.eval()), probabilities(load(tmp_path / "base", bits))
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    merged = probabilities(EmoIclForConditionalGeneration.from_pretrained(tmp_path / "merged"))
    assert (merged - expected).abs().max() < 0.5 * (merged - untrained).abs().max()
