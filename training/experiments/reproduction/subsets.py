"""Recipes as rows of the cross-corpus matrix: each trained on subsets of the corpora at hand."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from emoicl.training.data.corpus import Corpus
from emoicl.training.evaluation.matrix import System, digest_corpus, trained_system
from emoicl.training.evaluation.recognition import Recognizer
from emoicl.training.experiments.experiment import check_parts, prepare, run_stages
from emoicl.training.experiments.recipe import Recipe
from emoicl.training.experiments.reproduction.splits import SpeakerSplit, check_speakers, join, read_splits
from emoicl.training.experiments.stages import STAGES


logger = logging.getLogger(__name__)


def trained_systems(
    recipes: Sequence[Recipe],
    folders: Sequence[str | Path],
    output: str | Path,
    train_on: Sequence[str] | None = None,
) -> list[System]:
    """
    The rows that recipes give: each trained on subsets of the corpora. One is trained when it is first measured, and
    what was trained before, in this folder and with the same settings and speakers, is taken from there.

    Args:
        recipes (`Sequence[Recipe]`): What to train. Their tables are passed over, but for `open_labels`: `left_out`
            too, so that nothing of a corpus is heard but by those that are trained on it.
        folders (`Sequence[str]`): Corpora, with `train.parquet`, `validation.parquet` and `test.parquet`.
        output (`str` or `Path`): Where the stages go.
        train_on (`Sequence[str]`, *optional*): The subsets, such as `"ravdess+nemo"`, by default each.

    Returns:
        `list[System]`: A recipe that is not trained gives one. By default, a subset that is too small for a recipe is
            left out.

    Raises:
        `ValueError`: If a table is missing, a speaker is in two tables, there is no such corpus, or a recipe cannot be
            run.
    """
    for recipe in recipes:
        check_parts(recipe)
    if not folders:
        raise ValueError("There is nothing to train on: give a corpus as a folder with three tables.")
    corpora = {Path(folder).name: read_splits(Path(folder)) for folder in folders}
    check_speakers(corpora)
    subsets = [name.split("+") for name in train_on] if train_on else each_subset(list(corpora))
    if unknown := sorted({name for subset in subsets for name in subset} - corpora.keys()):
        raise ValueError(f"{unknown[0]} is none of the corpora that can be trained on: {', '.join(corpora)}.")
    systems = []
    for recipe in recipes:
        for subset in subsets if is_trained(recipe) else [list(corpora)]:
            try:
                systems.append(subset_system(recipe, corpora, subset, Path(output)))
            except ValueError as error:
                # One corpus may be too small for a system, and two of them not.
                if train_on:
                    raise
                logger.warning("Left out %s on %s: %s", recipe.name, "+".join(subset), error)
    if not systems:
        raise ValueError("None of the systems can be trained on any subset of the corpora.")
    return systems


def each_subset(names: Sequence[str]) -> list[Sequence[str]]:
    """All subsets but the empty one, small ones first."""
    return [subset for size in range(1, len(names) + 1) for subset in combinations(names, size)]


def subset_system(
    recipe: Recipe, corpora: Mapping[str, Mapping[str, Corpus]], subset: Sequence[str], output: Path
) -> System:
    """A recipe that is trained on some of the corpora."""
    parts = [join([corpora[name][part] for name in subset]) for part in ("train", "validation")]
    # Nobody learns a label that is not there: nEMO has no disgust.
    labels = [label for label in recipe.labels if label in parts[0].labels]
    training, validation = (Corpus(utterance for utterance in part if utterance.label in labels) for part in parts)
    recipe = replace(recipe, labels=labels, left_out=[])
    speakers = hashlib.sha256(f"{digest_corpus(training)} {digest_corpus(validation)}".encode()).hexdigest()
    folder = output / f"{'+'.join(subset)}.{speakers[:8]}"
    folders = {name: folder / recipe.stage_digest(name) / name for name in recipe.run}
    context = prepare(recipe, SpeakerSplit("+".join(subset), training, validation, {}), folders)

    def load() -> Recognizer:
        recognizer = run_stages(context).recognizer
        assert recognizer is not None
        return recognizer

    identity = f"{recipe.stage_digest(recipe.run[-1])} {speakers}"
    if not is_trained(recipe):
        return trained_system(recipe.name, identity, load)
    return trained_system(f"{recipe.name} on {'+'.join(subset)}", identity, load, training)


def is_trained(recipe: Recipe) -> bool:
    """Whether it has training speakers."""
    return STAGES[recipe.stages[recipe.run[-1]]["type"]].is_trained
