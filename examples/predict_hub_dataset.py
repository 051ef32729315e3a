# /// script
# requires-python = ">=3.11"
# dependencies = ["emoicl", "torchcodec"]
# ///
"""
Answers for every clip of a data set, as a job on Hugging Face's machines or here, and pushes the answers.

hf jobs uv run --flavor t4-small --secrets HF_TOKEN examples/predict_hub_dataset.py my-org/speech my-org/answers
python examples/predict_hub_dataset.py FOLDER FOLDER-OF-ANSWERS

Several jobs take a part each: `--num-shards 4 --shard 0`. Their parts are one data set. Of a data set whose clips are
single files, `datasets` asks for torchcodec (which needs FFmpeg); of one in Parquet it does not.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from datasets import Audio, Dataset, Features, Value, concatenate_datasets, load_dataset
from huggingface_hub import HfApi
from tqdm.auto import tqdm

from emoicl import load_pipeline


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("dataset", help="its name on the Hub, or a folder")
parser.add_argument("output", help="name on the Hub that answers are pushed to, or a folder that is there")
parser.add_argument("--split", default="train")
parser.add_argument("--audio-column", default="audio")
parser.add_argument("--model", help="a Hub name, a folder, speech (the default) or bursts")
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--num-shards", type=int, default=1)
parser.add_argument("--shard", type=int, default=0, help="which part, from 0")
options = parser.parse_args()

rows = load_dataset(options.dataset, split=options.split).shard(options.num_shards, options.shard, contiguous=True)
# Clips are decoded by the pipeline, which needs no FFmpeg for most.
rows = rows.cast_column(options.audio_column, Audio(decode=False))
recognizer = load_pipeline(options.model)


def answer(clips: list[Any]) -> list[dict[str, Any]]:
    """The labels of some clips, the most probable first. What is wrong with a clip costs that clip alone."""
    try:
        found = recognizer(clips, batch_size=len(clips))
    except ValueError as error:
        if len(clips) > 1:
            return [answers for clip in clips for answers in answer([clip])]
        return [{"prediction": None, "scores": [], "error": str(error)}]
    return [{"prediction": labels[0]["label"], "scores": labels, "error": None} for labels in found]


starts = range(0, len(rows), options.batch_size)
batches = (rows[start : start + options.batch_size][options.audio_column] for start in starts)
answers = [found for batch in tqdm(batches, "Predicting", len(starts), unit="batch") for found in answer(list(batch))]
scores = [{"label": Value("string"), "score": Value("float64")}]
features = Features({"prediction": Value("string"), "scores": scores, "error": Value("string")})
columns = [rows.remove_columns([options.audio_column]), Dataset.from_list(answers, features=features)]
answered = concatenate_datasets(columns, axis=1)

name = f"data/{options.split}-{options.shard:05}-of-{options.num_shards:05}.parquet"
with tempfile.TemporaryDirectory() as folder:
    path = Path(options.output if Path(options.output).is_dir() else folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    answered.to_parquet(path)
    if not Path(options.output).is_dir():
        api = HfApi()
        api.create_repo(options.output, repo_type="dataset", private=True, exist_ok=True)
        api.upload_file(path_or_fileobj=path, path_in_repo=name, repo_id=options.output, repo_type="dataset")
print(f"Wrote {options.output}, {name}: {len(answered)} clips.")
