"""`emoicl env`: versions and devices, to be pasted into a bug report."""

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version


PACKAGES = (
    "emoicl", "torch", "torchaudio", "transformers", "accelerate", "numpy", "soundfile", "pyarrow",
    "datasets", "peft", "gradio",
)  # fmt: skip


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("env", help="print versions and devices")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    rows = {"python": f"{platform.python_version()} on {platform.platform()}"}
    rows |= {package: installed_version(package) for package in PACKAGES}
    rows["devices"] = ", ".join(f"{name} ({what})" for name, what in devices().items())
    for name, value in rows.items():
        print(f"{name:<14}{value}")


def installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def devices() -> dict[str, str]:
    """What each device that torch can compute on is."""
    import torch

    found = {"cpu": f"{torch.get_num_threads()} threads"}
    for kind in (torch.cuda, torch.xpu):
        name = kind.__name__.rpartition(".")[2]
        found |= {f"{name}:{i}": kind.get_device_name(i) for i in range(kind.device_count())}
    return found | ({"mps": "Metal"} if torch.backends.mps.is_available() else {})


def check_device(name: str) -> None:
    """Refuses a device that is not here. `cuda` or `xpu` is the first of its kind."""
    here = devices()
    if name not in here and f"{name}:0" not in here:
        raise ValueError(f"--device {name}: there is no such device here, but {', '.join(here)}.")
