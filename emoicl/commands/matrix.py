"""`emoicl matrix`: each model on each corpus, also those that it was not made for."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from emoicl_commands.parser import ABOUT_MODELS


if TYPE_CHECKING:
    from emoicl.training.evaluation.matrix import System


EPILOG = """\
Measures every model on the test speakers of every corpus: accuracy (UA_spk), negative log-likelihood and calibration
error at each number of shots, and at the largest with the labels rotated, another speaker's enrollment, and utterances
without labels. Corpora that a model was trained on are marked, as its provenance tells.

  emoicl matrix --corpora ravdess/test.parquet nemo/test.parquet emogator/test.parquet --output outputs/matrix
  emoicl matrix --models speech outputs/x/model --corpora ravdess/test.parquet --output outputs/matrix --shots 0 3 7
  emoicl matrix --corpora nemo/test.parquet --baseline-train ravdess/train.parquet --output outputs/matrix

--baseline-train adds four baselines on a published speech encoder: a centered probe with prototypes and a probe that
is normalized by the speaker's audio, both fitted to these tables; and on the speaker's shots alone, a logistic
regression and contrastive tuning (the way of SetFit).

Cells are kept in the output folder as they are finished: the same command goes on where it was interrupted, and one
with more models or corpora measures what is new. A number of shots that a corpus has too few labels for is left out.
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "matrix", help="measure each model on each corpus", description=ABOUT_MODELS, epilog=EPILOG
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=["speech", "bursts"],
        metavar="NAME",
        help="speech, bursts, folders or Hub names (default: speech bursts)",
    )
    parser.add_argument("--corpora", nargs="+", required=True, type=Path, metavar="TABLE", help="one for each corpus")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for all that is made")
    parser.add_argument(
        "--shots", nargs="+", type=int, default=[0, 1, 2, 3, 5, 7], metavar="K", help="(default: 0 1 2 3 5 7)"
    )
    parser.add_argument("--seeds", type=int, default=5, help="enrollment draws to average over (default: 5)")
    parser.add_argument("--setting", default="TU+LD", help="how enrollments are drawn (default: TU+LD)")
    parser.add_argument(
        "--baseline-train", nargs="+", type=Path, metavar="TABLE", help="training speakers: adds the baselines"
    )
    parser.add_argument(
        "--baseline-encoder", default="openai/whisper-base", metavar="NAME", help="(default: openai/whisper-base)"
    )
    parser.add_argument("--baseline-layer", type=int, default=3, metavar="N", help="layer of it (default: 3)")
    parser.add_argument("--cache-folder", type=Path, help="where speech features are kept")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from functools import partial

    from emoicl.bundled import find_model
    from emoicl.loading import load_recognizer
    from emoicl.training.evaluation.matrix import checkpoint_system, measure_matrix
    from emoicl.training.publishing.checkpoint import read_config

    # A mistyped name is found now, not when the models before it have been measured.
    for name in options.models:
        read_config(find_model(name))
    systems = [
        checkpoint_system(name, find_model(name), partial(load_recognizer, name, cache_folder=options.cache_folder))
        for name in dict.fromkeys(options.models)
    ]
    if options.baseline_train:
        systems += baselines(options)
    text = measure_matrix(
        systems, options.corpora, options.output, options.shots, range(options.seeds), options.setting
    )
    print(text)
    print(f"Wrote {options.output}/matrix.md and {options.output}/matrix.json (all numbers).")


def baselines(options: argparse.Namespace) -> "list[System]":
    """The rows of the baselines, whose encoder is loaded when the first of them is fitted."""
    from functools import cache

    from emoicl.processing.processing_emoicl import CANDIDATE_LABELS
    from emoicl.training.baselines.contrastive import ContrastiveShots, CroppedFeatures
    from emoicl.training.baselines.pooling import PooledFeatures
    from emoicl.training.baselines.prototypes import PrototypeBaseline
    from emoicl.training.baselines.shots_alone import ShotsAlone
    from emoicl.training.baselines.speaker_normalization import NormalizedProbe
    from emoicl.training.data.corpus import load_corpus
    from emoicl.training.data.features import FeatureCache
    from emoicl.training.evaluation.matrix import trained_system
    from emoicl.training.systems.composition import compose

    training = load_corpus(options.baseline_train, CANDIDATE_LABELS)
    labels = [label for label in CANDIDATE_LABELS if label in training.labels]

    @cache
    def features() -> FeatureCache:
        model, processor = compose(options.baseline_encoder, labels, speech_layer=options.baseline_layer)
        return FeatureCache(model, processor.feature_extractor, options.cache_folder)

    @cache
    def pooled() -> PooledFeatures:
        return PooledFeatures(features())

    encoder = f"{options.baseline_encoder}, layer {options.baseline_layer}"
    return [
        trained_system("probe + prototypes", encoder, lambda: PrototypeBaseline(training, pooled(), labels), training),
        trained_system("normalized probe", encoder, lambda: NormalizedProbe(training, pooled(), labels), training),
        trained_system("shots alone", f"{encoder} {labels}", lambda: ShotsAlone(pooled(), labels)),
        trained_system(
            "contrastive shots", f"{encoder} {labels}", lambda: ContrastiveShots(CroppedFeatures(features()), labels)
        ),
    ]
