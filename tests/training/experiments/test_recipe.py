import json
import re
import sys
from dataclasses import asdict, replace
from inspect import get_annotations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import LABELS, READER
from tiny_checkpoints import save_language_model
from tiny_corpus import MODEL_FIELDS, SIZES, tiny_corpus, tone, write_corpus
from transformers import AutoProcessor

from emoicl.modeling.configuration_emoicl import EmoIclAdaptationConfig
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.training.data.corpus import Corpus
from emoicl.training.evaluation.recognition import CorpusRecognizer
from emoicl.training.experiments import experiment
from emoicl.training.experiments.experiment import check, train
from emoicl.training.experiments.loading import load_recipe
from emoicl.training.experiments.recipe import RECIPE_NAME, keep_settings, keeping_settings
from emoicl.training.systems.made_up_trainer import MadeUpTrainer
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer


STAGE = {
    "max_steps": 2,
    "per_device_train_batch_size": 6,
    "save_steps": 1,
    "eval_steps": 1,
    "eval_shots": [0],
    "logging_steps": 1,
    "use_cpu": True,
    "disable_tqdm": True,
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_corpus(tiny_corpus(num_speakers=4, takes=2), tmp_path_factory.mktemp("corpus") / "corpus.csv")


@pytest.fixture
def content(whisper, table, tmp_path):
    """A recipe for a tiny model, with two stages of two steps and a speaker adaptation."""
    fields = {name: value for name, value in MODEL_FIELDS.items() if name in ("num_query_tokens", "max_shots")}
    return {
        "speech_encoder": str(whisper),
        "speech_layer": MODEL_FIELDS["speech_layer"],
        "train": [table.name],
        "validation": [table.name],
        "test": [table.name],
        "data_folder": str(table.parent),
        "output": str(tmp_path / "run"),
        "cache_folder": str(tmp_path / "cache"),
        "labels": list(LABELS),
        "model": fields,
        **SIZES,
        "run": ["zero_shot", "in_context", "adaptation"],
        "stages": {
            "zero_shot": STAGE | {"type": "meta_icl", "max_shots": 0},
            "in_context": STAGE | {"type": "meta_icl", "learning_rate": 1e-2},
            "adaptation": {"type": "adaptation", "size": MODEL_FIELDS["adaptation_config"]["size"]},
        },
    }


@pytest.fixture
def write(content, tmp_path):
    def write(**changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
        return path

    return write


def test_train(write):
    recipe = load_recipe(write(), {"card": {"limits": ["It knows two voices."]}})
    report = train(recipe)
    folder = write().parent / "run"
    card = (folder / "model" / "README.md").read_text()
    assert "1. `zero_shot`: 2 steps" in card and "2. `in_context`: 2 steps" in card
    assert "It knows two voices." in card and f"| 3 | {report.accuracy(3).ua_spk:.3f} |" in card
    assert (folder / "model" / "accuracy_against_shots.png").is_file()
    assert json.loads((folder / "report.json").read_text()) == report.as_dict()
    assert report.conditions[-1].shots == 3
    for stage in ("zero_shot", "in_context"):
        log = json.loads((folder / stage / "log.json").read_text())
        assert [entry["step"] for entry in log if "eval_ua_spk" in entry] == [1, 2]
    first, second, final = (
        load_file(folder / at / "model.safetensors") for at in ("zero_shot/model", "in_context/model", "model")
    )
    assert all(torch.equal(final[name], weight) for name, weight in second.items())
    assert {name.split(".")[1] for name in final.keys() - second.keys()} == {"adaptation"}
    assert any(not torch.equal(first[name], weight) for name, weight in second.items())


def test_a_tuned_speech_encoder(write, content, whisper, tmp_path):
    others = Corpus(replace(u, label="Awe", audio=tone(90 + n)) for n, u in enumerate(tiny_corpus(4)))
    write_corpus(others, tmp_path / "others.csv")
    tuning = STAGE | {"learning_rate": 1e-2, "per_device_train_batch_size": 2}
    tuning = {name: value for name, value in tuning.items() if not name.startswith("eval_")}
    content["stages"]["speech_encoder"] = tuning | {"type": "encoder"}
    run = ["speech_encoder", *content["run"]]
    recipe = load_recipe(write(run=run, open_labels=[str(tmp_path / "others.csv")]))
    train(recipe)
    folder = Path(recipe.output)
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


@pytest.fixture
def reader(content):
    """The recipe of a model that made-up speakers teach, and that is adapted then."""
    stages = {
        "made_up": STAGE | {"type": "made_up_speakers", "size": 4, "contexts_per_epoch": 12, "max_shots": 3},
        "adaptation": {"type": "adaptation", "size": 4},
    }
    fields = {"num_open_labels": 4, "trim_silence": 35.0, "model": READER | {"max_shots": 12}}
    return content | fields | {"stages": stages, "run": ["made_up", "adaptation"]}


def test_made_up_speakers_teach_a_pretrained_language_model(write, reader, tmp_path):
    changes = {"language_model": str(save_language_model("llama", tmp_path / "llama", LABELS)), "num_open_labels": 0}
    recipe = load_recipe(write(**{**reader, "text": {}}), changes)
    train(recipe)
    folder = Path(recipe.output)
    model = EmoIclForConditionalGeneration.from_pretrained(folder / "model")
    assert model.config.text_config.model_type == "llama"
    assert "1. `made_up`: 2 steps" in (folder / "model" / "README.md").read_text()


@pytest.fixture
def lora(content, tmp_path):
    """Changes of a recipe by which adapters of a pretrained Llama are trained, and the weights of that."""
    pytest.importorskip("peft")
    folder = save_language_model("llama", tmp_path / "llama", LABELS)
    changes = {"language_model": str(folder), "num_open_labels": 0, "text": {}, "lora": {"r": 2, "lora_dropout": 0.1}}
    return changes, load_file(folder / "model.safetensors")


@pytest.mark.parametrize("kind", ["meta_icl", "made_up_speakers"])
def test_adapters_are_trained_in_place_of_the_language_model(write, content, reader, lora, kind):
    changes, pretrained = lora
    recipe = load_recipe(write(**((content if kind == "meta_icl" else reader) | changes)))
    train(recipe)
    folder = Path(recipe.output) / "model"
    model, info = EmoIclForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    stages = [name for name in recipe.run if recipe.stages[name]["type"] == kind]
    for name, weight in model.model.language_model.state_dict().items():
        change = weight[: len(pretrained.get(name, weight))] - pretrained.get(name, weight)
        is_adapted = "_proj" in name
        assert bool(change.any()) == is_adapted, name
        assert not is_adapted or torch.linalg.matrix_rank(change, rtol=1e-3) <= 2 * len(stages), name
    start = load_file(Path(recipe.output) / stages[0] / "model" / "model.safetensors")
    assert not any("lora" in name for name in start)
    assert re.search(r"lora_r.*2", (folder / "README.md").read_text())


@pytest.mark.parametrize("in_4_bits", [False, True])
def test_an_interrupted_training_of_adapters_ends_as_if_it_had_not_been(
    write, reader, lora, monkeypatch, tmp_path, in_4_bits
):
    if in_4_bits:
        pytest.importorskip("bitsandbytes")
        lora[0]["lora"]["load_in_4bit"] = True
    made_up = reader["stages"]["made_up"] | {"max_steps": 4, "load_best_model_at_end": False}
    stages = reader["stages"] | {"made_up": made_up}
    recipes = [
        load_recipe(write(**(reader | lora[0] | {"stages": stages, "output": str(tmp_path / name)})))
        for name in ("whole", "interrupted")
    ]
    train(recipes[0])
    training_step, seen = MadeUpTrainer.training_step, []

    def interrupt(trainer, *args, **kwargs):
        seen.append(trainer.state.global_step)
        # Before there is a checkpoint, and after.
        if (step := seen[-1]) in (0, 2) and seen.count(step) == 1:
            torch.rand(1)
            raise KeyboardInterrupt
        return training_step(trainer, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(MadeUpTrainer, "training_step", interrupt)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                train(recipes[1])
        train(recipes[1])
    assert seen == [0, 0, 1, 2, 2, 3]
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "interrupted"))
    torch.testing.assert_close(other, one, rtol=0, atol=0)
    assert all(weight.dtype == torch.float32 for weight in one.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora.rank": 16}, "lora.rank is no field"),
        ({"lora.r": 0}, "lora.r is 0, but should be greater than or equal to 1"),
        ({"lora.modules_to_save": ["qformer"]}, "lora.modules-to-save is no field"),
        ({"lora.target_modules": ["query"]}, "^lora: Target modules .*query.* not found in the base model"),
        ({"language_model": None}, "has `lora`, which adapts a pretrained language model: name a `language_model`"),
    ],
)
def test_adapters_that_cannot_be_are_refused_before_tables_are_read(write, lora, changes, message):
    with pytest.raises(ValueError, match=message):
        train(load_recipe(write(**lora[0], train=["gone.csv"]), changes))


