"""How often beam search (the paper's decoding) writes the label that exact scoring finds most probable.

python benchmarks/beam_agreement.py TEST_TABLE
"""

import sys

import numpy as np
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from emoicl import SpeechLmRecognizer, evaluate, load_corpus
from emoicl.bundled import BURSTS_MODEL


SHOTS = (0, 1, 3, 5, 7)


def main(table: str) -> None:
    model = AutoModelForSpeechSeq2Seq.from_pretrained(BURSTS_MODEL)
    processor = AutoProcessor.from_pretrained(BURSTS_MODEL)
    corpus = load_corpus(table, processor.candidate_labels)
    exact, beam = (
        evaluate(SpeechLmRecognizer(model, processor, decoding=decoding), corpus, shots=SHOTS, seeds=[0])
        for decoding in ("labels", "beam")
    )
    agreements = []
    for of_labels, of_beam in zip(exact.conditions, beam.conditions, strict=True):
        same = np.mean(np.array(of_labels.predictions) == np.array(of_beam.predictions))
        agreements.append(same)
        print(f"{of_labels.shots} shots{', ' + of_labels.control if of_labels.control else ''}: {same:.4f}")
    print(f"all {len(corpus) * len(agreements)} answers: {np.mean(agreements):.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
