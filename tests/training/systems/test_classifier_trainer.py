"""The paper's classifiers: what they are composed of, how their items are drawn, trained and scored."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import LABELS
from tiny_classifier import SIZES
from tiny_corpus import THREE_STEPS
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from emoicl.modeling.speech_encoder_emoicl import EmoIclSpeechEncoder
from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.classifier_inputs import ClassifierDataset, InputCache, SpeakerSampler, index_shots
from emoicl.training.episodes.episodes import Episode
from emoicl.training.evaluation.metrics import speaker_accuracy
from emoicl.training.evaluation.recognition import ClassifierRecognizer
from emoicl.training.systems.classifier_config import ClassifierTrainingArguments
from emoicl.training.systems.classifier_trainer import ClassifierTrainer
from emoicl.training.systems.composition import compose_classifier
from emoicl.training.systems.initialization import fit_feature_normalization


ENROLLMENT_LABELS = {"Scratch": None, "Pretrained": None, "Personalized_N": ["Joy"], "Personalized_A": list(LABELS)}
SCRATCH_SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def compose_system(whisper, tmp_path):
    """Composes one of the paper's classifiers, the same each time, with where it takes utterances from."""

    def compose_one(system, **fields):
        torch.manual_seed(0)
        scratch = system == "Scratch"
        sizes: dict[str, Any] = SIZES | {"num_hidden_layers": 0 if scratch else 1} | fields
        model, feature_extractor = compose_classifier(
            None if scratch else str(whisper),
            LABELS,
            ENROLLMENT_LABELS[system],
            speech_layer=None if scratch else 2,
            speech=SCRATCH_SIZES if scratch else None,
            **sizes,
        )
        if scratch:
            return model, feature_extractor, InputCache(feature_extractor)
        return model, feature_extractor, FeatureCache(model, feature_extractor, tmp_path / "cache")

    return compose_one


@pytest.fixture
def make_trainer(compose_system, corpus, tmp_path):
    """Makes the trainer of a new tiny classifier, the same each time."""

    def make(system="Personalized_A", model_fields=None, **arguments):
        model, feature_extractor, speech = compose_system(system, **(model_fields or {}))
        defaults: dict[str, Any] = THREE_STEPS | {"output_dir": str(tmp_path / "run")}
        return ClassifierTrainer(
            model=model,
            args=ClassifierTrainingArguments(**(defaults | arguments)),
            train_dataset=corpus,
            eval_dataset=corpus,
            processing_class=feature_extractor,
            speech=speech,
        )

    return make


@pytest.fixture(params=ENROLLMENT_LABELS)
def system(request):
    return request.param


