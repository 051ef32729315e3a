"""`emoicl corpus`: from data sets as their owners ship them to tables that models are trained on."""

import argparse

from emoicl_commands import corpus_inspect, corpus_prepare, corpus_split


SUBCOMMANDS = (corpus_prepare, corpus_inspect, corpus_split)

EPILOG = """\
  emoicl corpus list
  emoicl corpus prepare ravdess --source Downloads/ravdess --output data/ravdess
  emoicl corpus inspect data/ravdess --output inspection
  emoicl corpus split data/ravdess --output data/split
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "corpus",
        help="prepare, inspect and split data sets",
        epilog=EPILOG,
    )
    parser.set_defaults(run=lambda options: parser.print_help())
    subcommands = parser.add_subparsers(metavar="COMMAND")
    listing = subcommands.add_parser("list", help="the data sets that are known, and their licenses")
    listing.set_defaults(run=run_list)
    for subcommand in SUBCOMMANDS:
        subcommand.add_parser(subcommands)


def run_list(options: argparse.Namespace) -> None:
    from emoicl.training.corpora.readers import CORPORA

    rows = [("name", "languages", "elicitation", "license", "homepage")]
    for name, reader in CORPORA.items():
        rows.append((name, " ".join(reader.languages) or "-", reader.elicitation, reader.license, reader.homepage))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())
    print("\nAnd generic, for a table, a folder or a Hub data set of your own.")
