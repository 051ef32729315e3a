"""Bundled speakers to try the page with."""

from collections.abc import Sequence
from dataclasses import dataclass

from emoicl.bundled import BUNDLED_CLIPS
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
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


def least_sure_first(pipe: EmoIclPipeline, speakers: Sequence[ExampleSpeaker]) -> list[ExampleSpeaker]:
    """The speakers in the order of how sure the model is of their target without enrollment: that is where an
    enrollment has something to tell. Neither the right label nor the answer with it is looked at."""
    if not speakers:
        return []
    answers = pipe([speaker.target.audio for speaker in speakers], top_k=1)
    order = sorted(range(len(speakers)), key=lambda number: answers[number][0]["score"])
    return [speakers[number] for number in order]
