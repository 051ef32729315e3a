import numpy as np
import pytest
from matplotlib.image import imread

from emoicl.training.evaluation.plots import plot_reliability, plot_shots, plot_speakers
from emoicl.training.evaluation.reports import Condition, EvaluationReport


CANDIDATES = ["Joy", "Fear"]
PLOTS = (plot_shots, plot_speakers, plot_reliability)
JOY, FEAR = [0.75, 0.25], [0.0, 1.0]


@pytest.fixture
def report():
    """Speaker a is right from 1 shot, b from 2 shots on."""
    conditions = [Condition(2), Condition(0), Condition(1), Condition(2, "rotated")]
    for condition, answers in zip(conditions, ([JOY, JOY], [FEAR, FEAR], [JOY, FEAR], [FEAR, FEAR]), strict=True):
        condition.add(np.array(answers), CANDIDATES)
    return EvaluationReport("TU+LD", [0], ["Joy", "Joy"], ["a", "b"], conditions, CANDIDATES)


def points(line):
    return list(line.get_xdata()), list(line.get_ydata())


@pytest.mark.parametrize("plot", PLOTS)
def test_an_image_is_written_and_its_axes_are_named(plot, report, tmp_path):
    (axes,) = plot(report, tmp_path / "new" / "plot.png").axes
    image = imread(tmp_path / "new" / "plot.png")
    assert min(image.shape[:2]) > 500
    assert image.std() > 0.05
    assert "TU+LD" in axes.get_title()
    assert axes.get_xlabel() and axes.get_ylabel()
    assert (tmp_path / "new" / "plot.png").stat().st_size < 200_000


@pytest.mark.parametrize("plot", PLOTS)
def test_plots_are_the_same_each_time(plot, report, tmp_path):
    for name in ("a.png", "b.png"):
        (axes,) = plot(report, tmp_path / name, title="Two speakers").axes
        assert axes.get_title() == "Two speakers"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_line_for_each_speaker_and_a_thick_one_for_the_mean(report, tmp_path):
    (axes,) = plot_shots(report, tmp_path / "plot.png").axes
    a, b, mean = axes.lines[:3]
    assert points(a) == ([0, 1, 2], [0, 1, 1])
    assert points(b) == ([0, 1, 2], [0, 0, 1])
    assert points(mean) == ([0, 1, 2], [0, 0.5, 1])
    assert mean.get_linewidth() > 2 * a.get_linewidth()
    assert axes.get_title() == "2 unseen speakers, TU+LD"
    assert ("shots" in axes.get_xlabel(), axes.get_ylabel()) == (True, "accuracy")


def test_controls_are_points(report, tmp_path):
    (axes,) = plot_shots(report, tmp_path / "plot.png").axes
    control = next(line for line in axes.lines if line.get_label() == "control: rotated")
    assert points(control) == ([2], [0])


def test_shots_without_labels_are_a_point_but_no_control(report, tmp_path):
    report.conditions[-1].control = "unlabeled"
    (axes,) = plot_shots(report, tmp_path / "plot.png").axes
    (point,) = [line for line in axes.lines if line.get_label() == "without labels"]
    assert points(point) == ([2], [0])
    assert not any(str(line.get_label()).startswith("control") for line in axes.lines)


def test_who_gains_is_above_the_diagonal(report, tmp_path):
    report.conditions = report.conditions[1:3]
    (axes,) = plot_speakers(report, tmp_path / "plot.png").axes
    speakers, mean = axes.collections
    assert np.asarray(speakers.get_offsets()).tolist() == [[0, 1], [0, 0]]
    assert np.asarray(mean.get_offsets()).tolist() == [[0, 0.5]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("accuracy at 0 shots", "accuracy at 1 shots")
    assert axes.get_title().startswith("1 of 2 speakers gain")


def test_reliability_of_the_fewest_and_the_most_shots(report, tmp_path):
    (axes,) = plot_reliability(report, tmp_path / "plot.png").axes
    diagonal, none, two = axes.lines
    assert points(diagonal) == ([0, 1], [0, 1])
    assert points(none) == ([1], [0])  # always sure, never right
    assert points(two) == ([0.75], [1])
    assert (none.get_label(), two.get_label()) == ("0 shots (ECE 1.000)", "2 shots (ECE 0.250)")
    (axes,) = plot_reliability(report, tmp_path / "plot.png", shots=[1]).axes
    assert points(axes.lines[1]) == ([0.75, 1], [1, 0])
