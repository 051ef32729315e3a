"""What the language model does with the enrollment by itself: the bundled model without its speaker adaptation.

python benchmarks/ablation.py TEST_TABLE
"""

import sys

from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from emoicl import SpeechLmRecognizer, evaluate, load_corpus
from emoicl.bundled import BUNDLED_MODEL


def main(table: str) -> None:
    model = AutoModelForSpeechSeq2Seq.from_pretrained(BUNDLED_MODEL)
    processor = AutoProcessor.from_pretrained(BUNDLED_MODEL)
    corpus = load_corpus(table, processor.candidate_labels)
    for name in ("with", "without"):
        if name == "without":
            model.adaptation = None
        report = evaluate(SpeechLmRecognizer(model, processor), corpus, shots=(0, 1, 2, 3, 5, 7), seeds=(0, 1))
        print(f"\n{name} speaker adaptation\n\n{report.table()}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
