import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from emoicl.training.data import progress as module
from emoicl.training.data.progress import progress
from emoicl.training.systems.log_progress import LogProgress


@pytest.fixture
def lines(monkeypatch, caplog):
    """What the log has where nobody watches, with a line at each step."""
    monkeypatch.setattr(module, "INTERVAL", 0)
    caplog.set_level(logging.INFO, logger="emoicl")
    return caplog


def test_lines_for_a_log(lines, capsys):
    assert list(progress([1, 2, 3], desc="Listening", unit="clips")) == [1, 2, 3]
    assert [line.partition(",")[0] for line in lines.messages] == [f"Listening: {n} of 3 clips" for n in range(4)]
    assert all(line.endswith(" left") for line in lines.messages)
    assert capsys.readouterr().err.count("\r") == 0


def test_what_is_short_has_none(caplog):
    caplog.set_level(logging.INFO, logger="emoicl")
    with progress(total=3, desc="Listening") as bar:
        bar.update(3)
    assert caplog.messages == []


def test_a_bar_on_a_terminal(monkeypatch, lines, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(progress(range(3), desc="Listening", unit="clips")) == [0, 1, 2]
    assert lines.messages == [] and "100%" in capsys.readouterr().err


def test_steps_of_a_training(lines):
    state: Any = SimpleNamespace(is_world_process_zero=True, max_steps=3, global_step=1)
    nothing: Any = None
    callback = LogProgress("Training in_context")
    callback.on_train_begin(nothing, state, nothing)
    for state.global_step in (2, 3):
        callback.on_step_end(nothing, state, nothing)
    callback.on_train_end(nothing, state, nothing)
    assert [line.partition(",")[0] for line in lines.messages[-2:]] == [
        f"Training in_context: {n} of 3 steps" for n in (2, 3)
    ]
