"""The plot of a reproduction: all systems against the number of shots."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from emoicl.training.experiments.reproduction.paper import TABLE_II
from emoicl.training.experiments.reproduction.tables import Outcomes, table_ii


def plot_systems(outcomes: Outcomes, titles: Mapping[str, str], path: str | Path, title: str) -> Figure:
    """
    Draws UA_spk against the number of shots: a line for each system with several numbers of shots, a point for each
    with one, and the paper's proposed system, dotted.

    Args:
        outcomes (`Mapping`): Outcomes by system and test.
        titles (`Mapping[str, str]`): What the systems are called.
        path (`str` or `Path`): Image file to write.
        title (`str`): Title of the plot.

    Returns:
        `Figure`: What was drawn.
    """
    curves: dict[str, dict[int, float]] = {}
    for row in table_ii(outcomes):
        if row["ours"]:
            curves.setdefault(titles[row["system"]], {})[row["shots"]] = row["ours"]["ua_spk"]
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, (label, curve) in enumerate(curves.items()):
        axes.plot(*zip(*sorted(curve.items()), strict=True), marker="o", color=f"C{number}", label=label)
    paper = {k: row.ua_spk for (system, k), row in TABLE_II.items() if system == "proposed"}
    axes.plot(*zip(*sorted(paper.items()), strict=True), ":", color="grey", label="Proposed, in the paper")
    axes.set(xlabel="Shots (labeled utterances of the speaker)", ylabel="UA_spk", title=title)
    axes.set_xticks(range(8))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize="small", frameon=False)
    figure.savefig(path, dpi=110)
    return figure
