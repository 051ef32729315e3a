"""`emoicl matrix`: each model on each corpus, also those that it was not made for."""

import argparse
from pathlib import Path

from emoicl_commands import overrides
from emoicl_commands.parser import ABOUT_MODELS


EPILOG = """\
Measures every model on the test speakers of every corpus: accuracy (UA_spk), negative log-likelihood and calibration
error at each number of shots, and at the largest with the labels rotated, another speaker's enrollment, and utterances
without labels. Corpora that a model was trained on are marked, as its provenance tells.

  emoicl matrix --corpora ravdess/test.parquet nemo/test.parquet emogator/test.parquet --output outputs/matrix
  emoicl matrix --models speech outputs/x/model --corpora ravdess/test.parquet --output outputs/matrix --shots 0 3 7

A corpus is a table of test speakers, a data set of the Hub and its split (user/name:test), or a folder with
train.parquet, validation.parquet and test.parquet. With --systems, recipes are trained on each subset of the corpora
that are folders, or on those of --train-on:

  emoicl matrix --systems prototypes speech --corpora data/ravdess data/nemo data/emo-db.csv --output outputs/m
  emoicl matrix --systems speech --train-on ravdess ravdess+nemo --corpora data/ravdess data/nemo --output outputs/m

A system is what `emoicl reproduce` calls so: a recipe, as `emoicl recipe list` names it, a folder of them, or a YAML
file. What a user would take in place of a model are prototypes, linear_probe and those of the folder baselines: a
probe that is normalized by the speaker's audio, and on the speaker's shots alone, a logistic regression and
contrastive tuning (the way of SetFit).
{overrides}
What is trained, and each cell as it is finished, is kept in the output folder: the same command goes on where it was
interrupted, and one with more models or corpora does what is new. A number of shots that a corpus has too few labels
for is left out.
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "matrix",
        help="measure each model on each corpus",
        description=ABOUT_MODELS,
        epilog=EPILOG.format(overrides=overrides.EPILOG),
    )
    parser.add_argument(
        "--models",
        nargs="*",
        default=["speech", "bursts"],
        metavar="NAME",
        help="speech, bursts, folders or Hub names (default: speech bursts; without a name, none)",
    )
    parser.add_argument("--systems", nargs="+", default=[], metavar="SYSTEM", help="recipes to train and measure")
    parser.add_argument(
        "--train-on", nargs="+", metavar="SUBSET", help="such as ravdess+nemo (default: each subset of the folders)"
    )
    parser.add_argument(
        "--corpora", nargs="+", required=True, metavar="CORPUS", help="tables, or folders of three tables"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for all that is made")
    parser.add_argument(
        "--shots", nargs="+", type=int, default=[0, 1, 2, 3, 5, 7], metavar="K", help="(default: 0 1 2 3 5 7)"
    )
    parser.add_argument("--seeds", type=int, default=5, help="enrollment draws to average over (default: 5)")
    parser.add_argument("--setting", default="TU+LD", help="how enrollments are drawn (default: TU+LD)")
    parser.add_argument("--cache-folder", type=Path, help="where speech features are kept")
    parser.set_defaults(run=run, takes_overrides=True)


def run(options: argparse.Namespace) -> None:
    from functools import partial

    from emoicl.bundled import find_model
    from emoicl.loading import load_recognizer
    from emoicl.training.evaluation.matrix import checkpoint_system, measure_matrix
    from emoicl.training.experiments.loading import load_recipe, system_names
    from emoicl.training.experiments.reproduction.subsets import trained_systems
    from emoicl.training.publishing.checkpoint import read_config

    if not options.systems:
        options.parser.refuse([*options.overrides, *(["--train-on"] if options.train_on else [])])
    # A mistyped name is found now, not when the models before it have been measured.
    for name in options.models:
        read_config(find_model(name))
    systems = [
        checkpoint_system(name, find_model(name), partial(load_recognizer, name, cache_folder=options.cache_folder))
        for name in dict.fromkeys(options.models)
    ]
    folders = [corpus for corpus in options.corpora if Path(corpus).is_dir()]
    changes = overrides.parse_overrides(options.overrides)
    if options.cache_folder is not None:
        changes["cache_folder"] = str(options.cache_folder)
    if options.systems:
        recipes = [load_recipe(name, changes) for given in options.systems for name in system_names(given)]
        systems += trained_systems(recipes, folders, options.output / "trained", options.train_on)
    tables = [Path(corpus) / "test.parquet" if corpus in folders else corpus for corpus in options.corpora]
    text = measure_matrix(systems, tables, options.output, options.shots, range(options.seeds), options.setting)
    print(text)
    print(f"Wrote {options.output}/matrix.md and {options.output}/matrix.json (all numbers).")
