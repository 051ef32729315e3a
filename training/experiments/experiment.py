"""Runs a recipe: its stages one after the other, then its tests, on one division of the speakers."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from accelerate import PartialState
from transformers import AutoConfig

from emoicl.modeling.configuration_emoicl import keep_speech_layers
from emoicl.modeling.speech_encoder_emoicl import check_speech_encoder
from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.data.processes import sole_run
from emoicl.training.data.speaker_splits import PARTS
from emoicl.training.evaluation.evaluate import EvaluationReport
from emoicl.training.evaluation.plots import plot_shots
from emoicl.training.evaluation.recognition import CorpusRecognizer
from emoicl.training.experiments.measurement import Outcomes, is_measured, measure
from emoicl.training.experiments.recipe import RECIPE_NAME, Recipe, keeping_settings, save_checkpoint
from emoicl.training.experiments.reproduction.splits import SpeakerSplit
from emoicl.training.experiments.stages import Context, Stage, make_stage
from emoicl.training.publishing.cards import save_card
from emoicl.training.publishing.checkpoint import find_pretrained
from emoicl.training.publishing.provenance import (
    PLOT_NAME,
    REPORT_NAME,
    Remarks,
    add_data,
    carry_provenance,
    save_report,
)
from emoicl.training.systems.lora import check_adapters


def train(recipe: Recipe) -> EvaluationReport:
    """
    Runs a recipe on its own tables. Run again after an interruption, it goes on at the checkpoint that it was at.
    Several processes (`accelerate launch`) share the work.

    Args:
        recipe ([`Recipe`]): What to run.

    Returns:
        [`EvaluationReport`]: Of its first test, also written to `output/report.json`. The model and its card are in
        `output/model`.

    Raises:
        `ValueError`: If a table is not there, a stage cannot be run, or `output` holds a run with other settings, or
            one that is still running. Nothing is computed then.
    """
    output, processes = Path(recipe.output), PartialState()
    check_parts(recipe)
    split = load_tables(recipe)
    context = prepare(recipe, split, {name: output / name for name in recipe.run})
    with sole_run(output), keeping_settings(asdict(recipe), output / RECIPE_NAME):
        context = run_stages(context)
        if context.speech_lm is not None:
            for corpus in split.test.values():
                context.speech_lm.features.fill_together(corpus.utterances)
        outcome = next(iter(measure(recipe, context.recognizer, split.test, output / "tests").values()))
        if outcome.report is None:
            raise ValueError(f"{recipe.tests[0].name} cannot be tested: {next(iter(outcome.reasons.values()))}")
        if processes.is_main_process:
            outcome.report.save(output / REPORT_NAME)
            plot_shots(outcome.report, output / PLOT_NAME)
            save_model(context, output)
        processes.wait_for_everyone()
    return outcome.report


def run_on_split(recipe: Recipe, split: SpeakerSplit, folder: Path, stages_folder: Path) -> tuple[Outcomes, Path]:
    """
    Runs a recipe on given speakers, after training what no other recipe has trained there before.

    Args:
        recipe ([`Recipe`]): What to run.
        split ([`SpeakerSplit`]): Speakers to train on, to choose the best checkpoint by, and to report on.
        folder (`Path`): Where its answers go.
        stages_folder (`Path`): Where stages are kept that several recipes may share.

    Returns:
        `tuple`: its outcomes, and the folder of its last stage.
    """
    folders = {name: stages_folder / recipe.stage_digest(name) / name for name in recipe.run}
    with keeping_settings(asdict(recipe), folder / RECIPE_NAME):
        recognizer = None
        if not is_measured(recipe, split.test, folder):
            recognizer = run_stages(prepare(recipe, split, folders)).recognizer
        return measure(recipe, recognizer, split.test, folder), folders[recipe.run[-1]]


def check(recipe: Recipe) -> dict[str, Corpus]:
    """
    Finds out whether a recipe can be run on its own tables, without computing anything.

    Args:
        recipe ([`Recipe`]): The recipe.

    Returns:
        `dict[str, Corpus]`: The utterances of each part.

    Raises:
        `ValueError`: If a table is not there, the training speakers lack a label, or a stage cannot be run.
    """
    check_parts(recipe)
    split = load_tables(recipe)
    if absent := [label for label in recipe.labels if label not in split.train.labels]:
        raise ValueError(f"No training utterance is labeled {', '.join(absent)}: add tables, or set `labels`.")
    context = prepare(recipe, split, {name: Path(recipe.output) / name for name in recipe.run})
    open_labels = {} if context.open_labels is None else {"open labels": context.open_labels}
    left_out = {} if context.left_out is None else {"left out": context.left_out}
    return {"training": split.train, "validation": split.validation, **split.test, **open_labels, **left_out}


def check_parts(recipe: Recipe) -> None:
    """Finds out whether the parts of a recipe fit together, before any tables are read.

    Raises:
        `ValueError`: If nothing is to be tested, a pretrained part is nowhere, or the speech encoder is of a type that
            is not supported, or does not fit a size or a layer.
    """
    if not recipe.tests:
        raise ValueError(f"The recipe {recipe.name} has no `tests`: leave the field out for those of all recipes.")
    if recipe.lora and recipe.language_model is None:
        raise ValueError(
            f"The recipe {recipe.name} has `lora`, which adapts a pretrained language model: name a `language_model`, "
            "or leave `lora` out."
        )
    for part in (recipe.speech_encoder, recipe.language_model):
        if part is not None:
            find_pretrained(part)
    if recipe.language_model is not None and recipe.lora:
        check_adapters(recipe.language_model, recipe.lora)
    if recipe.speech_encoder is not None:
        config = AutoConfig.from_pretrained(recipe.speech_encoder, trust_remote_code=False)
        check_speech_encoder(config)
        keep_speech_layers(config, recipe.speech_layer)
    for stage in stages_of(recipe):
        stage.check_parts(recipe)


def load_tables(recipe: Recipe) -> SpeakerSplit:
    """
    The speakers that a recipe names.

    Raises:
        `ValueError`: If it names no table for a part, or a table is not there or holds none of the labels.
    """
    for split in PARTS:
        if not getattr(recipe, split):
            raise ValueError(
                f"The recipe {recipe.name} has no tables for `{split}`: set it, as in --{split} '[a.csv]'."
            )
    training, validation, test = (load_corpus(recipe.tables(split), recipe.labels) for split in PARTS)
    return SpeakerSplit("tables", training, validation, {"test": test})


def prepare(recipe: Recipe, split: SpeakerSplit, folders: Mapping[str, Path]) -> Context:
    """Where the first stage begins, after all have been checked."""
    open_labels = None
    if recipe.open_labels:
        # A fold tests some of those who speak there.
        heard = [u for u in load_corpus(recipe.tables("open_labels")) if u.speaker_id in split.train.by_speaker]
        open_labels = Corpus(heard) if heard else None
    left_out = load_corpus(recipe.tables("left_out"), recipe.labels) if recipe.left_out else None
    context = Context(recipe, split.train, split.validation, folders, open_labels, left_out)
    stages = stages_of(recipe)
    for stage in stages:
        stage.check(context)
    if not stages[-1].is_testable:
        raise ValueError(
            f"{recipe.name} ends with the stage {stages[-1].name}, which makes nothing that can be tested."
        )
    return context


def run_stages(context: Context) -> Context:
    """Runs all stages of the recipe, each from what the one before it made."""
    for stage in stages_of(context.recipe):
        context = stage.run(context)
    if isinstance(context.recognizer, CorpusRecognizer):
        # It is tested where it was trained.
        context.recognizer.model.to(PartialState().device)
    return context


def stages_of(recipe: Recipe) -> list[Stage]:
    return [make_stage(name, recipe.stages[name]) for name in recipe.run]


def save_model(context: Context, output: Path) -> None:
    """Saves the model at the end of a run, with the report and its card; a baseline has none."""
    if context.checkpoint is None:
        return
    folder = output / "model"
    save_checkpoint(*context.checkpoint, folder)
    trained = [name for name in context.recipe.run if (context.folders[name] / "log.json").exists()]
    if trained:
        is_tuned = context.speech_encoder is not None and len(trained) > 1
        before: Any = context.folders[trained[0]] / "model" if is_tuned else None
        carry_provenance(context.folders[trained[-1]] / "model", folder, cast(Remarks, context.recipe.card), before)
        if context.left_out is not None and any(s["type"] == "adaptation" for s in context.recipe.stages.values()):
            add_data(folder, "left_out", context.left_out)
    save_report(output, folder)
    save_card(folder)
