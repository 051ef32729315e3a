import json
import logging
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from bundled_models import needs_bundled
from tiny_corpus import tiny_corpus, write_corpus

from emoicl.bundled import BURSTS_MODEL, SPEECH_MODEL, find_model
from emoicl.training.evaluation.reports import Condition, EvaluationReport
from emoicl.training.experiments import experiment
from emoicl_commands.cli import build_parser, log_to_stderr, main
from emoicl_commands.env import check_device, devices
from emoicl_commands.overrides import parse_overrides
from emoicl_commands.parser import chosen_model


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], ["demo", "predict", "corpus", "pretrain", "init", "recipe", "train", "evaluate", "reproduce"]),
        (["demo"], ["--output", "--seeds"]),
        (["predict"], ["--enroll", "--top-k", "--decoding {labels,beam}", "audio,label", "consent"]),
        (
            ["train"],
            ["RECIPE", "--stages.in_context.max-steps", "base-emogator", "feature_dropout (float, defaults to"],
        ),
        (["recipe"], ["list", "copy", "check"]),
        (["reproduce"], ["--folds", "--stages.in_context.max-steps", "proposed", "Tables II, III and IV"]),
        (["evaluate"], ["--corpus", "--setting", "--orders", "audio, emotion and speaker_id", "UA_spk"]),
    ],
)
def test_help(arguments, expected, capsys):
    with pytest.raises(SystemExit) as exit:
        main([*arguments, "--help"])
    text = capsys.readouterr().out
    assert exit.value.code == 0
    assert [word for word in expected if word not in text] == []


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["predcit"], "(did you mean predict?)"),
        (["demo", "--sedes", "3"], "emoicl demo: error: unrecognized arguments: --sedes 3 (did you mean --seeds?)"),
        (["corpus", "split", "a", "--output", "b", "--fold", "3"], "usage: emoicl corpus split"),
        (["demo", "--out", "there"], "unrecognized arguments: --out there (did you mean --output?)"),
        (["train"], "RECIPE"),
        (["predict", ""], "emoicl predict: error: an argument is empty; perhaps a variable of the shell is not set"),
        (["predict", "a.wav", "--enroll="], "an argument is empty"),
        (["corpus", "split", "", "--output", "b"], "emoicl corpus split: error: an argument is empty"),
        (["evaluate", "--corpus", "a.csv", "--shots", "one"], "argument --shots: invalid int value: 'one'"),
    ],
)
def test_wrong_usage(arguments, expected, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert expected in capsys.readouterr().err


def test_without_a_command_there_is_help(capsys):
    assert main([]) == 0
    assert "usage: emoicl" in capsys.readouterr().out
    assert main(["corpus"]) == 0
    assert "usage: emoicl corpus" in capsys.readouterr().out


def test_versions_and_devices(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"emoicl {version('emoicl')}\n"
    assert main(["env"]) == 0
    printed = capsys.readouterr().out
    assert f"transformers  {version('transformers')}\n" in printed
    assert "\ndevices       cpu (" in printed


def test_every_kind_of_device_is_told_and_taken(monkeypatch):
    for kind, name in ((torch.cuda, "H100"), (torch.xpu, "Max 1100")):
        monkeypatch.setattr(kind, "device_count", lambda: 2)
        monkeypatch.setattr(kind, "get_device_name", lambda number, name=name: f"{name} {number}")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert list(devices()) == ["cpu", "cuda:0", "cuda:1", "xpu:0", "xpu:1", "mps"]
    assert devices()["xpu:1"] == "Max 1100 1"
    for device in ("cpu", "cuda", "xpu", "xpu:1", "mps"):
        check_device(device)
    with pytest.raises(ValueError, match="--device xpu:2: there is no such device here, but cpu, cuda:0"):
        check_device("xpu:2")


def test_messages_name_options(complaint, checkpoint):
    message = complaint("predict", "x.wav", "--model", checkpoint, "--window", "1", "--hop", "-1")
    assert "--hop" in message and "hop_s" not in message


def test_the_log_is_shown_once(capsys):
    for _ in range(2):
        with log_to_stderr():
            logging.getLogger("emoicl.training").info("Said once.")
        assert capsys.readouterr().err == "Said once.\n"


def test_what_bitsandbytes_lacks_is_nothing_where_nothing_is_quantized(capsys):
    with log_to_stderr():
        logging.getLogger("bitsandbytes.backends.cpu.ops").warning("Failed to load CPU gemm_4bit_forward")
    assert capsys.readouterr().err == ""


def test_a_command_line_is_parsed_without_torch():
    script = """
import sys
from emoicl_commands.cli import build_parser, main
build_parser().format_help()
try:
    main(["train", "--help"])
except SystemExit:
    pass
print(sorted({"emoicl", "numpy", "torch", "tqdm", "transformers"} & set(sys.modules)))
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "data_folder (str, defaults to .)" in process.stdout
    assert process.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("text", ["no", "off", "Yes", "on", "y"])
def test_words_that_older_yaml_takes_for_booleans_are_text(text):
    assert parse_overrides(["--stages.a.eval-strategy", text]) == {"stages.a.eval_strategy": text}


def test_parse_overrides():
    arguments = ["--seed", "1", "--stages.first.max-steps=100", "--labels", "Joy", "Fear", "--shift", "-1"]
    arguments += ["--train", "[a.csv]", "--cache-folder", "null"]
    assert parse_overrides(arguments) == {
        "seed": 1,
        "stages.first.max_steps": 100,
        "labels": ["Joy", "Fear"],
        "shift": -1,
        "train": ["a.csv"],
        "cache_folder": None,
    }


@pytest.mark.parametrize("arguments", [["seed", "1"], ["--seed"], ["--seed", "--labels", "a"]])
def test_overrides_that_are_no_pairs(arguments):
    with pytest.raises(ValueError, match="expected --field value, not"):
        parse_overrides(arguments)


def test_evaluate_writes_files_where_it_says(checkpoint, table, tmp_path, capsys):
    arguments = ["--corpus", table, "--output", tmp_path / "out", "--cache-folder", tmp_path / "cache"]
    arguments += ["--model", checkpoint, "--shots", 0, 2, "--seeds", 2, "--setting", "TO+LU", "--orders", 3]
    arguments += ["--controls", "rotated", "unlabeled", "other_speaker"]
    assert main(["evaluate", *map(str, arguments)]) == 0
    printed = capsys.readouterr().out
    plots = ("accuracy_against_shots.png", "speakers.png", "reliability.png")
    for name in ("report.json", "predictions.safetensors", *plots):
        assert str(tmp_path / "out" / name) in printed
        assert (tmp_path / "out" / name).stat().st_size > 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["setting"], report["seeds"], report["num_utterances"]) == ("TO+LU", [0, 1], 12)
    assert [(row["shots"], row["control"]) for row in report["rows"]] == [
        (0, None),
        (2, None),
        (2, "rotated"),
        (2, "unlabeled"),
        (2, "other_speaker"),
    ]
    assert f"| 2-shot, without labels | {report['rows'][3]['ua_spk']:.3f} |" in printed
    assert f"| 2-shot | {report['rows'][1]['ua_spk']:.3f} |" in printed
    assert f"Over 3 orders of the 2 shots, UA_spk has the std {report['rows'][1]['order_std']:.3f}." in printed
    assert EvaluationReport.load_predictions(tmp_path / "out" / "predictions.safetensors").as_dict() == report
    assert list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.parametrize(
    "options, message",
    [
        (["--setting", "TU"], "'TU' is no enrollment setting"),
        (["--shots", "0", "4"], "TU+LD with k=4 needs 4 emotions"),
        (["--corpus", "gone.csv"], "gone.csv: there is no such file"),
    ],
)
def test_evaluate_refuses(complaint, checkpoint, table, tmp_path, options, message):
    defaults = ["--model", checkpoint, "--corpus", table, "--cache-folder", tmp_path, "--output", tmp_path]
    assert message in complaint("evaluate", *defaults, *options)


def test_train_runs_the_recipe_with_overrides(monkeypatch, capsys):
    run = []
    report = EvaluationReport("TU+LD", [0], ["Joy"], ["ann"], [Condition(0, None, [["Joy"]])])
    monkeypatch.setattr(experiment, "train", lambda recipe: run.append(recipe) or report)
    assert main(["train", "base-emogator", "--seed", "5", "--stages.zero_shot.max-steps", "7"]) == 0
    assert (run[0].seed, run[0].stages["zero_shot"]["max_steps"]) == (5, 7)
    printed = capsys.readouterr().out
    assert "| 0-shot | 1.000 |" in printed
    assert f"{run[0].output}/report.json" in printed


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["base-emogater"], "There is no recipe 'base-emogater'; did you mean base-emogator?"),
        (["base-emogator", "--sede", "1"], "--sede is no field; did you mean seed?"),
        (["base-emogator", "--labels", "Joy"], "--labels is 'Joy', but should be a valid list, such as [Joy]."),
        (["base-emogator", "--train", "clips.parquet"], "--train is 'clips.parquet', but should be a valid list"),
        (["base-emogator", "--model.num-query-tokens", "0"], "--model.num-query-tokens is 0, but should be greater"),
        (["base-emogator", "--stages.in_context.learning-rate", ".inf"], "is inf, but should be a finite number"),
        (["base-emogator", "seed=1"], "expected --field value, not 'seed'"),
        (["base-emogator", "--data-folder", "nowhere", "--speech-encoder", "{whisper}"], "nowhere"),
    ],
)
def test_train_refuses(complaint, checkpoint, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whisper = checkpoint.parent / "whisper"
    assert message in complaint("train", *(argument.format(whisper=whisper) for argument in arguments))


@needs_bundled
def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMOICL_CACHE", str(tmp_path / "cache"))
    assert main(["demo", "--output", str(tmp_path / "out"), "--seeds", "1"]) == 0
    printed, notice = capsys.readouterr()
    assert notice.count("CC BY-NC-SA 4.0") == 1
    for name in ("speech", "bursts"):
        report = json.loads((tmp_path / "out" / name / "report.json").read_text())
        rows = {row["shots"]: row for row in report["rows"] if row["control"] is None}
        assert sorted(rows) == [0, 1, 2, 3, 5, 7]
        assert {row["control"] for row in report["rows"]} == {None, "rotated", "other_speaker", "unlabeled"}
        assert len(rows[0]["per_speaker"]) >= 6
        # Whether it gets better by sounds that it was not made for is for a benchmark to tell.
        assert name == "speech" or rows[7]["ua_spk"] > rows[0]["ua_spk"]
        for row in report["rows"]:
            assert f"{row['ua_spk']:.3f}" in printed
            assert f"{row['min']:.3f}" in printed
        assert str(tmp_path / "out" / name) in printed
        assert (tmp_path / "out" / name / "accuracy_against_shots.png").stat().st_size > 0
    assert "never heard a burst" in printed
    assert printed.count("One utterance") == 1
    assert all(f"  {label} " in printed for label in ("Neutral", "Joy", "Anger"))


@needs_bundled
def test_demo_on_sentences(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMOICL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("emoicl.demo.BUNDLED_MODELS", {"speech": SPEECH_MODEL})
    table = write_corpus(tiny_corpus(num_speakers=2, takes=2), tmp_path / "sentences.csv")
    arguments = ["--speech-corpus", str(table), "--output", str(tmp_path / "out"), "--seeds", "1"]
    assert main(["demo", *arguments]) == 0
    printed = capsys.readouterr().out
    assert f"12 utterances of 2 speakers in {table}." in printed and "never heard a burst" not in printed
    assert "3 shots" in printed, "as many as there are labels"


def test_evaluate_a_classifier(classifier, table, tmp_path, capsys):
    arguments = ["evaluate", "--model", str(classifier), "--corpus", str(table), "--shots", "0", "2", "--seeds", "1"]
    folders = ["--cache-folder", str(tmp_path / "cache"), "--output", str(tmp_path / "report")]
    assert main([*arguments, *folders]) == 0
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert [(row["shots"], row["control"]) for row in rows[:2]] == [(0, None), (2, None)]


@pytest.mark.parametrize("command", [["predict", "x.wav"], ["evaluate", "--corpus", "x.csv"]])
def test_a_classifier_writes_no_text(complaint, classifier, command):
    assert "is a classifier, which writes no text" in complaint(*command, "--model", classifier, "--decoding", "beam")


@pytest.mark.parametrize("command", ["predict", "evaluate", "app", "demo"])
def test_help_begins_with_the_licenses_of_the_models(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    first = capsys.readouterr().out.partition("\n\n")[2].partition("\n\n")[0]
    assert "CC BY-NC-SA 4.0" in first and "non-commercial" in first and "--model bursts" in first


def test_the_default_model_tells_its_license_once(monkeypatch, capsys):
    options = build_parser().parse_args(["evaluate", "--corpus", "a.csv"])
    assert chosen_model(options) == str(SPEECH_MODEL)
    printed, notice = capsys.readouterr()
    assert printed == "" and notice.count("CC BY-NC-SA 4.0") == 1
    options = build_parser().parse_args(["evaluate", "--corpus", "a.csv", "--model", "bursts"])
    assert chosen_model(options) == str(BURSTS_MODEL)
    assert capsys.readouterr() == ("", "")


def test_names_of_models():
    assert find_model() == find_model("speech") == str(SPEECH_MODEL)
    assert find_model("bursts") == str(BURSTS_MODEL)
    for name in ("./speech", "org/speech", "folder/model"):
        assert find_model(name) == name
    assert find_model(Path("speech")) == "speech", "a path is a folder"
    with pytest.raises(
        ValueError, match=r"^There is no model 'spech' \(did you mean speech\?\): it is speech or bursts"
    ):
        find_model("spech")
    with pytest.raises(ValueError, match="^There is no model 'outputs/mine/modle': "):
        find_model("outputs/mine/modle")


def test_the_license_of_the_weights_of_speech_is_beside_them():
    terms = (SPEECH_MODEL / "LICENSE").read_text()
    names = ("Livingstone", "10.1371/journal.pone.0196391", "Christop")
    for words in ("CC BY-NC-SA 4.0", "by-nc-sa/4.0/legalcode", *names):
        assert words in terms