def test_adapters_without_peft(write, lora, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=re.escape('`lora` needs peft, which is missing: pip install "emoicl[lora]"')):
        load_recipe(write(**lora[0]))


def test_adapters_of_weights_in_4_bits_without_bitsandbytes(write, lora, monkeypatch):
    monkeypatch.setattr("emoicl.training.systems.lora.is_bitsandbytes_available", lambda: False)
    message = re.escape(
        '`lora.load_in_4bit` needs bitsandbytes, which is missing: pip install "emoicl[lora,quantized]"'
    )
    with pytest.raises(ValueError, match=message):
        train(load_recipe(write(**lora[0]), {"lora.load_in_4bit": True}))


def test_made_up_speakers_and_an_adaptation(write, reader, tmp_path):
    recipe = load_recipe(write(**reader))
    report = train(recipe)
    folder = Path(recipe.output)
    assert json.loads((folder / "report.json").read_text()) == report.as_dict()
    log = json.loads((folder / "made_up" / "log.json").read_text())
    assert [entry["step"] for entry in log if "eval_ua_spk" in entry] == [1, 2]
    assert "1. `made_up`: 2 steps" in (folder / "model" / "README.md").read_text()
    taught, final = (EmoIclForConditionalGeneration.from_pretrained(folder / at) for at in ("made_up/model", "model"))
    assert {name: getattr(final.config, name) for name in READER} == READER
    assert not taught.config.adaptation_config.has_evidence and final.config.adaptation_config.has_evidence
    # The language model is as it was taught, and hears by the statistics that it was taught by.
    new = {f"model.adaptation.familiarity.{name}" for name in ("weight", "bias", "log_distances")}
    assert taught.state_dict().keys() | new == final.state_dict().keys()
    for name, weight in taught.state_dict().items():
        if not name.startswith("model.adaptation.") or "probe" not in name:
            torch.testing.assert_close(final.state_dict()[name], weight, atol=0, rtol=0, msg=name)
    processor = AutoProcessor.from_pretrained(folder / "model")
    assert processor.known_labels == list(LABELS) and len(processor.open_labels) == 4
    assert processor.feature_extractor.trim_silence == 35.0


