import json

import pytest
from tiny import LABELS
from tiny_classifier import tiny_classifier

from emoicl.bundled import BUNDLED_CLIPS, BUNDLED_MODEL
from emoicl.cli import main
from emoicl.commands.train import parse_overrides
from emoicl.processing import EmoIclFeatureExtractor
from emoicl.training import recipe as recipe_module
from emoicl.training.reports import Condition, EvaluationReport


@pytest.fixture
def predict(checkpoint, table, capsys):
    """Runs `emoicl predict` on files of the corpus, and returns what it prints."""

    def predict(*arguments):
        capsys.readouterr()
        paths = [table.parent / a if str(a).endswith(".wav") else a for a in arguments]
        assert main(["predict", "--model", str(checkpoint), *map(str, paths)]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return predict


@pytest.fixture
def complaint(capsys):
    """Runs a command that fails, and returns its message, which is one line."""

    def complaint(*arguments):
        assert main([str(argument) for argument in arguments]) == 1
        error = capsys.readouterr().err
        assert "Traceback" not in error
        lines = error[error.index("emoicl: ") :].splitlines()
        assert len(lines) == 1
        return lines[0]

    return complaint


@pytest.fixture
def enroll(table):
    """Writes an enrollment beside the clips."""

    def enroll(text, encoding="utf-8"):
        path = table.parent / "enrollment.csv"
        path.write_text(text, encoding=encoding)
        return path

    return enroll


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], ["demo", "predict", "corpus", "pretrain", "init", "train", "evaluate", "reproduce"]),
        (["demo"], ["--output", "--seeds"]),
        (["predict"], ["--enroll", "--top-k", "--decoding {labels,beam}", "audio,label", "consent"]),
        (["train"], ["--config", "--stages.zero_shot.max_steps", "tiny-emogator"]),
        (["reproduce"], ["--folds", "--stages.in_context.max_steps", "proposed", "Tables II, III and IV"]),
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
        ([], "COMMAND"),
        (["demo", "--sedes", "3"], "unrecognized arguments: --sedes 3"),
        (["train"], "--config"),
        (["evaluate", "--corpus", "a.csv", "--shots", "one"], "argument --shots: invalid numbers value: 'one'"),
    ],
)
def test_wrong_usage(arguments, expected, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert expected in capsys.readouterr().err


def test_parse_overrides():
    arguments = ["--seed", "1", "--stages.first.max_steps=100", "--labels", "[Joy, Fear]", "--shift", "-1"]
    assert parse_overrides(arguments) == {
        "seed": "1",
        "stages.first.max_steps": "100",
        "labels": "[Joy, Fear]",
        "shift": "-1",
    }


@pytest.mark.parametrize("arguments", [["seed", "1"], ["--seed"], ["--seed", "1", "2"]])
def test_overrides_that_are_no_pairs(arguments):
    with pytest.raises(ValueError, match="expected --field value, not"):
        parse_overrides(arguments)


def test_predict_prints_a_line_of_json_for_each_file(predict, table):
    answers = predict("ann_Joy_0.wav", "ann_Anger_0.wav")
    assert [answer["audio"] for answer in answers] == [
        str(table.parent / name) for name in ("ann_Joy_0.wav", "ann_Anger_0.wav")
    ]
    for answer in answers:
        scores = {label["label"]: label["score"] for label in answer["labels"]}
        assert set(scores) == set(LABELS)
        assert sum(scores.values()) == pytest.approx(1)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_predict_with_enrollment(predict, enroll, encoding):
    path = enroll("audio,label\nann_Joy_1.wav,Joy\nann_Anger_1.wav,Anger\n", encoding)
    (without,) = predict("ann_Joy_0.wav")
    (enrolled,) = predict("ann_Joy_0.wav", "--enroll", path)
    assert {label["label"] for label in enrolled["labels"]} == set(LABELS)
    assert enrolled["labels"] != without["labels"]


def test_predict_options(predict):
    assert len(predict("ann_Joy_0.wav", "--top-k", "2")[0]["labels"]) == 2
    (answer,) = predict("ann_Joy_0.wav", "--decoding", "beam")
    assert isinstance(answer["labels"][0]["label"], str)


def test_predict_refuses_audio_that_cannot_be_used(complaint, checkpoint, table, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    assert "broken.wav" in complaint("predict", "--model", checkpoint, broken)
    assert "gone.wav" in complaint("predict", "--model", checkpoint, tmp_path / "gone.wav")


@pytest.mark.parametrize(
    "text, message",
    [
        ("file,emotion\nann_Joy_1.wav,Joy\n", "enrollment.csv: an enrollment has the columns audio and label"),
        ("audio,label\n", "at least one row"),
        ("audio,label\nann_Joy_1.wav,Joy\nann_Anger_1.wav\n,Joy\n", "no audio or no label in row 2, 3"),
        ("audio,label\nann_Joy_1.wav,joy\n", "enrollment[0]: label 'joy' is none of the candidate labels"),
        ("audio,label\nann_Joy_0.wav,Joy\n", "enrollment[0]: is the target itself"),
        ("audio,label\nann_Joy_1.wav,Joy\ngone.wav,Joy\n", "gone.wav"),
    ],
)
def test_predict_refuses_an_enrollment_that_cannot_be_used(complaint, checkpoint, table, enroll, text, message):
    target = table.parent / "ann_Joy_0.wav"
    assert message in complaint("predict", "--model", checkpoint, target, "--enroll", enroll(text))


def test_predict_refuses_a_missing_enrollment(complaint, checkpoint, table, tmp_path):
    target = table.parent / "ann_Joy_0.wav"
    assert "gone.csv" in complaint("predict", "--model", checkpoint, target, "--enroll", tmp_path / "gone.csv")


def test_evaluate_writes_files_where_it_says(checkpoint, table, tmp_path, capsys):
    arguments = ["--corpus", table, "--output", tmp_path / "out", "--cache-folder", tmp_path / "cache"]
    arguments += ["--model", checkpoint, "--shots", "0,2", "--seeds", 2, "--setting", "TO+LU", "--orders", 3]
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
        (2, "other_speaker"),
    ]
    assert f"| 2-shot | {report['rows'][1]['ua_spk']:.3f} |" in printed
    assert f"Over 3 orders of the 2 shots, UA_spk has the std {report['rows'][1]['order_std']:.3f}." in printed
    assert EvaluationReport.load_predictions(tmp_path / "out" / "predictions.safetensors").as_dict() == report
    assert list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.parametrize(
    "options, message",
    [
        (["--setting", "TU"], "'TU' is no enrollment setting"),
        (["--shots", "0,4"], "TU+LD with k=4 needs 4 emotions"),
        (["--corpus", "gone.csv"], "gone.csv: there is no such file"),
    ],
)
def test_evaluate_refuses(complaint, checkpoint, table, tmp_path, options, message):
    defaults = ["--model", checkpoint, "--corpus", table, "--cache-folder", tmp_path, "--output", tmp_path]
    assert message in complaint("evaluate", *defaults, *options)


def test_train_runs_the_recipe_with_overrides(monkeypatch, capsys):
    run = []
    report = EvaluationReport("TU+LD", [0], ["Joy"], ["ann"], [Condition(0, None, [["Joy"]])])
    monkeypatch.setattr(recipe_module, "train", lambda recipe: run.append(recipe) or report)
    assert main(["train", "--config", "tiny-emogator", "--seed", "5", "--stages.zero_shot.max_steps", "7"]) == 0
    assert (run[0].seed, run[0].stages["zero_shot"]["max_steps"]) == (5, 7)
    printed = capsys.readouterr().out
    assert "| 0-shot | 1.000 |" in printed
    assert f"{run[0].output_dir}/report.json" in printed


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config", "tiny"], "There is no recipe 'tiny'"),
        (["--config", "tiny-emogator", "--sede", "1"], "no such field sede"),
        (["--config", "tiny-emogator", "seed=1"], "expected --field value, not 'seed'"),
        (["--config", "tiny-emogator", "--data_folder", "nowhere", "--speech_encoder", "{whisper}"], "nowhere"),
    ],
)
def test_train_refuses(complaint, checkpoint, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whisper = checkpoint.parent / "whisper"
    assert message in complaint("train", *(argument.format(whisper=whisper) for argument in arguments))


@pytest.mark.skipif(not (BUNDLED_MODEL.is_dir() and BUNDLED_CLIPS.is_file()), reason="needs the bundled assets")
def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMOICL_CACHE", str(tmp_path / "cache"))
    assert main(["demo", "--output", str(tmp_path / "out"), "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    rows = {row["shots"]: row for row in report["rows"] if row["control"] is None}
    assert sorted(rows) == [0, 1, 2, 3, 5, 7]
    assert len(rows[0]["per_speaker"]) >= 6
    assert rows[7]["ua_spk"] > rows[0]["ua_spk"]
    for row in rows.values():
        assert f"{row['ua_spk']:.3f}" in printed
        assert f"{row['min']:.3f}" in printed
    assert all(f"  {label} " in printed for label in ("Neutral", "Joy", "Anger"))
    assert str(tmp_path / "out" / "accuracy_against_shots.png") in printed
    assert (tmp_path / "out" / "accuracy_against_shots.png").stat().st_size > 0


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Folder of a saved tiny personalised classifier and its feature extractor."""
    folder = tmp_path_factory.mktemp("classifier")
    model = tiny_classifier(enrollment_labels=list(LABELS))
    model.save_pretrained(folder)
    EmoIclFeatureExtractor(feature_size=model.config.speech_config.num_mel_bins).save_pretrained(folder)
    return folder


def test_predict_with_a_classifier(classifier, table, enroll, capsys):
    enrollment = enroll("audio,label\nann_Joy_1.wav,Joy\n")
    arguments = ["predict", "--model", str(classifier), str(table.parent / "bob_Anger_0.wav")]
    assert main(arguments) == 0
    without = json.loads(capsys.readouterr().out)["labels"]
    assert main([*arguments, "--enroll", str(enrollment)]) == 0
    personal = json.loads(capsys.readouterr().out)["labels"]
    assert {answer["label"] for answer in without} == {answer["label"] for answer in personal} == set(LABELS)
    assert without != personal


def test_evaluate_a_classifier(classifier, table, tmp_path, capsys):
    arguments = ["evaluate", "--model", str(classifier), "--corpus", str(table), "--shots", "0,2", "--seeds", "1"]
    folders = ["--cache-folder", str(tmp_path / "cache"), "--output", str(tmp_path / "report")]
    assert main([*arguments, *folders]) == 0
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert [(row["shots"], row["control"]) for row in rows[:2]] == [(0, None), (2, None)]


@pytest.mark.parametrize("command", [["predict", "x.wav"], ["evaluate", "--corpus", "x.csv"]])
def test_a_classifier_writes_no_text(complaint, classifier, command):
    assert "is a classifier, which writes no text" in complaint(*command, "--model", classifier, "--decoding", "beam")
