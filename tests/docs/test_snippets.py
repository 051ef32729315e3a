"""The snippets of the README and of the documentation run page by page, as a newcomer would type them."""

import argparse
import ast
import re
import shlex
from collections.abc import Iterator
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


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subcommand in action.choices.values():
                yield from parsers(subcommand)


def joined(text: str) -> str:
    """A text whose lines are one where a backslash ends them."""
    return re.sub(r"\s*\\\n\s*", " ", text)


def commands() -> dict[str, str]:
    """The command lines that the documentation and the help of each command show, and where."""
    found = {}
    for page in PAGES:
        for snippet in snippets(page, "bash"):
            # Without a comment behind it.
            lines = joined(snippet).splitlines()
            found |= {line.partition(" #")[0].strip(): page.name for line in lines}
    for parser in parsers(build_parser()):
        for line in joined(f"{parser.description}\n{parser.epilog}").splitlines():
            # What it does stands behind two blanks.
            found[re.split(r"\s{2,}", line.strip())[0]] = parser.prog
    # Dots stand for what cannot be shown in a line.
    return {line: place for line, place in found.items() if line.startswith("emoicl ") and "..." not in line}


def test_the_commands_can_be_typed(capsys):
    lines = commands()
    assert len(lines) > 80
    for line, place in lines.items():
        try:
            # Of a command that takes fields of a recipe, they are left over.
            build_parser().parse_known_args(shlex.split(line)[1:])
        except SystemExit:
            pytest.fail(f"{place}: {line}: {capsys.readouterr().err.splitlines()[-1]}")


def test_the_options_that_messages_name_are_there():
    known = {option for parser in parsers(build_parser()) for a in parser._actions for option in a.option_strings}
    for path in [path for folder in ("training", "emoicl") for path in (ROOT / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise):
                named = re.findall(r"(?<![\w-])--[a-z][a-z-]+", ast.unparse(node))
                # Stands for any field of a recipe.
                assert set(named) - {"--field"} <= known, f"{path}, line {node.lineno}"
