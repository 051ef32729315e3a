import json
from dataclasses import replace

import pytest
from tone_tables import SPLITS, speakers, write_table

from emoicl.training.data.corpus import Corpus
from emoicl.training.evaluation.matrix import measure_matrix
from emoicl.training.experiments.reproduction.subsets import trained_systems
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two corpora, in the second of which nobody is angry."""
    folder = tmp_path_factory.mktemp("corpora")
    for name in ("tones", "hums"):
        for split, numbers in SPLITS.items():
            corpus = speakers(*numbers, corpus=name)
            if name == "hums":
                corpus = Corpus(utterance for utterance in corpus if utterance.label != "Anger")
            write_table(Corpus(replace(u, corpus=name) for u in corpus), folder / name / f"{split}.parquet")
    return [folder / "tones", folder / "hums"]


def test_each_subset_is_a_row(systems, folders, tmp_path):
    rows = trained_systems(systems("prototypes", "baselines/shots_alone"), folders, tmp_path / "trained")
    tables = [folder / "test.parquet" for folder in folders]
    text = measure_matrix(rows, tables, tmp_path / "out", shots=(0, 2), seeds=[0])
    matrix = json.loads((tmp_path / "out" / "matrix.json").read_text())
    assert {row["name"]: row["trained_on"] for row in matrix["systems"]} == {
        "prototypes on tones": ["tones"],
        "prototypes on hums": ["hums"],
        "prototypes on tones+hums": ["hums", "tones"],
        "shots_alone": [],
    }
    reports = {(cell["system"], cell["corpus"]): cell for cell in matrix["cells"]}
    marks = {key: cell["mark"] for key, cell in reports.items()}
    assert marks["prototypes on tones", "tones"] == marks["prototypes on tones+hums", "hums"] == "*"
    assert marks["prototypes on tones", "hums"] == marks["shots_alone", "hums"] == ""
    # Who heard no anger is not asked about it.
    numbers = {key: cell["report"]["num_utterances"] for key, cell in reports.items()}
    assert numbers["prototypes on tones", "tones"] == 9
    assert numbers["prototypes on hums", "tones"] == 6
    assert "| prototypes on tones+hums | hums + tones | " in text and "| shots_alone | - | " in text


def test_what_was_trained_is_taken_from_its_folder(systems, folders, tmp_path, monkeypatch):
    steps = []
    training_step = MetaIclTrainer.training_step
    monkeypatch.setattr(
        MetaIclTrainer, "training_step", lambda self, *args, **kw: steps.append(1) or training_step(self, *args, **kw)
    )
    (row,) = trained_systems(systems("zero_shot"), folders, tmp_path, ["tones+hums"])
    assert not steps, "it is trained when it is measured"
    row.load()
    assert len(steps) == 2
    (same,) = trained_systems(systems("zero_shot"), folders, tmp_path, ["tones+hums"])
    same.load()
    assert len(steps) == 2 and same.identity == row.identity
    (other,) = trained_systems(systems("zero_shot"), folders, tmp_path, ["tones"])
    other.load()
    assert len(steps) == 4 and other.identity != row.identity


def test_no_corpus_is_heard_that_is_not_trained_on(systems, folders, tmp_path):
    tables = [str(folders[1] / "validation.parquet")]
    with_it, without = (
        trained_systems(systems("adapted", left_out=left_out), folders, tmp_path, ["tones"])[0].identity
        for left_out in (tables, [])
    )
    assert with_it == without


def test_a_subset_that_is_too_small_is_left_out(systems, folders, tmp_path, caplog):
    few = tmp_path / "few"
    for split, number in (("train", 0), ("validation", 1), ("test", 2)):
        write_table(speakers(number, corpus="few"), few / f"{split}.parquet")
    rows = trained_systems(systems("prototypes"), [folders[0], few], tmp_path)
    assert [row.name for row in rows] == ["prototypes on tones", "prototypes on tones+few"]
    assert "Left out prototypes on few: Variances need at least four speakers" in caplog.text
    with pytest.raises(ValueError, match="Variances need at least four speakers"):
        trained_systems(systems("prototypes"), [few], tmp_path, ["few"])
    with pytest.raises(ValueError, match="None of the systems can be trained on any subset"):
        trained_systems(systems("prototypes"), [few], tmp_path)


def test_corpora_that_are_not_there(systems, folders, tmp_path):
    with pytest.raises(ValueError, match="'?beeps'? is none of the corpora that can be trained on: tones, hums"):
        trained_systems(systems("prototypes"), folders, tmp_path, ["tones+beeps"])
    with pytest.raises(ValueError, match="nothing to train on"):
        trained_systems(systems("prototypes"), [], tmp_path)
