"""What users of `Trainer` rely on holds for each trainer of the package."""

import logging
import warnings
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from tiny import LABELS, READER
from tiny_classifier import SIZES
from tiny_corpus import compose_tiny
from transformers import EarlyStoppingCallback, TrainerCallback

from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.classifier_inputs import InputCache
from emoicl.training.publishing.provenance import PROVENANCE_NAME, Provenance
from emoicl.training.systems.base_trainer import EmoIclTrainer
from emoicl.training.systems.classifier_config import ClassifierTrainingArguments
from emoicl.training.systems.classifier_trainer import ClassifierTrainer
from emoicl.training.systems.composition import compose_classifier
from emoicl.training.systems.encoder_config import EncoderTrainingArguments
from emoicl.training.systems.encoder_trainer import EncoderTrainer
from emoicl.training.systems.made_up_config import MadeUpTrainingArguments
from emoicl.training.systems.made_up_trainer import MadeUpTrainer
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer


ARGUMENTS = {
    MetaIclTrainer: MetaIclTrainingArguments,
    ClassifierTrainer: ClassifierTrainingArguments,
    EncoderTrainer: EncoderTrainingArguments,
    MadeUpTrainer: MadeUpTrainingArguments,
}
# At which a tiny corpus of three labels is evaluated.
SHOTS = {MetaIclTrainer: [0, 2], ClassifierTrainer: [3], EncoderTrainer: [0, 2], MadeUpTrainer: [0, 2]}
# Of which a checkpoint is a speech LM, with a card.
SPEECH_LM_TRAINERS = (MetaIclTrainer, MadeUpTrainer)
EACH_STEP: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}


