import math
from pathlib import Path

import pytest
import yaml
from transformers import AutoConfig

from emoicl.processing.processing_emoicl import CANDIDATE_LABELS
from emoicl.training.experiments.loading import BUILDING_BLOCKS, RECIPES, load_recipe, recipe_names, system_names
from emoicl.training.experiments.recipe import SystemTest
from emoicl.training.experiments.stage_running import stage_arguments
from emoicl.training.experiments.stages import make_stage


RUNNABLE = [name for name in recipe_names() if not name.startswith(BUILDING_BLOCKS)]
MINE = """
extends: [sizes/tiny]
train: [a.csv]
run: [zero_shot, in_context]
stages:
  in_context: {max_steps: 7}
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    return tmp_path / "mine.yaml"


def test_a_recipe_extends_another_and_has_the_last_word(mine):
    recipe = load_recipe(mine, {"seed": 3, "stages.zero_shot.learning-rate": 1e-4})
    tiny = yaml.safe_load((RECIPES / "sizes" / "tiny.yaml").read_text())
    assert (recipe.name, recipe.seed, recipe.speech_layer) == ("mine", 3, tiny["speech_layer"])
    assert recipe.stages["in_context"] == tiny["stages"]["in_context"] | {"max_steps": 7}
    assert recipe.stages["zero_shot"] == tiny["stages"]["zero_shot"] | {"learning_rate": 1e-4}
    assert list(recipe.stages) == ["zero_shot", "in_context"]
    assert (recipe.output, recipe.title, recipe.labels) == ("outputs/mine", "mine", list(CANDIDATE_LABELS))


def test_later_entries_override_earlier_ones(mine):
    (mine.parent / "quick.yaml").write_text("stages: {zero_shot: {max_steps: 3}, in_context: {max_steps: 3}}")
    mine.write_text(MINE.replace("[sizes/tiny]", "[sizes/tiny, quick.yaml]"))
    stages = load_recipe(mine).stages
    assert (stages["zero_shot"]["max_steps"], stages["in_context"]["max_steps"]) == (3, 7)


def test_another_size_in_place_of_the_one_that_is_named(mine):
    base = yaml.safe_load((RECIPES / "sizes" / "base.yaml").read_text())
    assert load_recipe(mine, size="base").text == base["text"]
    (mine.parent / "own.yaml").write_text("text: {d_model: 8}")
    assert load_recipe("base-emogator", size=str(mine.parent / "own.yaml"), overrides={"stages": {
        "zero_shot": {"type": "meta_icl"}}, "run": ["zero_shot"]}).text == {"d_model": 8}  # fmt: skip


@pytest.mark.parametrize(
    "name, value, right",
    [
        ("stages.in_context.learning_rate", math.inf, "is inf, but should be a finite number"),
        ("stages.in_context.max_steps", "many", "is 'many', but should be a valid integer"),
        ("stages.in_context.bf16", "maybe", "is 'maybe', but should be a valid boolean"),
        ("stages.in_context.max_stpes", 1, "is no field; did you mean max-steps?"),
        ("stages.in_contxt.max_steps", 1, "has no 'in_contxt'; did you mean in_context?"),
        ("stages.in_context.type", "metaicl", "is 'metaicl'; did you mean meta_icl?"),
        ("stages.adaptation.size", 0, "is 0, but should be greater than or equal to 1"),
        ("model.num_query_tokens", 0, "is 0, but should be greater than or equal to 1"),
        ("model.num_query_tokns", 8, "is no field; did you mean num-query-tokens?"),
        ("feature_dropout", math.nan, "is nan, but should be a finite number"),
        ("feature_dropout", 1.5, "is 1.5, but should be less than 1"),
        ("text.dropout_rate", -0.1, "is -0.1, but should be greater than or equal to 0"),
        ("train", "clips.parquet", "is 'clips.parquet', but should be a valid list, such as \\[clips.parquet\\]"),
        ("labels", "Joy", "is 'Joy', but should be a valid list, such as \\[Joy\\]"),
        ("sede", 1, "is no field; did you mean seed?"),
        ("seed", True, "is True, but should be a valid integer"),
        ("run", ["zero"], "has a stage 'zero'; did you mean zero_shot?"),
        ("card", {"nam": "x"}, "no remarks called nam; there are name"),
        ("tests", [{"setting": "TU+LD", "shot": [0]}], "shot is no field; did you mean shots?"),
        ("tests", [{"setting": "TU+LD"}], "lacks shots"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(name, value, right):
    right = right.replace("?", "\\?")
    with pytest.raises(ValueError, match=f"^--{name.replace('_', '-')}.*{right}") as error:
        load_recipe("base-emogator", {name: value})
    assert "\n" not in str(error.value)


def test_a_strategy_is_no_boolean_and_a_boolean_is_one(mine):
    mine.write_text(MINE.replace("max_steps: 7", "eval_strategy: no, bf16: true"))
    assert load_recipe(mine).stages["in_context"]["eval_strategy"] == "no"
    assert load_recipe(mine).stages["in_context"]["bf16"] is True
    mine.write_text(MINE.replace("max_steps: 7", "bf16: yes"))
    with pytest.raises(ValueError, match="bf16 is 'yes', but should be a valid boolean"):
        load_recipe(mine)


@pytest.mark.parametrize("line", ["sede: 1", "seed: true", "labels: Joy", "feature_dropout: .nan", "train: clips.csv"])
def test_a_file_is_named_with_the_field(line, mine):
    mine.write_text("\n".join([*(part for part in MINE.splitlines() if not part.startswith("train")), line]))
    with pytest.raises(ValueError, match=f"^{mine}: {line.partition(':')[0]} is "):
        load_recipe(mine)


def test_files_are_named_by_where_a_field_was_set(mine):
    (mine.parent / "rates.yaml").write_text("stages: {zero_shot: {learning_rate: .inf}}")
    mine.write_text(MINE.replace("[sizes/tiny]", "[sizes/tiny, rates.yaml]"))
    with pytest.raises(ValueError, match="rates.yaml: stages.zero_shot.learning_rate is inf, but should be a finite"):
        load_recipe(mine)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is a mapping"),
        ("- a", "is a mapping"),
        ("a: [", "read as YAML"),
        ("extends: sizes/tiny", "extends is 'sizes/tiny', but should be a valid list, such as .sizes/tiny."),
        ("extends: [mine.yaml]", "extends itself"),
        ("extends: [sizes/tny]", "no recipe 'sizes/tny'; did you mean sizes/tiny?"),
        ("extends: [sizes/tiny]", "the field run is missing"),
        (f"extends: [{'x' * 5000}]", "no recipe 'x"),
        ("title: \x82", "cannot be read as YAML"),
        ('"x\\ny": 1', r"x\\ny is no field"),
        ('run: "\\n"', r"valid list, such as .\\n"),
        ("extends: [sizes/tiny]\nrun: [a]\nstages: {a: {type: []}}", "stages.a.type is .."),
    ],
)
def test_files_that_are_no_recipe(text, message, mine):
    mine.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"^{mine}: .*{message}") as error:
        load_recipe(mine)
    assert "\n" not in str(error.value)


def test_unknown_recipe():
    with pytest.raises(ValueError, match="no recipe 'base-emogater'; did you mean base-emogator?"):
        load_recipe("base-emogater")


def test_a_small_number_may_lack_its_point(mine):
    mine.write_text(MINE.replace("max_steps: 7", "learning_rate: 1e-4"))
    assert load_recipe(mine).stages["in_context"]["learning_rate"] == 1e-4


@pytest.mark.parametrize("size", ["tiny", "base", "paper"])
@pytest.mark.parametrize("name", RUNNABLE)
def test_every_recipe_is_right_in_every_size(name, size, tmp_path):
    recipe = load_recipe(name, size=size)
    assert recipe.name == Path(name).name
    AutoConfig.for_model("t5", **recipe.text)
    AutoConfig.for_model("blip_2_qformer", **recipe.qformer)
    for stage in recipe.run:
        made = make_stage(stage, recipe.stages[stage])
        if made.trainer_arguments is not None:
            # No half precision here, which not every machine has.
            shared = stage_arguments(tmp_path, 0) | made.defaults
            args = made.trainer_arguments(**(shared | made.arguments | {"bf16": False}))
            assert args.label_smoothing_factor == (0 if stage in ("speech_encoder", "made_up_speakers") else 0.1)
            if name.startswith("systems/"):
                assert getattr(args, "symbol_share", 0) == 0


def test_the_settings_of_the_bundled_model():
    recipe = load_recipe("base-emogator")
    shared = {"learning_rate": 1e-3, "warmup_steps": 50, "lr_scheduler_type": "cosine", "weight_decay": 0.01}
    shared |= {"bf16": True, "max_steps": 500, "eval_steps": 100, "save_steps": 100, "logging_steps": 50}
    shared |= {"type": "meta_icl", "frame_share": 0.5}
    # The share of symbols that was the default then.
    first = shared | {"max_shots": 0, "symbol_share": 0.3, "eval_shots": [0]}
    second = shared | {"max_shots": 7, "symbol_share": 0.2, "learning_rate": 6e-4, "warmup_steps": 20}
    second |= {"eval_shots": [0, 2, 4, 7], "per_device_train_batch_size": 64}
    assert recipe.run == ["speech_encoder", "zero_shot", "in_context", "adaptation"]
    assert (recipe.stages["zero_shot"], recipe.stages["in_context"]) == (first, second)
    assert recipe.stages["adaptation"] == {"type": "adaptation", "size": "all"}
    assert (recipe.speech_layer, recipe.feature_dropout, recipe.model) == (2, 0.2, {"num_query_tokens": 8})


def test_systems_share_the_stages_that_are_alike():
    names = ("zero_shot", "proposed", "adapted", "one_shot_n", "to_ld_7")
    recipes = {name: load_recipe(f"systems/{name}") for name in names}
    assert len({recipe.stage_digest("zero_shot") for recipe in recipes.values()}) == 1
    second = {name: recipe.stage_digest("in_context") for name, recipe in recipes.items() if name != "zero_shot"}
    assert second["proposed"] == second["adapted"]
    assert len(set(second.values())) == 3
    other = load_recipe("systems/proposed", {"stages.zero_shot.max_steps": 3})
    assert other.stage_digest("in_context") != second["proposed"]
    parts = [load_recipe(name) for name in system_names("ablations")]
    tuned = {recipe.stage_digest("speech_encoder") for recipe in parts if "speech_encoder" in recipe.run}
    assert tuned == {load_recipe("base-speech").stage_digest("speech_encoder")}


def test_each_label_is_a_test_of_its_own():
    names = [test.name for test in load_recipe("systems/proposed").tests]
    assert names == ["TU+LD", "TU+LU", "TE+LD", "TE+LU", *(f"TU+LO {label}" for label in CANDIDATE_LABELS)]
    assert load_recipe("systems/proposed", {"labels": ["Joy"]}).tests[-1] == SystemTest("TU+LO", [1, 2, 3, 4], "Joy")


def test_names_of_systems():
    assert system_names("proposed") == ["systems/proposed"]
    assert system_names("base-emogator") == ["base-emogator"]
    assert "ablations/statistics" in system_names("ablations")
