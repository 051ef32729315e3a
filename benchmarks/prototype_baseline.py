"""The baseline that a model must beat: a centered probe with prototypes, on a published speech encoder as it is.

python benchmarks/prototype_baseline.py FOLDER SPEECH_ENCODER LAYER [LABEL ...]

Without labels, they are those of the paper's seven that the training speakers have.
"""

import sys
from pathlib import Path

from emoicl import evaluate, load_corpus
from emoicl.processing.processing_emoicl import CANDIDATE_LABELS
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.prototypes import PrototypeBaseline
from emoicl.training.data.features import FeatureCache
from emoicl.training.systems.composition import compose


def main(folder: str, speech_encoder: str, layer: str, *asked: str) -> None:
    training = load_corpus(Path(folder) / "train.parquet", asked or CANDIDATE_LABELS)
    labels = [label for label in asked or CANDIDATE_LABELS if label in training.labels]
    model, processor = compose(speech_encoder, labels, speech_layer=int(layer))
    pooled = PooledFeatures(FeatureCache(model, processor.feature_extractor))
    validation, test = (load_corpus(Path(folder) / f"{split}.parquet", labels) for split in ("validation", "test"))
    baseline = PrototypeBaseline(training, pooled, labels, validation)
    report = evaluate(baseline, test, shots=range(len(labels) + 1), thin_speakers="leave_out")
    print(report.table())


if __name__ == "__main__":
    main(*sys.argv[1:])
