"""Fields of a recipe on the command line."""

from collections.abc import Sequence
from typing import Any


EPILOG = """\
Any field of a recipe can be set by its dotted name, with hyphens or underscores. Several values make a list; a list of
one is written '[a.csv]', null is nothing:

  --data-folder data --labels Joy Anger --stages.in_context.max-steps 100 --train '[mine.csv]'
"""


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """
    Reads `--dotted.name value ...` or `--dotted.name=value`, with values as in YAML.

    Args:
        arguments (`Sequence[str]`): What stands on the command line.

    Returns:
        `dict`: values by name, with underscores; several values of one name are a list.

    Raises:
        `ValueError`: If a value has no name, or the other way round.
    """
    from emoicl.training.experiments.loading import read_yaml

    overrides: dict[str, Any] = {}
    remaining = list(arguments)
    while remaining:
        name, separator, value = remaining.pop(0).partition("=")
        values = [value] if separator else []
        while not separator and remaining and not remaining[0].startswith("--"):
            values.append(remaining.pop(0))
        if not name.startswith("--") or not values:
            raise ValueError(f"expected --field value, not {name!r}.")
        read = [read_yaml(value, name) for value in values]
        overrides[name.removeprefix("--").replace("-", "_")] = read if len(read) > 1 else read[0]
    return overrides