@pytest.fixture(params=ARGUMENTS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@pytest.fixture
def others(corpus):
    """The corpus cut into two of two speakers."""
    return {"calm": Corpus(corpus.utterances[:18]), "noisy": Corpus(corpus.utterances[18:])}


@pytest.fixture
def make_trainer(kind, whisper, corpus, tmp_path):
    """Makes a trainer of a new tiny model, the same each time."""

    def make(eval_dataset=corpus, arguments=None, **options) -> Any:
        torch.manual_seed(0)
        defaults: dict[str, Any] = {"max_steps": 2, "report_to": "none", "disable_tqdm": True, "use_cpu": True}
        defaults |= {"output_dir": str(tmp_path / "run"), "save_strategy": "no", "learning_rate": 1e-2}
        if kind is not ClassifierTrainer:
            defaults["eval_shots"] = SHOTS[kind]
        args = ARGUMENTS[kind](**(defaults | (arguments or {})))
        options = {"args": args, "train_dataset": corpus, "eval_dataset": eval_dataset} | options
        if kind is ClassifierTrainer:
            fields: dict[str, Any] = {"speech_layer": 2, **SIZES}
            model, extractor = compose_classifier(str(whisper), LABELS, LABELS, **fields)
            speech = FeatureCache(model, extractor, tmp_path / "cache")
            return ClassifierTrainer(model=model, processing_class=extractor, speech=speech, **options)
        if kind is EncoderTrainer:
            model, processor = compose_tiny(whisper, freeze_speech_encoder=False)
            inputs = InputCache(processor.feature_extractor)
            return EncoderTrainer(model=model, candidate_labels=LABELS, inputs=inputs, **options)
        reader = READER | {"max_shots": 13, "num_open_labels": len(LABELS)}
        model, processor = compose_tiny(whisper, **(reader if kind is MadeUpTrainer else {}))
        features = FeatureCache(model, processor.feature_extractor, tmp_path / "cache")
        of_speech_lm: Any = kind
        return of_speech_lm(model=model, processing_class=processor, features=features, **options)

    return make


def test_compute_metrics_is_called_with_scores_and_labels(make_trainer, kind, corpus):
    given = []

    def accuracy(evaluated):
        scores, label_ids = evaluated
        given.append(scores)
        return {"accuracy": (scores.argmax(-1) == label_ids).mean()}

    metrics = make_trainer(compute_metrics=accuracy).evaluate()
    shots = SHOTS[kind]
    assert [scores.shape for scores in given] == [(len(corpus), len(LABELS))] * len(shots)
    # All speakers have as many utterances.
    assert metrics["eval_accuracy"] == pytest.approx(metrics["eval_ua_spk"])
    for k in shots:
        assert metrics[f"eval_accuracy_{k}_shot"] == pytest.approx(metrics[f"eval_ua_spk_{k}_shot"])


# An epoch has about three steps; the difficulty of made-up speakers changes within them.
RESUMED: dict[Any, dict[str, Any]] = {
    MetaIclTrainer: {"frame_share": 0.5},
    ClassifierTrainer: {"frame_share": 0.5},
    EncoderTrainer: {},
    MadeUpTrainer: {"matching_steps": 4, "easing_share": 0.9, "contexts_per_epoch": 36, "num_targets": 3},
}


@pytest.mark.parametrize("interrupted_at", [2, 3, 5])
def test_a_resumed_run_ends_like_an_uninterrupted_one(make_trainer, kind, tmp_path, interrupted_at):
    arguments = {"max_steps": 7, "per_device_train_batch_size": 12, "lr_scheduler_type": "cosine"} | RESUMED[kind]
    whole = make_trainer(arguments=arguments | {"save_strategy": "steps", "save_steps": interrupted_at})
    whole.train()
    resumed = make_trainer(arguments=arguments)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{interrupted_at}"))
    torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


def test_the_model_that_is_handed_over_is_called(make_trainer):
    """In several processes it is the one that shares gradients."""
    trainer = make_trainer()
    calls = []
    batch = trainer.data_collator([trainer.train_dataset[item] for item in (0, 1)])

    class Wrapped(torch.nn.Module):
        def forward(self, **inputs):
            calls.append(inputs)
            return trainer.model(**inputs)

    trainer.model.eval()
    losses = [trainer.compute_loss(model, dict(batch)) for model in (Wrapped(), trainer.model)]
    torch.testing.assert_close(*losses)
    assert len(calls) == 1
    assert "forward" not in vars(trainer.model)


class SeesAttention(TrainerCallback):
    def __init__(self):
        self.seen = []

    def on_step_end(self, args, state, control, **kwargs):
        self.seen.append(torch.backends.cuda.cudnn_sdp_enabled())


def test_attention_whose_gradients_may_be_nan_is_switched_off_for_a_training(make_trainer):
    assert torch.backends.cuda.cudnn_sdp_enabled()
    trainer, sees = make_trainer(), SeesAttention()
    trainer.add_callback(sees)
    trainer.train()
    assert sees.seen and not any(sees.seen)
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_what_fills_a_batch_up_does_not_count(make_trainer, kind):
    if kind is EncoderTrainer:
        pytest.skip("draws as many blocks as it is asked for")
    trainer = make_trainer()
    trainer.model.eval()
    items = trainer.train_dataset
    alone, filled = (
        trainer.compute_loss(trainer.model, trainer.data_collator([items[item] for item in chosen]))
        for chosen in ((0, 1), (0, 1, ~1, ~0))
    )
    torch.testing.assert_close(filled, alone)


def test_predict(make_trainer, kind, others):
    corpus = others["calm"]
    trainer = make_trainer(eval_dataset=None)
    scores, label_ids, metrics = trainer.predict(corpus)
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)
    assert [LABELS[column] for column in label_ids] == corpus.labels
    loss = -np.log(scores[np.arange(len(corpus)), label_ids]).mean()
    assert metrics[f"test_loss_{SHOTS[kind][-1]}_shot"] == pytest.approx(loss)
    assert {"test_ua_spk", "test_loss", "test_runtime"} <= metrics.keys()
    assert trainer.state.log_history == []


def test_a_data_set_is_a_corpus(make_trainer, kind, corpus):
    names = {"audio": "file", "emotion": "label", "speaker_id": "who"}
    rows = [{"file": u.audio, "label": u.label.lower(), "who": u.speaker_id} for u in corpus]
    dataset = datasets.Dataset.from_list(rows)
    expected = make_trainer()
    loss = expected.train().training_loss
    trainer = make_trainer(dataset, train_dataset=dataset, column_names=names)
    assert trainer.train().training_loss == loss
    scores, label_ids, _ = trainer.predict(dataset)
    np.testing.assert_array_equal(scores, expected.predict(corpus).predictions)
    assert trainer.evaluate()["eval_ua_spk"] == trainer.evaluate(dataset)["eval_ua_spk"]
    with pytest.raises(ValueError, match=r"lacks the columns \['audio', 'emotion', 'speaker_id'\]"):
        make_trainer(train_dataset=dataset)


