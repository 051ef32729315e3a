"""What the subcommands share: a parser that tells which option was meant, and the argument `--model`."""

import argparse
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn


# Who reads of a command that takes a model reads this first.
ABOUT_MODELS = """\
The model `speech`, for sentences, is taken if no other is named. Its weights are licensed CC BY-NC-SA 4.0, for
non-commercial use only. `--model bursts` (Apache-2.0) is for laughs, sighs and gasps.
"""


class CommandParser(argparse.ArgumentParser):
    """
    A parser that complains with the usage of its own command and names what may have been meant. Options are spelled
    in full. The namespace that it fills has the parser of the subcommand as `parser`; of a subcommand whose defaults
    say `takes_overrides`, unknown options are left over for it.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        ours = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(*args, **ours | kwargs)

    def parse_known_args(self, args=None, namespace=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        options, rest = super().parse_known_args(args, namespace)
        vars(options).setdefault("parser", self)
        if not getattr(options, "takes_overrides", False):
            self.refuse(rest)
        return options, rest

    def refuse(self, rest: Sequence[str]) -> None:
        """Complains about arguments that nothing takes, if there are some."""
        if rest:
            known = [option for action in self._actions for option in action.option_strings]
            self.error(f"unrecognized arguments: {' '.join(rest)}{nearest(rest[0], known)}")

    def error(self, message: str) -> NoReturn:
        if match := re.search(r"invalid choice: '(.+)' \(choose from (.+)\)", message):
            message += nearest(match[1], re.findall(r"[\w.-]+", match[2]))
        super().error(message)

    def in_options(self, message: str) -> str:
        """A message of the package, which knows its arguments by their Python names, with the names of the options."""
        names = {action.dest: action.option_strings[-1] for action in self._actions if action.option_strings}
        return re.sub(r"`(\w+)`|\b(\w+_\w+)\b", lambda found: names.get(found[1] or found[2], found[0]), message)


def nearest(word: str, known: Sequence[str]) -> str:
    """A question about the word that may have been meant; empty if none is near."""
    return "".join(f" (did you mean {match}?)" for match in get_close_matches(word.partition("=")[0], known, n=1))


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME", help="speech (the default), bursts, or a folder or Hub name")


def chosen_model(options: argparse.Namespace) -> str:
    """The folder or Hub name that `--model` means. Of the default its license is told, once."""
    from emoicl.bundled import find_model

    if options.model is None:
        print(ABOUT_MODELS, end="", file=sys.stderr)
    return find_model(options.model)


def check_shard(options: argparse.Namespace) -> None:
    """Refuses a part of a work that there is not."""
    if not 0 <= options.shard < options.num_shards:
        raise ValueError(
            f"--shard is one of the --num-shards parts, counted from 0; got {options.shard} of {options.num_shards}."
        )
