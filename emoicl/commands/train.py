"""`emoicl train`: a recipe, from its corpora to the report on the test speakers."""

import argparse
import ast
import sys
from itertools import accumulate
from typing import Any

from emoicl_commands import overrides


EPILOG = """\
A recipe is a YAML file, or the name of one that comes with the package (see `emoicl recipe list`):

  emoicl train base-emogator --data-folder data
  emoicl train systems/proposed --size base --train '[a.csv]' --validation '[b.csv]' --test '[c.csv]'

{overrides}
Interrupted, the same command goes on at the last checkpoint. Several devices share all stages and tests with

  accelerate launch -m emoicl_commands.cli train base-emogator --data-folder data

A batch is then of each device; the folder training/accelerate of the repository has configurations (--config_file).

Checkpoints, the model with its card and the report on the test speakers are written to the recipe's output.

fields of a recipe:
  {fields}
"""


class Help(argparse.Action):
    """Prints the help, with the fields of a recipe as they are described where they are defined."""

    def __call__(self, parser, namespace, values, option_string=None):
        described = docstring_of("emoicl.training.experiments.recipe", "Recipe").partition("Args:\n")[2].strip()
        fields = described.replace("`", "").replace("*optional*", "optional").replace("\n    ", "\n  ")
        parser.epilog = EPILOG.format(overrides=overrides.EPILOG, fields=fields)
        parser.print_help()
        parser.exit()


def docstring_of(module: str, name: str) -> str:
    """The docstring of a class of the package, read from its file: to import it would take seconds."""
    spec: Any = None
    for part in accumulate(module.split("."), "{}.{}".format):
        path = spec and spec.submodule_search_locations
        spec = next(found for finder in sys.meta_path if (found := finder.find_spec(part, path)))
    statements = ast.parse(spec.loader.get_source(module)).body
    [definition] = [node for node in statements if isinstance(node, ast.ClassDef) and node.name == name]
    return ast.get_docstring(definition) or ""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("train", help="run a recipe", add_help=False)
    parser.add_argument("-h", "--help", action=Help, nargs=0, help="show this help and the fields of a recipe")
    add_recipe_arguments(parser)
    parser.set_defaults(run=run, takes_overrides=True)


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file or the name of a recipe")
    parser.add_argument("--size", help="tiny, base, paper or a YAML file, in place of the size that the recipe names")


def run(options: argparse.Namespace) -> None:
    from accelerate import PartialState

    from emoicl.training.experiments.experiment import train
    from emoicl.training.experiments.loading import load_recipe

    recipe = load_recipe(options.recipe, overrides.parse_overrides(options.overrides), options.size)
    report = train(recipe)
    if not PartialState().is_main_process:
        return
    print(report.table())
    print(f"\nWrote {recipe.output}/model (checkpoint) and {recipe.output}/report.json (all numbers).")
