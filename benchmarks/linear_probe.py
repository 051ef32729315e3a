"""0-shot UA_spk of a linear probe on pooled speech features, for each layer of a Whisper encoder: which layer to use.

python benchmarks/linear_probe.py openai/whisper-tiny.en TRAIN_TABLE TEST_TABLE
"""

import argparse

from transformers import AutoConfig

from emoicl import evaluate, load_corpus
from emoicl.processing.processing_emoicl import CANDIDATE_LABELS
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.prototypes import LinearProbe
from emoicl.training.data.features import FeatureCache
from emoicl.training.systems.composition import compose


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech_encoder", help="Hub name or folder of a Whisper checkpoint or its encoder")
    parser.add_argument("train", help="table of the training speakers")
    parser.add_argument("test", help="table of the test speakers")
    options = parser.parse_args()
    train, test = (load_corpus(table, CANDIDATE_LABELS) for table in (options.train, options.test))
    for layer in range(1, AutoConfig.from_pretrained(options.speech_encoder).encoder_layers + 1):
        model, processor = compose(options.speech_encoder, CANDIDATE_LABELS, speech_layer=layer)
        pooled = PooledFeatures(FeatureCache(model, processor.feature_extractor))
        probe = LinearProbe(train, pooled, CANDIDATE_LABELS)
        accuracy = evaluate(probe, test, shots=[0], controls=[]).accuracy(0)
        print(
            f"layer {layer}: UA_spk {accuracy.ua_spk:.3f}, std {accuracy.std:.3f}, min {accuracy.min:.3f}", flush=True
        )


if __name__ == "__main__":
    main()
