"""The page of `emoicl app` without a browser: what its actions do, show and refuse, and the Space it writes."""

import io
import re
import socket
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from bundled_models import needs_bundled
from tiny import LABELS
from tiny_classifier import tiny_classifier
from tiny_corpus import tone


gradio = pytest.importorskip("gradio")

from emoicl import EmoIclClassificationPipeline, EmoIclFeatureExtractor, __version__  # noqa: E402
from emoicl.app import build_app, launch, views  # noqa: E402
from emoicl.app.actions import NO_LABEL, Actions  # noqa: E402
from emoicl.app.examples import example_speakers  # noqa: E402
from emoicl.app.session import Session, enroll, recognize, remove  # noqa: E402
from emoicl.bundled import BUNDLED_CLIPS  # noqa: E402
from emoicl.loading import load_pipeline  # noqa: E402
from emoicl.training.data.corpus import load_corpus  # noqa: E402
from emoicl_commands.cli import main  # noqa: E402


SHOTS = [(tone(220 * 2**i, seed=i), label) for i, label in enumerate(LABELS)]
TARGET = tone(500, seed=9)


def wav(waveform):
    """A file of a waveform at 16 kHz."""
    file = io.BytesIO()
    soundfile.write(file, waveform, 16000, format="WAV")
    return file.getvalue()


@pytest.fixture(scope="module")
def pipe(checkpoint):
    return load_pipeline(str(checkpoint))


@pytest.fixture(scope="module")
def session(pipe):
    """A session with one utterance of each label."""
    return enroll(pipe, Session(), SHOTS)


@pytest.fixture
def actions(pipe):
    return Actions(pipe)


def scores(answers):
    return {answer["label"]: pytest.approx(answer["score"], abs=1e-5) for answer in answers}


def test_an_answer_without_and_with_the_enrollment(pipe, session):
    answer: Any = recognize(pipe, session, TARGET)
    enrollment = [{"audio": audio, "label": label} for audio, label in SHOTS]
    assert answer.without == scores(pipe(TARGET))
    assert answer.personalized == scores(pipe(TARGET, enrollment=enrollment))
    assert answer.without != answer.personalized
    assert (answer.shots, answer.windows) == (3, ())
    assert list(answer.without) == list(answer.personalized) == list(LABELS)


def test_without_an_enrollment_there_is_one_answer(pipe):
    answer: Any = recognize(pipe, Session(), TARGET)
    assert answer.personalized is None
    assert sum(answer.without.values()) == pytest.approx(1)


def test_enrolling_one_by_one_is_enrolling_at_once(pipe, session):
    grown = Session()
    for shot in SHOTS:
        grown = enroll(pipe, grown, [shot])
    assert grown.labels == session.labels == list(LABELS)
    assert grown.durations_s == session.durations_s == (0.2, 0.2, 0.2)
    expected = recognize(pipe, session, TARGET)
    assert recognize(pipe, grown, TARGET).personalized == pytest.approx(expected.personalized, abs=1e-5)


def test_removing_leaves_the_others(pipe, session):
    rest = remove(session, 1)
    assert rest.labels == [LABELS[0], LABELS[2]]
    expected = recognize(pipe, enroll(pipe, Session(), [SHOTS[0], SHOTS[2]]), TARGET)
    assert recognize(pipe, rest, TARGET).personalized == pytest.approx(expected.personalized, abs=1e-5)
    assert session.labels == list(LABELS), "a session never changes"
    assert len(remove(remove(rest, 0), 0)) == 0


def test_a_full_profile_is_explained(pipe):
    max_shots = pipe.processor.max_shots
    full = enroll(pipe, Session(), [(tone(200 + 40 * i, seed=i), LABELS[i % 3]) for i in range(max_shots)])
    with pytest.raises(ValueError, match=f"at most {max_shots} utterances. Remove one first"):
        enroll(pipe, full, [SHOTS[0]])


def test_a_long_recording_has_a_timeline_of_all_of_it(pipe, session):
    loud, silence = tone(300, seconds=10, seed=1), np.zeros(5 * 16000)
    waveform = np.concatenate([soundfile.read(io.BytesIO(loud))[0], silence, soundfile.read(io.BytesIO(TARGET))[0]])
    answer: Any = recognize(pipe, session, wav(waveform))
    starts, ends = [w.start_s for w in answer.windows], [w.end_s for w in answer.windows]
    assert starts[0] == 0 and ends[-1] == pytest.approx(answer.duration_s) == pytest.approx(15.2)
    assert all(start <= end for start, end in zip(starts[1:], ends, strict=False)), "no part is passed over"
    heard = [window.scores for window in answer.windows if window.scores]
    assert len(heard) == len(answer.windows) - 1, "one window lies in the silence"
    assert answer.personalized["Joy"] == pytest.approx(np.mean([scores["Joy"] for scores in heard]), abs=1e-5)
    assert sum(answer.without.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"no audio at all", "not readable audio"),
        (wav(np.zeros(16000)), "silent"),
        (tone(300, seconds=0.05), "too short"),
        (tone(300, seconds=31), "too long"),
    ],
)
def test_what_cannot_be_enrolled_is_explained_by_its_name(actions, tmp_path, content, message):
    path = tmp_path / "my voice.wav"
    path.write_bytes(content)
    session, recording, label, problem = actions.add(Session(), str(path), "Joy", True)
    assert (len(session), recording, label) == (0, str(path), "Joy")
    assert message in problem and "my voice.wav" in problem
    assert str(tmp_path) not in problem
    assert 'role="alert"' in problem


