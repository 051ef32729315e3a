"""Bundled speakers to try the page with."""

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


def has_examples(pipe: EmoIclPipeline) -> bool:
    """Whether all of the bundled clips' labels are among those of the model."""
    return set(load_corpus(BUNDLED_CLIPS).labels) <= set(pipe.processor.candidate_labels)


def example_speakers(pipe: EmoIclPipeline) -> list[ExampleSpeaker]:
    """
    The bundled speakers, each with the target of which the model's two best labels are nearest to each other without
    enrollment, and in the order of how near: that is where an enrollment has something to tell. Neither the right
    label nor the answer with the enrollment is looked at.

    Args:
        pipe ([`EmoIclPipeline`]): The recognizer, one that [`has_examples`].
    """
    corpus = load_corpus(BUNDLED_CLIPS)
    labels = [label for label in pipe.processor.candidate_labels if label in corpus.labels]
    examples = []
    for indices in corpus.by_speaker.values():
        takes = {label: [corpus[i] for i in indices if corpus.labels[i] == label] for label in labels}
        enrollment = tuple(takes[label][0] for label in labels)
        examples += [ExampleSpeaker(enrollment, target) for label in labels for target in takes[label][1:]]
    answers = pipe([example.target.audio for example in examples], top_k=2, batch_size=16)
    margins = [best["score"] - second["score"] for best, second in answers]
    nearest: dict[str, ExampleSpeaker] = {}
    for number in sorted(range(len(examples)), key=margins.__getitem__):
        nearest.setdefault(examples[number].target.speaker_id, examples[number])
    return list(nearest.values())
