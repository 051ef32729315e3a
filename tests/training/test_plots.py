import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from emoicl.training.evaluation import Condition, EvaluationReport
from emoicl.training.plots import plot_shots


@pytest.fixture
def report():
    """Speaker a is right from 1 shot, b from 2 shots on."""
    conditions = [
        Condition(2, None, [["Joy", "Joy"]]),
        Condition(0, None, [["Fear", "Fear"]]),
        Condition(1, None, [["Joy", "Fear"]]),
        Condition(2, "rotated", [["Fear", "Fear"]]),
    ]
    return EvaluationReport("TU+LD", [0], ["Joy", "Joy"], ["a", "b"], conditions)


@pytest.fixture
def axes(report, tmp_path, monkeypatch):
    """The axes that are drawn."""
    figures = []
    subplots = Figure.subplots
    monkeypatch.setattr(Figure, "subplots", lambda figure: figures.append(subplots(figure)) or figures[-1])
    plot_shots(report, tmp_path / "plot.png")
    return figures[0]


def test_an_image_is_written(report, tmp_path):
    plot_shots(report, tmp_path / "new" / "plot.png", title="Two speakers")
    image = imread(tmp_path / "new" / "plot.png")
    assert image.shape[0] > 300 and image.shape[1] > 500
    assert image.std() > 0.05


def test_a_line_for_each_speaker_and_a_thick_one_for_the_mean(axes):
    lines = [(list(line.get_xdata()), list(line.get_ydata()), line.get_linewidth()) for line in axes.lines]
    a, b, mean = ((x, y) for x, y, _ in lines[:3])
    assert a == ([0, 1, 2], [0, 1, 1])
    assert b == ([0, 1, 2], [0, 0, 1])
    assert mean == ([0, 1, 2], [0, 0.5, 1])
    assert lines[2][2] > 2 * lines[0][2]


def test_controls_are_points_and_axes_are_named(axes):
    control = next(line for line in axes.lines if line.get_label() == "control: rotated")
    assert (list(control.get_xdata()), list(control.get_ydata())) == ([2], [0])
    assert "shots" in axes.get_xlabel()
    assert axes.get_ylabel() == "accuracy"
    assert axes.get_title() == "2 unseen speakers, TU+LD"
