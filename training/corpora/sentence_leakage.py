"""Whether what is said gives the emotion away: then a model can read the words in place of hearing the voice."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import entropy, hypergeom
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information, mutual_info_score


NUM_PERMUTATIONS = 199
MIN_SHARE = 0.05
MAX_P_VALUE = 0.01


@dataclass(frozen=True)
class SentenceLeakage:
    """
    How much sentences tell of emotions.

    Args:
        column (`str`): What tells sentences apart: `"sentence_id"` or `"text"`.
        num_clips (`int`): Clips of which the sentence is known.
        num_sentences (`int`): Different sentences.
        told (`float`): Mutual information of sentence and emotion as a share of the emotion's entropy.
        by_chance (`float`): The same, expected if emotions were dealt to the clips at random.
        share (`float`, *optional*): What is told beyond chance, `(told - by_chance) / (1 - by_chance)`: 0 is nothing,
            1 all, less than 0 a design in which each sentence is said in all emotions. `None` if chance alone tells
            (nearly) all, as if every sentence is said once.
        p_value (`float`): Share of random dealings that tell as much.
        single_emotion (`dict[str, tuple[str, int]]`): Sentences said at least twice and in one emotion only, with
            that and the number of clips; those with most clips first.
        expected_single (`float`): How many such sentences random dealings give on average.
    """

    column: str
    num_clips: int
    num_sentences: int
    told: float
    by_chance: float
    share: float | None
    p_value: float
    single_emotion: dict[str, tuple[str, int]] = field(default_factory=dict)
    expected_single: float = 0.0

    @property
    def gives_away(self) -> bool:
        """Whether sentences tell at least 5 % of the emotion beyond chance, and that not by luck (p < 0.01)."""
        return self.share is not None and self.share >= MIN_SHARE and self.p_value < MAX_P_VALUE


def measure_leakage(sentences: Sequence[str], emotions: Sequence[str], column: str = "sentence_id") -> SentenceLeakage:
    """
    Measure how much sentences tell of emotions, beyond what they would by chance.

    With few clips for each sentence, the plain mutual information is large whatever was said (a sentence said once
    always "tells" its emotion). So the expectation under random dealings is taken off: the exact one of Vinh, Epps and
    Bailey 2010 (doi 10.5555/1756006.1953024), by which adjusted mutual information is defined. Here, the rest is taken
    relative to the entropy of the emotion alone, since many sentences may share one.

    Args:
        sentences (`Sequence[str]`): The sentence of each clip.
        emotions (`Sequence[str]`): The emotion of each clip.
        column (`str`, *optional*, defaults to `"sentence_id"`): What `sentences` come from.

    Returns:
        [`SentenceLeakage`]: The measures, the same in every process.

    Raises:
        `ValueError`: If there are no clips.
    """
    if not len(sentences):
        raise ValueError("There are no clips of which the sentence is known.")
    sentence_names, sentence_codes = np.unique(np.asarray(sentences, dtype=str), return_inverse=True)
    emotion_names, emotion_codes = np.unique(np.asarray(emotions, dtype=str), return_inverse=True)
    total = float(entropy(np.bincount(emotion_codes)))
    table: Any = contingency_matrix(sentence_codes, emotion_codes, sparse=True)
    told = float(mutual_info_score(None, None, contingency=table)) / total if total else 0.0
    expected = float(expected_mutual_information(table, len(sentence_codes))) / total if total else 0.0
    counts = np.asarray(contingency_matrix(sentence_codes, emotion_codes))
    sizes = counts.sum(axis=1)
    order = [int(i) for i in np.argsort(-sizes, kind="stable") if sizes[i] > 1 and counts[i].max() == sizes[i]]
    repeated = sizes[sizes > 1][:, None]
    return SentenceLeakage(
        column=column,
        num_clips=len(sentence_codes),
        num_sentences=len(sentence_names),
        told=told,
        by_chance=expected,
        share=(told - expected) / (1 - expected) if total and expected < 0.99 else None,
        p_value=_p_value(sentence_codes, emotion_codes),
        single_emotion={
            str(sentence_names[i]): (str(emotion_names[counts[i].argmax()]), int(sizes[i])) for i in order
        },
        expected_single=float(hypergeom.pmf(repeated, len(sentence_codes), counts.sum(axis=0), repeated).sum()),
    )


def _p_value(sentences: np.ndarray, emotions: np.ndarray) -> float:
    """Share of random dealings, the real one among them, with at least the real mutual information."""
    rng = np.random.default_rng(0)
    real = _joint_entropy(sentences, emotions)
    # Dealing changes neither marginal entropy: as mutual information grows, the joint entropy falls.
    dealt = [_joint_entropy(sentences, rng.permutation(emotions)) for _ in range(NUM_PERMUTATIONS)]
    return (1 + sum(value <= real + 1e-9 for value in dealt)) / (1 + NUM_PERMUTATIONS)


def _joint_entropy(sentences: np.ndarray, emotions: np.ndarray) -> float:
    return float(entropy(np.bincount(sentences * (emotions.max() + 1) + emotions)))
