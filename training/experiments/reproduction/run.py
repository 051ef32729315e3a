"""The whole reproduction: every system on every fold, then the report."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emoicl.processing.processing_emoicl import CANDIDATE_LABELS
from emoicl.training.experiments.recipe import keep_settings
from emoicl.training.experiments.reproduction.experiment import Experiment, Outcome
from emoicl.training.experiments.reproduction.report import build_report, describe_training, group_outcomes
from emoicl.training.experiments.reproduction.splits import SpeakerSplit, load_splits
from emoicl.training.experiments.reproduction.systems import ORDER, Size, System


logger = logging.getLogger(__name__)


@dataclass
class Reproduction:
    """
    What to reproduce.

    Args:
        corpora (`list[str]`): Folders with `train.parquet`, `validation.parquet` and `test.parquet`.
        size ([`Size`]): What all systems share.
        output_dir (`str`): Where models, predictions and the report go.
        systems (`list[str]`, *optional*): Names of systems, by default all.
        labels (`list[str]`, *optional*): Candidate labels, by default the paper's seven; utterances with other labels
            are left out.
        num_folds (`int`, *optional*): Leave-speakers-out folds over all speakers; by default the tables' own split.
        targets_per_speaker (`int`, *optional*): Report on this many utterances of a test speaker, by default all.
        seed (`int`, *optional*, defaults to 0): Seed of folds, weights and draws.
        cache_folder (`str`, *optional*): Where speech features are kept.
    """

    corpora: Sequence[str]
    size: Size
    output_dir: str
    systems: Sequence[str] = ORDER
    labels: Sequence[str] = CANDIDATE_LABELS
    num_folds: int | None = None
    targets_per_speaker: int | None = None
    seed: int = 0
    cache_folder: str | None = None


def reproduce(reproduction: Reproduction, command: str = "emoicl reproduce") -> dict[str, Any]:
    """
    Trains and measures what is missing, and writes the report. Run again after an interruption, it goes on at the
    checkpoint of the system that it was at.

    Args:
        reproduction ([`Reproduction`]): What to reproduce. Systems may be added from one run to the next.
        command (`str`, *optional*): How it was called, for the report.

    Returns:
        `dict`: The content of `output_dir/report/report.json`.

    Raises:
        `ValueError`: If a corpus cannot be used, or `output_dir` holds a run with other settings.
    """
    output_dir = Path(reproduction.output_dir)
    labels = list(reproduction.labels)
    names = [Path(corpus).name for corpus in reproduction.corpora]
    fixed = {
        "corpora": names,
        "labels": labels,
        "size": asdict(reproduction.size),
        "num_folds": reproduction.num_folds,
        "targets_per_speaker": reproduction.targets_per_speaker,
        "seed": reproduction.seed,
    }
    systems = [System.load(name, labels) for name in ORDER if name in set(map(known, reproduction.systems))]
    splits = load_splits(
        reproduction.corpora, labels, reproduction.num_folds, reproduction.targets_per_speaker, reproduction.seed
    )
    keep_settings(fixed, output_dir / "settings.yaml")
    outcomes: dict[tuple[str, str, str], list[Outcome]] = {}
    training = []
    # A fold at a time, for its speech features and models are at hand then.
    for split in splits:
        folder = output_dir / split.name.replace(" ", "_")
        experiment = Experiment(reproduction.size, split, labels, folder, reproduction.seed, reproduction.cache_folder)
        for system in systems:
            for (test, corpus), outcome in experiment.run(system).items():
                outcomes.setdefault((system.name, test, corpus), []).append(outcome)
            log = folder / system.name / "log.json"
            if log.exists():
                training.append(describe_training(system, split.name, json.loads(log.read_text())))
    settings = fixed | {
        "speech_encoder": Path(str(reproduction.size.speech_encoder)).name,
        "division": describe_division(reproduction, splits),
        "command": command,
    }
    ordered = {key: outcomes[key] for system in systems for key in outcomes if key[0] == system.name}
    return build_report(group_outcomes(ordered), settings, training, output_dir / "report")


def known(name: str) -> str:
    """The name of a system, if there is one."""
    return System.load(name).name


def describe_division(reproduction: Reproduction, splits: Sequence[SpeakerSplit]) -> str:
    speakers = [f"{len(split.train.by_speaker)}" for split in splits]
    if reproduction.num_folds is None:
        text = f"the tables' own split, {speakers[0]} training speakers"
    else:
        text = (
            f"{len(splits)} folds over the speakers, each of whom is tested once, by systems that were trained on "
            f"{' or '.join(dict.fromkeys(speakers))} others"
        )
    if reproduction.targets_per_speaker is not None:
        text += f"; at most {reproduction.targets_per_speaker} utterances of a speaker are tested"
    return text