def test_corpora_left_out_change_the_weights_of_the_adaptation_alone(write, reader, tmp_path):
    others = Corpus(replace(u, label=LABELS[0], audio=tone(90 + n)) for n, u in enumerate(tiny_corpus(4)))
    write_corpus(others, tmp_path / "other.csv")
    models = {}
    for name, left_out in (("without", []), ("with", [str(tmp_path / "other.csv")])):
        recipe = load_recipe(write(**(reader | {"left_out": left_out, "output": str(tmp_path / name)})))
        assert ("left out" in check(recipe)) == bool(left_out)
        train(recipe)
        models[name] = EmoIclForConditionalGeneration.from_pretrained(tmp_path / name / "model")
    one, other = models.values()
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    fields = ("language_model_weight", "probe_weight", "prototype_weight")
    weights = [[getattr(model.config.adaptation_config, name) for name in fields] for model in (one, other)]
    assert weights[0] != weights[1]


def test_a_clip_that_is_left_out_and_not_is_found_before_training(write, tmp_path):
    others = Corpus(replace(u, label=LABELS[0]) for u in tiny_corpus(4, takes=1) if u.label == LABELS[1])
    write_corpus(others, tmp_path / "other.csv")
    recipe = load_recipe(write(left_out=[str(tmp_path / "other.csv")]))
    with pytest.raises(ValueError, match="are the same clip: remove the wrong row"):
        train(recipe)
    assert not Path(recipe.output).exists()


