"""Adds to a finished checkpoint what is familiar to it; those that a recipe trains have it.

python -m emoicl.training.systems.familiarity emoicl/assets/bursts --train data/emogator/train.parquet
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.baselines.familiarity import default_size, fit_familiarity
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.data.features import FeatureCache


def add_familiarity(checkpoint: str | Path, training: Corpus, cache_folder: str | Path | None = None) -> None:
    """
    Adds to a checkpoint the statistics of what is familiar to it. All else in its files stays as it is.

    Args:
        checkpoint (`str` or `Path`): Folder of a model with a speaker adaptation, and its processor.
        training ([`Corpus`]): The utterances that it was trained on.
        cache_folder (`str` or `Path`, *optional*): Where their speech features are kept.

    Raises:
        `ValueError`: If the model has no speaker adaptation, or its weights are in several files.
    """
    config_path, weights = Path(checkpoint) / "config.json", list(Path(checkpoint).glob("*.safetensors"))
    config = json.loads(config_path.read_text())
    if config.get("adaptation_config") is None or len(weights) != 1:
        raise ValueError(f"{checkpoint}: has no speaker adaptation, or not all of its weights in one file.")
    model = EmoIclForConditionalGeneration.from_pretrained(checkpoint)
    processor = EmoIclProcessor.from_pretrained(checkpoint)
    pooled = PooledFeatures(FeatureCache(model, processor.feature_extractor, cache_folder))(training)
    size = default_size(pooled.shape[1])
    state = load_file(weights[0])
    dtype = state["model.adaptation.label_means"].dtype
    for name, value in fit_familiarity(pooled, np.array(training.speaker_ids), size).items():
        state[f"model.adaptation.{name}"] = torch.from_numpy(value).to(dtype).contiguous()
    config["adaptation_config"]["familiarity_size"] = size
    # In their place and not renamed, so that whoever may read them still may.
    weights[0].write_bytes(save(state, {"format": "pt"}))
    config_path.write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="folder of the model, which is changed")
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="tables of its training speakers")
    parser.add_argument("--cache-folder", type=Path, help="where speech features are kept")
    options = parser.parse_args()
    labels = EmoIclProcessor.from_pretrained(options.checkpoint).candidate_labels
    training = load_corpus(options.train, labels)
    add_familiarity(options.checkpoint, training, options.cache_folder)
    print(f"Wrote {options.checkpoint}: {len(training)} utterances of {len(training.by_speaker)} speakers.")


if __name__ == "__main__":
    main()
