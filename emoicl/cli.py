"""The `emoicl` command."""

import argparse
import logging
import sys
from collections.abc import Sequence

from emoicl.commands import (
    app,
    card,
    corpus,
    demo,
    evaluate,
    export,
    init,
    predict,
    pretrain,
    recipe,
    reproduce,
    train,
)


DESCRIPTION = """\
Speech emotion recognition that adapts to a person from a few labeled utterances of theirs.

  emoicl demo                                  see it work on bundled speech, no data needed
  emoicl app                                   a page: enroll a voice, see what that changes
  emoicl predict hello.wav --enroll me.csv     classify your own files
  emoicl corpus prepare ravdess --source DIR   make tables of a corpus, inspect and split them
  emoicl pretrain speech-encoder --corpus ...  pretrain the parts of a model from scratch
  emoicl init --speech-encoder NAME ...        compose a model from Hub checkpoints
  emoicl recipe list                           what can be trained
  emoicl train base-emogator                   train a model from a recipe
  emoicl evaluate --corpus test.parquet        measure it on speakers it has never heard
  emoicl card CHECKPOINT                       write the model card from what is stored
  emoicl export CHECKPOINT my-model            make a folder for the Hub, check it, publish it
  emoicl reproduce --corpus data/mine          train and compare all systems of the paper
"""

COMMANDS = (demo, app, predict, corpus, pretrain, init, recipe, train, evaluate, card, export, reproduce)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = argparse.ArgumentParser(
        "emoicl", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(takes_overrides=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the `emoicl` command.

    Args:
        arguments (`Sequence[str]`, *optional*): Arguments of the command line, by default those of the process.

    Returns:
        `int`: The exit status: 0 for success, 1 for an error that was explained.
    """
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_overrides:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options.overrides = rest
    if not sys.stderr.isatty():
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        print(f"emoicl: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
