import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import LABELS
from tiny_corpus import MODEL_FIELDS, SIZES, tiny_corpus, tone, write_corpus

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.training.data.corpus import Corpus
from emoicl.training.experiments.recipe import RECIPES, Recipe, keep_settings, train
from emoicl.training.systems.composition import compose
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer


STAGE = {
    "max_steps": 2,
    "per_device_train_batch_size": 6,
    "save_steps": 1,
    "eval_steps": 1,
    "eval_shots": 0,
    "logging_steps": 1,
    "use_cpu": True,
    "disable_tqdm": True,
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_corpus(tiny_corpus(num_speakers=4, takes=2), tmp_path_factory.mktemp("corpus") / "corpus.csv")


@pytest.fixture
def content(whisper, table, tmp_path):
    """A recipe for a tiny model, with two stages of two steps."""
    return {
        "speech_encoder": str(whisper),
        "train": [table.name],
        "validation": [table.name],
        "test": [table.name],
        "data_folder": str(table.parent),
        "output_dir": str(tmp_path / "run"),
        "cache_folder": str(tmp_path / "cache"),
        "labels": list(LABELS),
        "model": MODEL_FIELDS,
        **SIZES,
        "stages": {"zero_shot": STAGE | {"max_shots": 0}, "in_context": STAGE | {"learning_rate": 1e-2}},
    }


@pytest.fixture
def write(content, tmp_path):
    def write(**changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
        return path

    return write


def test_fields_and_overrides(write, content):
    overrides = {
        "seed": "3",
        "labels": "[Joy, Anger]",
        "stages.zero_shot.max_steps": "100",
        "stages.zero_shot.learning_rate": "1e-4",
        "stages.in_context.radam": "false",
        "model.speech_layer": "null",
    }
    recipe = Recipe.load(write(), overrides)
    assert (recipe.seed, recipe.labels, recipe.model["speech_layer"]) == (3, ["Joy", "Anger"], None)
    assert recipe.stages["zero_shot"] == content["stages"]["zero_shot"] | {"max_steps": 100, "learning_rate": 1e-4}
    assert recipe.stages["in_context"]["radam"] is False
    assert recipe.text == SIZES["text"]
    assert recipe.tables("test")[0].is_file()


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"sede": "1"}, "recipe.yaml: no such field sede; there are cache_folder, "),
        ({"stages.first.max_steps": "1"}, "--stages.first.max_steps: the recipe has no 'first'; it has zero_shot, "),
        ({"stages.zero_shot.max_stpes": "1"}, "stages.zero_shot has no field max_stpes; .* MetaIclTrainingArguments"),
        ({"model.feature_dorpout": "1"}, "model has no field feature_dorpout; .* EmoIclConfig"),
        ({"text.hidden_size": "1"}, "text has no field hidden_size; .* T5Config"),
        ({"seed": "[1"}, "--seed: cannot be read as YAML"),
    ],
)
def test_mistaken_overrides(write, overrides, message):
    with pytest.raises(ValueError, match=message):
        Recipe.load(write(), overrides)


def test_missing_fields(tmp_path):
    (tmp_path / "recipe.yaml").write_text("train: []\nseed: 1")
    with pytest.raises(ValueError, match="the field output_dir, speech_encoder, stages, test, validation is missing"):
        Recipe.load(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("text, message", [("", "is a mapping"), ("- a", "is a mapping"), ("a: [", "read as YAML")])
def test_files_that_are_no_recipe(tmp_path, text, message):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"recipe.yaml: .*{message}"):
        Recipe.load(tmp_path / "recipe.yaml")


def test_unknown_recipe():
    with pytest.raises(ValueError, match="no recipe 'large': give a YAML file, or one of .*base-emogator"):
        Recipe.load("large")


@pytest.mark.parametrize("name", sorted(recipe.stem for recipe in RECIPES.glob("*.yaml")))
def test_bundled_recipes_build(name, whisper):
    recipe = Recipe.load(name)
    fields = recipe.model | {"speech_layer": min(recipe.model["speech_layer"], 3)}
    model, processor = compose(str(whisper), recipe.labels, qformer=recipe.qformer, text=recipe.text, **fields)
    assert processor.candidate_labels == recipe.labels
    assert model.config.max_shots >= max(stage.get("max_shots", 7) for stage in recipe.stages.values())


def test_train(write):
    recipe = Recipe.load(write(), {"card": "{limits: [It knows two voices.]}"})
    report = train(recipe)
    folder = write().parent / "run"
    card = (folder / "model" / "README.md").read_text()
    assert "1. `zero_shot`: 2 steps" in card and "2. `in_context`: 2 steps" in card
    assert "It knows two voices." in card and f"| 3 | {report.accuracy(3).ua_spk:.3f} |" in card
    assert (folder / "model" / "accuracy_against_shots.png").is_file()
    assert json.loads((folder / "report.json").read_text()) == report.as_dict()
    assert report.conditions[-1].shots == 3
    for stage in recipe.stages:
        log = json.loads((folder / stage / "log.json").read_text())
        assert [entry["step"] for entry in log if "eval_ua_spk" in entry] == [1, 2]
    first, second, final = (
        load_file(folder / at / "model.safetensors") for at in ("zero_shot/model", "in_context/model", "model")
    )
    assert all(torch.equal(final[name], weight) for name, weight in second.items())
    assert {name.split(".")[0] for name in final.keys() - second.keys()} == {"adaptation"}
    assert any(not torch.equal(first[name], weight) for name, weight in second.items())


