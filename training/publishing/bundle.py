"""Makes the package data: a trained checkpoint, and clips of speakers that it was not trained on.

python -m emoicl.training.publishing.bundle outputs/speech/model emoicl/assets/speech
python -m emoicl.training.publishing.bundle outputs/bursts/model emoicl/assets/bursts \\
    --table data/emogator/test.parquet --clips emoicl/assets/emogator/clips.parquet
"""

import argparse
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from transformers import AutoProcessor

from emoicl.training.data.corpus import display_label
from emoicl.training.publishing.cards import save_card
from emoicl.training.publishing.export import export


NUM_SPEAKERS = 8
LICENSE_NAME = "LICENSE"


def bundle_checkpoint(checkpoint: str | Path, output: Path) -> None:
    """Stores a checkpoint in float16 as a bundled one.

    Args:
        checkpoint (`str` or `Path`): Folder of a trained model and its processor.
        output (`Path`): Folder of the bundled model, which is replaced but for its `LICENSE`.
    """
    # The terms of weights are written by hand.
    license = output / LICENSE_NAME
    terms = license.read_bytes() if license.is_file() else None
    shutil.rmtree(output, ignore_errors=True)
    export(checkpoint, output, dtype="float16")
    drop_code(output)
    save_card(output)
    if terms is not None:
        license.write_bytes(terms)


def drop_code(folder: Path) -> None:
    """Takes the copied code out of a checkpoint: wherever the bundled one is, the package is too."""
    for module in folder.glob("*.py"):
        module.unlink()
    for config in folder.glob("*config.json"):
        content = json.loads(config.read_text(), object_hook=without_code)
        config.write_text(json.dumps(content, indent=2) + "\n")


def without_code(mapping: dict) -> dict:
    return {name: value for name, value in mapping.items() if name not in ("auto_map", "custom_pipelines")}


def bundle_clips(table: str | Path, labels: list[str], output: Path) -> None:
    """Stores the clips of the first speakers by name, those with one of `labels`.

    Args:
        table (`str` or `Path`): Parquet table of the test speakers.
        labels (`list[str]`): Labels to keep.
        output (`Path`): Parquet table of the bundled clips.
    """
    clips = pyarrow.parquet.read_table(table)
    speakers = sorted(set(clips["speaker_id"].to_pylist()))[:NUM_SPEAKERS]
    kept = [
        row["speaker_id"] in speakers and display_label(row["emotion"]) in labels
        for row in clips.select(["speaker_id", "emotion"]).to_pylist()
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(clips.filter(pa.array(kept)), output, compression="zstd")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="folder of the trained model")
    parser.add_argument("model", type=Path, help="folder of the bundled model")
    parser.add_argument("--table", type=Path, help="parquet table of the test speakers, to take clips from")
    parser.add_argument("--clips", type=Path, help="parquet table of the bundled clips")
    options = parser.parse_args()
    if (options.table is None) != (options.clips is None):
        parser.error("--table and --clips go together")
    bundle_checkpoint(options.checkpoint, options.model)
    print(f"Wrote {options.model}.")
    if options.table is not None:
        bundle_clips(options.table, AutoProcessor.from_pretrained(options.model).candidate_labels, options.clips)
        print(f"Wrote {options.clips}.")


if __name__ == "__main__":
    main()
