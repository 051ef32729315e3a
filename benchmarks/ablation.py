"""What the parts of the bundled model do with the enrollment: all of it, without its language model, and that alone.

python benchmarks/ablation.py TEST_TABLE
"""

import sys

from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from emoicl import SpeechLmRecognizer, evaluate, load_corpus
from emoicl.bundled import BURSTS_MODEL


def main(table: str) -> None:
    processor = AutoProcessor.from_pretrained(BURSTS_MODEL)
    corpus = load_corpus(table, processor.candidate_labels)
    for name in ("all of it", "without the language model", "the language model alone"):
        model = AutoModelForSpeechSeq2Seq.from_pretrained(BURSTS_MODEL)
        if name == "without the language model":
            model.config.adaptation_config.language_model_weight = 0.0
        elif name == "the language model alone":
            model.model.adaptation = None
        report = evaluate(SpeechLmRecognizer(model, processor), corpus, shots=(0, 1, 3, 5, 7), seeds=(0, 1))
        print(f"\n{name}\n\n{report.table()}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
