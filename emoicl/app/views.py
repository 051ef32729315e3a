"""What the page shows of an answer and of a profile, as HTML."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from emoicl.app.session import HOP_S, MAX_RECORDING_S, WINDOW_S, Answer, Session
from emoicl.trust import note_on


def clock(seconds: float) -> str:
    """Seconds as a player shows them: `"1:05"`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["clock"] = clock
NUM_TICKS = 5


def header_view() -> str:
    """What the page is."""
    return TEMPLATES.get_template("header.html.jinja").render()


def notice_view() -> str:
    """What the page may be used for, in one line that is always in sight."""
    return TEMPLATES.get_template("notice.html.jinja").render()


def about_view() -> str:
    """Intended and forbidden use, what an answer means, and what becomes of recordings."""
    return TEMPLATES.get_template("about.html.jinja").render(max_minutes=MAX_RECORDING_S / 60)


def problem_view(message: str = "") -> str:
    """A message box, or nothing."""
    return TEMPLATES.get_template("problem.html.jinja").render(message=message) if message else ""


def profile_view(session: Session, max_shots: int) -> str:
    """
    The enrolled utterances, each with a button to remove it.

    Args:
        session ([`Session`]): The enrollment.
        max_shots (`int`): Largest number of utterances that the model takes.
    """
    shots = zip(session.labels, session.durations_s, strict=True)
    return TEMPLATES.get_template("profile.html.jinja").render(shots=list(shots), max_shots=max_shots)


def answer_view(answer: Answer | None = None) -> str:
    """The probabilities without and with the enrollment side by side, and the timeline of a long recording."""
    if answer is None:
        return TEMPLATES.get_template("no_answer.html.jinja").render()
    columns = [("Without enrollment", answer.without)]
    if answer.personalized is not None:
        columns.append((f"With {answer.shots} utterance{'s' * (answer.shots > 1)}", answer.personalized))
    return TEMPLATES.get_template("answer.html.jinja").render(
        answer=answer,
        labels=list(answer.without),
        columns=[(title, scores, max(scores, key=lambda label: scores[label])) for title, scores in columns],
        lanes={label: cells(answer, label) for label in answer.without} if answer.windows else {},
        ticks=[answer.duration_s * i / (NUM_TICKS - 1) for i in range(NUM_TICKS)],
        window_s=WINDOW_S,
        hop_s=HOP_S,
        note=note_on(answer.familiarity),
    )


def cells(answer: Answer, label: str) -> list[tuple[float, float | None, str]]:
    """A label's lane of the timeline: for each window the width of its cell in seconds, up to where the next window
    starts, the label's probability, which silence has not, and the cell's title."""
    starts = [window.start_s for window in answer.windows]
    return [
        (
            end_s - window.start_s,
            window.scores.get(label),
            f"{clock(window.start_s)} to {clock(window.end_s)}: "
            + (f"{label} {window.scores[label]:.0%}" if window.scores else "silent"),
        )
        for window, end_s in zip(answer.windows, [*starts[1:], answer.duration_s], strict=True)
    ]


def example_view(number: int, num_speakers: int, label: str) -> str:
    """Whose utterance the target is, and what it should be."""
    return TEMPLATES.get_template("example.html.jinja").render(number=number, num_speakers=num_speakers, label=label)


def step_view(number: int, title: str, text: str) -> str:
    """The heading of a part of the page."""
    return TEMPLATES.get_template("step.html.jinja").render(number=number, title=title, text=text)
