"""Plots of evaluation reports."""

from pathlib import Path

from matplotlib.figure import Figure

from emoicl.training.evaluation import EvaluationReport


def plot_shots(report: EvaluationReport, path: str | Path, title: str | None = None) -> None:
    """
    Draws accuracy against the number of shots: a thin line for each speaker, a thick one for their mean.

    Args:
        report ([`EvaluationReport`]): Its conditions without a control are drawn; controls become single points.
        path (`str` or `Path`): Image file to write.
        title (`str`, *optional*): Title of the plot.
    """
    accuracies = {c.shots: report.accuracy(c.shots) for c in report.conditions if c.control is None}
    shots = sorted(accuracies)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for speaker_id in accuracies[shots[0]].per_speaker:
        of_speaker = [accuracies[k].per_speaker[speaker_id] for k in shots]
        axes.plot(shots, of_speaker, color="tab:gray", linewidth=0.7, alpha=0.6)
    means = [accuracies[k].ua_spk for k in shots]
    axes.plot(shots, means, color="tab:blue", linewidth=3, marker="o", label="mean over speakers")
    for control, marker in (("rotated", "v"), ("other_speaker", "s")):
        points = [
            (c.shots, report.accuracy(c.shots, control).ua_spk) for c in report.conditions if c.control == control
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True), marker, color="tab:red", label=f"control: {control.replace('_', ' ')}"
            )
    axes.plot([], [], color="tab:gray", linewidth=0.7, label="one speaker")
    axes.set(xlabel="shots (labelled utterances of the speaker)", ylabel="accuracy", xticks=shots, ylim=(0, 1))
    axes.set_title(title or f"{len(accuracies[shots[0]].per_speaker)} unseen speakers, {report.setting}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
