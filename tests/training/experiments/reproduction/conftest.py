import pytest
import yaml
from tiny_corpus import MODEL_FIELDS, SIZES
from tone_tables import LABELS, SPLITS, speakers, write_table

from emoicl.training.experiments.loading import load_recipe, system_names
from emoicl.training.experiments.reproduction.run import ORDER, Reproduction


STAGE = {
    "max_steps": 2,
    "per_device_train_batch_size": 8,
    "save_steps": 1,
    "eval_steps": 1,
    "logging_steps": 1,
    "disable_tqdm": True,
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A corpus with four training speakers, one for validation and one for the test."""
    folder = tmp_path_factory.mktemp("corpora") / "tones"
    for split, numbers in SPLITS.items():
        write_table(speakers(*numbers), folder / f"{split}.parquet")
    return folder


@pytest.fixture
def size(whisper, tmp_path):
    """A size of two training steps a stage."""
    sizes = {"hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 24}
    encoder = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    episodes = STAGE | {"type": "meta_icl", "symbol_share": 0.0}
    classifier = STAGE | {"type": "classifier", "sizes": sizes | {"num_hidden_layers": 1}}
    content = {
        "speech_encoder": str(whisper),
        "speech_layer": 2,
        "labels": LABELS,
        "cache_folder": str(tmp_path / "cache"),
        "model": {name: MODEL_FIELDS[name] for name in ("num_query_tokens", "max_shots")},
        **SIZES,
        "enrollment_seeds": 2,
        "orders": 2,
        "stages": {
            "zero_shot": episodes | {"eval_shots": [0], "max_shots": 0},
            "in_context": episodes | {"eval_shots": [0, 2, 6]},
            "classifier": classifier,
            "scratch": classifier
            | {"pretrained": False, "sizes": sizes | {"num_hidden_layers": 0}, "speech": encoder},
            "adaptation": {"type": "adaptation", "size": MODEL_FIELDS["adaptation_config"]["size"]},
            "linear_probe": {"type": "linear_probe"},
            "prototypes": {"type": "prototypes"},
        },
    }
    path = tmp_path / "size.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.fixture
def systems(size):
    """Reads recipes in that size, by default all of the paper's systems."""

    # Its recipe has steps of its own, whatever the size.
    stage = STAGE | {"type": "made_up_speakers", "size": 2, "num_targets": 1, "eval_shots": [0]}
    made_up = {"stages.made_up_speakers": stage, "model.voice_token_size": 2}

    def systems(*names, **overrides):
        return [
            load_recipe(known, overrides | (made_up if name == "made_up" else {}), size)
            for name in names or ORDER
            for known in system_names(name)
        ]

    return systems


@pytest.fixture
def reproduction(folder, systems, tmp_path):
    return Reproduction(corpora=[str(folder)], recipes=systems(), output=str(tmp_path / "run"))
