from typing import Any

import numpy as np
import pytest

from emoicl.training.evaluation.reports import Condition, EvaluationReport
from emoicl.training.experiments.measurement import Outcome
from emoicl.training.experiments.reproduction import tables


REFERENCES = ["Joy", "Anger", "Joy", "Anger"]
SPEAKERS = ["a", "a", "b", "b"]
TITLES = {"scratch": "Scratch", "pretrained": "Pretrained", "personalized_a": "Personalized_A", "proposed": "Proposed"}
RIGHT = {0.25: [1, 0, 0, 0], 0.5: [1, 0, 1, 0], 0.75: [1, 1, 1, 0], 1.0: [1, 1, 1, 1]}


def outcome(accuracies, reasons=None, setting="TU+LD", label=None):
    """Answers with a given UA_spk under each condition, `(shots, control)`."""
    conditions = []
    for (shots, control), ua_spk in accuracies.items():
        condition = Condition(shots, control)
        columns = [
            int((label == "Anger") == bool(right)) for label, right in zip(REFERENCES, RIGHT[ua_spk], strict=True)
        ]
        condition.add(np.eye(2)[columns], ["Joy", "Anger"])
        conditions.append(condition)
    report = EvaluationReport(setting, [0], REFERENCES, SPEAKERS, conditions, ["Joy", "Anger"], label)
    return Outcome(report if conditions else None, reasons or {})


@pytest.fixture
def outcomes():
    own = {(0, None): 0.25, (2, None): 0.75, (2, "rotated"): 0.25}
    return {
        ("scratch", "TU+LD"): outcome({(0, None): 0.5}),
        ("pretrained", "TU+LD"): outcome({(0, None): 0.25}),
        ("personalized_a", "TU+LD"): outcome({(6, None): 0.75}, {7: "six emotions only"}),
        ("proposed", "TU+LD"): outcome(own, {7: "six emotions only"}),
        ("proposed", "TU+LO Anger"): outcome({}, {1: "no anger"}, "TU+LO", "Anger"),
        ("to_ld_7", "TU+LD"): outcome({(1, None): 1.0}),
    }


def test_table_ii(outcomes):
    rows = tables.table_ii(outcomes)
    assert [(row["system"], row["shots"]) for row in rows] == [
        ("scratch", 0), ("pretrained", 0), ("personalized_a", 6),
        ("proposed", 0), ("proposed", 2), ("proposed", 7),
    ]  # fmt: skip
    by_key = {(row["system"], row["shots"]): row for row in rows}
    proposed = by_key["proposed", 2]
    assert (proposed["ours"]["ua_spk"], proposed["ours"]["min"], proposed["paper"]["ua_spk"]) == (0.75, 0.5, 0.717)
    assert proposed["ours"]["worst_speaker"] == "b"
    lacking = by_key["proposed", 7]
    assert (lacking["ours"], lacking["reason"], lacking["paper"]["min"]) == (None, "six emotions only", 0.471)


def test_one_utterance_of_each_emotion_that_there_is(outcomes):
    (row,) = [row for row in tables.table_ii(outcomes) if row["system"] == "personalized_a"]
    assert (row["shots"], row["ours"]["ua_spk"], row["paper"]["ua_spk"]) == (6, 0.75, 0.626)
    both = {("personalized_a", "TU+LD"): outcome({(6, None): 0.75, (7, None): 1.0})}
    assert [row["shots"] for row in tables.table_ii(both)] == [7]
    none = {("personalized_a", "TU+LD"): outcome({}, {1: "no emotion"})}
    assert [(row["shots"], row["reason"]) for row in tables.table_ii(none)] == [(1, "no emotion")]


def test_table_iii(outcomes):
    rows = tables.table_iii(outcomes)
    assert [(row["system"], row["setting"]) for row in rows] == [("proposed", "TU+LD"), ("proposed", "TU+LO Anger")]
    assert rows[0]["cells"] == [
        {"shots": 2, "ua_spk": 0.75, "reason": None},
        {"shots": 7, "ua_spk": None, "reason": "six emotions only"},
    ]
    assert rows[0]["paper"][1] == 0.717
    assert rows[1]["cells"] == [{"shots": 1, "ua_spk": None, "reason": "no anger"}]
    assert rows[1]["paper"][0] == 0.695


