from typing import Any

import numpy as np
import pytest
import torch
from bundled_models import needs_bundled
from tiny import LABELS, READER
from tiny_checkpoints import save_language_model
from tiny_corpus import SIZES, THREE_STEPS, compose_tiny
from torch.testing import assert_close
from transformers.models.t5.modeling_t5 import T5Attention

from emoicl.bundled import BUNDLED_MODELS
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.made_up_speakers import Difficulty, MadeUpSpeakers
from emoicl.training.evaluation.evaluate import evaluate
from emoicl.training.evaluation.recognition import SpeechLmRecognizer
from emoicl.training.systems.adaptation import fit_statistics
from emoicl.training.systems.made_up_config import MadeUpTrainingArguments
from emoicl.training.systems.made_up_trainer import (
    MadeUpTrainer,
    difficulties,
    next_tokens,
    prepare_to_hear,
    prepare_to_read,
)


SIZE = 6
SILENT = {"size": SIZE, "probe_weight": 0.0, "prototype_weight": 0.0}


def compose_reader(whisper, **fields: Any) -> Any:
    defaults = READER | {"max_shots": 12, "num_open_labels": 4, "adaptation_config": SILENT}
    if "language_model" in fields:
        defaults |= {"num_open_labels": 0, "text": None}
    return compose_tiny(whisper, **(defaults | fields))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Folders of language models that know words, by their kind."""
    folder = tmp_path_factory.mktemp("language_models")
    kinds = ("flan-t5", "llama", "gemma3_text")
    return {kind: str(save_language_model(kind, folder / kind, LABELS)) for kind in kinds}


@pytest.fixture
def make_trainer(whisper, corpus, tmp_path):
    """Makes the trainer of a new tiny model, the same each time."""

    def make(model_fields=None, ready=True, **arguments: Any) -> Any:
        torch.manual_seed(0)
        model, processor = compose_reader(whisper, **(model_fields or {}))
        features = FeatureCache(model, processor.feature_extractor, tmp_path / "cache")
        if ready:
            fit_statistics(model, corpus, features)
            (prepare_to_hear if "language_model" in (model_fields or {}) else prepare_to_read)(model)
        defaults: dict[str, Any] = THREE_STEPS | {"output_dir": str(tmp_path / "run"), "contexts_per_epoch": 20}
        defaults |= {"num_targets": 3, "max_shots": 4}
        args = MadeUpTrainingArguments(**(defaults | arguments))
        return MadeUpTrainer(model, args, corpus, processor, corpus, features)

    return make


def weights(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def test_the_loss_falls(make_trainer):
    easy: dict[str, Any] = {"matching_steps": 1000, "first_noise": 0.01, "noise": 0.01, "wide_share": 0.0}
    trainer = make_trainer(max_steps=60, **easy, per_device_train_batch_size=20, learning_rate=1e-2)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_the_language_model_alone_is_trained(make_trainer):
    trainer = make_trainer(matching_steps=0)
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert unchanged == {name for name in before if name.startswith(("model.speech_encoder.", "model.adaptation."))}


@pytest.mark.parametrize("kind", [None, "llama", "gemma3_text"])
def test_the_loss_is_that_of_each_target_alone(make_trainer, pretrained, kind):
    """As of prompts with one target each, but for a T5's relative positions."""
    plain: dict[str, Any] = {"matching_steps": 0, "open_share": 0.0, "encoder_loss_weight": 0.0}
    fields = {"language_model": pretrained[kind]} if kind else {"text": SIZES["text"] | {"dropout_rate": 0.0}}
    trainer = make_trainer(model_fields=fields, **plain)
    model: Any = trainer.model.eval()
    if kind is None:
        positions = model.model.language_model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias
        torch.nn.init.zeros_(positions.weight)
    items: Any = trainer.train_dataset
    contexts = [items[item] for item in range(6)]
    batch = trainer.data_collator(contexts)
    loss, outputs = trainer.compute_loss(model, batch, return_outputs=True)
    rows = iter(zip(outputs["logits"], batch["labels"], strict=True))
    answers = zip(batch["candidate_ids"].split(1), batch["probabilities"].split(1), strict=True)
    losses = []
    for context in contexts:
        num_shots = len(context.shot_labels)
        voices = torch.from_numpy(context.voices).float()
        for target in range(3):
            prompt = trainer.processor.build_prompts(
                [[*range(num_shots), num_shots + target]], [context.shot_labels], [context.candidate_labels]
            )
            prompt = dict(prompt) | {"query_embeds": model.model.voice_token(voices), "voice_embeds": voices}
            logits, labels = next(rows)
            alone = model(**prompt, labels=labels[None]).logits[0]
            assert_close(logits, alone, atol=1e-4, rtol=1e-4)
            answer = next_tokens(labels[None], *next(answers), alone.shape[-1])[0]
            losses.append(torch.nn.functional.cross_entropy(alone, answer, reduction="none"))
    alone = torch.cat(losses).sum() / (batch["labels"] >= 0).sum()
    assert_close(loss, alone, atol=1e-4, rtol=1e-4)
    # What the targets of a context share is learned from all of them.
    heard = model.model.voice_token.projection.weight
    of_both = [torch.autograd.grad(of_one, heard)[0] for of_one in (loss, alone)]
    assert_close(*of_both, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ["flan-t5", "llama"])
