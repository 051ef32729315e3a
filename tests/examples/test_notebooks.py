"""The notebooks run from the first cell to the last, and have pictures then. No outputs are kept in the repository."""

from pathlib import Path

import pytest
from bundled_models import needs_bundled


nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_kept(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert outputs(notebook) == []


@needs_bundled
@pytest.mark.parametrize(("name", "num_pictures"), [("quickstart", 2), ("finetune", 2)])
def test_notebooks_run(name, num_pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOICL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (path,) = [path for path in NOTEBOOKS if path.stem == name]
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    assert len(pictures) == num_pictures
    printed = "".join(output.text for output in outputs(notebook) if output.get("name") == "stdout")
    assert "| 3-shot | 0." in printed
