"""Arguments of the trainers: what is refused, in one line, and how they are read from a command line and from YAML."""

import math

import pytest
from transformers import HfArgumentParser

from emoicl.training.systems.classifier_config import ClassifierTrainingArguments
from emoicl.training.systems.encoder_config import EncoderTrainingArguments
from emoicl.training.systems.made_up_config import MadeUpTrainingArguments
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments


KINDS = [
    MetaIclTrainingArguments,
    ClassifierTrainingArguments,
    EncoderTrainingArguments,
    MadeUpTrainingArguments,
]


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (MetaIclTrainingArguments, {"min_shots": 5, "max_shots": 3}, "`min_shots` is 5, more than `max_shots`, 3"),
        (MetaIclTrainingArguments, {"min_shots": -1}, "`min_shots` is -1; it should be a whole number from 0"),
        (MetaIclTrainingArguments, {"max_shots": 2.5}, "`max_shots` is 2.5; it should be a whole number"),
        (MetaIclTrainingArguments, {"max_shots": None}, "`max_shots` is None"),
        (
            MetaIclTrainingArguments,
            {"symbol_share": -0.1},
            "`symbol_share` is -0.1; it should be a number from 0 to 1",
        ),
        (MetaIclTrainingArguments, {"symbol_share": math.nan}, "`symbol_share` is nan"),
        (MetaIclTrainingArguments, {"frame_share": "half"}, "`frame_share` is 'half'"),
        (MetaIclTrainingArguments, {"frame_share": True}, "`frame_share` is True"),
        (MetaIclTrainingArguments, {"adaptation_learning_rate": math.inf}, "`adaptation_learning_rate` is inf"),
        (MetaIclTrainingArguments, {"setting": "TU-LU"}, "'TU-LU' is no enrollment setting; choose from TU"),
        (MetaIclTrainingArguments, {"eval_setting": "any"}, "'any' is no enrollment setting"),
        (MetaIclTrainingArguments, {"enrollment_label": "Joy"}, "the one emotion of TU.LO; .* no meaning with TU.LU"),
        (MetaIclTrainingArguments, {"eval_shots": "few"}, "`eval_shots` is 'few'; it should be numbers from 0"),
        (MetaIclTrainingArguments, {"eval_shots": [0, -3]}, r"`eval_shots` is \[0, -3\]"),
        (MetaIclTrainingArguments, {"eval_shots": [0, 1.5]}, "`eval_shots` is"),
        (MetaIclTrainingArguments, {"eval_shots": []}, "`eval_shots` is"),
        (EncoderTrainingArguments, {"eval_shots": None}, "`eval_shots` is None"),
        (EncoderTrainingArguments, {"open_share": 2}, "`open_share` is 2"),
        (EncoderTrainingArguments, {"longest": 0}, "`longest` is 0; it should be a number from 0.1 to 60"),
        (MadeUpTrainingArguments, {"min_shots": 5, "max_shots": 3}, "`min_shots` is 5, more than `max_shots`, 3"),
        (MadeUpTrainingArguments, {"wide_share": 1.5}, "`wide_share` is 1.5; it should be a number from 0 to 1"),
        (MadeUpTrainingArguments, {"num_targets": 0}, "`num_targets` is 0; it should be a whole number from 1"),
        (MadeUpTrainingArguments, {"first_noise": 0}, "`first_noise` is 0; it should be a number from 0.001"),
        (ClassifierTrainingArguments, {"absent_share": 1.1}, "`absent_share` is 1.1"),
        (ClassifierTrainingArguments, {"targets_per_speaker": 0}, "`targets_per_speaker` is 0"),
        (ClassifierTrainingArguments, {"include_for_metrics": ["inputs"]}, "leave out `include_for_metrics`"),
    ],
)
def test_what_is_refused(kind, fields, message, tmp_path):
    with pytest.raises(ValueError, match=message) as refused:
        kind(str(tmp_path), **fields)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("fields", [{}, {"fsdp": "full_shard"}])
def test_a_classifier_is_not_trained_in_parts(fields, tmp_path, monkeypatch):
    if not fields:
        # As `accelerate launch` says it.
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="a classifier is none: .* such as training/accelerate/ddp-2-gpus.yaml"):
        ClassifierTrainingArguments(str(tmp_path), **fields)


@pytest.mark.parametrize("given", [[0, 2], "0,2", "0, 2"])
def test_numbers_of_shots(given, tmp_path):
    assert MetaIclTrainingArguments(str(tmp_path), eval_shots=given).eval_shots == [0, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_command_line_and_yaml(kind, tmp_path):
    parser = HfArgumentParser(kind)
    (args,) = parser.parse_args_into_dataclasses(["--output_dir", str(tmp_path)])
    assert args == kind(str(tmp_path))
    if kind is ClassifierTrainingArguments:
        return
    (args,) = parser.parse_args_into_dataclasses(["--output_dir", str(tmp_path), "--eval_shots", "0", "5"])
    assert args.eval_shots == [0, 5]
    (tmp_path / "args.yaml").write_text(f"output_dir: {tmp_path}\neval_shots: [0, 5]\n")
    assert parser.parse_yaml_file(tmp_path / "args.yaml")[0].eval_shots == [0, 5]


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_model(kind, tmp_path):
    each_step = {"eval_strategy": "steps", "eval_steps": 5, "save_steps": 5}
    assert kind(str(tmp_path)).metric_for_best_model is None
    for fields in ({"load_best_model_at_end": True}, {"save_strategy": "best"}):
        args = kind(str(tmp_path), **each_step, **fields)
        assert (args.metric_for_best_model, args.greater_is_better) == ("ua_spk", True)
    args = kind(str(tmp_path), **each_step, load_best_model_at_end=True, metric_for_best_model="loss")
    assert args.greater_is_better is False