def test_a_table_left_out_that_is_absent_is_found_before_training(write):
    recipe = load_recipe(write(left_out=["absent.csv"]))
    with pytest.raises(ValueError, match="absent.csv: there is no such file"):
        train(recipe)
    assert not Path(recipe.output).exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages.made_up.size": 33}, "stages.made_up.size is 33, but .* have 32 dimensions"),
        ({"stages.adaptation.size": 5}, "stages.adaptation.size is 5, and stages.made_up.size is 4"),
        ({"model.bind_labels": False}, "made_up teaches a model with `voice_token`, .* extend layouts/reader"),
        ({"model.enrollment_sees_target": True}, "made_up teaches a model with .* extend layouts/reader"),
        ({"num_open_labels": 2}, "set `num_open_labels` to 3 or more"),
        ({"stages.made_up.min_shots": 4}, "stages.made_up: `min_shots` is 4, more than `max_shots`, 3"),
    ],
)
def test_what_made_up_speakers_cannot_teach_is_found_before_training(write, reader, changes, message):
    recipe = load_recipe(write(**reader), changes)
    with pytest.raises(ValueError, match=message):
        train(recipe)
    assert not Path(recipe.output).exists()


def test_a_missing_test_table_is_found_before_training(write):
    recipe = load_recipe(write(test=["absent.csv"]))
    with pytest.raises(ValueError, match="absent.csv: there is no such file"):
        train(recipe)
    assert not Path(recipe.output).exists()


def test_more_dimensions_than_the_features_have(write):
    recipe = load_recipe(write(), {"stages.adaptation.size": 33})
    with pytest.raises(ValueError, match="stages.adaptation.size is 33, but .* have 32 dimensions"):
        train(recipe)
    assert not Path(recipe.output).exists()


def test_a_source_that_is_not_trained_on(write):
    recipe = load_recipe(write(), {"stages.adaptation.sources": ["ravdess"]})
    with pytest.raises(ValueError, match="`sources` names ravdess; the training corpora are one without a name"):
        train(recipe)
    assert not Path(recipe.output).exists()


def test_an_interrupted_run_goes_on_where_it_was(write, monkeypatch):
    recipe = load_recipe(write())
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
    recipe = load_recipe(write())
    for _ in range(2):
        keep_settings(asdict(recipe), Path(recipe.output) / RECIPE_NAME)
    recipe.seed += 1
    with pytest.raises(ValueError, match="holds a run with other settings"):
        train(recipe)


