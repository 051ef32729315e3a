"""The whole reproduction: every recipe on every division of the speakers, then the report."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState

from emoicl.training.data.processes import sole_run
from emoicl.training.experiments.experiment import check_parts, run_on_split
from emoicl.training.experiments.measurement import Outcome
from emoicl.training.experiments.recipe import Recipe, keeping_settings
from emoicl.training.experiments.reproduction.report import build_report, describe_training, group_outcomes
from emoicl.training.experiments.reproduction.splits import SpeakerSplit, load_folds, load_splits


# As the paper's Table II has them, and then those that it lacks; recipes in `recipes/systems`.
ORDER = (
    "linear_probe",
    "scratch",
    "pretrained",
    "personalized_n",
    "personalized_a",
    "prototypes",
    "zero_shot",
    "one_shot_n",
    "proposed",
    "made_up",
    "adapted",
    "to_ld_7",
    "neutral_0_7",
)


@dataclass
class Reproduction:
    """
    What to compare, and on whom.

    Args:
        corpora (`Sequence[str]`): Folders with `train.parquet`, `validation.parquet` and `test.parquet`.
        recipes (`Sequence[Recipe]`): What to train and measure, with the same labels and seed. Their own tables are
            passed over, but for `open_labels`.
        output (`str`): Where models, predictions and the report go.
        folds (`int` or `str`, *optional*): Leave-speakers-out folds over all speakers, or a folder of folds, see
            [`load_folds`]; by default the tables' own split.
        targets_per_speaker (`int`, *optional*): Report on this many utterances of a test speaker, by default all.
        size (`str`, *optional*): The size that the recipes were read with, for the report.
    """

    corpora: Sequence[str]
    recipes: Sequence[Recipe]
    output: str
    folds: int | str | None = None
    targets_per_speaker: int | None = None
    size: str | None = None


def reproduce(reproduction: Reproduction, command: str = "emoicl reproduce") -> dict[str, Any]:
    """
    Trains and measures what is missing, and writes the report. Run again after an interruption, it goes on at the
    checkpoint of the recipe that it was at. The processes of `accelerate launch` share the work.

    Args:
        reproduction ([`Reproduction`]): What to compare. Recipes may be added from one run to the next.
        command (`str`, *optional*): How it was called, for the report.

    Returns:
        `dict`: The content of `output/report/report.json`.

    Raises:
        `ValueError`: If a corpus or a recipe cannot be used, or `output` holds a run with other settings,
            or one that is still running.
    """
    recipes, output = list(reproduction.recipes), Path(reproduction.output)
    first = recipes[0]
    if twice := [name for name in (r.name for r in recipes) if [r.name for r in recipes].count(name) > 1]:
        raise ValueError(f"Two of the recipes are called {twice[0]}: leave one out, or rename its file.")
    if other := [r.name for r in recipes if (r.labels, r.seed) != (first.labels, first.seed)]:
        raise ValueError(
            f"{other[0]} has other labels or another seed than {first.name}: set `--labels` and `--seed`."
        )
    fixed = {
        "corpora": [Path(corpus).name for corpus in reproduction.corpora],
        "labels": first.labels,
        "folds": reproduction.folds,
        "targets_per_speaker": reproduction.targets_per_speaker,
        "seed": first.seed,
    }
    for recipe in recipes:
        check_parts(recipe)
    splits = divide(reproduction)
    outcomes: dict[tuple[str, str, str], list[Outcome]] = {}
    training = []
    with sole_run(output), keeping_settings(fixed, output / "settings.yaml"):
        # A fold at a time, for its speech features and models are at hand then.
        for split in splits:
            folder = output / split.name.replace(" ", "_")
            for recipe in recipes:
                of_recipe, last_stage = run_on_split(recipe, split, folder / recipe.name, folder / "stages")
                for (test, corpus), outcome in of_recipe.items():
                    outcomes.setdefault((recipe.name, test, corpus), []).append(outcome)
                log = last_stage / "log.json"
                if log.exists():
                    training.append(describe_training(recipe.name, split.name, json.loads(log.read_text())))
    settings = fixed | {
        "size": reproduction.size or "of each recipe",
        "speech_encoder": told(Path(str(recipe.speech_encoder)).name for recipe in recipes),
        "enrollment_seeds": told(recipe.enrollment_seeds for recipe in recipes),
        "setting_seeds": told(recipe.setting_seeds for recipe in recipes),
        "division": describe_division(reproduction, splits),
        "command": command,
    }
    ordered = {key: outcomes[key] for recipe in recipes for key in outcomes if key[0] == recipe.name}
    titles = {recipe.name: recipe.title for recipe in recipes}
    processes = PartialState()
    if processes.is_main_process:
        build_report(group_outcomes(ordered), titles, settings, training, output / "report")
    processes.wait_for_everyone()
    return json.loads((output / "report" / "report.json").read_text())


def divide(reproduction: Reproduction) -> list[SpeakerSplit]:
    """The speakers of the corpora, as they are to be divided."""
    labels, seed = reproduction.recipes[0].labels, reproduction.recipes[0].seed
    if isinstance(reproduction.folds, str):
        return load_folds(reproduction.folds, reproduction.corpora, labels, reproduction.targets_per_speaker, seed)
    return load_splits(reproduction.corpora, labels, reproduction.folds, reproduction.targets_per_speaker, seed)


def told(values: Any) -> str:
    return " or ".join(dict.fromkeys(map(str, values)))


def describe_division(reproduction: Reproduction, splits: Sequence[SpeakerSplit]) -> str:
    speakers = [f"{len(split.train.by_speaker)}" for split in splits]
    if reproduction.folds is None:
        text = f"the tables' own split, {speakers[0]} training speakers"
    else:
        text = (
            f"{len(splits)} folds over the speakers, each of whom is tested once, by systems that were trained on "
            f"{' or '.join(dict.fromkeys(speakers))} others"
        )
    if reproduction.targets_per_speaker is not None:
        text += f"; at most {reproduction.targets_per_speaker} utterances of a speaker are tested"
    return text
