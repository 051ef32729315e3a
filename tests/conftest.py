import os
from pathlib import Path

import pytest


# Tiny models gain nothing by several threads, which only wait for each other where the machine is busy. Set before
# torch is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real speech and pretrained encoders that lies beside the repository."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs ../shared")
    return folder
