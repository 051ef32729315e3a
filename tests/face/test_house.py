"""The rules of the house that no linter checks."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
ISLANDS = ("modeling", "processing")
# The drawers of `training`, each of which may import those before it alone.
DRAWERS = (
    "data",
    "episodes",
    "corpora",
    "publishing",
    "evaluation",
    "baselines",
    "systems",
    "experiments",
    "pretraining",
)
ISLAND_FILES = sorted(path for island in ISLANDS for path in (ROOT / island).glob("*.py"))
# Of whose folders a module may be imported by name: `from emoicl.training import data`.
PACKAGES = ("emoicl", "emoicl.training")
LIBRARIES = {"numpy", "safetensors", "torch", "transformers", *sys.stdlib_module_names}
# Imported where they are used: an import at the top of a file is asked of every user of a checkpoint.
LIBRARIES_WITHIN_FUNCTIONS = {"soundfile", "torchaudio", "torchcodec"}


def repository_files() -> list[Path]:
    """Files that are, or are about to be, in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if process.returncode:
        pytest.skip("needs a git checkout")
    paths = [ROOT / name for name in process.stdout.splitlines()]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def python_files() -> list[Path]:
    return [path for path in repository_files() if path.suffix == ".py"]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported_modules(tree: ast.AST) -> list[str]:
    """Modules that are imported anywhere below a node, relative ones with their dots."""
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules.append("." * node.level + (node.module or ""))
            if node.module in PACKAGES:
                modules += [f"{node.module}.{alias.name}" for alias in node.names]
    return modules


def is_allowed(module: str, folder: Path, libraries: set[str]) -> bool:
    if module.startswith("."):
        return (folder / f"{module[1:]}.py").is_file()
    return module.partition(".")[0] in libraries or module == "huggingface_hub.dataclasses"


@pytest.mark.parametrize("path", ISLAND_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_islands_import_libraries_and_siblings_only(path):
    tree = parse(path)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    within = [module for function in functions for module in imported_modules(function)]
    allowed_within = LIBRARIES | LIBRARIES_WITHIN_FUNCTIONS
    assert [module for module in within if not is_allowed(module, path.parent, allowed_within)] == []
    at_the_top = Counter(imported_modules(tree)) - Counter(within)
    assert [module for module in at_the_top if not is_allowed(module, path.parent, LIBRARIES)] == []


def test_names_of_island_files_are_unique():
    names = [path.stem for path in ISLAND_FILES if path.stem != "__init__"]
    assert names
    assert [name for name in names if not name.endswith("_emoicl")] == []
    assert len(set(names)) == len(names)


def test_folders_are_imported_through_the_package():
    offenders = [
        (path.name, module)
        for path in python_files()
        for module in imported_modules(parse(path))
        if module.partition(".")[0] in {*ISLANDS, "training"}
    ]
    assert offenders == []


def test_training_does_not_import_the_face():
    allowed = {*ISLANDS, "training"}
    offenders = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in (ROOT / "training").rglob("*.py")
        for module in imported_modules(parse(path))
        if module.partition(".")[0] == "emoicl" and (module.split(".") + [""])[1] not in allowed
    ]
    assert offenders == []


def test_every_drawer_is_in_the_order():
    folders = {path.parent.relative_to(ROOT / "training").parts[0] for path in (ROOT / "training").glob("*/*.py")}
    assert folders == set(DRAWERS)


@pytest.mark.parametrize("drawer", DRAWERS)
def test_drawers_import_those_before_them(drawer):
    below = DRAWERS[: DRAWERS.index(drawer) + 1]
    imported = {
        (path.name, module.split(".")[2])
        for path in (ROOT / "training" / drawer).rglob("*.py")
        for module in imported_modules(parse(path))
        if module.startswith("emoicl.training.")
    }
    above = [(name, other) for name, other in imported if other not in below]
    assert above == []


def test_what_a_type_checker_passes_over_is_named():
    bare = re.compile(r"# (pyright: ignore(?!\[)|type: ignore)")
    found = [
        path.name for path in python_files() if path.name != Path(__file__).name and bare.search(path.read_text())
    ]
    assert found == []


def test_files_are_short():
    assert [path.name for path in python_files() if len(path.read_text().splitlines()) > 600] == []


def test_files_are_small():
    large = [path.name for path in repository_files() if path.stat().st_size > 32 * 2**20]
    assert large == []


def test_no_paths_of_one_machine_and_no_package_index():
    local = re.compile(r"(?<![\w.}])/(work|root|tmp|home/\w+)/|index[-_]url", re.IGNORECASE)
    text_files = [path for path in repository_files() if path.suffix in {".py", ".toml", ".yaml", ".md", ".txt", ""}]
    found = {
        path.name: match.group() for path in text_files if (match := local.search(path.read_text(errors="replace")))
    }
    assert found == {}
