"""The baseline that a model must beat: a centered probe with prototypes, on a published speech encoder as it is.

python benchmarks/prototype_baseline.py FOLDER SPEECH_ENCODER LAYER
"""

import sys
from pathlib import Path

from emoicl import evaluate, load_corpus
from emoicl.processing.processing_emoicl import CANDIDATE_LABELS
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.prototypes import PrototypeBaseline
from emoicl.training.data.features import FeatureCache
from emoicl.training.systems.composition import compose


def main(folder: str, speech_encoder: str, layer: str) -> None:
    labels = list(CANDIDATE_LABELS)
    model, processor = compose(speech_encoder, labels, speech_layer=int(layer))
    pooled = PooledFeatures(FeatureCache(model, processor.feature_extractor))
    training, validation, test = (
        load_corpus(Path(folder) / f"{split}.parquet", labels) for split in ("train", "validation", "test")
    )
    report = evaluate(PrototypeBaseline(training, pooled, labels, validation), test, shots=range(8))
    print(report.table())


if __name__ == "__main__":
    main(*sys.argv[1:])
