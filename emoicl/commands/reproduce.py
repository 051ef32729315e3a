"""`emoicl reproduce`: the paper's systems and tables, on any corpus."""

import argparse
import shlex
import sys
from pathlib import Path

from emoicl_commands import overrides


EPILOG = """\
Trains every system of the paper (and two baselines that it lacks, and two more ways to its Proposed), measures each
on speakers that were never trained on, and writes the paper's Tables II, III and IV with its own numbers beside them,
controls, spreads over enrollment seeds and orders, calibration and confidence intervals:

  emoicl reproduce --corpus data/emogator --size tiny
  emoicl reproduce --corpus data/ravdess data/nemo --folds 3 --targets-per-speaker 60
  emoicl reproduce --corpus data/mine --systems zero_shot proposed --stages.in_context.max-steps 2000
  emoicl reproduce --corpus data/emogator --systems prototypes base-emogator --data-folder data

A corpus is a folder with train.parquet, validation.parquet and test.parquet. With --folds 3, the speakers of all three
are dealt anew, so that each is tested once; with --folds FOLDER, the folds that `emoicl corpus split` wrote there are
taken, and the corpora join each with a split of their own.

A system is a recipe (see `emoicl recipe list`), a YAML file, or a folder of recipes such as "ablations".
{overrides}
Interrupted, the same command goes on at the checkpoint of the system that it was at. Several devices share the work:

  accelerate launch -m emoicl_commands.cli reproduce --corpus data/emogator

Systems (default: all of these):
  linear_probe scratch pretrained personalized_n personalized_a prototypes
  zero_shot one_shot_n proposed made_up adapted to_ld_7 neutral_0_7
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "reproduce",
        help="train and compare all systems of the paper",
        epilog=EPILOG.format(overrides=overrides.EPILOG),
    )
    parser.add_argument("--corpus", nargs="+", required=True, metavar="FOLDER", help="folders of the corpora")
    parser.add_argument("--size", help="tiny, base, paper or a YAML file (default: that of each recipe, tiny)")
    parser.add_argument("--systems", nargs="+", metavar="SYSTEM", help="only these systems")
    parser.add_argument("--folds", metavar="K", help="leave-speakers-out folds, or a folder of them")
    parser.add_argument("--targets-per-speaker", type=int, metavar="N", help="test at most N utterances of a speaker")
    parser.add_argument("--output", type=Path, default=Path("outputs/reproduce"), help="folder for all that is made")
    parser.set_defaults(run=run, takes_overrides=True)


def run(options: argparse.Namespace) -> None:
    from accelerate import PartialState

    from emoicl.training.experiments.loading import load_recipe, system_names
    from emoicl.training.experiments.reproduction.run import ORDER, Reproduction, reproduce

    changes = overrides.parse_overrides(options.overrides)
    names = [name for given in options.systems or ORDER for name in system_names(given)]
    reproduction = Reproduction(
        corpora=options.corpus,
        recipes=[load_recipe(name, changes, options.size) for name in names],
        output=str(options.output),
        folds=int(options.folds) if options.folds and options.folds.isdecimal() else options.folds,
        targets_per_speaker=options.targets_per_speaker,
        size=options.size,
    )
    reproduce(reproduction, command=shlex.join(["emoicl", *sys.argv[1:]]))
    if not PartialState().is_main_process:
        return
    report = options.output / "report"
    print((report / "report.md").read_text())
    print(f"\nWrote {report}/report.md, {report}/report.json (all numbers) and the plots beside them.")
