from dataclasses import replace

import numpy as np
import pytest
import torch
from bundled_models import needs_bundled
from tiny import LABELS, NUM_MEL_BINS, VOCAB_SIZE, tiny_model, tiny_speech
from tiny_corpus import compose_tiny
from torch.overrides import TorchFunctionMode

from emoicl.bundled import BUNDLED_CLIPS, BURSTS_MODEL
from emoicl.processing import EmoIclFeatureExtractor, EmoIclProcessor
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.episodes.enrollment import select_enrollment
from emoicl.training.episodes.episodes import Episode
from emoicl.training.evaluation.evaluate import evaluate
from emoicl.training.evaluation.recognition import SpeechLmRecognizer
from emoicl.training.systems.tokenizer import train_tokenizer


@pytest.fixture
def loud(whisper):
    """A tiny model with large random weights, whose answers differ, and its processor."""
    torch.manual_seed(0)
    model, processor = compose_tiny(whisper)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3)
    return model, processor


@pytest.fixture
def episodes(corpus):
    enrollments = [select_enrollment(corpus, target, 2, "TU+LU", (0, 0, target)) for target in range(len(corpus))]
    return [
        Episode(target, enrollment, corpus.labels[target], [corpus.labels[i] for i in enrollment], list(LABELS))
        for target, enrollment in enumerate(enrollments)
    ]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOICL_CACHE", str(tmp_path))


class LikeApples(TorchFunctionMode):
    """Refuses float64 of all that was not brought to the CPU, as Apple's GPUs do."""

    def __init__(self):
        super().__init__()
        self.on_cpu = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.double and not any(args[0] is tensor for tensor in self.on_cpu):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        result = func(*args, **(kwargs or {}))
        if func is torch.Tensor.cpu:
            self.on_cpu.append(result)
        return result


@pytest.mark.parametrize("decoding", ["labels", "beam"])
def test_no_device_needs_double_precision(decoding, loud, corpus, episodes):
    recognizer = SpeechLmRecognizer(*loud, decoding=decoding)
    expected = recognizer.score(corpus, episodes[:2])
    with LikeApples():
        np.testing.assert_array_equal(recognizer.score(corpus, episodes[:2]), expected)


def test_scores_are_those_for_raw_audio(loud, corpus, episodes):
    model, processor = loud
    enrollments = [
        [{"audio": corpus[i].audio, "label": corpus.labels[i]} for i in episode.enrollment] for episode in episodes
    ]
    inputs = processor([utterance.audio for utterance in corpus], enrollment=enrollments)
    with torch.no_grad():
        expected = model.eval().score_labels(processor.label_ids(list(LABELS)), **inputs).exp()
    probabilities = SpeechLmRecognizer(model, processor, batch_size=7).score(corpus, episodes)
    assert probabilities.shape == (len(corpus), len(LABELS)) and probabilities.dtype == np.float64
    assert np.allclose(probabilities.sum(1), 1)
    # Features are kept in half precision.
    assert np.abs(probabilities - expected.numpy()).max() < 0.02
    assert len(set(probabilities.argmax(1))) > 1


def test_labels_of_shots_are_what_the_episode_says(loud, corpus, episodes):
    recognizer = SpeechLmRecognizer(*loud)
    as_they_are = recognizer.score(corpus, episodes[:2])
    rotated = [Episode(e.target, e.enrollment, e.label, e.enrollment_labels[::-1], list(LABELS)) for e in episodes[:2]]
    differ = [e.enrollment_labels[0] != e.enrollment_labels[1] for e in episodes[:2]]
    assert any(differ)
    changed = np.abs(recognizer.score(corpus, rotated) - as_they_are).max(1) > 1e-6
    assert changed.tolist() == differ


def test_each_utterance_is_embedded_once(loud, corpus, episodes, monkeypatch):
    model, processor = loud
    embedded = []
    embed = model.get_audio_features
    monkeypatch.setattr(
        model,
        "get_audio_features",
        lambda **inputs: embedded.append(len(inputs["speech_features"])) or embed(**inputs),
    )
    recognizer = SpeechLmRecognizer(model, processor)
    for start in range(0, len(corpus), 12):
        recognizer.score(corpus, episodes[start : start + 12])
    assert sum(embedded) == len(corpus)
    half = Corpus(corpus.utterances[:18])
    recognizer.score(half, [e for e in episodes if max(e.target, *e.enrollment) < 18])
    assert sum(embedded) == len(corpus) + 18


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_kept(loud, corpus, episodes, training):
    model, processor = loud
    model.train(training)
    SpeechLmRecognizer(model, processor).score(corpus, episodes[:1])
    assert model.training is training


def test_the_mode_is_kept_after_an_error(loud, corpus, episodes):
    model, processor = loud
    model.train()
    with pytest.raises(ValueError, match="is none of the candidate labels"):
        SpeechLmRecognizer(model, processor).score(corpus, [Episode(0, [1], "Joy", ["Happiness"], list(LABELS))])
    assert model.training


