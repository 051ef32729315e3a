"""`emoicl reproduce`: the paper's systems and tables, on any corpus."""

import argparse
import shlex
import sys
from pathlib import Path

from emoicl_commands.train import parse_overrides


EPILOG = """\
Trains every system of the paper (and two baselines that it lacks), measures each on speakers that were never
trained on, and writes the paper's Tables II, III and IV with its own numbers beside them, controls, spreads over
enrollment seeds and orders, calibration and confidence intervals:

  emoicl reproduce --corpus data/emogator --size tiny
  emoicl reproduce --corpus data/ravdess data/nemo --folds 3 --targets-per-speaker 60
  emoicl reproduce --corpus data/mine --systems zero_shot proposed --stages.in_context.max_steps 2000

A corpus is a folder with train.parquet, validation.parquet and test.parquet, as `emoicl train` reads them. With
--folds, the speakers of all three are dealt anew, so that each is tested once. A size is tiny, base, paper or a YAML
file; any of its fields can be set by its dotted name, such as --speech_encoder FOLDER.

Interrupted, the same command goes on at the checkpoint of the system that it was at. Systems (default: all):
  {systems}
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    systems = (
        "linear_probe scratch pretrained personalized_n personalized_a prototypes\n"
        "  zero_shot one_shot_n proposed adapted to_ld_7 neutral_0_7"
    )
    parser = commands.add_parser(
        "reproduce",
        help="train and compare all systems of the paper",
        epilog=EPILOG.format(systems=systems),
    )
    parser.add_argument("--corpus", nargs="+", required=True, metavar="FOLDER", help="folders of the corpora")
    parser.add_argument("--size", default="tiny", help="tiny, base, paper or a YAML file (default: tiny)")
    parser.add_argument("--systems", nargs="+", metavar="SYSTEM", help="only these systems")
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="candidate labels (default: the paper's seven)")
    parser.add_argument("--folds", type=int, help="leave-speakers-out folds over all speakers (default: the tables)")
    parser.add_argument("--targets-per-speaker", type=int, metavar="N", help="test at most N utterances of a speaker")
    parser.add_argument("--seed", type=int, default=0, help="seed of folds, weights and draws (default: 0)")
    parser.add_argument("--output", type=Path, default=Path("outputs/reproduce"), help="folder for all that is made")
    parser.add_argument("--cache-folder", help="where speech features are kept")
    parser.set_defaults(run=run, takes_overrides=True)


def run(options: argparse.Namespace) -> None:
    from emoicl.processing.processing_emoicl import CANDIDATE_LABELS
    from emoicl.training.experiments.reproduction.run import Reproduction, reproduce
    from emoicl.training.experiments.reproduction.systems import ORDER, Size

    reproduction = Reproduction(
        corpora=options.corpus,
        size=Size.load(options.size, parse_overrides(options.overrides)),
        output_dir=str(options.output),
        systems=options.systems or ORDER,
        labels=options.labels or CANDIDATE_LABELS,
        num_folds=options.folds,
        targets_per_speaker=options.targets_per_speaker,
        seed=options.seed,
        cache_folder=options.cache_folder,
    )
    reproduce(reproduction, command=shlex.join(["emoicl", *sys.argv[1:]]))
    report = options.output / "report"
    print((report / "report.md").read_text())
    print(f"\nWrote {report}/report.md, {report}/report.json (all numbers) and the plots beside them.")