def test_a_tuned_speech_encoder(write, whisper, tmp_path):
    others = Corpus(replace(u, label="Awe", audio=tone(90 + n)) for n, u in enumerate(tiny_corpus(4)))
    write_corpus(others, tmp_path / "others.csv")
    tuning = STAGE | {"learning_rate": 1e-2, "per_device_train_batch_size": 2}
    tuning = {name: value for name, value in tuning.items() if not name.startswith("eval_")}
    recipe = Recipe.load(write(encoder_tuning=tuning, open_labels=[str(tmp_path / "others.csv")]))
    train(recipe)
    folder = Path(recipe.output_dir)
    tuned, final = (load_file(folder / at / "model.safetensors") for at in ("speech_encoder/model", "model"))
    published = load_file(whisper / "model.safetensors")
    of_encoder = {
        name.partition("speech_encoder.")[2]: w
        for name, w in final.items()
        if name.startswith("model.speech_encoder.")
    }
    assert of_encoder and all(torch.equal(tuned[f"model.speech_encoder.{name}"], w) for name, w in of_encoder.items())
    assert not torch.equal(of_encoder["conv1.weight"], published["conv1.weight"])
    assert tuned["model.adaptation.label_means"].shape == (1, len(LABELS) + 1, 32)
    card = (folder / "model" / "README.md").read_text()
    assert "1. `speech_encoder`: 2 steps" in card and "3. `in_context`: 2 steps" in card
    assert "training (speech_encoder, zero_shot, in_context)" in card or "Awe" in card
    assert not (folder / "speech_encoder" / "model" / "README.md").exists()


def test_a_missing_test_table_is_found_before_training(write):
    recipe = Recipe.load(write(test=["absent.csv"]))
    with pytest.raises(ValueError, match="absent.csv: there is no such file"):
        train(recipe)
    assert not Path(recipe.output_dir).exists()


def test_more_dimensions_than_the_features_have(write):
    recipe = Recipe.load(write(), {"model.adaptation_config.size": "33"})
    with pytest.raises(ValueError, match="`adaptation_config.size` is 33; it must be from 1 to 32"):
        train(recipe)
    assert not Path(recipe.output_dir).exists()


def test_a_source_that_is_not_trained_on(write):
    recipe = Recipe.load(write(), {"model.adaptation_config.sources": "[ravdess]"})
    with pytest.raises(ValueError, match="`sources` names ravdess; the training corpora are "):
        train(recipe)
    assert not Path(recipe.output_dir).exists()


def test_an_interrupted_run_goes_on_where_it_was(write, monkeypatch):
    recipe = Recipe.load(write())
    steps = []
    training_step = MetaIclTrainer.training_step

    def record(trainer, *args, **kwargs):
        steps.append((Path(trainer.args.output_dir).name, trainer.state.global_step))
        if steps.count(("in_context", 1)) == 1 and steps[-1] == ("in_context", 1):
            raise KeyboardInterrupt
        return training_step(trainer, *args, **kwargs)

    monkeypatch.setattr(MetaIclTrainer, "training_step", record)
    with pytest.raises(KeyboardInterrupt):
        train(recipe)
    assert steps == [("zero_shot", 0), ("zero_shot", 1), ("in_context", 0), ("in_context", 1)]
    del steps[:-1]
    train(recipe)
    assert steps[1:] == [("in_context", 1)]


def test_another_recipe_does_not_take_up_a_run(write):
    recipe = Recipe.load(write())
    keep_settings(asdict(recipe), Path(recipe.output_dir) / "recipe.yaml")
    keep_settings(asdict(recipe), Path(recipe.output_dir) / "recipe.yaml")
    recipe.seed += 1
    with pytest.raises(ValueError, match="holds a run with other settings"):
        train(recipe)


def test_half_a_model_does_not_end_a_stage(write, monkeypatch):
    recipe = Recipe.load(write(), {"stages.zero_shot.max_steps": "1"})
    save = EmoIclForConditionalGeneration.save_pretrained

    def save_half(model, folder, **kwargs):
        if "checkpoint" not in str(folder):
            Path(folder).mkdir(exist_ok=True)
            raise KeyboardInterrupt
        save(model, folder, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(EmoIclForConditionalGeneration, "save_pretrained", save_half)
        train(recipe)
    train(recipe)
    assert (Path(recipe.output_dir) / "zero_shot" / "model" / "model.safetensors").is_file()
