"""`emoicl demo`: the bundled models on speech of people whom they have never heard."""

import argparse
import sys
from pathlib import Path

from emoicl_commands.parser import ABOUT_MODELS


EPILOG = """\
  emoicl demo                                               both models on the bundled clips of EmoGator
  emoicl demo --speech-corpus data/ravdess/test.parquet     and `speech` on sentences

Sentences of RAVDESS and nEMO do not come with the package: make tables of them by `emoicl corpus prepare`. A table has
the columns audio, emotion and speaker_id.
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "demo", help="show the bundled models on bundled speech", description=ABOUT_MODELS, epilog=EPILOG
    )
    parser.add_argument(
        "--speech-corpus",
        metavar="TABLE",
        help="sentences of speakers for the model speech (default: the bundled vocal bursts, which it never heard)",
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/demo"), help="folder for plots and reports")
    parser.add_argument("--seeds", type=int, default=5, help="enrollment draws to average over (default: 5)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from emoicl.demo import run_demo

    print(ABOUT_MODELS, end="", file=sys.stderr)
    run_demo(options.output, options.seeds, options.speech_corpus)