def test_bad_data_is_told_by_its_argument(make_trainer, corpus):
    rows = [{"audio": u.audio, "emotion": u.label, "speaker_id": u.speaker_id} for u in corpus]
    dataset = datasets.Dataset.from_list(rows)
    splits = datasets.DatasetDict({"train": dataset, "test": dataset})
    with pytest.raises(ValueError, match="^train_dataset: the data set: has the splits train, test; give one"):
        make_trainer(train_dataset=splits)
    with pytest.raises(ValueError, match="^train_dataset: A corpus is read from .*, not from 'NoneType'"):
        make_trainer(train_dataset=None)
    with pytest.raises(ValueError, match="^train_dataset: the data set: has no rows"):
        make_trainer(train_dataset=dataset.select([]))
    with pytest.raises(ValueError, match=r"^eval_dataset: the data set: lacks the columns \['emotion'\]"):
        make_trainer(dataset.remove_columns("emotion"))
    with pytest.raises(ValueError, match=r"^eval_dataset\['far'\]: A corpus is read from .*, not from 'int'"):
        make_trainer({"near": dataset, "far": 3})
    # Before the first step, not when it is first evaluated.
    with pytest.raises(ValueError, match="^eval_dataset: The corpus has labels .*: Boredom"):
        make_trainer([*rows, {"audio": b"another", "emotion": "boredom", "speaker_id": "ann"}])


def test_several_evaluation_corpora(make_trainer, others, tmp_path):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_noisy_ua_spk"}
    trainer = make_trainer(others, EACH_STEP | best)
    trainer.train()
    for name in others:
        measured = [
            entry[f"eval_{name}_ua_spk"] for entry in trainer.state.log_history if f"eval_{name}_loss" in entry
        ]
        assert len(measured) == 2
    assert trainer.state.best_metric == max(measured)
    assert trainer.evaluate(others["noisy"])["eval_ua_spk"] == trainer.state.best_metric
    (stage,) = Provenance.load(tmp_path / "run" / PROVENANCE_NAME).stages
    assert stage["data"]["validation"][""]["speakers"] == 4
    with pytest.raises(ValueError, match="is 'ua_spk'; with .* choose from eval_calm_ua_spk, eval_noisy_ua_spk"):
        make_trainer(others, EACH_STEP | {"load_best_model_at_end": True})


def test_the_best_model_is_that_of_ua_spk_by_default(make_trainer):
    trainer = make_trainer(arguments=EACH_STEP | {"load_best_model_at_end": True})
    trainer.train()
    scores = [entry["eval_ua_spk"] for entry in trainer.state.log_history if "eval_ua_spk" in entry]
    assert trainer.state.best_metric == max(scores)
    assert trainer.evaluate()["eval_ua_spk"] == max(scores)


def test_only_the_best_is_saved(make_trainer):
    trainer = make_trainer(arguments=EACH_STEP | {"save_strategy": "best"})
    trainer.train()
    assert trainer.state.best_metric == max(e["eval_ua_spk"] for e in trainer.state.log_history if "eval_ua_spk" in e)


def test_training_stops_where_the_loss_no_longer_falls(make_trainer):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "max_steps": 6, "learning_rate": 0.0}
    trainer = make_trainer(arguments=EACH_STEP | best, callbacks=[EarlyStoppingCallback(early_stopping_patience=2)])
    trainer.train()
    assert trainer.state.global_step == 3


def test_what_is_no_corpus_cannot_be_evaluated(make_trainer):
    trainer = make_trainer(eval_dataset=None)
    for call in (trainer.evaluate, trainer.predict):
        with pytest.raises(ValueError, match="a.wav: there is no such file or folder"):
            call(["a.wav"])
    with pytest.raises(ValueError, match="requires an eval_dataset"):
        trainer.evaluate()


def test_a_saved_model_has_its_provenance(make_trainer, kind, tmp_path):
    trainer = make_trainer()
    trainer.train()
    trainer.save_model(str(tmp_path / "mine"))
    assert len(Provenance.load(tmp_path / "mine" / PROVENANCE_NAME).stages) == 1
    assert isinstance(trainer, EmoIclTrainer)
    assert (tmp_path / "mine" / "README.md").exists() == (kind in SPEECH_LM_TRAINERS)


def test_nothing_is_warned_of(make_trainer, caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        trainer = make_trainer(arguments={"use_cpu": False})
        trainer.train()
    assert trainer.args.dataloader_pin_memory == torch.accelerator.is_available()
    assert caplog.records == []
