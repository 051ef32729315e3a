"""Labels that the bundled model was never trained on: read from one shot of each label of the speaker.

python benchmarks/new_labels.py FOLDER_WITH_EMOGATOR
"""

import sys
from pathlib import Path

import numpy as np
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from emoicl import SpeechLmRecognizer, evaluate, load_corpus
from emoicl.bundled import BURSTS_MODEL


NEW_LABELS = ("Amusement", "Surprise negative")
SEEDS = range(5)


def main(folder: str) -> None:
    model = AutoModelForSpeechSeq2Seq.from_pretrained(BURSTS_MODEL)
    processor = AutoProcessor.from_pretrained(BURSTS_MODEL)
    processor.candidate_labels = [*processor.candidate_labels, *NEW_LABELS]
    corpus = load_corpus(Path(folder) / "test.parquet", processor.candidate_labels)
    labels = processor.candidate_labels
    report = evaluate(SpeechLmRecognizer(model, processor), corpus, [0, len(labels)], seeds=SEEDS)
    for condition in report.conditions:
        control = f", {condition.control}" if condition.control else ""
        print(f"\n{condition.shots} shots{control}, {len(labels)} labels")
        references = np.array(report.references)
        for label in labels:
            recalls = [np.mean(np.array(answers)[references == label] == label) for answers in condition.predictions]
            answered = np.mean([np.mean(np.array(answers) == label) for answers in condition.predictions])
            print(f"{label:18} recall {np.mean(recalls):.3f} (std {np.std(recalls):.3f}), answered {answered:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
