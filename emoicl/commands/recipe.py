"""`emoicl recipe`: recipes that come with the package, copies to edit, and whether one can be run."""

import argparse
from pathlib import Path

from emoicl_commands import overrides
from emoicl_commands.train import add_recipe_arguments


EPILOG = """\
  emoicl recipe list                                   names, with a line on each
  emoicl recipe copy base-emogator mine.yaml           a file to edit
  emoicl recipe check mine.yaml --data-folder data     can it be run? prints it with all that it extends
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "recipe",
        help="list, copy and check recipes",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(required=True, metavar="list | copy | check")
    verbs.add_parser("list", help="recipes that come with the package").set_defaults(run=run_list)
    copy = verbs.add_parser("copy", help="a recipe as a file to edit")
    copy.add_argument("recipe", metavar="RECIPE", help="name of a recipe")
    copy.add_argument("output", metavar="FILE", type=Path, help="the file to write")
    copy.set_defaults(run=run_copy)
    check = verbs.add_parser(
        "check",
        help="load a recipe and its tables, and print all of it",
        epilog=overrides.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_recipe_arguments(check)
    check.set_defaults(run=run_check, takes_overrides=True)


def run_list(options: argparse.Namespace) -> None:
    from emoicl.training.experiments.loading import BUILDING_BLOCKS, RECIPES, recipe_names

    names = [name for name in recipe_names() if not name.startswith(BUILDING_BLOCKS)]
    for name in sorted(names, key=lambda name: ("/" in name, name)):
        first_line = (RECIPES / f"{name}.yaml").read_text().partition("\n")[0]
        print(f"{name:32}{first_line.removeprefix('# ')}")


def run_copy(options: argparse.Namespace) -> None:
    from emoicl.training.experiments.loading import find_recipe

    if options.output.exists():
        raise ValueError(f"{options.output} is there already: choose another file, or remove it.")
    options.output.write_text(find_recipe(options.recipe).read_text())
    print(f"Wrote {options.output}. Run it with: emoicl train {options.output}")


def run_check(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    import yaml

    from emoicl.training.experiments.experiment import check
    from emoicl.training.experiments.loading import load_recipe

    recipe = load_recipe(options.recipe, overrides.parse_overrides(options.overrides), options.size)
    parts = check(recipe)
    print(yaml.safe_dump(asdict(recipe), sort_keys=False, allow_unicode=True))
    for part, corpus in parts.items():
        print(f"{part}: {len(corpus)} utterances of {len(corpus.by_speaker)} speakers")
    print(f"{recipe.name} can be run.")