def test_pretrained_language_models_are_taught_by_words_that_they_know(make_trainer, pretrained, kind):
    easy: dict[str, Any] = {"matching_steps": 1000, "first_noise": 0.01, "noise": 0.01, "wide_share": 0.0}
    fields = {"language_model": pretrained[kind]}
    trainer = make_trainer(fields, max_steps=60, **easy, per_device_train_batch_size=8, learning_rate=1e-2)
    items: Any = trainer.train_dataset
    prompt = trainer.data_collator([items[0]])["input_ids"][0]
    assert "unknown" not in trainer.processor.tokenizer.decode(prompt)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_a_pretrained_language_model_begins_as_it_is(whisper, corpus, pretrained, tmp_path):
    model, processor = compose_reader(whisper, language_model=pretrained["flan-t5"])
    fit_statistics(model, corpus, FeatureCache(model, processor.feature_extractor, tmp_path / "cache"))
    before = weights(model)
    prepare_to_hear(model)
    changed = {name for name, weight in weights(model).items() if not torch.equal(weight, before[name])}
    assert {name.rpartition(".")[0] for name in changed} <= {"model.voice_token", "model.voice_token.projection"}
    # A voice is about as loud as a word.
    loudness = model.get_input_embeddings().weight.std()
    assert_close(model.model.voice_token.projection.weight.std(), 2 * loudness * SIZE**-0.5, rtol=0.2, atol=0)


def test_the_encoder_alone_tells_the_first_token_of_a_label(make_trainer):
    trainer = make_trainer(matching_steps=0)
    model: Any = trainer.model.eval()
    items: Any = trainer.train_dataset
    batch = trainer.data_collator([items[item] for item in range(6)])
    labels = batch["labels"]
    loss, outputs = trainer.compute_loss(model, batch, return_outputs=True)
    trainer.args.encoder_loss_weight = 0.0
    of_decoder = trainer.compute_loss(model, batch)
    answers = next_tokens(labels, batch["candidate_ids"], batch["probabilities"], outputs["logits"].shape[-1])
    tokens = trainer.label_tokens
    of_encoder = torch.nn.functional.cross_entropy(outputs["encoder_logits"], answers[:, 0, tokens], reduction="sum")
    assert_close(loss - of_decoder, of_encoder / (labels >= 0).sum(), atol=1e-4, rtol=1e-4)
    encoded, *_ = trainer.encode_targets(batch, len(labels))
    # The head of a T5 is its embeddings, scaled.
    shared = model.model.language_model.shared.weight
    expected = encoded[:, -1] @ shared[tokens].T / shared.shape[1] ** 0.5
    assert_close(outputs["encoder_logits"], expected, atol=1e-4, rtol=1e-4)
    assert set(tokens.tolist()) >= set(batch["candidate_ids"][..., 0].flatten().tolist()) - {-100}


