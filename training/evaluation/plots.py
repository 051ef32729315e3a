"""Plots of evaluation reports."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emoicl.training.evaluation.metrics import calibration_bins, expected_calibration_error
from emoicl.training.evaluation.reports import CONTROL_NAMES, EvaluationReport


CONTROL_MARKS = (("rotated", "v", "tab:red"), ("other_speaker", "s", "tab:red"), ("unlabeled", "D", "tab:green"))


def plot_shots(report: EvaluationReport, path: str | Path, title: str | None = None) -> Figure:
    """
    Draws accuracy against the number of shots: a thin line for each speaker, a thick one for their mean.

    Args:
        report ([`EvaluationReport`]): Its conditions without a control are drawn; controls become single points, and
            so do shots without labels, in a color of their own, as they are to tell something else.
        path (`str` or `Path`): Image file to write.
        title (`str`, *optional*): Title of the plot.

    Returns:
        `matplotlib.figure.Figure`: What was written.
    """
    shots = shots_of(report)
    accuracies = {k: report.accuracy(k) for k in shots}
    figure, axes = _figure(6.4, 4.2)
    for speaker_id in accuracies[shots[0]].per_speaker:
        of_speaker = [accuracies[k].per_speaker[speaker_id] for k in shots]
        axes.plot(shots, of_speaker, color="tab:gray", linewidth=0.7, alpha=0.6)
    means = [accuracies[k].ua_spk for k in shots]
    axes.plot(shots, means, color="tab:blue", linewidth=3, marker="o", label="mean over speakers")
    for control, marker, color in CONTROL_MARKS:
        points = [
            (c.shots, report.accuracy(c.shots, control).ua_spk) for c in report.conditions if c.control == control
        ]
        if points:
            name = CONTROL_NAMES[control]
            label = name if control == "unlabeled" else f"control: {name}"
            axes.plot(*zip(*points, strict=True), marker, color=color, label=label)
    axes.plot([], [], color="tab:gray", linewidth=0.7, label="one speaker")
    axes.set(xlabel="shots (labeled utterances of the speaker)", ylabel="accuracy", xticks=shots, ylim=(0, 1))
    axes.set_title(title or f"{len(accuracies[shots[0]].per_speaker)} unseen speakers, {report.setting}")
    axes.legend(loc="lower right", fontsize="small")
    return _save(figure, path)


def plot_speakers(report: EvaluationReport, path: str | Path, title: str | None = None) -> Figure:
    """
    Draws who gains by enrollment: the accuracy of each speaker with the most shots against that with the fewest. Who
    gains is above the diagonal.

    Args:
        report ([`EvaluationReport`]): Its smallest and its largest number of shots are compared.
        path (`str` or `Path`): Image file to write.
        title (`str`, *optional*): Title of the plot.

    Returns:
        `matplotlib.figure.Figure`: What was written.
    """
    fewest, most = shots_of(report)[0], shots_of(report)[-1]
    few, many = report.accuracy(fewest), report.accuracy(most)
    points = [(few.per_speaker[speaker_id], many.per_speaker[speaker_id]) for speaker_id in few.per_speaker]
    figure, axes = _figure(4.6, 4.6)
    axes.plot([0, 1], [0, 1], color="tab:gray", linewidth=1)
    axes.scatter(*zip(*points, strict=True), color="tab:blue", alpha=0.6, label="one speaker")
    axes.scatter([few.ua_spk], [many.ua_spk], color="tab:red", marker="+", s=150, label="mean over speakers")
    axes.set(xlabel=f"accuracy at {fewest} shots", ylabel=f"accuracy at {most} shots", xlim=(0, 1), ylim=(0, 1))
    gaining = sum(y > x for x, y in points)
    axes.set_title(title or f"{gaining} of {len(points)} speakers gain, {report.setting}")
    axes.legend(loc="lower right", fontsize="small")
    return _save(figure, path)


def plot_reliability(
    report: EvaluationReport,
    path: str | Path,
    shots: Sequence[int] | None = None,
    bins: int = 10,
    title: str | None = None,
) -> Figure:
    """
    Draws how often answers are right against how probable they were said to be (a reliability diagram; Guo et al.
    2017). Perfect calibration is the diagonal; below it, a system is too sure of itself.

    Args:
        report ([`EvaluationReport`]): Its conditions without a control.
        path (`str` or `Path`): Image file to write.
        shots (`Sequence[int]`, *optional*): Numbers of shots to draw; by default the smallest and the largest.
        bins (`int`, *optional*, defaults to 10): Number of bins of confidence; those without answers are left out.
        title (`str`, *optional*): Title of the plot.

    Returns:
        `matplotlib.figure.Figure`: What was written.
    """
    figure, axes = _figure(4.6, 4.6)
    axes.plot([0, 1], [0, 1], color="tab:gray", linewidth=1)
    for k in sorted({shots_of(report)[0], shots_of(report)[-1]}) if shots is None else shots:
        probabilities, references = report.answers(k)
        counts, accuracies, confidences = calibration_bins(probabilities, references, bins)
        error = expected_calibration_error(probabilities, references)
        filled = counts > 0
        (line,) = axes.plot(confidences[filled], accuracies[filled], label=f"{k} shots (ECE {error:.3f})")
        sizes = 150 * counts[filled] / counts.sum()
        axes.scatter(confidences[filled], accuracies[filled], sizes, color=line.get_color())
    axes.set(xlabel="probability of the answer", ylabel="share of answers that are right", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(title or f"Calibration, {report.setting}")
    axes.legend(loc="upper left", fontsize="small")
    return _save(figure, path)


def shots_of(report: EvaluationReport) -> list[int]:
    """The numbers of shots that a report has without a control, ascending."""
    return sorted(condition.shots for condition in report.conditions if condition.control is None)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Figure, path: str | Path) -> Figure:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return figure
