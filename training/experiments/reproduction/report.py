"""Writes what a reproduction found: `report.md`, `report.json` and plots."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from emoicl.training.evaluation.plots import plot_reliability, plot_speakers
from emoicl.training.evaluation.reports import EvaluationReport
from emoicl.training.experiments.measurement import Outcome
from emoicl.training.experiments.reproduction import tables
from emoicl.training.experiments.reproduction.plots import plot_systems


ALL = "all speakers"
# Systems whose answers are drawn in detail: the first that is there.
DRAWN = ("base-speech", "base-emogator", "adapted", "proposed")


def group_outcomes(
    outcomes: Mapping[tuple[str, str, str], Sequence[Outcome]],
) -> dict[str, dict[tuple[str, str], Outcome]]:
    """
    Joins the folds, by corpus and, where there are several corpora, over all speakers.

    Args:
        outcomes (`Mapping`): Outcomes of the folds, by system, test and corpus.

    Returns:
        `dict`: by group of speakers, the outcomes by system and test.
    """
    corpora = list(dict.fromkeys(corpus for _, _, corpus in outcomes))
    groups: dict[str, dict[tuple[str, str], Outcome]] = {ALL: {}} if len(corpora) > 1 else {}
    for corpus in corpora:
        groups[corpus] = {
            (system, test): pool(of_folds) for (system, test, of), of_folds in outcomes.items() if of == corpus
        }
    if ALL in groups:
        for system, test in dict.fromkeys((system, test) for system, test, _ in outcomes):
            of_corpora = [groups[corpus][system, test] for corpus in corpora if (system, test) in groups[corpus]]
            groups[ALL][system, test] = pool(of_corpora)
    return groups


def pool(outcomes: Sequence[Outcome]) -> Outcome:
    """
    Joins the outcomes of one test for different speakers, each of whom was tested once.

    Args:
        outcomes (`Sequence[Outcome]`): Outcomes of the same test, of folds or corpora.

    Returns:
        [`Outcome`]: On all speakers, with the numbers of shots that all have, and the first reason for each other.
    """
    reasons: dict[int, str] = {}
    for outcome in outcomes:
        for k, reason in outcome.reasons.items():
            reasons.setdefault(k, reason)
    reports = [outcome.report for outcome in outcomes if outcome.report is not None]
    complete = len(reports) == len(outcomes)
    return Outcome(EvaluationReport.pooled(reports) if complete else None, dict(sorted(reasons.items())))


def build_report(
    groups: Mapping[str, Mapping[tuple[str, str], Outcome]],
    titles: Mapping[str, str],
    settings: Mapping[str, Any],
    training: Sequence[Mapping[str, Any]],
    folder: str | Path,
) -> dict[str, Any]:
    """
    Writes the report.

    Args:
        groups (`Mapping`): For each group of speakers, the outcomes by system and test.
        titles (`Mapping[str, str]`): What the systems are called.
        settings (`Mapping`): What was run: corpora, size, seed, command.
        training (`Sequence[Mapping]`): How each system was trained.
        folder (`str` or `Path`): Where `report.md`, `report.json` and the plots go.

    Returns:
        `dict`: The content of `report.json`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = {
        "settings": dict(settings),
        "titles": dict(titles),
        "groups": [describe_group(name, outcomes, titles, folder) for name, outcomes in groups.items()],
        "training": list(training),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "report.md").write_text(render(report))
    return report


def describe_group(name: str, outcomes: tables.Outcomes, titles: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """All tables of a group of speakers, and its plots."""
    speaker_ids = next(outcome.report.speaker_ids for outcome in outcomes.values() if outcome.report)
    return {
        "title": name,
        "num_speakers": len(set(speaker_ids)),
        "num_utterances": len(speaker_ids),
        "table_ii": tables.table_ii(outcomes),
        "table_iii": tables.table_iii(outcomes),
        "table_iv": tables.table_iv(outcomes),
        "controls": tables.controls(outcomes),
        "claims": tables.claims(outcomes),
        "orders": tables.orders_of_systems(outcomes, titles),
        "plots": draw(name, outcomes, titles, folder),
    }


def draw(name: str, outcomes: tables.Outcomes, titles: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Plots of a group of speakers, by what they show; the names of their files."""
    stem = name.replace(" ", "_")
    plots = {"shots": f"{stem}_shots.png"}
    plot_systems(outcomes, titles, folder / plots["shots"], title=name)
    for system in DRAWN:
        outcome = outcomes.get((system, "TU+LD"))
        if outcome and outcome.report:
            plots["accuracy of each speaker"] = f"{stem}_speakers.png"
            plots["reliability"] = f"{stem}_reliability.png"
            title = f"{titles[system]}, {name}"
            plot_speakers(outcome.report, folder / plots["accuracy of each speaker"], title)
            plot_reliability(outcome.report, folder / plots["reliability"], title=title)
            break
    return plots


def render(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
    )
    notes: list[str] = []

    def note(reason: str) -> int:
        """The number of the footnote with a reason."""
        if reason not in notes:
            notes.append(reason)
        return notes.index(reason) + 1

    def cell(row: Mapping[str, Any], k: int) -> str:
        of_shots = next((cell for cell in row["cells"] if cell["shots"] == k), None)
        if of_shots is None:
            return ""
        return f"–[^{note(of_shots['reason'])}]" if of_shots["reason"] else f"{of_shots['ua_spk']:.3f}"

    template = environment.get_template("report.md.jinja")
    return template.render(**report, note=note, cell=cell, notes=notes)


def describe_training(name: str, fold: str, log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """
    How a system was trained, from the log of its Trainer.

    Args:
        name (`str`): Name of the system.
        fold (`str`): Name of the fold.
        log (`Sequence[Mapping]`): `state.log_history`.

    Returns:
        `dict`: `system`, `fold`, `steps`, `best_step`, `best_metric` and `minutes`, of the last run if it was resumed.
    """
    evaluations = [entry for entry in log if "eval_ua_spk" in entry]
    best = max(evaluations, key=lambda entry: entry["eval_ua_spk"])
    return {
        "system": name,
        "fold": fold,
        "steps": max(entry["step"] for entry in log),
        "best_step": best["step"],
        "best_metric": best["eval_ua_spk"],
        "minutes": sum(entry.get("train_runtime", 0) for entry in log) / 60,
    }
