"""What an answer takes on one CPU core, without and with seven shots, as clips and as a profile, of one target at a
time and of many of one speaker in a batch: of bundled models, folders or Hub names, or of shapes with random weights.

python benchmarks/latency.py [MODEL ...] [--targets 32] [--repeats 3]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from speed import LABELS, clip, enrolled, save_whisper
from tabulate import tabulate
from transformers import AutoConfig

from emoicl import EmoIclPipeline, load_pipeline
from emoicl.modeling.language_model_emoicl import prompted_form
from emoicl.processing.processing_emoicl import INSTRUCTION
from emoicl.training.systems.composition import compose
from emoicl.training.systems.tokenizer import train_tokenizer


SHOTS = 7
# Language models as published, with random weights: what they are does not matter here. All prompt them with 32 query
# tokens of Whisper-base for an utterance.
T5 = {"model_type": "t5", "vocab_size": 32128}
SMOLLM2 = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}
SHAPES: dict[str, dict[str, Any]] = {
    "t5-small": T5,
    "t5-base": T5 | {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
    "half-smollm2-135m": SMOLLM2 | {"num_hidden_layers": 15},
    "smollm2-135m": SMOLLM2 | {"num_hidden_layers": 30},
}
QFORMER = {"hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8, "intermediate_size": 2048}


def of_shape(name: str, folder: Path) -> EmoIclPipeline:
    """A recognizer with a language model of a shape."""
    tokenizer: Any = train_tokenizer([INSTRUCTION, *LABELS])
    config = AutoConfig.for_model(**SHAPES[name], decoder_start_token_id=tokenizer.pad_token_id)
    language_model: Any = prompted_form(config).auto_class.from_config(config)
    for part in (language_model, tokenizer):
        part.save_pretrained(folder / "language-model")
    model, processor = compose(
        save_whisper(folder / "whisper"),
        LABELS,
        language_model=str(folder / "language-model"),
        # Else an encoder-decoder keeps nothing of a profile beyond what its file has.
        enrollment_sees_target=False,
        qformer=QFORMER,
        num_query_tokens=32,
    )
    return EmoIclPipeline(model=model, processor=processor)


def milliseconds(answer: Callable[[], Any], repeats: int) -> float:
    """The fastest of some turns, after one to warm up, in time of the CPU: other work on the machine weighs less."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        answer()
        seconds.append(time.process_time() - start)
    return 1000 * min(seconds[1:])


def measure(recognizer: Any, num_targets: int, repeats: int) -> list[dict[str, str]]:
    """Rows of the table: one target at a time, and many together."""
    profile = recognizer.enroll(enrolled(SHOTS))
    targets = [clip(number) for number in range(num_targets)]
    rows = []
    for together in (1, num_targets):

        def answer(together: int = together, **speaker: Any) -> float:
            asked = partial(recognizer, targets[:together], batch_size=together, **speaker)
            return milliseconds(asked, repeats) / together

        none, shots, kept = answer(), answer(enrollment=enrolled(SHOTS)), answer(profile=profile)
        rows.append(
            {
                "targets": "one" if together == 1 else f"{together} of one speaker",
                "no shots": f"{none:.0f}",
                f"{SHOTS} shots": f"{shots:.0f} ({shots / none:.1f}x)",
                "from a profile": f"{kept:.0f} ({kept / none:.1f}x)",
            }
        )
    prefix = profile.prefix[1] if profile.prefix else None
    kept_bytes = sum(tensor.nbytes for tensor in profile.embeddings.values()) + (prefix.num_bytes if prefix else 0)
    return [row | {"profile, MB": f"{kept_bytes / 1e6:.1f}"} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"a name, a folder, or of {', '.join(SHAPES)}")
    parser.add_argument("--targets", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    for name in options.models or ["speech", *SHAPES]:
        with tempfile.TemporaryDirectory() as folder:
            recognizer: Any = (
                of_shape(name, Path(folder)) if name in SHAPES else load_pipeline(name, torch.device("cpu"))
            )
        size = recognizer.model.num_parameters() / 1e6
        for row in measure(recognizer, options.targets, options.repeats):
            table.append({"model": name, "parameters, M": f"{size:.0f}"} | row)
            print(" | ".join(table[-1].values()), flush=True)
    print()
    print(tabulate(table, headers="keys", tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
