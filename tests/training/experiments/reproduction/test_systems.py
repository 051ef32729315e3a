import pytest

from emoicl.processing.processing_emoicl import CANDIDATE_LABELS
from emoicl.training.experiments.reproduction.paper import TABLE_II, TABLE_IV
from emoicl.training.experiments.reproduction.systems import ORDER, SIZES, SYSTEMS, Size, System
from emoicl.training.experiments.stages import stage_arguments
from emoicl.training.systems.classifier_config import ClassifierTrainingArguments
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments


ALL_SIZES = sorted(path.stem for path in SIZES.glob("*.yaml"))


def test_every_recipe_is_in_the_tables():
    assert sorted(path.stem for path in SYSTEMS.glob("*.yaml")) == sorted(ORDER)
    assert ALL_SIZES == ["base", "paper", "tiny"]


def test_every_row_of_the_paper_has_a_test():
    for name, k in TABLE_II:
        assert k in System.load(name).tests[0].shots
    for name, setting in TABLE_IV:
        tests = {test.name: test.shots for test in System.load(name).tests}
        assert max(tests[setting]) == len(TABLE_IV[name, setting])


def test_each_label_is_a_test_of_its_own():
    names = [test.name for test in System.load("proposed").tests]
    assert names == ["TU+LD", "TU+LU", "TE+LD", "TE+LU", *(f"TU+LO {label}" for label in CANDIDATE_LABELS)]
    assert System.load("proposed", ["Joy"]).tests[-1].label == "Joy"


@pytest.mark.parametrize("size", ALL_SIZES)
@pytest.mark.parametrize("name", ORDER)
def test_every_size_trains_every_system(name, size, tmp_path):
    system = System.load(name)
    if system.stage is None:
        return
    arguments = stage_arguments(tmp_path, 0) | Size.load(size).stages[system.stage] | system.arguments
    # No half precision here, which not every machine has.
    arguments["bf16"] = False
    kind = ClassifierTrainingArguments if system.kind == "classifier" else MetaIclTrainingArguments
    args = kind(**arguments)
    assert args.label_smoothing_factor == 0.1
    assert getattr(args, "symbol_share", 0) == 0


def test_what_systems_start_from():
    starts = {name: System.load(name).start for name in ORDER}
    assert {name: start for name, start in starts.items() if start} == {
        "one_shot_n": "zero_shot",
        "proposed": "zero_shot",
        "to_ld_7": "zero_shot",
        "neutral_0_7": "zero_shot",
        # Stage 1 alone has never seen a prompt with shots.
        "adapted": "proposed",
    }


def test_an_unknown_system():
    with pytest.raises(ValueError, match="no system 'personalized_n'; there are linear_probe, scratch"):
        System.load("personalized_n")


def test_fields_of_a_size_by_dotted_name():
    size = Size.load("tiny", {"stages.zero_shot.max_steps": "7", "speech_encoder": "mine", "enrollment_seeds": "3"})
    assert (size.stages["zero_shot"]["max_steps"], size.speech_encoder, size.enrollment_seeds) == (7, "mine", 3)
    assert size.stages["in_context"]["max_steps"] != 7


def test_a_size_of_ones_own(tmp_path):
    (tmp_path / "mine.yaml").write_text((SIZES / "tiny.yaml").read_text())
    size = Size.load(str(tmp_path / "mine.yaml"))
    assert (size.name, size.stages) == ("mine", Size.load("tiny").stages)


@pytest.mark.parametrize(
    "name, overrides, message",
    [
        ("huge", {}, "no size 'huge': give a YAML file, or one of base, paper, tiny"),
        ("tiny", {"layers": "3"}, "tiny.yaml: no such field layers; there are classifier"),
        ("tiny", {"stages.zero.steps": "3"}, "no 'zero'"),
    ],
)
def test_a_wrong_size(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        Size.load(name, overrides)


def test_a_size_that_lacks_a_field(tmp_path):
    (tmp_path / "mine.yaml").write_text("speech_lm: {}\nclassifier: {}\nscratch: {}\n")
    with pytest.raises(ValueError, match="mine.yaml: the field stages is missing"):
        Size.load(str(tmp_path / "mine.yaml"))
