import json
import logging
import re

import pytest
import torch
from tiny import LABELS
from tiny_corpus import compose_tiny

from emoicl.training.corpus import Corpus
from emoicl.training.enrollment import EnrollmentError, select_enrollment
from emoicl.training.evaluation import Condition, EvaluationReport, evaluate
from emoicl.training.features import FeatureCache


class VoiceFeatures(FeatureCache):
    """Stands for a feature cache. A clip's one feature is its emotion, in its speaker's own code."""

    def __init__(self, corpus):
        self.speakers = list(corpus.by_speaker)

    def fill(self, utterances):
        pass

    def load(self, utterances):
        codes = [(LABELS.index(u.label) + self.speakers.index(u.speaker_id)) % len(LABELS) for u in utterances]
        mask = torch.ones(len(codes), 1, dtype=torch.long)
        return {"speech_features": torch.tensor(codes).view(-1, 1, 1), "speech_features_mask": mask}


class NearestShot:
    """Stands for a model: answers with the label of the nearest shot, or the first candidate without shots."""

    device = torch.device("cpu")
    training = True

    def __init__(self, processor):
        self.processor = processor
        self.num_embedded = 0

    def train(self, mode=True):
        self.training = mode

    def eval(self):
        self.train(False)

    def embed_utterances(self, speech_features, speech_features_mask):
        assert not self.training
        self.num_embedded += len(speech_features)
        return {"query_embeds": speech_features[:, 0]}

    def answers(self, input_ids, utterance_index, query_embeds, **inputs):
        for prompt, row in zip(self.processor.tokenizer.batch_decode(input_ids), utterance_index, strict=True):
            *shots, target = query_embeds[row[row >= 0], 0].tolist()
            # What stands between the utterances: the instruction, the label of each shot, and padding.
            labels = re.split("(?:<audio>)+", prompt)[1:]
            yield (
                labels[min(range(len(shots)), key=lambda i, shots=shots, target=target: abs(shots[i] - target))]
                if shots
                else LABELS[0]
            )

    def score_labels(self, label_ids, **inputs):
        texts = self.processor.tokenizer.batch_decode(label_ids.clamp(min=0), skip_special_tokens=True)
        return torch.tensor([[float(text == answer) for text in texts] for answer in self.answers(**inputs)])

    def generate(self, **inputs):
        labels = self.processor.label_ids(list(self.answers(**inputs)))
        return torch.nn.functional.pad(labels.masked_fill(labels < 0, 0), (1, 0))


@pytest.fixture
def three(corpus):
    """Three speakers, so that no two of them have the same code."""
    return Corpus(utterance for utterance in corpus if utterance.speaker_id != "dee")


@pytest.fixture
def model(composed):
    return NearestShot(composed[1])


@pytest.fixture
def run(model, composed, three):
    def run(corpus=three, **arguments):
        features = VoiceFeatures(three)
        return evaluate(model, composed[1], corpus, features, **({"shots": range(4), "batch_size": 8} | arguments))

    return run


def test_accuracy_rises_with_shots_and_falls_under_controls(run, three):
    report = run()
    for k in range(1, 4):
        # A model that copies the label of the nearest shot is right where the target's emotion is among the shots.
        drawn = [
            three.labels[target] in [three.labels[i] for i in select_enrollment(three, target, k, "TU+LD", draw)]
            for target in range(len(three))
            for draw in [(seed, 0, target) for seed in range(5)]
        ]
        assert report.accuracy(k).ua_spk == pytest.approx(sum(drawn) / len(drawn))
    accuracies = [report.accuracy(k).ua_spk for k in range(4)]
    assert accuracies == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1], abs=0.1)
    assert accuracies[3] == 1
    assert report.accuracy(3, "rotated").ua_spk == 0
    assert report.accuracy(3, "other_speaker").ua_spk == 0


def test_conditions(run):
    report = run(shots=[0, 2], seeds=[3, 5], controls=["rotated"])
    assert [(c.shots, c.control, len(c.predictions)) for c in report.conditions] == [
        (0, None, 1),  # There is nothing to draw without shots.
        (2, None, 2),
        (2, "rotated", 2),
    ]
    assert [(c.shots, c.control) for c in run(shots=[0]).conditions] == [(0, None)]


def test_seeds_make_the_draws(run):
    first, again, other = (run(shots=[1], seeds=[seed], controls=[]).conditions[0].predictions for seed in (0, 0, 1))
    assert first == again != other