def test_what_cannot_be_recognized_is_explained(actions, session, tmp_path):
    path = tmp_path / "hm.wav"
    path.write_bytes(b"hm")
    assert "hm.wav: 2 bytes that are not readable audio" in actions.recognize(session, str(path))
    path.write_bytes(SHOTS[0][0])
    assert "is the target itself" in actions.recognize(session, str(path))
    path.write_bytes(tone(300, seconds=301))
    assert "too long: 301.0 s; at most 300 s" in actions.recognize(session, str(path))
    path.unlink()
    assert 'role="alert"' in actions.recognize(session, str(path)), "a file that was deleted in the meantime"


def test_nobody_is_enrolled_without_consent(actions, table):
    clip = str(next(table.parent.glob("*.wav")))
    session, recording, _, problem = actions.add(Session(), clip, "Joy", False)
    assert (len(session), recording) == (0, clip)
    assert "consent" in problem
    assert "Record or upload" in actions.add(Session(), None, "Joy", True)[-1]


def test_enrolling_asks_for_the_next_label(actions, table):
    clip = str(next(table.parent.glob("*.wav")))
    session, recording, label, problem = actions.add(Session(), clip, LABELS[0], True)
    assert (session.labels, recording, label, problem) == ([LABELS[0]], None, LABELS[1], "")


def test_an_utterance_is_enrolled_without_a_label(actions, pipe, table):
    clip, other = map(str, sorted(table.parent.glob("ann_*.wav"))[:2])
    session, recording, label, problem = actions.add(Session(), clip, NO_LABEL, True)
    assert (session.labels, recording, label, problem) == ([None], None, NO_LABEL, "")
    shown = actions.show_profile(session)
    assert "<td>no label</td>" in shown and 'aria-label="Remove utterance 1, no label"' in shown
    answer: Any = recognize(pipe, session, other)
    assert answer.personalized == scores(pipe(other, enrollment=[{"audio": clip}]))


def test_the_button_of_an_utterance_removes_it(actions, session):
    table = actions.show_profile(session)
    assert re.findall(r'data-shot="(\d)"', table) == ["0", "1", "2"]
    assert "3 of at most 7 utterances" in table and "0.2 s" in table
    event: Any = SimpleNamespace(index=2)
    assert actions.remove(session, event).labels == list(LABELS[:2])
    assert "Nobody is enrolled" in actions.show_profile(actions.clear()[0])


def test_an_answer_is_shown_side_by_side(actions, pipe, session, tmp_path):
    path = tmp_path / "target.wav"
    path.write_bytes(TARGET)
    shown = actions.recognize(session, str(path))
    assert "Without enrollment" in shown and "With 3 utterances" in shown
    answer: Any = recognize(pipe, session, TARGET)
    for label in LABELS:
        assert f"{100 * answer.without[label]:.0f} %" in shown and f"{100 * answer.personalized[label]:.0f} %" in shown
    assert "Timeline" not in shown
    assert "With 1 utterance<" in actions.recognize(remove(remove(session, 0), 0), str(path))
    assert "Enroll the speaker" in actions.recognize(Session(), str(path))
    assert "appear here" in actions.recognize(session, None)


def test_the_timeline_is_shown(actions, session, tmp_path):
    path = tmp_path / "long.wav"
    path.write_bytes(tone(300, seconds=9))
    shown = actions.recognize(session, str(path))
    assert "Timeline with the enrollment" in shown
    assert re.findall(r"<span>(\d:\d\d)</span>", shown) == ["0:00", "0:02", "0:04", "0:06", "0:09"]
    assert len(re.findall(rf'title="0:02 to 0:06: {LABELS[0]} \d+%"', shown)) == 1


def test_silence_is_shown_as_silence(actions, session, tmp_path):
    path = tmp_path / "gap.wav"
    path.write_bytes(wav(np.concatenate([soundfile.read(io.BytesIO(TARGET))[0], np.zeros(12 * 16000)])))
    shown = actions.recognize(session, str(path))
    assert shown.count('title="0:02 to 0:06: silent"') == shown.count('title="0:04 to 0:08: silent"') == len(LABELS)
    assert 'title="0:00 to 0:04: silent"' not in shown