def test_table_iv(outcomes):
    rows = tables.table_iv(outcomes)
    assert [(row["system"], row["setting"]) for row in rows] == [("proposed", "TU+LD"), ("to_ld_7", "TU+LD")]
    assert rows[1]["cells"] == [{"shots": 1, "ua_spk": 1.0, "reason": None}]
    assert rows[1]["paper"][0] == 0.563


def test_controls(outcomes):
    (row,) = tables.controls(outcomes)
    assert (row["system"], row["control"], row["shots"]) == ("proposed", "rotated", 2)
    assert (row["own"], row["ua_spk"], row["difference"]["mean"]) == (0.75, 0.25, -0.5)


def test_claims(outcomes):
    rows = {(row["system"], row["shots"], row["other"], row["other_shots"]): row for row in tables.claims(outcomes)}
    assert sorted(rows) == [
        ("personalized_a", 6, "pretrained", 0), ("pretrained", 0, "scratch", 0), ("proposed", 2, "personalized_a", 6),
        ("proposed", 2, "proposed", 0),
    ]  # fmt: skip
    row = rows["proposed", 2, "proposed", 0]
    # Both speakers gain a half, so that every bootstrap sample does.
    assert row["ours"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert row["paper"] == pytest.approx(0.717 - 0.664)
    assert rows["pretrained", 0, "scratch", 0]["ours"]["mean"] == -0.25
    assert rows["proposed", 2, "personalized_a", 6]["paper"] == pytest.approx(0.717 - 0.626)


def test_systems_of_ones_own_are_compared_with_none_and_with_the_baseline(outcomes):
    outcomes["mine", "TU+LD"] = outcome({(0, None): 0.25, (2, None): 1.0})
    outcomes["prototypes", "TU+LD"] = outcome({(0, None): 0.5, (2, None): 0.75})
    rows = [row for row in tables.claims(outcomes) if row["system"] == "mine"]
    assert [(row["shots"], row["other"], row["other_shots"]) for row in rows] == [(2, "mine", 0), (2, "prototypes", 2)]
    assert [(row["ours"]["mean"], row["paper"]) for row in rows] == [(0.75, None), (0.25, None)]


def test_order_of_systems(outcomes):
    order: Any = tables.order_of_systems(outcomes, TITLES)
    assert order["systems"] == [
        "Proposed, most shots", "Proposed, 0 shots", "Personalized_A", "Pretrained", "Scratch",
    ]  # fmt: skip
    assert order["swapped"] == [
        "Personalized_A (0.750) above Proposed, 0 shots (0.250)",
        "Scratch (0.500) above Proposed, 0 shots (0.250)",
        "Scratch (0.500) above Pretrained (0.250)",
    ]
    assert 0 < order["correlation"] < 0.8


def test_a_system_stands_for_one_of_the_paper(outcomes):
    outcomes["made_up", "TU+LD"] = outcome({(0, None): 0.75, (7, None): 1.0})
    rows = {(row["system"], row["shots"]): row["paper"] for row in tables.table_ii(outcomes)}
    assert rows["made_up", 7] == rows["proposed", 7] is not None
    made_up = next(row for row in tables.table_iii(outcomes) if row["system"] == "made_up")
    assert (made_up["setting"], made_up["paper"][0]) == ("TU+LD", 0.698)
    claims = {(row["system"], row["other"], row["other_shots"]): row for row in tables.claims(outcomes)}
    assert claims["made_up", "made_up", 0]["paper"] == pytest.approx(0.757 - 0.664)
    # Of the paper they are one system, which is as good as itself.
    assert claims["made_up", "proposed", 0]["paper"] is None
    own, in_its_place = tables.orders_of_systems(outcomes, TITLES | {"made_up": "Made up"})
    assert own == tables.order_of_systems(outcomes, TITLES)
    assert in_its_place["systems"][:2] == ["Made up, most shots", "Made up, 0 shots"]
    assert in_its_place["swapped"] == ["Scratch (0.500) above Pretrained (0.250)"]


def test_two_systems_have_no_order(outcomes):
    assert tables.order_of_systems({key: outcomes[key] for key in list(outcomes)[:2]}, TITLES) is None
