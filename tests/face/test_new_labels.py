"""Labels that the bundled model was never trained on, on real voices."""

import numpy as np
import pyarrow.parquet
import pytest
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from emoicl import SpeechLmRecognizer, evaluate, load_corpus
from emoicl.bundled import BURSTS_MODEL
from emoicl.training.data.features import FeatureCache


@pytest.fixture(scope="module")
def report(shared, tmp_path_factory):
    """Six test speakers of EmoGator with two labels more than the model's seven, at 0 shots and with one of each."""
    folder = tmp_path_factory.mktemp("voices")
    table = pyarrow.parquet.read_table(shared / "data" / "emogator" / "test.parquet")
    speakers = sorted(set(table["speaker_id"].to_pylist()))[-6:]
    keep = [speaker in speakers for speaker in table["speaker_id"].to_pylist()]
    pyarrow.parquet.write_table(table.filter(keep), folder / "test.parquet")
    model = AutoModelForSpeechSeq2Seq.from_pretrained(BURSTS_MODEL)
    processor = AutoProcessor.from_pretrained(BURSTS_MODEL)
    processor.candidate_labels = [*processor.candidate_labels, "Amusement", "Surprise negative"]
    corpus = load_corpus(folder / "test.parquet", processor.candidate_labels)
    features = FeatureCache(model, processor.feature_extractor, folder)
    return evaluate(SpeechLmRecognizer(model, processor, features), corpus, [0, 9], seeds=[0], controls=[])


def recall(report, shots, label):
    answers, references = np.array(report.condition(shots).predictions[0]), np.array(report.references)
    return np.mean(answers[references == label] == label), np.mean(answers[references != label] == label)


@pytest.mark.parametrize("label", ["Amusement", "Surprise negative"])
def test_a_new_label_is_read_from_one_shot(report, label):
    right, wrong = recall(report, 9, label)
    # By chance an answer is one of nine, whatever was said.
    assert right > 2 / 9 and right > wrong + 0.1


def test_the_known_labels_do_not_suffer(report):
    assert report.accuracy(9).ua_spk > report.accuracy(0).ua_spk


def test_without_a_shot_it_is_not_chosen(report):
    assert recall(report, 0, "Amusement") == (0, 0)
