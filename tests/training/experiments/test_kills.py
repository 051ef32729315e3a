"""Training goes on after a kill, a full disk or damage, and ends as if nothing had been."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_killed_runs
from tiny_killed_runs import RUNS

from emoicl.training.data.writing import sole_writer
from emoicl.training.systems import checkpoints


END = ("model/model.safetensors", "checkpoint-4/model.safetensors", "checkpoint-4/optimizer.pt")
SCRIPT = Path(tiny_killed_runs.__file__)
# Some of what changes files in a run of some 200 events, 140 in that of the encoder.
EVENTS = {"in_context": range(1, 210, 38), "encoder": range(4, 130, 30)}


def outcome(stage_dir: Path) -> list[bytes]:
    """All that a run ends with, byte for byte."""
    return [(stage_dir / name).read_bytes() for name in END]


@pytest.fixture(scope="module", params=RUNS)
def finished(request, whisper, tmp_path_factory):
    """An uninterrupted run: its kind, and its folder."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    RUNS[request.param](whisper, folder, save_total_limit=None)
    return request.param, folder


@pytest.fixture
def interrupted(finished, tmp_path):
    """As it was before its end, with all checkpoints."""
    kind, folder = finished
    copy = shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(copy / "model")
    for state in copy.glob("*/trainer_state.json"):
        state.write_text(state.read_text().replace(str(folder), str(copy)))
        checkpoints.mark_whole(state.parent)
    return kind, copy


@pytest.mark.parametrize("kind", EVENTS)
def test_killed_at_any_moment(kind, whisper, tmp_path):
    (tmp_path / "whisper").symlink_to(whisper)
    events = [str(event) for event in (0, *EVENTS[kind])]
    environment = os.environ | {"PYTHONPATH": f"{SCRIPT.parents[1]}"}
    command = [sys.executable, str(SCRIPT), str(tmp_path), kind, *events]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-3000:]
    expected = outcome(tmp_path / f"{kind}-0")
    for event in events:
        assert outcome(tmp_path / f"{kind}-{event}") == expected, event
        assert not list((tmp_path / f"{kind}-{event}").glob(".*"))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    "damage, what",
    [
        (lambda folder: (folder / "trainer_state.json").unlink(), "trainer_state.json is missing"),
        (lambda folder: cut(folder / "trainer_state.json"), "trainer_state.json is damaged"),
        (lambda folder: cut(folder / "optimizer.pt"), "optimizer.pt is damaged"),
        (lambda folder: overwrite(folder / "rng_state.pth"), "rng_state.pth is damaged"),
        (lambda folder: cut(folder / "model.safetensors"), "model.safetensors is damaged"),
        (lambda folder: cut(folder / "complete.json"), "complete.json is damaged"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "it was not written to its end"),
    ],
)
def test_a_broken_checkpoint_is_named_and_passed_over(interrupted, finished, whisper, caplog, damage, what):
    kind, folder = interrupted
    damage(folder / "checkpoint-4")
    cut(folder / "checkpoint-3" / "scheduler.pt")
    RUNS[kind](whisper, folder)
    assert outcome(folder) == outcome(finished[1])
    warnings = [record.message for record in caplog.records if record.name == checkpoints.__name__]
    assert warnings == [
        f"{folder / 'checkpoint-4'} is passed over: {what}.",
        f"{folder / 'checkpoint-3'} is passed over: scheduler.pt is damaged.",
    ]
    assert (folder / "damaged-checkpoint-3" / "optimizer.pt").is_file()
    log, expected = (json.loads((at / "log.json").read_text()) for at in (folder, finished[1]))
    assert [entry.get("loss") for entry in log] == [entry.get("loss") for entry in expected]


def test_the_best_checkpoint_is_needed_too(interrupted, finished, whisper, caplog):
    kind, folder = interrupted
    if kind == "encoder":
        pytest.skip("it is not evaluated")
    state = json.loads((folder / "checkpoint-4" / "trainer_state.json").read_text())
    cut(Path(state["best_model_checkpoint"]) / "model.safetensors")
    RUNS[kind](whisper, folder)
    assert outcome(folder) == outcome(finished[1])
    assert "checkpoint-4 is passed over: of the best one until then" in caplog.text


def test_nothing_whole_is_left(interrupted, finished, whisper, caplog):
    kind, folder = interrupted
    for checkpoint in folder.glob("checkpoint-*"):
        cut(checkpoint / "optimizer.pt")
    RUNS[kind](whisper, folder)
    assert outcome(folder) == outcome(finished[1])
    assert "no whole checkpoint: training begins anew" in caplog.text


def fail_torch_save(content, path, *args, **kwargs):
    Path(path).write_bytes(b"half")
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")


def fail_mark(checkpoint):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("target, failure", [("torch.save", fail_torch_save), ("mark_whole", fail_mark)])
@pytest.mark.parametrize("finished", ["in_context"], indirect=True)
def test_a_full_disk_is_named_and_the_older_checkpoint_whole(
    finished, whisper, tmp_path, monkeypatch, target, failure
):
    kind, expected = finished
    folder = tmp_path / "run"
    mark_whole = checkpoints.mark_whole

    def mark_then_fail(checkpoint):
        mark_whole(checkpoint)
        patch.setattr(target if "." in target else f"{checkpoints.__name__}.{target}", failure)

    with monkeypatch.context() as patch, pytest.raises(OSError) as raised:
        patch.setattr(checkpoints, "mark_whole", mark_then_fail)
        RUNS[kind](whisper, folder, save_total_limit=1)
    assert raised.value.errno == errno.ENOSPC
    message = str(raised.value)
    assert f"The disk is full: {folder} could not be written" in message and "\n" not in message
    assert checkpoints.find_flaw(folder / "checkpoint-1") is None
    assert checkpoints.find_flaw(folder / "checkpoint-2") is not None
    RUNS[kind](whisper, folder, save_total_limit=1)
    assert outcome(folder) == outcome(expected)


@pytest.mark.parametrize("kind", RUNS)
def test_a_second_run_in_the_same_folder_is_refused(kind, whisper, tmp_path):
    folder = tmp_path / "run"
    with sole_writer(folder):
        with pytest.raises(ValueError, match="run: another run is writing there now"):
            RUNS[kind](whisper, folder)
        # What is computed before the first step is of no run, and stays.
        assert {path.name for path in folder.iterdir()} - {"start"} == {".lock"}


def test_what_a_killed_run_has_left_is_no_lock(tmp_path):
    (tmp_path / ".lock").touch()
    with sole_writer(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
