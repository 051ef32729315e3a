"""The metrics as modules of `evaluate`, loaded from their folders where there is no network."""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from emoicl.training.evaluation.metrics import METRICS


MODULES = ("ua_spk", "expected_calibration_error")


def run(script, folder):
    """Runs a script in a fresh interpreter with empty caches, from another folder, and returns what it prints last."""
    pytest.importorskip("evaluate")
    offline = """
import socket
def refuse(*args, **kwargs):
    raise AssertionError("The network was asked for.")
socket.getaddrinfo = socket.socket.connect = refuse
"""
    process = subprocess.run(
        [sys.executable, "-c", offline + script],
        env=os.environ | {"HF_HOME": str(folder), "HF_MODULES_CACHE": str(folder / "modules")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_modules_load_offline_and_compute(tmp_path):
    script = f"""
import sys
sys.modules["emoicl"] = None  # What `evaluate` copies stands on its own.
import evaluate, json
ua_spk = evaluate.load({str(METRICS / "ua_spk")!r})
for speaker_id, prediction in [("a", "Joy"), ("a", "joy"), ("b", "Joy")]:
    ua_spk.add_batch(predictions=[prediction], references=["Joy"], speaker_ids=[speaker_id])
ece = evaluate.load({str(METRICS / "expected_calibration_error")!r})
inputs = {{"predictions": [[0.75, 0.25], [0.1, 0.9]], "references": [0, 0]}}
print(json.dumps([ua_spk.compute(), ece.compute(**inputs), ece.compute(**inputs, bins=1)]))
"""
    accuracy, error, error_of_one_bin = run(script, tmp_path)
    assert accuracy == {
        "ua_spk": 0.75,
        "std": 0.25,
        "median": 0.75,
        "max": 1.0,
        "min": 0.5,
        "worst_speaker": "a",
        "per_speaker": {"a": 0.5, "b": 1.0},
    }
    assert error["expected_calibration_error"] == pytest.approx(0.575)
    assert error_of_one_bin["expected_calibration_error"] == pytest.approx(0.825 - 0.5)


def test_the_functions_need_neither_evaluate_nor_datasets(tmp_path):
    script = """
import json, sys
from emoicl.training.evaluation.metrics import speaker_accuracy
print(json.dumps(sorted({"evaluate", "datasets", "sklearn"} & set(sys.modules))))
"""
    assert run(script, tmp_path) == []


@pytest.mark.parametrize("name", MODULES)
def test_the_card_is_complete_and_its_snippet_runs(name, tmp_path):
    _, head, card = (METRICS / name / "README.md").read_text().split("---\n", 2)
    fields = yaml.safe_load(head)
    assert {"title", "sdk", "description", "license"} <= fields.keys()
    assert {"evaluate", "metric"} <= set(fields["tags"])
    headings = re.findall(r"^##+ (.*)", card, flags=re.MULTILINE)
    assert [
        heading
        for heading in ("Description", "How to use", "Inputs", "Output values", "Limitations and bias", "Citation")
        if heading not in headings
    ] == []
    (snippet,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    results = run(f"{snippet}\nimport json\nprint(json.dumps(results))", tmp_path)
    documented = set(re.findall(r"\*\*(\w+)\*\*", card[card.index("### Output") :]))
    assert results.keys() == documented