def test_the_answer_is_how_probable_each_token_is_after_those_of_the_label():
    """Labels `5`, `6 7` and `6 8`, which ends with 1; another context has one label more."""
    labels = torch.tensor([[5, 1, -100], [6, 7, 1]])
    candidates = torch.tensor([[[5, 1, -100], [6, 7, 1], [6, 8, 1], [-100] * 3]]).expand(2, -1, -1)
    answers = next_tokens(labels, candidates, torch.tensor([[0.2, 0.3, 0.5, 0.0]]).expand(2, -1), 9)
    first, last = {5: 0.2, 6: 0.8}, {1: 1.0}
    expected = [[first, last, {}], [first, {7: 0.375, 8: 0.625}, last]]
    for row, of_label in zip(answers, expected, strict=True):
        for step, tokens in zip(row, of_label, strict=True):
            assert_close(step, torch.tensor([tokens.get(token, 0.0) for token in range(9)]))


def test_evidence_does_not_disturb_the_training(make_trainer):
    silent = make_trainer()
    silent.train()
    weighted = make_trainer(model_fields={"adaptation_config": {"size": SIZE}})
    weighted.train()
    assert all(
        torch.equal(a, b) for a, b in zip(*(weights(t.model).values() for t in (silent, weighted)), strict=True)
    )


def test_other_models_are_refused(make_trainer):
    layout = "`voice_token`, `bind_labels` and `enrollment_sees_target=False`"
    for fields, found in (
        ({"enrollment_sees_target": True}, "True, True and True"),
        ({"bind_labels": False}, "True, False and False"),
        ({"voice_token": False}, "False, True and False"),
    ):
        with pytest.raises(ValueError, match=f"{layout} .* this one has {found}"):
            make_trainer(fields, ready=False)


def test_processors_without_words_that_mean_nothing_are_refused(make_trainer):
    for number in (0, 2):
        with pytest.raises(ValueError, match=f"teach 3 unknown words too: .* has {number}"):
            make_trainer({"num_open_labels": number}, ready=False)


def test_prompts_that_are_too_long_are_refused(make_trainer):
    message = "4 shots and 7 targets share a prompt, and this model takes 9 utterances: set `num_targets` to less"
    with pytest.raises(ValueError, match=message):
        make_trainer({"max_shots": 8}, num_targets=7)
    make_trainer({"max_shots": 6}, num_targets=3)
    # Each label has a shot while all words are unknown.
    with pytest.raises(ValueError, match="3 shots and 7 targets"):
        make_trainer({"max_shots": 8}, num_targets=7, max_shots=1)
    make_trainer({"max_shots": 8}, num_targets=7, max_shots=1, matching_steps=0)


def test_evaluate(make_trainer, corpus):
    trainer = make_trainer(eval_shots=[0, 2])
    metrics = trainer.evaluate()
    for name in ("ua_spk", "loss"):
        of_shots = [metrics[f"eval_{name}_{shots}_shot"] for shots in (0, 2)]
        assert metrics[f"eval_{name}"] == np.mean(of_shots)
    recognizer = SpeechLmRecognizer(trainer.model, trainer.processor, trainer.features)
    report = evaluate(recognizer, corpus, [0, 2], seeds=[0], controls=[])
    assert metrics["eval_ua_spk_2_shot"] == report.accuracy(2).ua_spk
    assert "test_ua_spk" in trainer.evaluate(Corpus(corpus.utterances[:9]), metric_key_prefix="test")


