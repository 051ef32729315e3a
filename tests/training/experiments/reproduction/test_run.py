import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tone_tables import SPLITS, speakers, write_table

from emoicl.training.experiments import measurement
from emoicl.training.experiments.loading import load_recipe, recipe_names
from emoicl.training.experiments.measurement import drawable_shots
from emoicl.training.experiments.recipe import SystemTest
from emoicl.training.experiments.reproduction.paper import TABLE_II, TABLE_IV
from emoicl.training.experiments.reproduction.run import ORDER, reproduce
from emoicl.training.systems.classifier_trainer import ClassifierTrainer
from emoicl.training.systems.made_up_trainer import MadeUpTrainer
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer
from emoicl_commands.cli import main


def steps_of(monkeypatch):
    """Records the training steps of all trainers."""
    steps = []
    for trainer in (MetaIclTrainer, ClassifierTrainer, MadeUpTrainer):
        original = trainer.training_step

        def training_step(self, *args, original=original, **kwargs):
            steps.append(Path(self.args.output_dir).name)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(trainer, "training_step", training_step)
    return steps


def test_every_row_of_the_paper_has_a_test():
    tests = {name: load_recipe(f"systems/{name}").tests for name in ORDER}
    assert sorted(f"systems/{name}" for name in ORDER) == [name for name in recipe_names() if "systems/" in name]
    for name, k in TABLE_II:
        assert k in tests[name][0].shots
    for name, setting in TABLE_IV:
        shots = {test.name: test.shots for test in tests[name]}
        assert max(shots[setting]) == len(TABLE_IV[name, setting])


def test_all_systems(reproduction, monkeypatch):
    steps = steps_of(monkeypatch)
    report = reproduce(reproduction, command="emoicl reproduce --corpus tones")
    # Stage 1 is trained once, for all that go on from there.
    trained = ["scratch", "classifier", "classifier", "classifier", "zero_shot", "in_context", "in_context"]
    trained += ["made_up_speakers", "in_context", "in_context"]
    assert steps == [name for name in trained for _ in range(2)]
    (group,) = report["groups"]
    assert (group["title"], group["num_speakers"], group["num_utterances"]) == ("tones", 1, 9)
    rows = {(row["system"], row["shots"]): row for row in group["table_ii"]}
    assert {name for name, _ in rows} == set(ORDER) - {"to_ld_7", "neutral_0_7"}
    # Three labels make three shots of different labels, and the speaker has three takes of each.
    assert [k for k in range(8) if rows["proposed", k]["ours"]] == [0, 1, 2, 3]
    assert "needs 4 emotions among the other utterances; speaker tones/fay has 3" in rows["proposed", 7]["reason"]
    for row in rows.values():
        assert (row["ours"] is None) == (row["reason"] is not None)
        assert row["ours"] is None or 0 <= row["ours"]["ua_spk"] <= 1
    assert rows["prototypes", 0]["ours"]["per_speaker"] == rows["linear_probe", 0]["ours"]["per_speaker"]
    assert {row["system"] for row in group["table_iii"]} == {"proposed", "made_up", "adapted"}
    assert {row["system"] for row in group["table_iv"]} == {"proposed", "to_ld_7", "neutral_0_7"}
    assert [(row["steps"], row["best_step"] <= 2) for row in report["training"]] == [(2, True)] * len(trained)

    folder = Path(reproduction.output) / "report"
    assert json.loads((folder / "report.json").read_text()) == report
    text = (folder / "report.md").read_text()
    for row in rows.values():
        if row["ours"]:
            assert f"| {row['shots']} | {row['ours']['ua_spk']:.3f} | {row['ours']['std']:.3f} |" in text
    assert "emoicl reproduce --corpus tones" in text
    for line in text.splitlines():
        if line.startswith("!["):
            assert (folder / line.partition("(")[2].rstrip(")")).stat().st_size > 1000
    notes = {line.partition(":")[0] for line in text.splitlines() if line.startswith("[^")}
    used = {f"[^{part.partition(']')[0]}]" for part in text.split("[^")[1:]}
    assert notes == used

    # All is on disk: nothing is trained or measured again, and the same report comes out.
    del steps[:]
    monkeypatch.setattr(measurement, "evaluate", None)
    assert reproduce(reproduction, command="emoicl reproduce --corpus tones") == report
    assert steps == []


