"""`emoicl demo`: the bundled model on bundled speech."""

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("demo", help="show the bundled model on bundled speech")
    parser.add_argument("--output", type=Path, default=Path("outputs/demo"), help="folder for the plot and the report")
    parser.add_argument("--seeds", type=int, default=5, help="enrollment draws to average over (default: 5)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from emoicl.demo import run_demo

    run_demo(options.output, options.seeds)