def test_contexts_get_harder(tmp_path):
    def of(**changes: Any) -> list[Difficulty]:
        fields: dict[str, Any] = {"contexts_per_epoch": 100, "per_device_train_batch_size": 10, "use_cpu": True}
        fields |= {"max_steps": 100, "easing_share": 0.5, "matching_steps": 25, "first_noise": 0.1, "noise": 10.0}
        return difficulties(MadeUpTrainingArguments(str(tmp_path), **(fields | changes)))

    found = of()
    # An epoch has 10 steps.
    assert [difficulty.only_matching for difficulty in found] == [True] * 3 + [False] * (len(found) - 3)
    np.testing.assert_allclose([d.noise for d in found[:6]], 0.1 * 100 ** np.array([0, 0.2, 0.4, 0.6, 0.8, 1]))
    assert all(difficulty.noise == 10.0 for difficulty in found[5:])
    # With batches that are accumulated, an epoch has fewer steps.
    assert of(gradient_accumulation_steps=2)[:10:2] == found[:5]
    assert of(max_steps=-1, num_train_epochs=10) == found
    assert {(d.noise, d.only_matching) for d in of(easing_share=0, matching_steps=0)} == {(10.0, False)}


def test_attention_copies_what_is_alike_from_the_first_step(make_trainer):
    model: Any = make_trainer().model.model
    adaptation = model.adaptation
    noise, label = (adaptation.variance(name)[0] for name in ("noise", "speaker_label"))
    scale = model.voice_token.feature_scale
    told = label + adaptation.variance("unknown_label")[0]
    expected = (told / (told + noise)).sqrt() / noise.sqrt()
    assert_close(scale / scale[0], expected / expected[0])
    assert not model.voice_token.projection.bias.any()
    attentions = [module for module in model.language_model.modules() if isinstance(module, T5Attention)]
    assert len(attentions) == 3
    for attention in attentions:
        assert torch.equal(attention.q.weight, attention.k.weight)
        copied: Any = attention.o.weight @ attention.v.weight
        # An identity of what the heads hold of a token.
        assert_close(copied @ copied, copied)
        assert_close(copied.trace(), torch.tensor(float(min(attention.v.weight.shape))))


def test_a_fitted_adaptation_keeps_its_weights(whisper, corpus, tmp_path):
    model, processor = compose_reader(whisper)
    before = weights(model)
    fit_statistics(model, corpus, FeatureCache(model, processor.feature_extractor, tmp_path / "cache"))
    changed = {name for name, weight in weights(model).items() if not torch.equal(weight, before[name])}
    assert changed and all(name.startswith("model.adaptation.") for name in changed)
    config = model.model.adaptation.config
    assert (config.probe_weight, config.prototype_weight, config.size) == (0.0, 0.0, SIZE)
    assert model.config.adaptation_config.label_words == list(LABELS)


@needs_bundled
@pytest.mark.parametrize("name", BUNDLED_MODELS)
def test_the_bundled_language_models_read(name):
    """Alone, they give a target the word of the shot that it is like; a word that they never saw, so one in seven is
    chance. A training where this fails looks sound: the model normalizes by the enrollment, and its loss falls."""
    folder = BUNDLED_MODELS[name]
    model: Any = EmoIclForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = EmoIclProcessor.from_pretrained(folder)
    adaptation = model.model.adaptation
    adaptation.config.probe_weight = adaptation.config.prototype_weight = 0.0
    size, num_words = len(model.model.voice_token.feature_scale), len(processor.open_labels)
    easy = Difficulty(noise=0.05, only_matching=True)
    speakers = MadeUpSpeakers(adaptation, size, 17, (7, 7), 7, 0.5, 1.0, 0.0, 0.0, [easy], 16, num_words, seed=0)
    right = []
    for context in (speakers[item] for item in range(16)):
        words, voices = context.candidate_labels, torch.from_numpy(context.voices).float()
        rows = [[*range(7), 7 + target] for target in range(7)]
        prompts = processor.build_prompts(rows, [context.shot_labels] * 7, [words] * 7)
        heard = {"query_embeds": model.model.voice_token(voices), "voice_embeds": voices}
        with torch.no_grad():
            scores = model.score_labels(processor.label_ids(words, words), **prompts, **heard)
        right += [
            words[answer] == label for answer, label in zip(scores.argmax(1), context.target_labels, strict=True)
        ]
    assert np.mean(right) > 0.5
