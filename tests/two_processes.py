"""The same training by one process, and by two that `accelerate launch` starts on CPUs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType


def train_twice(
    script: ModuleType, whisper: Path, folders: tuple[Path, Path], launch: Sequence[str], **environment: str
) -> None:
    """Runs a script's `run(folder, batch_size)` into the first folder, and into the second by two processes, which
    share its batches.

    Args:
        script (`ModuleType`): The script, one of the modules beside this.
        whisper (`Path`): What it trains on.
        folders (`tuple[Path, Path]`): Where to.
        launch (`Sequence[str]`): Arguments of `accelerate launch`.
        **environment (`str`): Variables of the two processes' environment.
    """
    for folder in folders:
        shutil.copytree(whisper, folder / "whisper")
    one, two = folders
    script.run(one, batch_size=10)
    path = Path(str(script.__file__))
    # The repository first, because `tests/face` would be taken for the package.
    environment |= {"PYTHONPATH": f"{path.parents[1]}{os.pathsep}{path.parent}", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0", *launch]
    subprocess.run([*command, str(path), str(two), "5"], env=os.environ | environment, check=True, timeout=600)
