import json
from pathlib import Path

import numpy as np
import pytest
import tiny_distributed_run
import torch
from safetensors.torch import load_file
from two_processes import train_twice

from emoicl.training.evaluation.reports import EvaluationReport


@pytest.fixture(scope="module")
def runs(whisper, tmp_path_factory):
    """Folders of the same training by one process, and by two that `accelerate launch` starts."""
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    launch = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"
    train_twice(tiny_distributed_run, whisper, folders, launch.split())
    return folders


def log(folder, field):
    entries = json.loads((folder / "log.json").read_text())
    return torch.tensor([entry[field] for entry in entries if field in entry], dtype=torch.double)


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("stage", ["stage", "encoder", "made_up", "classifier"])
def test_two_processes_train_as_one_with_the_same_batch(runs, stage):
    one, two = (folder / stage for folder in runs)
    for field in ("loss", "grad_norm", "epoch", "eval_ua_spk", "eval_loss"):
        of_one, of_two = log(one, field), log(two, field)
        assert len(of_one) >= (1 if field.startswith("eval") else 5)
        torch.testing.assert_close(of_two, of_one, rtol=1e-3, atol=1e-6, msg=lambda m, f=field: f"{f}: {m}")
    last = "checkpoint-6" if stage == "stage" else ""
    torch.testing.assert_close(weights(two / last), weights(one / last), rtol=1e-2, atol=2e-3)


def test_two_processes_resume_within_an_epoch(runs):
    for folder in runs:
        # Of 4 steps an epoch.
        whole, resumed = weights(folder / "stage/checkpoint-6"), weights(folder / "resumed/checkpoint-6")
        torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


def test_two_processes_write_one_model_and_each_feature_once(runs):
    one, two = ({str(path.relative_to(folder)) for path in (folder / "stage/model").rglob("*")} for folder in runs)
    assert one == two
    assert "stage/model/model.safetensors" in two
    # Each writes shards of its own, of other clips.
    sizes = [sum(path.stat().st_size for path in (folder / "cache").rglob("*.safetensors")) for folder in runs]
    assert sizes[0] <= sizes[1] < 1.2 * sizes[0]


def test_two_processes_evaluate_and_predict_as_one(runs):
    reports = [EvaluationReport.load_predictions(folder / "report/predictions.safetensors") for folder in runs]
    for shots in (0, 2):
        of_one, of_two = (report.answers(shots)[0] for report in reports)
        np.testing.assert_allclose(of_one, of_two, atol=1e-3)
    answers = [list(map(json.loads, (folder / "answers.jsonl").read_text().splitlines())) for folder in runs]
    names = [[Path(answer["audio"]).name for answer in of_run] for of_run in answers]
    assert names[0] == names[1] and len(names[0]) == 18
    for one, two in zip(*answers, strict=True):
        scores = [{label["label"]: label["score"] for label in answer["labels"]} for answer in (one, two)]
        assert scores[1] == pytest.approx(scores[0], abs=1e-3)


def test_two_processes_prepare_the_same_tables(runs):
    tables = [
        {str(path.relative_to(folder / "prepared")): path.read_bytes() for path in (folder / "prepared").rglob("*.*")}
        for folder in runs
    ]
    assert tables[0] == tables[1] and "data/00000-of-00001.parquet" in tables[0]


def test_two_processes_reproduce_as_one(runs):
    reports = [json.loads((folder / "reproduced/report/report.json").read_text()) for folder in runs]
    rows = [
        {
            (row["system"], row["shots"]): row["ours"]["ua_spk"]
            for row in report["groups"][0]["table_ii"]
            if row["ours"]
        }
        for report in reports
    ]
    assert {system for system, _ in rows[0]} == {"linear_probe", "prototypes", "zero_shot"}
    # The language model has dropout, of which each process draws its own.
    fixed = [{row: value for row, value in of_run.items() if row[0] != "zero_shot"} for of_run in rows]
    assert rows[1].keys() == rows[0].keys() and fixed[1] == pytest.approx(fixed[0])


def test_two_processes_pretrain_one_model(runs):
    one, two = (sorted(path.name for path in (folder / "language_model/model").iterdir()) for folder in runs)
    assert one == two and "model.safetensors" in two
