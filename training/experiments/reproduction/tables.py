"""The paper's tables and what they lack, made of the outcomes of one group of speakers."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from scipy.stats import spearmanr

from emoicl.training.evaluation.plots import shots_of
from emoicl.training.evaluation.reports import EvaluationReport
from emoicl.training.experiments.measurement import Outcome
from emoicl.training.experiments.reproduction.paper import TABLE_II, TABLE_III, TABLE_IV, PaperRow


# By name of the system and of the test.
Outcomes = Mapping[tuple[str, str], Outcome]
Row = dict[str, Any]

# Systems of Tables III and IV.
SETTING_SYSTEMS = ("proposed", "made_up", "adapted")
# Whose numbers of the paper a system of ours stands beside.
STANDS_FOR = {"made_up": "proposed"}
ABLATIONS = ("proposed", "to_ld_7", "neutral_0_7")
NEUTRAL = "TU+LO Neutral"
# (system, shots) against (system, shots); None is the largest number of shots that there is.
CLAIMS: tuple[tuple[str, int | None, str, int | None], ...] = (
    ("pretrained", 0, "scratch", 0),
    ("personalized_n", 1, "pretrained", 0),
    ("personalized_a", None, "pretrained", 0),
    ("zero_shot", 0, "pretrained", 0),
    ("zero_shot", 0, "linear_probe", 0),
    ("one_shot_n", 1, "zero_shot", 0),
    ("proposed", 0, "zero_shot", 0),
    ("proposed", None, "proposed", 0),
    ("proposed", None, "personalized_a", None),
    ("proposed", None, "prototypes", None),
    ("prototypes", None, "prototypes", 0),
    ("made_up", None, "made_up", 0),
    ("made_up", 0, "proposed", 0),
    ("made_up", None, "proposed", None),
    ("made_up", None, "personalized_a", None),
    ("adapted", None, "adapted", 0),
    ("adapted", None, "proposed", None),
    ("adapted", None, "prototypes", None),
)


def main_outcome(outcomes: Outcomes, name: str) -> Outcome | None:
    """The outcome of a system that Table II is about, which is that of its first test."""
    return next((outcome for (system, _), outcome in outcomes.items() if system == name), None)


def table_ii(outcomes: Outcomes) -> list[Row]:
    """
    Table II: each system at each number of shots, with everything that a report has of it, beside the paper's.

    Args:
        outcomes (`Mapping`): Outcomes by system and test.

    Returns:
        `list[dict]`: Rows with `system`, `shots`, `ours` (numbers, or `None`), `reason` (why there are none) and
        `paper` (numbers, or `None`).
    """
    rows = []
    for name in dict.fromkeys(system for system, _ in outcomes):
        outcome = main_outcome(outcomes, name)
        if outcome is None or name in ABLATIONS[1:]:
            continue
        numbers = {row["shots"]: row for row in own_rows(outcome)}
        shots = sorted({*numbers, *outcome.reasons})
        if name == "personalized_a" and numbers:
            # One utterance of each emotion, which are as many as the corpus has.
            shots = [max(numbers)]
        for k in shots:
            paper = paper_row(name, k)
            rows.append(
                {
                    "system": name,
                    "shots": k,
                    "ours": numbers.get(k),
                    "reason": outcome.reasons.get(k),
                    "paper": asdict(paper) if paper else None,
                }
            )
    return rows


def paper_row(name: str, k: int) -> PaperRow | None:
    """The paper's row of a system; Personalized_A has just one, whatever the number of emotions."""
    return TABLE_II.get((STANDS_FOR.get(name, name), 7 if name == "personalized_a" else k))


def own_rows(outcome: Outcome) -> list[Row]:
    """Rows of an outcome without those of the controls."""
    if outcome.report is None:
        return []
    return [row for row in outcome.report.as_dict()["rows"] if row["control"] is None]


def ua_spk_by_shots(outcome: Outcome) -> dict[int, float]:
    """UA_spk at each number of shots, without the controls."""
    if outcome.report is None:
        return {}
    return {k: outcome.report.accuracy(k).ua_spk for k in shots_of(outcome.report)}


def table_of_settings(
    outcomes: Outcomes, systems: tuple[str, ...], paper: Mapping[Any, tuple[float, ...]]
) -> list[Row]:
    """UA_spk by system and setting, from 1 shot on: the form of Tables III and IV."""
    rows = []
    for (name, test), outcome in outcomes.items():
        if name not in systems:
            continue
        numbers = {k: ua_spk for k, ua_spk in ua_spk_by_shots(outcome).items() if k}
        reasons = {k: reason for k, reason in outcome.reasons.items() if k}
        cells = [
            {"shots": k, "ua_spk": numbers.get(k), "reason": reasons.get(k)} for k in sorted({*numbers, *reasons})
        ]
        of_paper = paper.get((STANDS_FOR.get(name, name), test), ())
        rows.append({"system": name, "setting": test, "cells": cells, "paper": list(of_paper)})
    return sorted(rows, key=lambda row: systems.index(row["system"]))


def table_iii(outcomes: Outcomes) -> list[Row]:
    """Table III: the settings of the enrollment at test time, of the systems that use any enrollment."""
    paper = {("proposed", setting): numbers for setting, numbers in TABLE_III.items()}
    return table_of_settings(outcomes, SETTING_SYSTEMS, paper)


