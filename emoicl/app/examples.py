"""Bundled speakers to try the page with."""

from collections.abc import Sequence
from dataclasses import dataclass

from emoicl.bundled import BUNDLED_CLIPS
from emoicl.training.data.corpus import Utterance, load_corpus


@dataclass(frozen=True)
class ExampleSpeaker:
    """
    A speaker with an enrollment and a target.

    Args:
        enrollment (`tuple[Utterance, ...]`): One utterance of each label.
        target (`Utterance`): Another utterance.
    """

    enrollment: tuple[Utterance, ...]
    target: Utterance


def example_speakers(candidate_labels: Sequence[str]) -> list[ExampleSpeaker]:
    """
    The bundled speakers, each with another label as target.

    Args:
        candidate_labels (`Sequence[str]`): The labels of the model. Without all of the bundled clips' labels among
            them there are no examples.
    """
    corpus = load_corpus(BUNDLED_CLIPS)
    if not set(corpus.labels) <= set(candidate_labels):
        return []
    labels = [label for label in candidate_labels if label in corpus.labels]
    speakers = []
    for number, indices in enumerate(corpus.by_speaker.values()):
        takes = {label: [corpus[i] for i in indices if corpus.labels[i] == label] for label in labels}
        # In turn, not by how well they are recognized.
        target = takes[labels[number % len(labels)]][1]
        speakers.append(ExampleSpeaker(tuple(takes[label][0] for label in labels), target))
    return speakers
