import json
from pathlib import Path

import numpy as np
import pytest
from transformers import Trainer


@pytest.fixture
def interrupt(monkeypatch):
    """Runs something twice: it is interrupted at a step of its training, then taken up again."""
    training_step = Trainer.training_step

    def run_interrupted(run, at_step):
        resumed_at = []

        def interrupted(trainer, *args, **kwargs):
            if trainer.state.global_step == at_step:
                raise KeyboardInterrupt
            return training_step(trainer, *args, **kwargs)

        def recorded(trainer, *args, **kwargs):
            resumed_at.append(trainer.state.global_step)
            return training_step(trainer, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "training_step", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run()
            patch.setattr(Trainer, "training_step", recorded)
            result = run()
        return result, resumed_at

    return run_interrupted


@pytest.fixture
def losses():
    """Means of a logged loss over the first and over the last fifth of a stage."""

    def read(stage_dir: Path, name: str = "loss") -> tuple[float, float]:
        log = json.loads((stage_dir / "log.json").read_text())
        values = [entry[name] for entry in log if name in entry]
        fifth = len(values) // 5
        return float(np.mean(values[:fifth])), float(np.mean(values[-fifth:]))

    return read
