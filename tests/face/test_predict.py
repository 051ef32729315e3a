"""`emoicl predict`: files and folders in, JSON lines or a table out, whatever is wrong with one of them."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bundled_models import needs_bundled
from tiny import LABELS

from emoicl import SpeakerProfile
from emoicl.bundled import BUNDLED_CLIPS
from emoicl_commands import predict as command
from emoicl_commands.cli import main


CLIPS = ("ann_Joy_0.wav", "ann_Anger_0.wav")
ENROLLMENT = "audio,label\nann_Joy_1.wav,Joy\nann_Anger_1.wav,Anger\n"


@pytest.fixture
def run(checkpoint, table, capsys):
    """Runs `emoicl predict` on files of the corpus, and returns what it prints, and what it says of errors."""

    def run(*arguments, status=0):
        capsys.readouterr()
        paths = [table.parent / a if str(a) in CLIPS else a for a in arguments]
        assert main(["predict", "--model", str(checkpoint), *map(str, paths)]) == status
        return capsys.readouterr()

    return run


@pytest.fixture
def predict(run):
    """Runs `emoicl predict`, and returns the lines of JSON that it prints."""
    return lambda *arguments, status=0: list(map(json.loads, run(*arguments, status=status).out.splitlines()))


@pytest.fixture
def recordings(table, tmp_path):
    """A folder with three clips in it and below it, and files that are no audio."""
    folder = tmp_path / "recordings"
    (folder / "monday").mkdir(parents=True)
    for clip, name in (("ann_Joy_0", "b.wav"), ("ann_Anger_0", "a.WAV"), ("ann_Sadness_0", "monday/c.wav")):
        shutil.copy(table.parent / f"{clip}.wav", folder / name)
    (folder / "notes.txt").write_text("no audio")
    (folder / ".hidden.wav").write_bytes(b"no audio")
    return folder


def test_nothing_in_a_folder_is_passed_over(predict, table, recordings):
    """Voice messages and phones have names of their own, and folders and clips may be links to another disk."""
    elsewhere = table.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(table.parent / "ann_Joy_0.wav", elsewhere / "d.wav")
    for name in ("voice.oga", "memo.caf"):
        samples, rate = soundfile.read(table.parent / "ann_Joy_0.wav")
        soundfile.write(recordings / name, samples, rate, format="OGG" if name.endswith("oga") else "CAF")
    (recordings / "tuesday").symlink_to(elsewhere)
    (recordings / "round").symlink_to(recordings)
    (recordings / "gone.wav").symlink_to("nowhere.wav")
    answers = {answer["audio"]: answer for answer in predict(recordings, status=1)}
    names = ["a.WAV", "b.wav", "gone.wav", "memo.caf", "monday/c.wav", "tuesday/d.wav", "voice.oga"]
    assert list(answers) == [str(recordings / name) for name in names]
    unusable = [path for path, answer in answers.items() if "error" in answer]
    assert unusable == [str(recordings / "gone.wav")]


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_line_of_json_for_each_file(predict, table):
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
def test_enrollment(predict, enroll, encoding):
    (without,) = predict("ann_Joy_0.wav")
    (enrolled,) = predict("ann_Joy_0.wav", "--enroll", enroll(ENROLLMENT, encoding))
    assert {label["label"] for label in enrolled["labels"]} == set(LABELS)
    assert enrolled["labels"] != without["labels"]


def test_an_enrollment_without_labels(run, predict, enroll, recordings, tmp_path):
    """Empty cells, no column, or a folder: the same prompt, and another one than with labels."""
    profile = tmp_path / "ann.profile"
    for text in ("audio,label\nann_Joy_1.wav,\nann_Anger_1.wav,  \n", "audio\nann_Joy_1.wav\nann_Anger_1.wav\n"):
        predict("--enroll", enroll(text), "--save-profile", profile)
        assert SpeakerProfile.load(profile).labels == [None, None]
    (without,) = predict("ann_Joy_0.wav", "--profile", profile)
    for other in (enroll(ENROLLMENT), enroll("audio,label\nann_Joy_1.wav,Joy\nann_Anger_1.wav,\n")):
        assert predict("ann_Joy_0.wav", "--enroll", other) != [without]
    predict("--enroll", recordings, "--save-profile", profile)
    assert SpeakerProfile.load(profile).labels == [None] * 3
    printed = run(recordings, "--enroll", recordings)
    assert not printed.out and "Left out 3 of 3 files, which are enrolled." in printed.err


def test_options(predict):
    assert len(predict("ann_Joy_0.wav", "--top-k", "2")[0]["labels"]) == 2
    (answer,) = predict("ann_Joy_0.wav", "--decoding", "beam")
    assert isinstance(answer["labels"][0]["label"], str)


def test_labels_and_threshold(run, predict, enroll, tmp_path):
    enrollment = enroll("audio,label\nann_Joy_1.wav, joy\nann_Anger_1.wav,ANGER\n")
    (answer,) = predict("ann_Joy_0.wav", "--labels", "Joy", "Anger", "--enroll", enrollment)
    assert {label["label"] for label in answer["labels"]} == {"Joy", "Anger"}
    assert predict("ann_Joy_0.wav", "--threshold", "1")[0]["labels"] == []
    run("ann_Joy_0.wav", "--labels", "Joy", "Anger", "--threshold", "0.5", "--output", tmp_path / "out.csv")
    (row,) = read_table(tmp_path / "out.csv")
    assert [name for name in row if name.startswith("P(")] == ["P(Joy)", "P(Anger)"]
    assert sum(bool(row[name]) for name in ("P(Joy)", "P(Anger)")) == 1


def test_where_and_how_it_computes(run, predict, complaint):
    answers = [predict("ann_Joy_0.wav", "--dtype", dtype, "--device", "cpu")[0] for dtype in ("float32", "bfloat16")]
    first, second = ({label["label"]: label["score"] for label in answer["labels"]} for answer in answers)
    assert first != second
    assert first == pytest.approx(second, abs=0.05)
    assert "--device gpu: there is no such device here, but cpu" in complaint("predict", "x.wav", "--device", "gpu")


def test_a_clip_of_a_folder_that_is_enrolled_is_left_out(run, recordings):
    (recordings / "me.csv").write_text("audio,label\nb.wav,Joy\n")
    printed = run(recordings, "--enroll", recordings / "me.csv")
    assert [json.loads(line)["audio"][-5:] for line in printed.out.splitlines()] == ["a.WAV", "c.wav"]
    assert "Left out 1 of 3 files, which are enrolled." in printed.err


def test_folders_are_walked_in_order(predict, recordings, table):
    answers = predict(recordings, "ann_Joy_0.wav", "--batch-size", 3)
    expected = [recordings / "a.WAV", recordings / "b.wav", recordings / "monday" / "c.wav"]
    assert [answer["audio"] for answer in answers] == list(map(str, [*expected, table.parent / "ann_Joy_0.wav"]))
    same = [{label["label"]: label["score"] for label in answers[i]["labels"]} for i in (1, 3)]
    assert same[0] == pytest.approx(same[1], abs=1e-5)


def test_machines_take_a_part_of_the_files_each(predict, recordings):
    whole = predict(recordings, "--batch-size", 1)
    parts = [predict(recordings, "--batch-size", 1, "--num-shards", 2, "--shard", shard) for shard in (0, 1)]
    assert parts == [[whole[0], whole[2]], [whole[1]]]


def test_a_profile_answers_as_its_enrollment(predict, enroll, tmp_path):
    """Enrolled without a prediction, used, and added to while predicting."""
    profile = tmp_path / "ann.profile"
    assert predict("--enroll", enroll(ENROLLMENT), "--save-profile", profile) == []
    expected = predict("ann_Joy_0.wav", "--enroll", enroll(ENROLLMENT))
    assert predict("ann_Joy_0.wav", "--profile", profile) == expected
    more = enroll("audio,label\nann_Sadness_1.wav,Sadness\n")
    predict("ann_Joy_0.wav", "--profile", profile, "--enroll", more, "--save-profile", profile)
    assert SpeakerProfile.load(profile).labels == ["Joy", "Anger", "Sadness"]
    three = predict("ann_Joy_0.wav", "--enroll", enroll(f"{ENROLLMENT}ann_Sadness_1.wav,Sadness\n"))
    (label,) = predict("ann_Joy_0.wav", "--profile", profile, "--top-k", "1")[0]["labels"]
    assert label["score"] == pytest.approx(three[0]["labels"][0]["score"], abs=1e-5)


def test_output_as_json_lines(run, predict, recordings, tmp_path):
    path = tmp_path / "out" / "results.jsonl"
    assert run(recordings, "--output", path).out == f"Wrote {path}: 3 files.\n"
    assert read_lines(path) == predict(recordings)


def test_output_as_a_table(run, predict, recordings, tmp_path):
    path = tmp_path / "results.csv"
    assert run(recordings, "--output", path).out == f"Wrote {path}: 3 files.\n"
    rows = read_table(path)
    first, last = ["audio", "start", "end", "label", "score"], ["familiarity", "note", "error"]
    assert list(rows[0]) == [*first, *(f"P({label})" for label in LABELS), *last]
    for row, answer in zip(rows, predict(recordings), strict=True):
        best = answer["labels"][0]
        assert (row["audio"], row["label"], row["start"], row["error"]) == (answer["audio"], best["label"], "", "")
        assert float(row["score"]) == best["score"]
        for label in answer["labels"]:
            assert float(row[f"P({label['label']})"]) == label["score"]
    run(recordings, "--output", path, "--decoding", "beam")
    assert list(read_table(path)[0]) == [*first, *last]


def test_one_bad_file_does_not_stop_the_others(run, predict, recordings, tmp_path):
    (recordings / "bb.mp3").write_bytes(b"no sound")
    (recordings / "m.m4a").write_bytes(b"no sound either")
    gone = tmp_path / "gone.wav"
    answers = predict(recordings, gone, "--batch-size", 4, status=1)
    names = ["a.WAV", "b.wav", "bb.mp3", "m.m4a", "c.wav", "gone.wav"]
    assert [answer["audio"].rpartition("/")[2] for answer in answers] == names
    assert ["error" in answer for answer in answers] == [False, False, True, True, False, True]
    assert answers[1] == predict(recordings / "b.wav")[0]
    assert answers[5]["error"].startswith("cannot open the file")

    path = tmp_path / "out.csv"
    printed = run(recordings, gone, "--output", path, status=1)
    assert printed.out == f"Wrote {path}: 6 files.\n"
    assert f"{gone}: cannot open the file" in printed.err
    assert printed.err.endswith("emoicl: 3 of 6 files could not be used; they are named above.\n")
    rows = read_table(path)
    assert [bool(row["error"]) for row in rows] == [False, False, True, True, False, True]
    assert [bool(row["label"]) for row in rows] == [True, True, False, False, True, False]


def test_a_target_in_its_own_enrollment_is_named(run, enroll):
    printed = run("ann_Joy_0.wav", "--enroll", enroll("audio,label\nann_Joy_0.wav,Joy\n"), status=1)
    assert "ann_Joy_0.wav: " in printed.err and "enrollment.csv, line 2: is the target itself" in printed.err


def test_long_recordings_have_a_timeline(run, predict, enroll, tmp_path):
    times = np.arange(int(30.5 * 16000)) / 16000
    recording = np.sin(2 * np.pi * 300 * times) * (times > 10)
    soundfile.write(tmp_path / "long.wav", recording, 16000)
    (refused,) = predict(tmp_path / "long.wav", status=1)
    assert "too long: 30.5 s" in refused["error"] and "with --window and --hop" in refused["error"]
    arguments = [tmp_path / "long.wav", "--window", 5, "--hop", 5, "--enroll", enroll(ENROLLMENT)]
    (answer,) = predict(*arguments)
    assert [window["end"] for window in answer["timeline"]] == [5, 10, 15, 20, 25, 30, 30.5]
    assert [len(window["labels"]) for window in answer["timeline"]] == [0, 0, 3, 3, 3, 3, 3]
    run(*arguments, "--output", tmp_path / "out.csv")
    rows = read_table(tmp_path / "out.csv")
    assert [float(row["start"]) for row in rows] == [0, 5, 10, 15, 20, 25, 25.5]
    assert [row["label"] for row in rows[1:3]] == ["", answer["timeline"][2]["labels"][0]["label"]]


def test_an_interruption_keeps_the_lines_before_it(run, recordings, tmp_path, monkeypatch):
    answer_one = command.predict

    def interrupted(*arguments):
        results = answer_one(*arguments)
        yield next(results)
        yield next(results)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(recordings, "--output", tmp_path / "out.jsonl")
    assert [line["audio"][-5:] for line in read_lines(tmp_path / "out.jsonl")] == ["a.WAV", "b.wav"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("file,emotion\nann_Joy_1.wav,Joy\n", "enrollment.csv: lacks the columns ['audio', 'label']"),
        ("audio,label\n", "enrollment.csv: the table has no rows"),
        ("audio,lable\nann_Joy_1.wav,Joy\n", "enrollment.csv: lacks the columns ['label']; it has ['audio', 'lable']"),
        ("audio,label\nann_Joy_1.wav,Joy\nann_Anger_1.wav,\n,Joy\n", "enrollment.csv, line 4: no audio"),
        (
            "audio,label\n\nann_Joy_1.wav,Joyy\n",
            "enrollment.csv, line 3: label 'Joyy' is none of the candidate labels",
        ),
        ("audio,label\nann_Joy_1.wav,Angr\n", "; did you mean 'Anger'?"),
        ("audio,label\nann_Joy_1.wav,Joy\ngone.wav,Joy\n", "gone.wav"),
    ],
)
def test_an_enrollment_that_cannot_be_used(complaint, checkpoint, table, enroll, text, message):
    target = table.parent / "ann_Joy_0.wav"
    assert message in complaint("predict", "--model", checkpoint, target, "--enroll", enroll(text))


def test_an_enrollment_is_not_overwritten_by_another_name(complaint, enroll, checkpoint, tmp_path):
    enrollment = enroll("audio,label\nann_Joy_0.wav,Joy\n")
    (tmp_path / "answers.csv").symlink_to(enrollment)
    message = complaint(
        "predict", "x.wav", "--model", checkpoint, "--enroll", enrollment, "--output", tmp_path / "answers.csv"
    )
    assert "would overwrite the enrollment" in message
    assert enrollment.read_text().startswith("audio,label")


def test_labels_that_no_file_can_have_are_refused_once(complaint, run, enroll, table, checkpoint, tmp_path):
    """Before any file is answered, and before a profile is written."""
    recordings = [table.parent / "ann_Joy_0.wav", table.parent / "ann_Anger_0.wav"]
    predict = ["predict", "--model", checkpoint, *recordings, "--output", tmp_path / "answers.csv"]
    assert complaint(*predict, "--labels", "Joy", "joy").endswith("occur more than once: Joy, joy.")
    run(
        "--enroll",
        enroll("audio,label\nann_Joy_1.wav,Joy\nann_Anger_1.wav,Anger\n"),
        "--save-profile",
        tmp_path / "me",
    )
    before = (tmp_path / "me").read_bytes()
    more = ["--enroll", enroll("audio,label\nann_Sadness_1.wav,Joy\n"), "--save-profile", tmp_path / "me"]
    message = complaint(*predict, "--profile", tmp_path / "me", *more, "--labels", "Joy", "Boredom")
    assert f"{tmp_path / 'me'}, utterance 2: label 'Anger' is none of the candidate labels Joy, Boredom" in message
    assert (tmp_path / "me").read_bytes() == before and not (tmp_path / "answers.csv").exists()


def test_a_profile_does_not_overwrite_an_enrolled_recording(complaint, enroll, table, checkpoint):
    clip = table.parent / "ann_Joy_1.wav"
    before = clip.read_bytes()
    arguments = ["predict", "--model", checkpoint, "--enroll", enroll(ENROLLMENT), "--save-profile", clip]
    assert "would overwrite the recording" in complaint(*arguments)
    assert clip.read_bytes() == before


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_file_names_that_are_not_utf8(run, recordings, tmp_path, suffix):
    odd = Path(os.fsdecode(os.fsencode(recordings) + b"/\xdcbung.wav"))
    shutil.copy(recordings / "b.wav", odd)
    odd.with_suffix(".mp3").write_bytes(b"no sound")
    path = tmp_path / f"out{suffix}"
    run(recordings, "--output", path, status=1)
    rows = read_table(path) if suffix == ".csv" else read_lines(path)
    names = ["a.WAV", "b.wav", "c.wav", r"\xdcbung.mp3", r"\xdcbung.wav"]
    assert [row["audio"].rpartition("/")[2] for row in rows] == names
    assert ["error" in row and bool(row["error"]) for row in rows] == [False, False, False, True, False]


def test_cells_that_a_spreadsheet_would_run(run, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["=cmd|calc.wav", "+1.wav", "@SUM(1+1).wav"]
    for name in names:
        shutil.copy(table.parent / "ann_Joy_0.wav", name)
    (tmp_path / names[2]).write_bytes(b"no sound")
    run(*names, "--output", "out.csv", status=1)
    rows = read_table(tmp_path / "out.csv")
    assert [row["audio"] for row in rows] == [f"./{name}" for name in names]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    assert command.safe_cells({"label": "-1+1", "score": -1.0}) == {"label": "'-1+1", "score": -1.0}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "Name audio files or folders"),
        (["x.wav", "--enroll", "gone.csv"], "gone.csv"),
        (["x.wav", "--profile", "gone.profile"], "gone.profile: no speaker profile can be read there"),
        (["x.wav", "--save-profile", "me"], "--save-profile keeps an enrollment: give it by --enroll"),
        (["x.wav", "--output", "results.xlsx"], "must end in .csv or .jsonl"),
        (["x.wav", "--enroll", "me.csv", "--output", "me.csv"], "would overwrite the enrollment"),
        (["x.wav", "--enroll", "me.csv", "--save-profile", "me.csv"], "would overwrite the enrollment"),
        (["x.csv", "--output", "x.csv"], "would overwrite the recording x.csv"),
        (["x.wav", "--top-k", "0"], "--top-k is at least 1; got 0"),
        (["x.wav", "--batch-size", "0"], "--batch-size is at least 1"),
        (
            ["x.wav", "--num-shards", "2", "--shard", "2"],
            "--shard is one of the --num-shards parts, counted from 0; got 2 of 2",
        ),
        (["x.wav", "--window", "40"], "--window is the length of a window, 0.1 to 30 s; got 40"),
        (["x.wav", "--hop", "1"], "give --window"),
        (["{empty}"], "no audio in this folder"),
    ],
)
def test_wrong_use_is_explained_once(complaint, checkpoint, tmp_path, arguments, message):
    arguments = [argument.format(empty=tmp_path) for argument in arguments]
    assert message in complaint("predict", "--model", checkpoint, *arguments)


def test_a_classifier(classifier, table, enroll, capsys):
    enrollment = enroll("audio,label\nann_Joy_1.wav,Joy\n")
    arguments = ["predict", "--model", str(classifier), str(table.parent / "bob_Anger_0.wav")]
    assert main(arguments) == 0
    without = json.loads(capsys.readouterr().out)["labels"]
    assert main([*arguments, "--enroll", str(enrollment)]) == 0
    personal = json.loads(capsys.readouterr().out)["labels"]
    assert {answer["label"] for answer in without} == {answer["label"] for answer in personal} == set(LABELS)
    assert without != personal
    assert main([*arguments, "--enroll", str(enrollment), "--window", "0.15", "--hop", "0.15"]) == 0
    assert len(json.loads(capsys.readouterr().out)["timeline"]) == 2


def test_what_a_classifier_cannot_do(complaint, classifier, enroll):
    arguments = ["predict", "--model", classifier, "x.wav"]
    assert "is a classifier, which writes no text" in complaint(*arguments, "--decoding", "beam")
    assert "is a classifier of" in complaint(*arguments, "--labels", "Joy", "Awe")
    assert "profiles are of speech language models" in complaint(*arguments, "--profile", "me.profile")
    unknown = enroll("audio,label\nann_Joy_1.wav,Awe\n")
    assert "'Awe' is none of the enrollment labels" in complaint(*arguments, "--enroll", unknown)
    assert "enrollment.csv, line 2: has no label" in complaint(
        *arguments, "--enroll", enroll("audio\nann_Joy_1.wav\n")
    )


@needs_bundled
def test_real_speech(tmp_path, capsys):
    """The bundled model enrolls seven clips of a speaker of EmoGator, and hears others of theirs."""
    from emoicl import load_corpus

    clips = load_corpus(BUNDLED_CLIPS).utterances[:21]
    rows = [["audio", "label"]]
    (tmp_path / "targets").mkdir()
    for i, clip in enumerate(clips):
        path = tmp_path / f"{i}.ogg" if i % 3 else tmp_path / "targets" / f"{i:02}.ogg"
        path.write_bytes(clip.audio)
        if i % 3 == 1:
            rows.append([path.name, clip.label])
    with (tmp_path / "me.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    arguments = [
        "predict",
        tmp_path / "targets",
        "--model",
        "bursts",
        "--enroll",
        tmp_path / "me.csv",
        "--output",
        tmp_path / "out.csv",
    ]
    assert main([*map(str, arguments)]) == 0
    assert "7 files" in capsys.readouterr().out
    answers = read_table(tmp_path / "out.csv")
    right = [row["label"] == clip.label for row, clip in zip(answers, clips[::3], strict=True)]
    assert sum(right) >= 2


def test_an_enrollment_may_be_at_a_url(tmp_path):
    (tmp_path / "me.csv").write_text("audio,label\nhttps://example.org/joy.wav,Joy\ncalm.wav,\n")
    examples, places = command.read_enrollment(tmp_path / "me.csv")
    assert examples[0] == {"audio": "https://example.org/joy.wav", "label": "Joy"}
    assert examples[1] == {"audio": tmp_path / "calm.wav", "label": None}
    assert places[0].endswith("me.csv, line 2")
