"""What carries over from one corpus to another: one level, two layers, copies of the speakers; in closed form.

python benchmarks/carry_over.py --data-folder data

A speaker adaptation alone, without a language model, is fitted to the training and validation speakers of one corpus
(nEMO's three training speakers are too few to tell variances by) and asked about those of the other. The accuracy is
averaged over speakers; each utterance has one enrollment.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
from scipy.special import log_softmax
from tabulate import tabulate

from emoicl import load_corpus
from emoicl.modeling.configuration_emoicl import EmoIclAdaptationConfig
from emoicl.processing.processing_emoicl import CANDIDATE_LABELS
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.prototypes import tuning_episodes
from emoicl.training.baselines.speaker_statistics import label_evidence
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.systems.adaptation import fit_to_features
from emoicl.training.systems.composition import compose


SHOTS = (0, 1, 3, 7)
SIZE = 256
PROTOTYPE_WEIGHT = 0.05
TRIM = {"trim_silence": 35}
# Layers, fields of the feature extractor, copies; each line has one thing more than that above it.
VARIANTS = {
    "layer 3": (3, TRIM, 0),
    "at one level": (3, TRIM | {"level": -26}, 0),
    "layers 2 and 3": ([2, 3], TRIM | {"level": -26}, 0),
    "two copies": ([2, 3], TRIM | {"level": -26}, 2),
}


def measure(training: Corpus, test: Corpus, features: FeatureCache, num_copies: int) -> list[str]:
    """Accuracy and, in parentheses, negative log-likelihood at each number of shots."""
    labels = sorted(set(training.labels))
    # There is no tokenizer: the number of a label stands for its tokens.
    numbers = [[number] for number in range(len(labels))]
    config = EmoIclAdaptationConfig(size=SIZE, label_words=labels, label_token_ids=numbers)
    adaptation = fit_to_features(training, features, config, num_copies)
    config.probe_weight, config.prototype_weight = 1.0, PROTOTYPE_WEIGHT
    test = Corpus(utterance for utterance in test if utterance.label in labels)
    of_test, cells = PooledFeatures(features)(test), []
    for shots in SHOTS:
        episodes = tuning_episodes(test, labels, shots)
        answers = np.array([labels.index(episode.label) for episode in episodes])
        scores = log_softmax(label_evidence(adaptation, of_test, episodes), axis=1)
        right, told = scores.argmax(1) == answers, scores[np.arange(len(answers)), answers]
        of_speakers = [(right[rows].mean(), told[rows].mean()) for rows in test.by_speaker.values()]
        accuracy, log_likelihood = np.mean(of_speakers, axis=0)
        cells.append(f"{accuracy:.3f} ({-log_likelihood:.2f})")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-folder", type=Path, default=Path("data"), help="holds ravdess/ and nemo/")
    parser.add_argument("--speech-encoder", default="openai/whisper-base", metavar="NAME")
    options = parser.parse_args()
    logging.getLogger("emoicl").setLevel(logging.ERROR)
    corpora = {
        name: load_corpus(
            [options.data_folder / name / f"{split}.parquet" for split in ("train", "validation")], CANDIDATE_LABELS
        )
        for name in ("ravdess", "nemo")
    }
    rows = []
    for variant, (layer, audio, num_copies) in VARIANTS.items():
        model, processor = compose(options.speech_encoder, CANDIDATE_LABELS, speech_layer=layer, audio=audio)
        features = FeatureCache(model, processor.feature_extractor)
        for training, test in (("ravdess", "nemo"), ("nemo", "ravdess")):
            rows.append([variant, training, test, *measure(corpora[training], corpora[test], features, num_copies)])
    print(
        tabulate(rows, headers=["heard", "trained on", "tested on", *(f"{k} shots" for k in SHOTS)], tablefmt="github")
    )


if __name__ == "__main__":
    main()
