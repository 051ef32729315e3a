import pytest
from tiny_corpus import MODEL_FIELDS, SIZES
from tone_tables import LABELS, SPLITS, speakers, write_table

from emoicl.training.experiments.reproduction.run import Reproduction
from emoicl.training.experiments.reproduction.systems import Size


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
def size(whisper):
    model = {name: value for name, value in MODEL_FIELDS.items() if name != "speech_layer"}
    classifier = {"hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 24}
    encoder = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    in_context = STAGE | {"eval_shots": "0,2,6", "symbol_share": 0.0}
    return Size(
        name="tiny",
        speech_encoder=str(whisper),
        speech_layer=2,
        speech_lm=model | SIZES,
        classifier=classifier | {"num_hidden_layers": 1},
        scratch=classifier | {"num_hidden_layers": 0, "speech": encoder},
        stages={
            "zero_shot": STAGE | {"eval_shots": "0", "max_shots": 0, "symbol_share": 0.0},
            "in_context": in_context,
            "classifier": STAGE,
            "scratch": STAGE,
        },
        enrollment_seeds=2,
        orders=2,
    )


@pytest.fixture
def reproduction(folder, size, tmp_path):
    return Reproduction(
        corpora=[str(folder)],
        size=size,
        output_dir=str(tmp_path / "run"),
        labels=LABELS,
        cache_folder=str(tmp_path / "cache"),
    )
