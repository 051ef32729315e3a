"""The model that a command works with."""

import argparse
from typing import TYPE_CHECKING

from emoicl.bundled import BUNDLED_MODEL


if TYPE_CHECKING:
    from emoicl.processing.pipeline_emoicl import EmoIclPipeline


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=str(BUNDLED_MODEL), help="folder or Hub name (default: the bundled model)")


def load_pipeline(model: str) -> "EmoIclPipeline":
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

    from emoicl import EmoIclPipeline

    return EmoIclPipeline(
        model=AutoModelForSpeechSeq2Seq.from_pretrained(model), processor=AutoProcessor.from_pretrained(model)
    )
