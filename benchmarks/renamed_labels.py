"""What it costs to call labels by other names, with a shot of each, of people whom a model never heard.

python benchmarks/renamed_labels.py speech data/ravdess/test.parquet data/nemo/test.parquet
python benchmarks/renamed_labels.py bursts data/emogator/test.parquet --speakers 15

UA_spk, with the negative log-likelihood in parentheses, of the model and of its two halves alone: the language model,
and the speaker adaptation in closed form.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from emoicl import evaluate
from emoicl.bundled import find_model
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.evaluation.recognition import SpeechLmRecognizer


GERMAN = {
    "Neutral": "Gelassenheit",
    "Surprise": "Überraschung",
    "Sadness": "Trauer",
    "Joy": "Freude",
    "Fear": "Furcht",
    "Disgust": "Ekel",
    "Anger": "Wut",
}
NAMES: dict[str, Mapping[str, str]] = {
    "its own": {},
    "three others": {label: GERMAN[label] for label in ("Neutral", "Surprise", "Sadness")},
    "all others": GERMAN,
}


def some_speakers(corpus: Corpus, number: int | None) -> Corpus:
    """Utterances of so many speakers, or of all."""
    speakers = np.random.default_rng(0).permutation(sorted(corpus.by_speaker))[:number].tolist()
    return Corpus([utterance for utterance in corpus if utterance.speaker_id in speakers])


def measure(
    model: EmoIclForConditionalGeneration, folder: str, corpus: Corpus, names: Mapping[str, str], num_seeds: int
) -> str:
    """UA_spk and negative log-likelihood with a shot of each label, of which some have these names."""
    processor = EmoIclProcessor.from_pretrained(folder)
    spoken = [label for label in processor.candidate_labels if label in corpus.labels]
    processor.candidate_labels = [names.get(label, label) for label in spoken]
    renamed = Corpus([replace(utterance, label=names.get(utterance.label, utterance.label)) for utterance in corpus])
    recognizer = SpeechLmRecognizer(model, processor, FeatureCache(model, processor.feature_extractor))
    row = evaluate(recognizer, renamed, [len(spoken)], seeds=range(num_seeds), controls=[]).as_dict()["rows"][0]
    return f"{row['ua_spk']:.3f} ({row['nll']:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="speech, bursts or a folder")
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--speakers", type=int, help="at most so many of each table")
    parser.add_argument("--seeds", type=int, default=2, help="enrollment draws")
    options = parser.parse_args()
    folder = find_model(options.model)
    model = EmoIclForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    adaptation: Any = model.config.adaptation_config
    weights = adaptation.language_model_weight, adaptation.probe_weight, adaptation.prototype_weight
    parts = {"all": weights, "language model": (1.0, 0.0, 0.0), "closed form": (0.0, *weights[1:])}
    labels = EmoIclProcessor.from_pretrained(folder).candidate_labels
    rows = []
    for table in options.tables:
        corpus = some_speakers(load_corpus(table, labels), options.speakers)
        for part, used in parts.items():
            adaptation.language_model_weight, adaptation.probe_weight, adaptation.prototype_weight = used
            cells = [measure(model, folder, corpus, names, options.seeds) for names in NAMES.values()]
            rows.append([f"{table}, {len(corpus)} utterances", part, *cells])
    print(tabulate(rows, ["", "part", *NAMES], tablefmt="github"))


if __name__ == "__main__":
    main()
