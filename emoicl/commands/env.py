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
    rows["devices"] = ", ".join(devices())
    for name, value in rows.items():
        print(f"{name:<14}{value}")


def installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def devices() -> list[str]:
    """The devices that torch can compute on."""
    import torch

    names = [f"cpu ({torch.get_num_threads()} threads)"]
    names += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return names + ["mps"] * torch.backends.mps.is_available()
