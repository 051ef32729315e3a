"""The wheel holds all that the repository's package has, and works where it is unpacked."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from bundled_models import needs_bundled

from emoicl.bundled import BUNDLED_CLIPS
from emoicl.training.data.corpus import load_corpus


pytest.importorskip("build")
pytest.importorskip("gradio")
ROOT = Path(__file__).parents[2]
FOLDERS = ("emoicl", "modeling", "processing", "training", "model_cards")


def run(*command, **options) -> str:
    process = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert process.returncode == 0, process.stderr
    return process.stdout


def repository_files() -> list[str]:
    try:
        return run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    except (AssertionError, FileNotFoundError):
        pytest.skip("needs a git checkout")


def installed_name(name: str) -> str:
    """Where a file of the repository is installed."""
    if name.startswith("emoicl/commands/"):
        return name.replace("emoicl/commands/", "emoicl_commands/", 1)
    return name if name.startswith("emoicl/") else f"emoicl/{name}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, which is built of the source distribution, which is built of the files in the repository."""
    source = tmp_path_factory.mktemp("source")
    for name in repository_files():
        if (ROOT / name).is_file() and (name.startswith(FOLDERS) or "/" not in name):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    output = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", output, source)
    assert len(list(output.glob("*.tar.gz"))) == 1
    (wheel,) = output.glob("*.whl")
    return wheel


def test_the_wheel_has_every_file_of_the_package(wheel):
    files = {name for name in repository_files() if name.startswith(tuple(f"{folder}/" for folder in FOLDERS))}
    cards = {name for name in files if name.startswith("model_cards/")} - {"model_cards/template.md"}
    expected = {installed_name(name) for name in files - cards if (ROOT / name).is_file()}
    built = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert built == expected
    assert "emoicl/py.typed" in built


@needs_bundled
def test_the_wheel_answers_shows_its_demo_and_makes_a_space(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    clip = tmp_path / "clip.ogg"
    clip.write_bytes(load_corpus(BUNDLED_CLIPS)[0].audio)
    script = """
import sys
import emoicl, emoicl_commands.cli
from emoicl.app import build_app
from emoicl.app.space import write_space

print(emoicl.__file__, emoicl_commands.__file__, emoicl.__version__)
write_space("space", "bursts")
build_app(emoicl.load_pipeline("bursts"))
assert emoicl_commands.cli.main(["demo", "--seeds", "1", "--output", "demo"]) == 0
sys.exit(emoicl_commands.cli.main(["predict", "clip.ogg", "--model", "bursts", "--top-k", "1"]))
"""
    # What stands on the path goes before an editable installation.
    output = run(sys.executable, "-c", script, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)})
    places, *_, answer = output.splitlines()
    assert places.split()[:2] == [str(site / "emoicl/__init__.py"), str(site / "emoicl_commands/__init__.py")]
    assert '"label"' in answer
    assert len(list((tmp_path / "demo").rglob("*.png"))) >= 2
    assert sorted(path.name for path in (tmp_path / "space").iterdir()) == ["README.md", "app.py", "requirements.txt"]