def test_the_setting_is_followed(run):
    assert run(shots=[1], setting="TO+LU", controls=[]).accuracy(1).ua_spk == 1
    assert run(shots=[1], setting="TE+LU", controls=[]).accuracy(1).ua_spk == 0


def test_beam_search_is_read_as_text(run):
    labels, beam = (run(decoding=decoding, controls=[], seeds=[0]).conditions for decoding in ("labels", "beam"))
    assert labels == beam


def test_an_utterance_is_embedded_once(run, model, three):
    run()
    assert model.num_embedded == len(three)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_kept(run, model, training):
    model.train(training)
    run(shots=[0])
    assert model.training is training


def test_a_real_model_answers_as_for_raw_audio(whisper, corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOICL_CACHE", str(tmp_path))
    torch.manual_seed(0)
    model, processor = compose_tiny(whisper)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3)
    report = evaluate(model, processor, corpus, shots=[2], seeds=[4], controls=[], batch_size=7)
    enrollments = [
        [
            {"audio": corpus[i].audio, "label": corpus.labels[i]}
            for i in select_enrollment(corpus, t, 2, "TU+LD", (4, 0, t))
        ]
        for t in range(len(corpus))
    ]
    inputs = processor([utterance.audio for utterance in corpus], enrollment=enrollments)
    scores = model.eval().score_labels(processor.label_ids(list(LABELS)), **inputs)
    predictions = [LABELS[best] for best in scores.argmax(-1)]
    assert report.conditions[0].predictions == [predictions]
    assert len(set(predictions)) > 1


def test_labels_that_are_not_asked_for_are_refused(run, composed):
    composed[1].candidate_labels = ["Joy", "Sadness"]
    with pytest.raises(ValueError, match="does not ask for: Anger"):
        run()


def test_too_few_utterances_for_the_setting(run):
    with pytest.raises(EnrollmentError, match="ann_Joy_0.wav: TU.LD with k=4 needs 4 emotions"):
        run(shots=[4])


def test_one_speaker_has_no_other(run, three, caplog):
    with caplog.at_level(logging.WARNING):
        report = run(Corpus(three.utterances[:9]), shots=[3])
    assert [condition.control for condition in report.conditions] == [None, "rotated"]
    assert "one speaker" in caplog.text


@pytest.fixture
def report():
    """Speaker a has 2 utterances, b has 1. UA_spk over two seeds: a 3/4 and b 1/2."""
    conditions = [
        Condition(0, None, [["Joy", "Joy", "Joy"]]),
        Condition(1, None, [["Joy", "Anger", "Joy"], ["Joy", "Joy", "Anger"]]),
        Condition(1, "rotated", [["Anger"] * 3] * 2),
    ]
    return EvaluationReport("TU+LD", [0, 1], ["Joy", "Joy", "Anger"], ["a", "a", "b"], conditions)


def test_accuracy_by_hand(report):
    assert report.accuracy(0).per_speaker == {"a": 1.0, "b": 0.0}
    accuracy = report.accuracy(1)
    assert accuracy.per_speaker == {"a": 0.75, "b": 0.5}
    assert (accuracy.ua_spk, accuracy.min, accuracy.worst_speaker) == (0.625, 0.5, "b")
    # The seeds have UA_spk (1/2 + 0) / 2 and (1 + 1) / 2.
    assert report.seed_std(1) == 0.375
    assert report.accuracy(1, "rotated").per_speaker == {"a": 0.0, "b": 1.0}


def test_saved_as_json(report, tmp_path):
    report.save(tmp_path / "new" / "report.json")
    saved = json.loads((tmp_path / "new" / "report.json").read_text())
    assert saved == report.as_dict()
    assert (saved["setting"], saved["seeds"], saved["num_utterances"]) == ("TU+LD", [0, 1], 3)
    assert [(row["shots"], row["control"], row["ua_spk"]) for row in saved["rows"]] == [
        (0, None, 0.5),
        (1, None, 0.625),
        (1, "rotated", 0.5),
    ]


def test_table(report):
    header, _, *rows = report.table().splitlines()
    assert [cell.strip() for cell in header.split("|")[1:4]] == ["condition", "UA_spk", "std"]
    assert rows[1] == "| 1-shot | 0.625 | 0.125 | 0.625 | 0.750 | 0.500 | 0.375 |"
    assert rows[2].startswith("| 1-shot, rotated | 0.500")