def test_only_the_written_label_has_a_probability(loud, corpus, episodes, monkeypatch):
    model, processor = loud
    texts = ["Joy", "Anger", "Joyful", "joy"]
    written = processor.label_ids(texts)

    class Output:
        sequences = torch.nn.functional.pad(written.masked_fill(written < 0, 0), (1, 0))
        sequences_scores = torch.tensor([0.5, 0.25, 0.9, 0.8]).log()

    monkeypatch.setattr(model, "generate", lambda **inputs: Output)
    probabilities = SpeechLmRecognizer(model, processor, decoding="beam").score(corpus, episodes[:4])
    expected = np.zeros((4, len(LABELS)))
    expected[0, LABELS.index("Joy")] = 0.5
    expected[1, LABELS.index("Anger")] = 0.25
    assert np.allclose(probabilities, expected)


@torch.no_grad()
def test_labels_that_are_not_known_are_written_as_reserved_tokens(monkeypatch):
    words = ["Wut", "Joy", "calm and neutral"]
    processor = EmoIclProcessor(
        EmoIclFeatureExtractor(feature_size=NUM_MEL_BINS),
        train_tokenizer(LABELS, VOCAB_SIZE, num_open_labels=2),
        num_query_tokens=3,
        candidate_labels=words,
        known_labels=LABELS,
    )
    model = tiny_model()
    episodes = [Episode(target, [0], "Joy", ["Wut"], words) for target in (1, 2)]
    utterances = dict(model.get_audio_features(**tiny_speech(40, 30, 20)))
    prompts = processor.build_prompts([[0, 1], [0, 2]], [["Wut"]] * 2)
    assert processor.tokenizer.decode(prompts["input_ids"][0]).count("<label_0>") == 2
    expected = model.score_labels(processor.label_ids(words), **prompts, **utterances).exp()
    probabilities = SpeechLmRecognizer(model, processor).score_batch(utterances, episodes)
    assert probabilities == pytest.approx(expected.numpy(), abs=1e-6)

    class Output:
        sequences = torch.nn.functional.pad(processor.label_ids(words[1:][::-1]).clamp(min=0), (1, 0))
        sequences_scores = torch.tensor([0.5, 0.25]).log()

    monkeypatch.setattr(model, "generate", lambda **inputs: Output)
    written = SpeechLmRecognizer(model, processor, decoding="beam").score_batch(utterances, episodes)
    assert np.allclose(written, [[0, 0, 0.5], [0, 0.25, 0]])


@torch.no_grad()
def test_shots_without_labels_are_others_than_with_them(loud, corpus, episodes):
    recognizer = SpeechLmRecognizer(*loud)
    unlabeled = [replace(episode, enrollment_labels=[None, None]) for episode in episodes[:3]]
    none = [replace(episode, enrollment=[], enrollment_labels=[]) for episode in episodes[:3]]
    scores = [recognizer.score(corpus, drawn) for drawn in (episodes[:3], unlabeled, none)]
    assert np.isfinite(scores).all()
    assert min(np.abs(scores[1] - scores[0]).max(), np.abs(scores[1] - scores[2]).max()) > 1e-4


def test_an_unknown_decoding_is_refused(loud):
    with pytest.raises(ValueError, match='"labels" or "beam", not \'greedy\''):
        SpeechLmRecognizer(*loud, decoding="greedy")  # pyright: ignore[reportArgumentType]


@needs_bundled
def test_the_bundled_model_answers_as_its_pipeline():
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

    model = AutoModelForSpeechSeq2Seq.from_pretrained(BURSTS_MODEL)
    processor = AutoProcessor.from_pretrained(BURSTS_MODEL)
    corpus = Corpus(load_corpus(BUNDLED_CLIPS).utterances[:21])
    labels = evaluate(SpeechLmRecognizer(model, processor), corpus, shots=[7], seeds=[0], controls=[])
    beam = evaluate(SpeechLmRecognizer(model, processor, decoding="beam"), corpus, shots=[7], seeds=[0], controls=[])
    # Whole labels and their tokens are blended apart, so that a close call may fall either way.
    second, first = np.sort(labels.conditions[0].probabilities[0])[:, -2:].T
    clear = np.flatnonzero(first - second > 0.05)
    assert len(clear) > 15
    of_beam, of_labels = (np.array(report.conditions[0].predictions[0]) for report in (beam, labels))
    assert of_beam[clear].tolist() == of_labels[clear].tolist()
    enrollment = [
        {"audio": corpus[i].audio, "label": corpus.labels[i]}
        for i in select_enrollment(corpus, 0, 7, "TU+LD", (0, 0, 0))
    ]
    answers = EmoIclPipeline(model=model, processor=processor)(corpus[0].audio, enrollment=enrollment)
    scores = {answer["label"]: answer["score"] for answer in answers}
    probabilities = labels.conditions[0].probabilities[0][0]
    assert [scores[label] for label in processor.candidate_labels] == pytest.approx(probabilities.tolist(), abs=0.02)
