import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import LABELS
from tiny_corpus import tiny_corpus, write_corpus

from emoicl.training.data.corpus import Corpus
from emoicl.training.evaluation import matrix as matrix_module
from emoicl.training.evaluation.matrix import System, checkpoint_system, mark_of, measure_matrix, trained_system
from emoicl.training.publishing.provenance import Provenance, describe_corpus, speaker_digest


class Constant:
    """Answers alike whatever it hears."""

    def __init__(self, labels=LABELS):
        self.candidate_labels = list(labels)

    def score(self, corpus, episodes):
        probabilities = np.linspace(0.6, 0.1, len(self.candidate_labels))
        return np.tile(probabilities / probabilities.sum(), (len(episodes), 1))


def of_corpus(name, corpus):
    return Corpus(replace(u, speaker_id=f"{name}/{u.speaker_id}", corpus=name) for u in corpus)


@pytest.fixture
def tables(tmp_path):
    """Tables of two corpora, of two speakers and of one, who lacks a label."""
    folders = [tmp_path / name for name in ("tones", "beeps")]
    for folder in folders:
        folder.mkdir()
    two, one = tiny_corpus(2, 2), tiny_corpus(3, 2)
    rest = Corpus(u for u in one if u.speaker_id == "cy" and u.label != LABELS[2])
    parts = {"tones": of_corpus("tones", two), "beeps": of_corpus("beeps", rest)}
    return [write_corpus(parts[folder.name], folder / "test.csv") for folder in folders]


@pytest.fixture
def loaded():
    return []


@pytest.fixture
def systems(loaded):
    def system(name, **fields):
        return System(name, name, lambda: loaded.append(name) or Constant(), **fields)

    return [system("mine", trained_on=frozenset({"tones"})), system("other", is_known=False)]


def test_cells_marks_and_controls(systems, tables, tmp_path):
    text = measure_matrix(systems, tables, tmp_path / "out", shots=(0, 1, 2, 3), seeds=[0])
    matrix = json.loads((tmp_path / "out" / "matrix.json").read_text())
    assert matrix["corpora"] == ["tones", "beeps"]
    found = {(cell["system"], cell["corpus"]): cell for cell in matrix["cells"]}
    assert {key: cell["mark"] for key, cell in found.items()} == {
        ("mine", "tones"): "*",
        ("mine", "beeps"): "",
        ("other", "tones"): "?",
        ("other", "beeps"): "?",
    }
    rows = [(row["shots"], row["control"]) for row in found["mine", "tones"]["report"]["rows"]]
    controls = ["rotated", "other_speaker", "unlabeled"]
    assert rows == [(0, None), (1, None), (2, None), (3, None), *((3, control) for control in controls)]
    # Of the other corpus no three labels can be enrolled, and nobody else is in it.
    rows = [(row["shots"], row["control"]) for row in found["mine", "beeps"]["report"]["rows"]]
    assert rows == [(0, None), (1, None), (2, None), (2, "rotated"), (2, "unlabeled")]
    assert text == (tmp_path / "out" / "matrix.md").read_text()
    assert "| mine | tones | 0.333 to 0.333 \\* | 0.500 to 0.500 |" in text
    assert "| UA_spk | 0-shot | 1-shot | 2-shot | 3-shot | 3-shot, rotated | 3-shot, other speaker |" in text
    assert "| calibration error | 0-shot | 1-shot | 2-shot | 2-shot, rotated | 2-shot, without labels |" in text
    assert "12 utterances of 2 speakers." in text and "| negative log-likelihood |" in text
    assert "ann" not in json.dumps(matrix), "speakers are not named"


def test_finished_cells_are_read_back(systems, tables, tmp_path, loaded, monkeypatch):
    arguments = {"shots": (0, 1), "seeds": [0]}
    measure = matrix_module.measure_cell

    def interrupted(*cell):
        if len(list((tmp_path / "out" / "cells").glob("*.json"))) == 3:
            raise KeyboardInterrupt
        return measure(*cell)

    monkeypatch.setattr(matrix_module, "measure_cell", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_matrix(systems, tables, tmp_path / "out", **arguments)
    assert loaded == ["mine", "other"] and not (tmp_path / "out" / "matrix.md").exists()

    measured = []
    monkeypatch.setattr(matrix_module, "measure_cell", lambda *cell: measured.append(cell) or measure(*cell))
    loaded.clear()
    text = measure_matrix(systems, tables, tmp_path / "out", **arguments)
    assert len(measured) == 1 and loaded == ["other"]
    assert measure_matrix(systems, tables, tmp_path / "out", **arguments) == text
    assert len(measured) == 1
    # Another model of the same name, and other draws, are other cells.
    measure_matrix([replace(systems[0], identity="retrained")], tables, tmp_path / "out", **arguments)
    assert len(measured) == 3
    measure_matrix(systems[:1], tables, tmp_path / "out", shots=(0, 1), seeds=[1])
    assert len(measured) == 5


def test_labels_that_a_system_does_not_know_are_left_out(tables, tmp_path):
    system = System("two labels", "", lambda: Constant(LABELS[:2]))
    text = measure_matrix([system], tables[:1], tmp_path / "out", shots=[0, 5], seeds=[0])
    assert "8 utterances of 2 speakers." in text and "5-shot" not in text


def test_systems_of_one_name_are_refused(systems, tables, tmp_path):
    with pytest.raises(ValueError, match="Several of the systems are called mine"):
        measure_matrix([systems[0], systems[0]], tables, tmp_path / "out")


def test_a_checkpoint_is_known_by_its_files_and_its_provenance(tmp_path):
    corpus = of_corpus("tones", tiny_corpus(2, 1))
    (tmp_path / "config.json").write_text("{}")
    unknown = checkpoint_system("mine", str(tmp_path), Constant)
    assert not unknown.is_known and mark_of(unknown, corpus) == "?"

    stage = {"name": "a", "data": {"training": describe_corpus(corpus)}, "arguments": {}, "steps": 1, "versions": {}}
    Provenance(stages=[stage]).save(tmp_path)  # pyright: ignore[reportArgumentType]
    known = checkpoint_system("mine", str(tmp_path), Constant)
    assert known.identity == unknown.identity and known.is_known and known.trained_on == {"tones"}
    assert mark_of(known, corpus) == "!"
    others = Corpus(replace(u, speaker_id="tones/zoe") for u in of_corpus("tones", tiny_corpus(1, 1)))
    assert mark_of(known, others) == "*"
    assert mark_of(known, of_corpus("beeps", tiny_corpus(1, 1))) == ""

    (tmp_path / "config.json").write_text('{"changed": true}')
    assert checkpoint_system("mine", str(tmp_path), Constant).identity != known.identity


def test_a_baseline_is_known_by_its_training_utterances():
    corpus = of_corpus("tones", tiny_corpus(2, 1))
    system = trained_system("probe", "layer 3", Constant, corpus)
    assert system.trained_on == {"tones"} and system.heard == set(map(speaker_digest, corpus.by_speaker))
    assert system.identity != trained_system("probe", "layer 3", Constant, Corpus(list(corpus)[:-1])).identity
    assert trained_system("shots", "layer 3", Constant).trained_on == frozenset()
