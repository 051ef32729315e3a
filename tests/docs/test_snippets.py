"""The snippets of the README and of the documentation run page by page, as a newcomer would type them."""

import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from bundled_models import needs_bundled

from emoicl.bundled import BUNDLED_CLIPS
from emoicl_commands.cli import build_parser


ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def snippets(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.fixture
def run_page(tmp_path, monkeypatch, capsys):
    """Runs the Python snippets of a page one after the other; returns their names and what they print."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMOICL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    # A corpus with a label that the bundled models do not know.
    table = pyarrow.parquet.read_table(BUNDLED_CLIPS).slice(0, 42)
    emotions = ["calm", *table["emotion"].to_pylist()[1:]]
    table = table.set_column(table.column_names.index("emotion"), "emotion", pyarrow.array(emotions))
    pyarrow.parquet.write_table(table, tmp_path / "my_corpus.parquet")

    def run(page: Path):
        names = {}
        for snippet in snippets(page, "python"):
            # One step shows that training runs; ten take their time.
            snippet = snippet.replace("max_steps=10", 'max_steps=1, per_device_train_batch_size=4, report_to="none"')
            exec(snippet.replace("my-org/my-model", "my-model"), names)
        return names, capsys.readouterr().out

    return run


@needs_bundled
@pytest.mark.parametrize(
    "page", [page for page in PAGES if snippets(page, "python")], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_python_snippets_run(page, run_page):
    names, output = run_page(page)
    match page.name:
        case "README.md" | "index.md":
            assert output.count("'label'") == 4
        case "enrollment.md":
            assert "{'start': 0.0, 'end': 1.0" in output
            assert not Path("me.profile").exists()
        case "corpora.md":
            assert output.startswith("48 ") and output.count("'label'") == 2
            assert "Calm" in {utterance.label for utterance in names["corpus"].utterances}
        case "training.md":
            assert names["trainer"].state.global_step == 1
            assert re.fullmatch(r"\[\d\.\d+\]", output.strip().splitlines()[-1])
        case "evaluating.md":
            assert "| 3-shot | 0." in output and "rotated" in output
        case "publishing.md":
            assert "transformers_modules" in type(names["recognizer"]).__module__
        case "serving.md":
            assert output.count("'label'") == 3
        case _:
            pytest.fail(f"What must {page.name} print?")


def test_the_commands_are_known():
    text = "".join(snippet for page in PAGES for snippet in snippets(page, "bash"))
    commands = set(re.findall(r"^emoicl (\w+)", text, flags=re.MULTILINE))
    assert len(commands) > 10
    for command in commands:
        assert f"\n    {command}" in build_parser().format_help()
