"""What follows a click: from the values of the page's parts to new values, or to a message."""

from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr

from emoicl.app import views
from emoicl.app.examples import ExampleSpeaker, example_speakers, has_examples
from emoicl.app.session import Session, enroll, recognize, remove
from emoicl.processing.pipeline_emoicl import EmoIclPipeline


CONSENT_NEEDED = "Tick the box first: a person is enrolled only with their informed consent."
NO_RECORDING = "Record or upload an utterance first."
# In brackets, as no emotion is called.
NO_LABEL = "(no label)"


class Actions:
    """
    The actions of the page.

    Args:
        pipe ([`EmoIclPipeline`]): The recognizer.
    """

    def __init__(self, pipe: EmoIclPipeline):
        self.pipe = pipe
        self.labels: list[str] = list(pipe.processor.candidate_labels)
        self.has_examples = has_examples(pipe)

    @cached_property
    def examples(self) -> list[ExampleSpeaker]:
        """Speakers to try the page with. To choose them takes as long as the model takes for all bundled clips."""
        return example_speakers(self.pipe)

    def choose_examples(self) -> None:
        """Chooses them before somebody asks for one."""
        if self.has_examples:
            _ = self.examples

    def add(self, session: Session, recording: str | None, label: str, consent: bool) -> tuple[Any, ...]:
        """
        Enrolls an utterance.

        Returns:
            `tuple`: the session, the recording (taken away if it was enrolled), the label to go on with, and the
            message box.
        """
        try:
            if not consent:
                raise ValueError(CONSENT_NEEDED)
            if recording is None:
                raise ValueError(NO_RECORDING)
            session = enroll(self.pipe, session, [(recording, None if label == NO_LABEL else label)])
        except (ValueError, OSError) as error:
            return session, recording, label, views.problem_view(str(error))
        missing = [label for label in self.labels if label not in session.labels]
        # Who has recordings without labels has more of them.
        following = missing[0] if missing and label != NO_LABEL else label
        return session, None, following, views.problem_view()

    def remove(self, session: Session, event: gr.EventData) -> Session:
        """Takes out the utterance whose button was clicked."""
        return remove(session, event.index)

    def clear(self) -> tuple[Session, str]:
        """Forgets the speaker: an empty session and message box."""
        return Session(), views.problem_view()

    def show_profile(self, session: Session) -> str:
        """The table of the profile."""
        return views.profile_view(session, self.pipe.processor.max_shots)

    def recognize(self, session: Session, target: str | None) -> str:
        """The answer about the target, or why there is none."""
        if target is None:
            return views.answer_view()
        try:
            return views.answer_view(recognize(self.pipe, session, target))
        except (ValueError, OSError) as error:
            return views.problem_view(str(error))

    def show_example(self, turn: int) -> tuple[Session, bytes | Path, str, str, int]:
        """
        Enrolls a bundled speaker, and offers another utterance of theirs.

        Args:
            turn (`int`): How many examples were shown before.

        Returns:
            `tuple`: the session, the target, the line that says whose it is, the message box, and the next turn.
        """
        number = turn % len(self.examples)
        speaker = self.examples[number]
        session = enroll(self.pipe, Session(), [(shot.audio, shot.label) for shot in speaker.enrollment])
        said = views.example_view(number + 1, len(self.examples), speaker.target.label)
        return session, speaker.target.audio, said, views.problem_view(), turn + 1