def weights(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def test_what_the_systems_are_composed_of(compose_system, whisper, system):
    model, feature_extractor, _ = compose_system(system)
    assert list(model.config.id2label.values()) == list(LABELS)
    assert model.config.enrollment_labels == ENROLLMENT_LABELS[system]
    assert feature_extractor.feature_size == 80
    if system == "Scratch":
        assert isinstance(model.speech_encoder, EmoIclSpeechEncoder)
        assert not model.config.freeze_speech_encoder
    else:
        pretrained = WhisperEncoder.from_pretrained(whisper).state_dict()
        assert len(model.speech_encoder.layers) == 2
        for name, weight in model.speech_encoder.state_dict().items():
            assert torch.equal(weight, pretrained[name]), name


def test_the_enrollment_is_one_other_utterance_of_the_speaker_for_each_label(corpus):
    items = ClassifierDataset(corpus, LABELS, LABELS)
    for item in range(len(corpus)):
        episode = items[item]
        assert (episode.target, episode.label) == (item, corpus.labels[item])
        assert item not in episode.enrollment
        assert [corpus.labels[shot] for shot in episode.enrollment] == list(LABELS) == episode.enrollment_labels
        assert {corpus.speaker_ids[shot] for shot in episode.enrollment} == {corpus.speaker_ids[item]}


def test_enrollments_are_drawn_anew_each_epoch_and_the_same_for_the_same_seed(corpus):
    def draws(seed, epoch):
        items = ClassifierDataset(corpus, LABELS, LABELS, seed=seed)
        items.set_epoch(epoch)
        return [tuple(items[item].enrollment) for item in range(len(items))]

    assert draws(0, 0) == draws(0, 0)
    assert draws(0, 0) != draws(0, 1)
    assert draws(0, 0) != draws(1, 0)
    # A target has 2 or 3 utterances of each label to draw from: over many epochs all of them are.
    assert {enrollment[0] for enrollment in (draws(0, epoch)[3] for epoch in range(30))} == {0, 1, 2}


def test_a_label_that_the_speaker_lacks_is_left_out(corpus):
    one_joy = Corpus([corpus[0], *corpus.utterances[3:6]])
    assert one_joy.labels == ["Joy", "Sadness", "Sadness", "Sadness"]
    items = ClassifierDataset(one_joy, LABELS, LABELS)
    assert items[0].enrollment_labels == ["Sadness"]
    assert items[1].enrollment_labels == ["Joy", "Sadness"]


def test_a_share_of_the_items_has_no_enrollment(corpus):
    items = ClassifierDataset(corpus, LABELS, LABELS, absent_share=0.3)
    absent = []
    for epoch in range(20):
        items.set_epoch(epoch)
        absent += [not items[item].enrollment for item in range(len(items))]
    assert np.mean(absent) == pytest.approx(0.3, abs=0.06)


def test_labels_that_the_classifier_lacks(corpus):
    with pytest.raises(ValueError, match="labels that the classifier lacks: Anger, Sadness"):
        ClassifierDataset(corpus, ["Joy"])


def test_the_sampler_puts_utterances_of_a_speaker_together(corpus):
    items = ClassifierDataset(corpus, LABELS, LABELS)
    order = list(SpeakerSampler(items, 3))
    assert sorted(order) == list(range(len(corpus))) and order != sorted(order)
    groups = [order[start : start + 3] for start in range(0, len(order), 3)]
    assert all(len({corpus.speaker_ids[index] for index in group}) == 1 for group in groups)
    assert order == list(SpeakerSampler(items, 3))
    items.set_epoch(1)
    assert order != list(SpeakerSampler(items, 3))


def test_shots_are_padded_and_those_of_other_labels_passed_over():
    episodes = [Episode(9, [4, 5, 6], "Joy", ["Joy", "Anger", "Joy"], []), Episode(8, [7], "Joy", ["Anger"], [])]
    only_joy = index_shots(episodes, ["Joy"])
    assert only_joy["utterance_index"].tolist() == [[4, 6, 9], [-1, -1, 8]]
    both = index_shots(episodes, ["Joy", "Anger"])
    assert both["utterance_index"].tolist() == [[4, 5, 6, 9], [7, -1, -1, 8]]
    assert both["enrollment_label_ids"].tolist() == [[0, 1, 0], [1, 0, 0]]
    assert index_shots(episodes, [])["utterance_index"].tolist() == [[9], [8]]
    without = [Episode(9, [4, 5], "Joy", [None, "Joy"], [])]
    assert index_shots(without, ["Joy", "Anger"])["utterance_index"].tolist() == [[5, 9]]


def test_a_batch_holds_each_utterance_once(make_trainer, corpus):
    trainer = make_trainer(absent_share=0.0)
    batch = trainer.data_collator([trainer.train_dataset[item] for item in range(9)])
    # All targets are of one speaker, who has 9 utterances.
    assert batch["speech_features"].shape[0] == 9
    assert batch["utterance_index"].shape == (9, 4)
    assert [LABELS[number] for number in batch["labels"]] == corpus.labels[:9]


def test_defaults_are_the_papers(tmp_path):
    args = ClassifierTrainingArguments(str(tmp_path))
    assert (args.per_device_train_batch_size, args.label_smoothing_factor, args.radam) == (64, 0.1, True)


def test_the_optimizer(make_trainer):
    optimizer = make_trainer(weight_decay=0.1).create_optimizer()
    assert type(optimizer) is torch.optim.RAdam
    assert all(group["lr"] == 1e-2 and group["decoupled_weight_decay"] for group in optimizer.param_groups)
    assert sorted(group["weight_decay"] for group in optimizer.param_groups) == [0.0, 0.1]
    assert type(make_trainer(radam=False, optim="adamw_torch").create_optimizer()) is torch.optim.AdamW


def test_the_loss_falls(make_trainer, corpus):
    fields = {"initializer_range": 0.2, "num_hidden_layers": 0, "dropout": 0.0}
    trainer = make_trainer(max_steps=50, learning_rate=5e-2, model_fields=fields)
    fit_feature_normalization(trainer.model, corpus, trainer.speech)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_a_frozen_speech_encoder_is_kept_and_all_else_is_trained(make_trainer, system):
    trainer = make_trainer(system)
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert unchanged == {name for name in before if name.startswith("speech_encoder.") and system != "Scratch"}


@pytest.mark.parametrize("system", ["Scratch", "Personalized_A"])
@pytest.mark.parametrize("interrupted_at", [3, 5])
def test_a_resumed_run_ends_like_an_uninterrupted_one(make_trainer, tmp_path, system, interrupted_at):
    # An epoch has 5 steps.
    arguments = {"max_steps": 7, "lr_scheduler_type": "cosine", "frame_share": 1.0 if system == "Scratch" else 0.5}
    whole = make_trainer(system, **arguments, save_strategy="steps", save_steps=interrupted_at)
    whole.train()
    resumed = make_trainer(system, **arguments)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{interrupted_at}"))
    expected = weights(whole.model)
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(resumed.model).items())


