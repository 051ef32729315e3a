from typing import Any

import numpy as np
import pytest
import torch
from tiny_corpus import SIZES, THREE_STEPS, compose_tiny
from transformers import TrainerCallback
from transformers.trainer_pt_utils import LabelSmoother

from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.evaluation.evaluate import evaluate
from emoicl.training.evaluation.recognition import SpeechLmRecognizer
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer


@pytest.fixture
def make_trainer(whisper, corpus, tmp_path):
    """Makes the trainer of a new tiny model, the same each time."""

    def make(train_dataset=corpus, model_fields=None, callbacks=None, **arguments):
        torch.manual_seed(0)
        model, processor = compose_tiny(whisper, **(model_fields or {}))
        defaults: dict[str, Any] = THREE_STEPS | {"output_dir": str(tmp_path / "run")}
        return MetaIclTrainer(
            model=model,
            args=MetaIclTrainingArguments(**(defaults | arguments)),
            train_dataset=train_dataset,
            eval_dataset=corpus,
            processing_class=processor,
            features=FeatureCache(model, processor.feature_extractor, tmp_path / "cache"),
            callbacks=callbacks,
        )

    return make


def weights(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def test_defaults_are_the_papers(tmp_path):
    args = MetaIclTrainingArguments(str(tmp_path))
    assert (args.setting, args.min_shots, args.max_shots) == ("TU+LU", 0, 7)
    assert (args.per_device_train_batch_size, args.label_smoothing_factor, args.radam) == (64, 0.1, True)


def test_the_loss_falls(make_trainer):
    trainer = make_trainer(max_steps=40, max_shots=3, symbol_share=0.0, learning_rate=3e-2)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_the_speech_encoder_is_kept_and_all_else_is_trained(make_trainer):
    trainer = make_trainer()
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert unchanged == {name for name in before if name.startswith("model.speech_encoder.")}
    assert not trainer.model.model.speech_encoder.training
    assert trainer.model.model.qformer.training


def test_labels_are_smoothed_as_the_trainer_of_transformers_does(make_trainer):
    torch.manual_seed(0)
    outputs = {"logits": torch.randn(3, 4, 10)}
    labels = torch.tensor([[1, 2, 3, 4], [5, 6, -100, -100], [7, -100, -100, -100]])
    loss = make_trainer(label_smoothing_factor=0.3).mean_loss(outputs, labels, 7)
    torch.testing.assert_close(loss, LabelSmoother(epsilon=0.3)(outputs, labels))


class Gradients(TrainerCallback):
    """Keeps the gradients of the last step."""

    def on_pre_optimizer_step(self, args, state, control, *, model: torch.nn.Module, **kwargs):
        self.of = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("label_smoothing_factor", [0.1, 0.0])
def test_accumulated_batches_have_the_gradient_of_one_batch(make_trainer, corpus, label_smoothing_factor):
    without_dropout = {
        "qformer": SIZES["qformer"] | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        "text": SIZES["text"] | {"dropout_rate": 0.0},
    }

    def gradients(batch_size, accumulated):
        callback = Gradients()
        make_trainer(
            # One step is one epoch, because batches of another size hold other episodes.
            Corpus(corpus.utterances[:9]),
            model_fields=without_dropout,
            callbacks=[callback],
            max_steps=1,
            # Made-up words and emotions differ in their number of tokens, by which the batches' means differ.
            symbol_share=0.5,
            max_grad_norm=0.0,
            label_smoothing_factor=label_smoothing_factor,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulated,
        ).train()
        return callback.of

    one, accumulated = gradients(9, 1), gradients(3, 3)
    assert one.keys() == accumulated.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(
            accumulated[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_the_share_of_tokens_that_are_no_padding_is_logged(make_trainer):
    trainer = make_trainer(symbol_share=0.0)
    shares, collate = [], trainer.data_collator

    def record(episodes):
        batch = collate(episodes)
        shares.append(batch["attention_mask"].float().mean().item())
        return batch

    trainer.data_collator = record
    trainer.train()
    logged = [entry["useful_tokens"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged == pytest.approx(shares[:3], abs=1e-4)
    assert min(logged) >= 0.85


def test_radam_with_decay_on_matrices_alone(make_trainer):
    trainer = make_trainer(weight_decay=0.1, adaptation_learning_rate=1e-4)
    optimizer = trainer.create_optimizer()
    assert type(optimizer) is torch.optim.RAdam
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in trainer.model.named_parameters():
        if name.startswith("model.speech_encoder."):
            assert id(parameter) not in groups
            continue
        group = groups[id(parameter)]
        adapts = name.startswith("model.adaptation.")
        assert group["lr"] == (1e-4 if adapts else 1e-2), name
        if name.endswith("bias") or "layer_norm" in name or adapts:
            assert group["weight_decay"] == 0, name
    assert groups[id(trainer.model.model.qformer.projection.weight)]["weight_decay"] == 0.1
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(groups)


def test_any_other_optimizer_by_name(make_trainer):
    assert type(make_trainer(radam=False, optim="adamw_torch").create_optimizer()) is torch.optim.AdamW


def test_evaluate(make_trainer, corpus):
    trainer = make_trainer(eval_shots=[0, 2])
    metrics = trainer.evaluate()
    for name in ("ua_spk", "loss"):
        of_shots = [metrics[f"eval_{name}_{shots}_shot"] for shots in (0, 2)]
        assert metrics[f"eval_{name}"] == np.mean(of_shots)
    assert 0 <= metrics["eval_ua_spk"] <= 1
    assert trainer.state.log_history[-1].items() >= metrics.items()
    one_speaker = Corpus(corpus.utterances[:9])
    assert "test_ua_spk" in trainer.evaluate(one_speaker, metric_key_prefix="test")


def test_evaluation_by_beam_search(make_trainer, corpus):
    trainer = make_trainer(eval_shots=[2], predict_with_generate=True)
    written = trainer.predict(corpus).predictions
    assert ((written > 0).sum(1) <= 1).all()
    recognizer = SpeechLmRecognizer(trainer.model, trainer.processor, trainer.features, "beam")
    report = evaluate(recognizer, corpus, [2], seeds=[0], controls=[])
    np.testing.assert_allclose(written, report.answers(2)[0], rtol=1e-4, atol=1e-6)
    assert trainer.evaluate()["eval_ua_spk"] == report.accuracy(2).ua_spk


def test_the_best_checkpoint_is_kept_and_can_be_loaded(make_trainer, tmp_path):
    trainer = make_trainer(
        eval_strategy="steps",
        eval_steps=1,
        eval_shots=[0],
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="ua_spk",
        greater_is_better=True,
    )
    trainer.train()
    scores = [entry["eval_ua_spk"] for entry in trainer.state.log_history if "eval_ua_spk" in entry]
    assert len(scores) == 3
    assert trainer.state.best_metric == max(scores)
    best = trainer.state.best_model_checkpoint
    assert best == str(tmp_path / "run" / f"checkpoint-{1 + scores.index(max(scores))}")
    loaded = type(trainer.model).from_pretrained(best)
    assert all(
        torch.equal(a, b) for a, b in zip(weights(loaded).values(), weights(trainer.model).values(), strict=True)
    )
    processor = type(trainer.processing_class).from_pretrained(best)
    assert processor.candidate_labels == trainer.processing_class.candidate_labels
