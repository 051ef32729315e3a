"""The `emoicl` command."""

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from emoicl_commands import (
    app,
    card,
    corpus,
    demo,
    env,
    evaluate,
    export,
    init,
    matrix,
    predict,
    pretrain,
    recipe,
    reproduce,
    train,
)
from emoicl_commands.parser import CommandParser


DESCRIPTION = """\
Speech emotion recognition that adapts to a person from a few labeled utterances of theirs.

  emoicl demo                                  see it work on bundled speech, no data needed
  emoicl app                                   a page: enroll a voice, see what that changes
  emoicl predict hello.wav --enroll me.csv     classify your own files
  emoicl corpus prepare ravdess --source ...   make tables of a corpus, inspect and split them
  emoicl pretrain speech-encoder --corpus ...  pretrain the parts of a model from scratch
  emoicl init --speech-encoder NAME ...        compose a model from Hub checkpoints
  emoicl recipe list                           what can be trained
  emoicl train base-emogator                   train a model from a recipe
  emoicl evaluate --corpus test.parquet        measure it on speakers it has never heard
  emoicl matrix --corpora a.parquet ...        measure several models on several corpora
  emoicl card CHECKPOINT                       write the model card from what is stored
  emoicl export CHECKPOINT --output my-model   make a folder for the Hub, check it, publish it
  emoicl reproduce --corpus data/mine          train and compare all systems of the paper
  emoicl env                                   versions and devices, for a bug report
"""

COMMANDS = (demo, app, predict, corpus, pretrain, init, recipe, train, evaluate, matrix, card, export, reproduce, env)


def build_parser() -> CommandParser:
    """The parser of all subcommands."""
    parser = CommandParser("emoicl", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"emoicl {version('emoicl')}")
    parser.set_defaults(run=lambda options: parser.print_help(), takes_overrides=False)
    commands = parser.add_subparsers(metavar="COMMAND")
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
    arguments = sys.argv[1:] if arguments is None else arguments
    options, options_of_recipe = build_parser().parse_known_args(arguments)
    # As a path it would be the folder where one stands. Fields of a recipe may be empty texts.
    if "" not in options_of_recipe and any(re.fullmatch("(--[a-z-]+=)?", argument) for argument in arguments):
        options.parser.error("an argument is empty; perhaps a variable of the shell is not set")
    options.overrides = options_of_recipe
    try:
        with log_to_stderr():
            options.run(options)
    except (ValueError, OSError) as error:
        print(f"emoicl: {options.parser.in_options(str(error))}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Shows what the package logs, and the progress bars of transformers to nobody but a person who watches."""
    if not sys.stderr.isatty():
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
    # transformers imports peft for trainers, and that bitsandbytes, which tells what it lacks for weights of 4 bits.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logger = logging.getLogger("emoicl")
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)


if __name__ == "__main__":
    sys.exit(main())
