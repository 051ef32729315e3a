"""`emoicl train`: a recipe, from its corpora to the report on the test speakers."""

import argparse
from collections.abc import Sequence


EPILOG = """\
A recipe is a YAML file, or the name of one that comes with the package (base-emogator). Any of its fields can be set
on the command line by its dotted name:

  emoicl train --config base-emogator --data_folder data --seed 1 --stages.zero_shot.max_steps 100

Interrupted, the same command goes on at the last checkpoint. Several devices share each batch with

  accelerate launch -m emoicl_commands.cli train --config base-emogator --data_folder data

Checkpoints, the model with its card and the report on the test speakers are written to the recipe's output_dir.
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("train", help="run a recipe", epilog=EPILOG)
    parser.add_argument("--config", required=True, help="a YAML file or the name of a recipe")
    parser.set_defaults(run=run, takes_overrides=True)


def run(options: argparse.Namespace) -> None:
    from accelerate import PartialState

    from emoicl.training.experiments.recipe import Recipe, train

    recipe = Recipe.load(options.config, parse_overrides(options.overrides))
    report = train(recipe)
    if not PartialState().is_main_process:
        return
    print(report.table())
    print(f"\nWrote {recipe.output_dir}/model (checkpoint) and {recipe.output_dir}/report.json (all numbers).")


def parse_overrides(arguments: Sequence[str]) -> dict[str, str]:
    """Reads `--dotted.name value` or `--dotted.name=value` pairs."""
    overrides: dict[str, str] = {}
    remaining = list(arguments)
    while remaining:
        name, separator, value = remaining.pop(0).partition("=")
        if not name.startswith("--") or not (separator or remaining):
            raise ValueError(f"expected --field value, not {name!r}.")
        overrides[name.removeprefix("--")] = value if separator else remaining.pop(0)
    return overrides