def test_frames_of_a_trained_encoder_cannot_be_left_out(make_trainer):
    with pytest.raises(ValueError, match="`frame_share` takes features of a frozen speech encoder"):
        make_trainer("Scratch", frame_share=0.5)


def test_evaluate(make_trainer, corpus, system):
    trainer = make_trainer(system)
    metrics = trainer.evaluate()
    assert 0 <= metrics["eval_ua_spk"] <= 1
    again = trainer.evaluate()
    assert all(again[f"eval_{name}"] == metrics[f"eval_{name}"] for name in ("ua_spk", "loss"))
    assert trainer.state.log_history[-1].items() >= again.items()
    assert "test_ua_spk" in trainer.evaluate(Corpus(corpus.utterances[:9]), metric_key_prefix="test")


def test_the_best_checkpoint_is_loaded(make_trainer):
    trainer = make_trainer(
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="ua_spk",
        greater_is_better=True,
    )
    trainer.train()
    scores = [entry["eval_ua_spk"] for entry in trainer.state.log_history if "eval_ua_spk" in entry]
    assert trainer.evaluate()["eval_ua_spk"] == max(scores)


def random_weights(model):
    """Weights so far from zero that each part shows in the answers."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if not name.startswith("speech_encoder."):
            parameter.data.normal_(std=0.3)
    return model


def test_a_recognizer_scores_as_the_model_does(compose_system, corpus, system):
    model, feature_extractor, speech = compose_system(system)
    recognizer = ClassifierRecognizer(random_weights(model), feature_extractor, speech, batch_size=5)
    items = ClassifierDataset(corpus, LABELS, ENROLLMENT_LABELS[system])
    episodes = [items[item] for item in (20, 3, 11)]
    scores = recognizer.score(corpus, episodes)
    assert recognizer.candidate_labels == list(LABELS)
    assert (scores.shape, scores.dtype) == ((3, len(LABELS)), np.float64)
    np.testing.assert_allclose(scores.sum(1), 1)
    assert model.training
    model.eval()
    for episode, of_episode in zip(episodes, scores, strict=True):
        places = [*episode.enrollment, episode.target]
        inputs = speech.load([corpus[place] for place in places])
        label_ids = torch.tensor([[LABELS.index(label) for label in episode.enrollment_labels]], dtype=torch.long)
        with torch.no_grad():
            logits = model(
                **inputs, utterance_index=torch.arange(len(places))[None], enrollment_label_ids=label_ids
            ).logits
        np.testing.assert_allclose(of_episode, logits[0].softmax(-1), rtol=1e-3, atol=1e-5)


def test_a_recognizer_passes_over_shots_that_the_model_does_not_take(compose_system, corpus):
    model, feature_extractor, speech = compose_system("Personalized_N")
    recognizer = ClassifierRecognizer(random_weights(model), feature_extractor, speech)
    joy = Episode(3, [0], "Sadness", ["Joy"], list(LABELS))
    more = replace(joy, enrollment=[4, 0, 6], enrollment_labels=["Sadness", "Joy", "Anger"])
    two = replace(joy, enrollment=[0, 1], enrollment_labels=["Joy", "Joy"])
    none = replace(joy, enrollment=[], enrollment_labels=[])
    scores = recognizer.score(corpus, [joy, more, two, none])
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-4)
    assert abs(scores[2] - scores[0]).max() > 1e-4
    assert abs(scores[3] - scores[0]).max() > 1e-4


def test_a_new_corpus_is_embedded_anew(compose_system, corpus):
    model, feature_extractor, speech = compose_system("Pretrained")
    recognizer = ClassifierRecognizer(random_weights(model), feature_extractor, speech)
    other = Corpus(corpus.utterances[9:18])
    episodes = [Episode(item, [], "Joy", [], []) for item in range(9)]
    expected = recognizer.score(corpus, [replace(episode, target=episode.target + 9) for episode in episodes])
    np.testing.assert_allclose(recognizer.score(other, episodes), expected, rtol=1e-4)


REAL_LABELS = ["Neutral", "Surprise", "Sadness", "Joy", "Fear", "Disgust", "Anger"]


@pytest.fixture(scope="module")
def real_speech(shared, tmp_path_factory):
    """One burst of each emotion by each of 40 speakers: 32 to train on, 8 others, and a folder for their features."""
    bursts = load_corpus(shared / "data" / "emogator" / "test.parquet", REAL_LABELS)
    speakers = list(bursts.by_speaker.values())
    training, others = (
        Corpus(bursts[index] for of_speaker in part for index in of_speaker[::3])
        for part in (speakers[:32], speakers[32:])
    )
    return training, others, tmp_path_factory.mktemp("features")


@pytest.mark.parametrize("system", ["Pretrained", "Personalized_A"])
def test_real_speech_of_unseen_speakers(shared, real_speech, tmp_path, system):
    training, others, folder = real_speech
    torch.manual_seed(0)
    model, feature_extractor = compose_classifier(
        str(shared / "models" / "whisper-tiny.en-encoder"),
        REAL_LABELS,
        REAL_LABELS if system == "Personalized_A" else None,
        speech_layer=3,
        hidden_size=48,
        num_hidden_layers=0,
        num_attention_heads=4,
        feature_dropout=0.2,
    )
    features = FeatureCache(model, feature_extractor, folder)
    fit_feature_normalization(model, training, features)
    arguments = {"max_steps": 50, "learning_rate": 5e-3, "per_device_train_batch_size": 32, "frame_share": 0.5}
    arguments |= {"save_strategy": "no", "report_to": "none", "use_cpu": True, "disable_tqdm": True}
    ClassifierTrainer(
        model=model,
        args=ClassifierTrainingArguments(str(tmp_path), **arguments),
        train_dataset=training,
        processing_class=feature_extractor,
        speech=features,
    ).train()
    recognizer = ClassifierRecognizer(model, feature_extractor, features)
    items = ClassifierDataset(others, REAL_LABELS, model.config.enrollment_labels)
    best = recognizer.score(others, [items[item] for item in range(len(items))]).argmax(-1)
    predictions = [REAL_LABELS[number] for number in best]
    # Chance is 1/7.
    assert speaker_accuracy(predictions, others.labels, others.speaker_ids).ua_spk > 0.28