def table_iv(outcomes: Outcomes) -> list[Row]:
    """Table IV: the settings of the enrollment in meta-training, tested with TU+LD and with neutral utterances."""
    tested = {key: outcome for key, outcome in outcomes.items() if key[1] in ("TU+LD", NEUTRAL)}
    return table_of_settings(tested, ABLATIONS, TABLE_IV)


def controls(outcomes: Outcomes) -> list[Row]:
    """UA_spk with the speaker's enrollment, with its labels rotated, and with another speaker's."""
    rows = []
    for (name, _), outcome in outcomes.items():
        report = outcome.report
        if report is None or not any(condition.control for condition in report.conditions):
            continue
        k = max(condition.shots for condition in report.conditions)
        for control in [condition.control for condition in report.conditions if condition.control]:
            rows.append(
                {
                    "system": name,
                    "control": control,
                    "shots": k,
                    "own": report.accuracy(k).ua_spk,
                    "ua_spk": report.accuracy(k, control).ua_spk,
                    "difference": difference(report, report, k, k, control),
                }
            )
    return rows


def compared(outcomes: Outcomes) -> list[tuple[str, int | None, str, int | None]]:
    """[`CLAIMS`], and of each system that they pass over what enrollment gives it, and how far it is then ahead of the
    baseline with enrollment."""
    claimed = {system for system, *_ in CLAIMS}
    others = []
    for name in dict.fromkeys(system for system, _ in outcomes if system not in claimed):
        outcome = main_outcome(outcomes, name)
        shots = ua_spk_by_shots(outcome) if outcome else {}
        if 0 in shots and max(shots) > 0:
            others += [(name, None, name, 0), (name, None, "prototypes", None)]
    return [*CLAIMS, *others]


def claims(outcomes: Outcomes) -> list[Row]:
    """Differences of UA_spk with a 95 % bootstrap interval over speakers, beside those of the paper."""
    rows = []
    for better, shots, worse, other_shots in compared(outcomes):
        here, there = (main_outcome(outcomes, name) for name in (better, worse))
        if not (here and there and here.report and there.report):
            continue
        k = most_shots(here) if shots is None else shots
        other_k = most_shots(there) if other_shots is None else other_shots
        ours = difference(here.report, there.report, k, other_k)
        of_better, of_worse = paper_row(better, k), paper_row(worse, other_k)
        paper = None
        # Both may stand for one system of the paper.
        if of_better and of_worse and of_better is not of_worse:
            paper = of_better.ua_spk - of_worse.ua_spk
        rows.append(
            {
                "system": better,
                "shots": k,
                "other": worse,
                "other_shots": other_k,
                "ours": ours,
                "paper": paper,
            }
        )
    return rows


def difference(report: EvaluationReport, other: EvaluationReport, *conditions: Any) -> Row:
    """Mean difference of UA_spk and its interval, `None` where a single speaker gives no interval."""
    if len(set(report.speaker_ids)) > 1:
        return report.difference(other, *conditions)._asdict()
    shots, other_shots, *control = conditions
    mean = report.accuracy(shots, *control).ua_spk - other.accuracy(other_shots).ua_spk
    return {"mean": mean, "low": None, "high": None}


def most_shots(outcome: Outcome) -> int:
    return max(ua_spk_by_shots(outcome))


def orders_of_systems(outcomes: Outcomes, titles: Mapping[str, str]) -> list[Row]:
    """The order of the systems with *Proposed* as the paper has it, and with each that stands for it in its place."""
    proposed = [name for name in ("proposed", *STANDS_FOR) if main_outcome(outcomes, name)]
    orders = [order_of_systems(outcomes, titles, name) for name in proposed or ["proposed"]]
    return [order for order in orders if order]


def order_of_systems(outcomes: Outcomes, titles: Mapping[str, str], proposed: str = "proposed") -> Row | None:
    """
    How far the order of the systems agrees with the paper's Table II.

    Args:
        outcomes (`Mapping`): Outcomes by system and test.
        titles (`Mapping[str, str]`): What the systems are called.
        proposed (`str`, *optional*): The system that stands for the paper's *Proposed*.

    Returns:
        `dict`, *optional*: `systems` (best first in the paper), `correlation` (Spearman's; `None` if all are
        alike) and `swapped` (pairs in the other order here, as text); `None` for fewer than 3 systems.
    """
    ours, papers = {}, {}
    for name, k in TABLE_II:
        system = proposed if name == "proposed" else name
        outcome = main_outcome(outcomes, system)
        numbers = ua_spk_by_shots(outcome) if outcome else {}
        # The paper's row with all emotions stands beside that with as many as the corpus has.
        here = min(k, max(numbers)) if numbers else k
        most = max(shots for other, shots in TABLE_II if other == name)
        if here in numbers and k in (0, most):
            key = titles[system]
            if name == "proposed":
                key += ", most shots" if k else ", 0 shots"
            ours[key], papers[key] = numbers[here], TABLE_II[name, k].ua_spk
    if len(ours) < 3:
        return None
    names = sorted(ours, key=papers.__getitem__, reverse=True)
    swapped = [
        f"{worse} ({ours[worse]:.3f}) above {better} ({ours[better]:.3f})"
        for i, better in enumerate(names)
        for worse in names[i + 1 :]
        if ours[worse] > ours[better]
    ]
    correlation = None
    if len(set(ours.values())) > 1:
        result: Any = spearmanr([ours[name] for name in names], [papers[name] for name in names])
        correlation = float(result.statistic)
    return {"systems": names, "correlation": correlation, "swapped": swapped}
