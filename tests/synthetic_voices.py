"""Corpora of made-up voices, and their features: about an emotion, a speaker and how the speaker sounds it."""

from dataclasses import replace

import numpy as np
import torch
from tiny import LABELS

from emoicl.training.data.corpus import Corpus, Utterance
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.enrollment import select_enrollment
from emoicl.training.episodes.episodes import Episode


HIDDEN_SIZE = 16


class SyntheticVoices(FeatureCache):
    """Stands for a feature cache: frames about `emotion + speaker + speaker's way of the emotion + noise`."""

    def __init__(self, corpus, seed):
        emotions = np.random.default_rng(0).normal(size=(len(LABELS), HIDDEN_SIZE))
        rng = np.random.default_rng(seed)
        speakers = {speaker: 2 * rng.normal(size=HIDDEN_SIZE) for speaker in corpus.by_speaker}
        # Keys in the corpus's order: that of a set of strings differs from one process to the next.
        cells = dict.fromkeys((u.speaker_id, u.label) for u in corpus)
        manners = {cell: 2 * rng.normal(size=HIDDEN_SIZE) for cell in cells}
        self.frames = {}
        for u in corpus:
            mean = emotions[LABELS.index(u.label)] + speakers[u.speaker_id] + manners[u.speaker_id, u.label]
            frames = mean + 2 * rng.normal(size=HIDDEN_SIZE) + rng.normal(size=(5, HIDDEN_SIZE))
            self.frames[u.name] = torch.tensor(frames, dtype=torch.float32)

    def fill(self, utterances):
        pass

    def load(self, utterances):
        frames = torch.stack([self.frames[utterance.name] for utterance in utterances])
        return {"speech_features": frames, "speech_features_mask": torch.ones(frames.shape[:2], dtype=torch.long)}


def voices(num_speakers, takes=4, labels=LABELS, seed=1):
    """A corpus and its features. Nothing decodes its clips."""
    names = [
        f"{speaker} {label} {take}" for speaker in range(num_speakers) for label in labels for take in range(takes)
    ]
    corpus = Corpus(Utterance(name.encode(), name.split()[1], name.split()[0], name) for name in names)
    return corpus, SyntheticVoices(corpus, seed)


class ManyVoices(FeatureCache):
    """The synthetic voices of several corpora, behind one cache."""

    def __init__(self, *parts):
        self.of_utterances = {utterance.name: part for corpus, part in parts for utterance in corpus}

    def fill(self, utterances):
        pass

    # It has no model that could compute them.
    fill_together = fill

    def load(self, utterances):
        loaded = [self.of_utterances[utterance.name].load([utterance]) for utterance in utterances]
        return {name: torch.cat([batch[name] for batch in loaded]) for name in loaded[0]}


def renamed(num_speakers, prefix, seed):
    """Synthetic voices whose speakers have names of their own."""
    corpus, _ = voices(num_speakers)
    corpus = Corpus(
        replace(
            utterance,
            audio=f"{prefix}{utterance.name}".encode(),
            name=prefix + utterance.name,
            speaker_id=prefix + utterance.speaker_id,
        )
        for utterance in corpus
    )
    return corpus, SyntheticVoices(corpus, seed)


def episodes_of(corpus, shots, setting="TU+LD"):
    enrollments = [select_enrollment(corpus, target, shots, setting, (0, 0, target)) for target in range(len(corpus))]
    return [
        Episode(target, enrollment, corpus.labels[target], [corpus.labels[i] for i in enrollment], list(LABELS))
        for target, enrollment in enumerate(enrollments)
    ]