def test_a_failed_start_leaves_nothing_that_refuses_the_next(write, monkeypatch):
    recipe = load_recipe(write())

    def fail(context):
        raise OSError("no network")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no network"):
        patched.setattr(experiment, "run_stages", fail)
        train(recipe)
    assert not (Path(recipe.output) / RECIPE_NAME).exists()
    path = Path(recipe.output) / RECIPE_NAME
    with pytest.raises(KeyboardInterrupt), keeping_settings({"seed": 0}, path):
        (path.parent / "weights").write_text("made")
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="other settings"), keeping_settings({"seed": 1}, path):
        pass


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"stages.adaptation.size": 1024},
            "size is 1024, but .* have 32 dimensions: set 32",
        ),
        ({"speech_layer": 9}, "`speech_layer` is 9, but the speech encoder has"),
        ({"speech_encoder": "./whispr"}, "^./whispr: there is no such folder, and no name of the Hub is like that"),
        ({"language_model": "./smolm"}, "^./smolm: there is no such folder, and no name of the Hub is like that"),
    ],
)
def test_a_part_that_does_not_fit_or_is_nowhere_is_refused_before_tables_are_read(write, changes, message):
    recipe = load_recipe(write(train=["gone.csv"]), changes)
    for run in (train, check):
        with pytest.raises(ValueError, match=message):
            run(recipe)


def test_sizes_follow_from_the_encoder(write):
    recipe = load_recipe(write(train=["gone.csv"]), {"stages.adaptation.size": "all"})
    with pytest.raises(ValueError, match="gone.csv"):
        check(recipe)


def test_half_a_model_does_not_end_a_stage(write, monkeypatch):
    recipe = load_recipe(write(), {"stages.zero_shot.max_steps": 1})
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
    assert (Path(recipe.output) / "zero_shot" / "model" / "model.safetensors").is_file()


def test_a_recipe_of_baselines_has_a_report_and_no_model(write, content):
    content["stages"]["prototypes"] = {"type": "prototypes"}
    recipe = load_recipe(write(run=["prototypes"]))
    report = train(recipe)
    assert json.loads((Path(recipe.output) / "report.json").read_text()) == report.as_dict()
    assert not (Path(recipe.output) / "model").exists()


def test_parts_are_weighed_anew(write, content):
    weights = [name for name, hint in get_annotations(EmoIclAdaptationConfig).items() if hint == float | int]
    content["stages"]["weights"] = {"type": "weights"} | dict.fromkeys(weights, 0.0)
    recipe = load_recipe(write(run=[*content["run"], "weights"]))
    train(recipe)
    model, whole = (Path(recipe.output) / at / "model" / "config.json" for at in (".", "adaptation"))
    weighed, as_fitted = (json.loads(path.read_text())["adaptation_config"] for path in (model, whole))
    assert all(weighed[name] == 0.0 != as_fitted[name] for name in weights)


def test_a_recipe_without_tests(write):
    with pytest.raises(ValueError, match="has no `tests`: leave the field out"):
        train(load_recipe(write(tests=[])))


def test_stages_that_make_nothing_to_test(write, content):
    content["stages"]["speech_encoder"] = {"type": "encoder", "max_steps": 1, "save_steps": 1}
    with pytest.raises(ValueError, match="ends with the stage speech_encoder, which makes nothing that can be tested"):
        train(load_recipe(write(run=["speech_encoder"])))
    with pytest.raises(ValueError, match="speech_encoder tunes the speech encoder .* run it first"):
        train(load_recipe(write(run=["zero_shot", "speech_encoder", "in_context"])))


def test_arguments_that_do_not_go_together(write):
    recipe = load_recipe(write(), {"stages.in_context.save_steps": 3, "stages.in_context.eval_steps": 2})
    with pytest.raises(ValueError, match="stages.in_context: .*load_best_model_at_end requires"):
        train(recipe)
    assert not Path(recipe.output).exists()


def test_a_model_is_tested_where_it_was_trained(monkeypatch):
    places = []
    model = SimpleNamespace(to=places.append)
    recognizer = CorpusRecognizer(cast(Any, model), cast(Any, None), LABELS, batch_size=1)
    monkeypatch.setattr(experiment, "stages_of", lambda recipe: [])
    monkeypatch.setattr(experiment, "PartialState", lambda: SimpleNamespace(device=torch.device("xpu")))
    context = cast(Any, SimpleNamespace(recipe=None, recognizer=recognizer))
    assert experiment.run_stages(context) is context and places == [torch.device("xpu")]