def test_names_are_text_not_markup():
    assert "<img" not in views.problem_view("<img src=x>.wav: silent")
    assert "<b>" not in views.example_view(1, 8, "<b>")


def test_the_notice_is_on_the_page(pipe):
    config = str(build_app(pipe).config)
    for words in ("EU AI Act, Article 5(1)(f)", "informed consent", "work or in education"):
        assert words in config


def test_a_classifier_has_no_page():
    model = tiny_classifier()
    pipe = EmoIclClassificationPipeline(model=model, feature_extractor=EmoIclFeatureExtractor())
    with pytest.raises(ValueError, match="classifier, which enrolls nobody"):
        build_app(pipe)


def test_a_model_of_other_labels_has_no_examples(pipe):
    actions = Actions(pipe)
    assert not actions.has_examples
    actions.choose_examples()


@needs_bundled
def test_an_example_on_the_bundled_model(tmp_path):
    pipe: Any = load_pipeline("bursts")
    speakers, labels = example_speakers(pipe), sorted(set(load_corpus(BUNDLED_CLIPS).labels))
    assert len(speakers) == len({speaker.target.speaker_id for speaker in speakers}) == 8
    for speaker in speakers:
        assert sorted(shot.label for shot in speaker.enrollment) == labels
        assert speaker.target.audio not in [shot.audio for shot in speaker.enrollment]
        assert {shot.speaker_id for shot in speaker.enrollment} == {speaker.target.speaker_id}
    answers = [pipe(speaker.target.audio, top_k=2) for speaker in speakers]
    margins = [best["score"] - second["score"] for best, second in answers]
    assert margins == sorted(margins)
    actions = Actions(pipe)
    assert actions.has_examples and "examples" not in vars(actions), "the page opens before they are chosen"
    actions.choose_examples()
    assert actions.examples == speakers
    session, target, said, problem, turn = actions.show_example(8)
    assert (len(session), problem, turn) == (7, "", 9)
    assert "Example speaker 1 of 8" in said
    answer: Any = recognize(pipe, session, target)
    best = [max(scores, key=scores.get) for scores in (answer.without, answer.personalized)]
    assert best[0] != best[1], "seven labeled utterances change the answer"
    assert 0 <= answer.familiarity <= 1


@pytest.fixture
def refused(capsys):
    """Runs a command that fails, and returns its message."""

    def refused(*arguments):
        assert main([str(argument) for argument in arguments]) == 1
        return capsys.readouterr().err

    return refused


def test_without_gradio_the_command_says_what_to_install(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in [name for name in sys.modules if name.startswith("emoicl.app")]:
        monkeypatch.delitem(sys.modules, name)
    assert 'pip install "emoicl[app]"' in refused("app")


def test_a_port_that_is_taken_is_explained(pipe):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen at 127.0.0.1, port {port}: it is taken"):
            launch(build_app(pipe), "127.0.0.1", port)


@pytest.mark.parametrize(
    "model, served", [(None, "speech"), ("bursts", "bursts"), ("someone/some-model", "someone/some-model")]
)
def test_a_space_is_three_files_that_serve_the_page(tmp_path, monkeypatch, model, served):
    folder = tmp_path / "space"
    assert main(["app", "--space", str(folder), *(["--model", model] if model else [])]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "app.py", "requirements.txt"]

    calls = []
    monkeypatch.setattr("emoicl.app.serve", lambda *arguments: calls.append(arguments))
    exec((folder / "app.py").read_text(), {})
    assert calls == [(served,)]
    assert (folder / "requirements.txt").read_text() == f"emoicl[app]=={__version__}\n"

    _, head, text = (folder / "README.md").read_text().split("---\n", maxsplit=2)
    fields = yaml.safe_load(head)
    assert (fields["sdk"], fields["app_file"]) == ("gradio", "app.py")
    assert fields["sdk_version"] == gradio.__version__
    assert fields.get("models", []) == [name for name in [served] if "/" in name]
    assert (fields["license"] == "cc-by-nc-sa-4.0") == (served == "speech") == ("non-commercial" in text)
    assert f"`{served}`" in text
    assert len(fields["short_description"]) <= 60, "the Hub takes no more"
    assert "Article 5(1)(f)" in text


def test_a_space_that_cannot_be(refused, tmp_path, checkpoint):
    assert "publish it" in refused("app", "--space", tmp_path / "space", "--model", checkpoint)
    (tmp_path / "kept.txt").write_text("mine")
    assert "is not empty" in refused("app", "--space", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
