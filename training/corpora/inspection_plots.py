"""Plots of what is in tables."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from emoicl.training.corpora.inspection import Inspection
from emoicl.training.episodes.enrollment import SETTINGS


MAX_NAMED_SPEAKERS = 60
LARGEST_K = 10


def plot_counts(inspection: Inspection, path: str | Path) -> Figure:
    """
    Draws the number of clips of each speaker in each emotion, a panel for each corpus. Missing cells are white.

    Args:
        inspection ([`Inspection`]): What was found.
        path (`str` or `Path`): Image file to write.

    Returns:
        `matplotlib.figure.Figure`: What was written.
    """
    corpora = inspection.counts
    num_speakers = max(map(len, corpora.values()))
    figure = Figure(figsize=(1.5 + 4 * len(corpora), 2.5 + 0.2 * min(num_speakers, MAX_NAMED_SPEAKERS)))
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, len(corpora), squeeze=False)[0]
    for axes, (corpus, speakers) in zip(panels, corpora.items(), strict=True):
        emotions = list(next(iter(speakers.values())))
        counts = np.array([list(of_speaker.values()) for of_speaker in speakers.values()], dtype=float)
        image = axes.imshow(
            np.where(counts, counts, np.nan), aspect="auto", cmap="viridis", vmin=0, interpolation="nearest"
        )
        axes.set_title(f"{corpus}: {len(speakers)} speakers")
        axes.set_xticks(range(len(emotions)), emotions, rotation=90)
        if len(speakers) <= MAX_NAMED_SPEAKERS:
            axes.set_yticks(range(len(speakers)), list(speakers), fontsize="small")
        else:
            axes.set_ylabel("speakers")
        figure.colorbar(image, ax=axes, label="clips (white: none)")
    return _save(figure, path)


def plot_durations(inspection: Inspection, path: str | Path) -> Figure:
    """
    Draws the durations of each emotion of each corpus: quartiles, 5 % and 95 %, and what is outside of these.

    Args:
        inspection ([`Inspection`]): What was found.
        path (`str` or `Path`): Image file to write.

    Returns:
        `matplotlib.figure.Figure`: What was written.
    """
    boxes = {
        f"{corpus}: {emotion}": seconds
        for corpus, emotions in inspection.durations.items()
        for emotion, seconds in emotions.items()
    }
    figure = Figure(figsize=(2 + 0.4 * len(boxes), 4.8), layout="constrained")
    axes = figure.subplots()
    if boxes:
        axes.boxplot(list(boxes.values()), whis=(5, 95), flierprops={"markersize": 2})
        axes.set_xticks(range(1, len(boxes) + 1), list(boxes), rotation=90)
    axes.set(ylabel="duration (s)", ylim=(0, None), title="Durations")
    axes.grid(alpha=0.3, axis="y")
    return _save(figure, path)


def plot_shots(inspection: Inspection, path: str | Path) -> Figure:
    """
    Draws in how many speakers each of the nine enrollment settings can be met with k shots.

    Args:
        inspection ([`Inspection`]): What was found.
        path (`str` or `Path`): Image file to write.

    Returns:
        `matplotlib.figure.Figure`: What was written.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    shots = range(1, LARGEST_K + 1)
    shares = [
        [100 * inspection.reachable(str(setting), k) / max(1, len(inspection.shots)) for k in shots]
        for setting in SETTINGS
    ]
    image = axes.imshow(shares, aspect="auto", cmap="viridis", vmin=0, vmax=100)
    for row, of_setting in enumerate(shares):
        for column, share in enumerate(of_setting):
            color = "black" if share > 60 else "white"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize="small", color=color)
    axes.set_xticks(range(LARGEST_K), list(map(str, shots)))
    axes.set_yticks(range(len(SETTINGS)), list(map(str, SETTINGS)))
    axes.set(xlabel="k (shots)", ylabel="enrollment setting", title="Speakers who can be enrolled")
    figure.colorbar(image, ax=axes, label="% of speakers")
    return _save(figure, path)


def _save(figure: Figure, path: str | Path) -> Figure:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return figure