def test_interrupted_and_resumed(reproduction, systems, monkeypatch, tmp_path):
    reproduction = replace(reproduction, recipes=systems("pretrained", "zero_shot", "one_shot_n"))
    expected = reproduce(replace(reproduction, output=str(tmp_path / "whole")))
    steps = steps_of(monkeypatch)
    recorded = MetaIclTrainer.training_step

    def interrupt(self, *args, **kwargs):
        if len(steps) == 5:
            raise KeyboardInterrupt
        return recorded(self, *args, **kwargs)

    monkeypatch.setattr(MetaIclTrainer, "training_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        reproduce(reproduction)
    assert steps == ["classifier"] * 2 + ["zero_shot"] * 2 + ["in_context"]
    monkeypatch.setattr(MetaIclTrainer, "training_step", recorded)
    del steps[:]
    resumed = reproduce(reproduction)
    assert steps == ["in_context"]
    assert resumed["groups"] == expected["groups"]


def test_folds_over_two_corpora(reproduction, systems, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "tones")
    for split, numbers in SPLITS.items():
        corpus = speakers(*numbers, corpus="hums")
        if split != "test":
            corpus = type(corpus)(utterance for utterance in corpus if utterance.label != "Anger")
        write_table(corpus, tmp_path / "hums" / f"{split}.parquet")
    corpora = [str(tmp_path / "tones"), str(tmp_path / "hums")]
    report = reproduce(replace(reproduction, corpora=corpora, folds=2, recipes=systems("prototypes")))
    groups = {group["title"]: group for group in report["groups"]}
    assert [(name, group["num_speakers"]) for name, group in groups.items()] == [
        ("all speakers", 12), ("tones", 6), ("hums", 6),
    ]  # fmt: skip
    drawn = {name: [row["shots"] for row in group["table_ii"] if row["ours"]] for name, group in groups.items()}
    # Five of the hums lack an emotion, which all speakers together then lack too.
    assert drawn == {"all speakers": [0, 1, 2], "tones": [0, 1, 2, 3], "hums": [0, 1, 2]}
    by_speaker = [groups[name]["table_ii"][1]["ours"]["per_speaker"] for name in ("tones", "hums", "all speakers")]
    assert by_speaker[0] | by_speaker[1] == by_speaker[2]


def test_another_seed_does_not_take_up_a_run(reproduction, systems):
    reproduce(replace(reproduction, recipes=systems("linear_probe")))
    with pytest.raises(ValueError, match="holds a run with other settings, settings.yaml"):
        reproduce(replace(reproduction, recipes=systems("linear_probe", seed=1)))
    with pytest.raises(ValueError, match="holds a run with other settings, recipe.yaml"):
        reproduce(replace(reproduction, recipes=systems("linear_probe", speech_layer=1)))


def test_recipes_that_cannot_be_compared(reproduction, systems):
    with pytest.raises(ValueError, match="Two of the recipes are called scratch"):
        reproduce(replace(reproduction, recipes=systems("scratch", "scratch")))
    others = [*systems("scratch"), *systems("linear_probe", labels=["Anger", "Sadness"])]
    with pytest.raises(ValueError, match="linear_probe has other labels or another seed than scratch"):
        reproduce(replace(reproduction, recipes=others))


def test_a_recipe_without_a_speech_encoder(reproduction, systems):
    with pytest.raises(ValueError, match="names no pretrained speech encoder.*pretrain speech-encoder"):
        reproduce(replace(reproduction, recipes=systems("zero_shot", speech_encoder=None)))


def test_a_recipe_of_ones_own_stands_in_the_tables(reproduction, systems, folder, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "title: Mine\nextends: [sizes/tiny]\nrun: [zero_shot, adaptation]\n"
        "tests:\n- {setting: TU+LD, shots: [0, 2], controls: true}\n"
    )
    report = reproduce(replace(reproduction, recipes=systems("zero_shot", str(tmp_path / "mine.yaml"))))
    (group,) = report["groups"]
    assert [(row["system"], row["shots"]) for row in group["table_ii"]] == [("zero_shot", 0), ("mine", 0), ("mine", 2)]
    assert "| Mine | 2 | 0." in (tmp_path / "run" / "report" / "report.md").read_text()
    assert {row["system"] for row in group["controls"]} == {"mine"}


def test_drawable_shots():
    corpus = speakers(0)
    assert drawable_shots(corpus, SystemTest("TU+LD", [0, 1, 3])) == ([0, 1, 3], {})
    shots, reasons = drawable_shots(corpus, SystemTest("TU+LO", [1, 2, 3, 4], label="Anger"))
    # A target of that emotion leaves two of its three takes.
    assert shots == [1, 2]
    assert list(reasons) == [3, 4]
    assert "TU+LO with k=3 needs 3 other utterances of Anger; speaker tones/ann has 2" in reasons[3]


def test_the_command(folder, whisper, tmp_path, capsys):
    arguments = ["--corpus", str(folder), "--labels", "Neutral", "Sadness", "Anger", "--systems", "linear_probe"]
    arguments += ["--speech-encoder", str(whisper), "--speech-layer", "2", "--output", str(tmp_path / "run")]
    assert main(["reproduce", *arguments, "--cache-folder", str(tmp_path / "cache")]) == 0
    printed = capsys.readouterr().out
    assert "| linear probe | 0 | " in printed
    assert f"Wrote {tmp_path}/run/report/report.md" in printed
