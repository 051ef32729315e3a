"""A checkpoint -> a folder for the Hub, which loads where this package is absent and answers as the original does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from huggingface_hub import HfApi
from huggingface_hub.utils import validate_repo_id
from safetensors import safe_open
from transformers import PreTrainedConfig, PreTrainedModel

from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.training.publishing import export_check
from emoicl.training.publishing.cards import save_card
from emoicl.training.publishing.checkpoint import EmotionPipeline, load_pipeline
from emoicl.training.publishing.eval_results import FOLDER, PATTERN, save_eval_results
from emoicl.training.publishing.provenance import carry_provenance, hub_names


# What an earlier export may have left in a repository: weights in other shards would be loaded in place of the new.
OWNED_FILES = ["*.safetensors", "*.safetensors.index.json", "*_emoicl.py", f"{FOLDER}/{PATTERN}"]
SHOTS = 4


def export(
    checkpoint: str | Path,
    output: str | Path,
    push_to_hub: str | None = None,
    private: bool = False,
    dtype: str | None = None,
    max_shard_size: int | str = "5GB",
) -> Path:
    """
    Makes all that a Hub repository needs of a speech language model or a classifier: weights, configurations,
    processor, code and model card. A process without this package then loads them and must answer as the checkpoint
    does; nothing is written to `output`, nor published, if it does not.

    Args:
        checkpoint (`str` or `Path`):
            Folder of the model and its processor or feature extractor.
        output (`str` or `Path`):
            Where to. The folder must be empty or absent.
        push_to_hub (`str`, *optional*):
            Hub repository, such as `"org/name"`, that is made to hold the folder.
        private (`bool`, *optional*, defaults to `False`):
            Whether a new repository is private.
        dtype (`str`, *optional*):
            Precision of the stored weights, `"float16"`, `"bfloat16"` or `"float32"`; by default that of the
            checkpoint. The configuration keeps the precision to compute in.
        max_shard_size (`int` or `str`, *optional*, defaults to `"5GB"`):
            Size of a file of weights from which on they are split.

    Returns:
        `Path`: The folder, resolved.

    Raises:
        `ValueError`: If `output` is not empty, the checkpoint is none of this package or lacks weights, or what is
            exported answers differently.
    """
    checkpoint, output = Path(checkpoint), Path(output).resolve()
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output}: the folder is not empty; name another, or remove it.")
    if push_to_hub is not None:
        validate_repo_id(push_to_hub)
    recognizer = load_pipeline(checkpoint, torch.device("cpu"))
    stored = getattr(torch, dtype) if dtype else stored_dtype(checkpoint)
    round_weights(recognizer.model, stored)
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=".export-") as temporary:
        folder = Path(temporary) / output.name
        write_folder(recognizer, folder, stored, max_shard_size)
        carry_provenance(checkpoint, folder)
        save_card(folder, push_to_hub)
        save_eval_results(folder)
        verify(folder, recognizer, noise_requests(recognizer))
        folder.replace(output)
    if push_to_hub is not None:
        publish(output, push_to_hub, private)
    return output


def stored_dtype(checkpoint: Path) -> torch.dtype:
    """Precision that the weights of a checkpoint are stored in, which may not be the one to compute in."""
    with safe_open(min(checkpoint.glob("model*.safetensors")), "pt") as weights:
        return next(dtype for name in weights.keys() if (dtype := weights.get_tensor(name).dtype).is_floating_point)


@torch.no_grad()
def round_weights(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Rounds the weights of a model to what a precision can hold, in place.

    Raises:
        `ValueError`: If a weight is too large for it.
    """
    for name, weight in model.state_dict().items():
        if weight.is_floating_point():
            rounded = weight.to(dtype)
            if not rounded.isfinite().all():
                raise ValueError(f"{name}: has weights that {dtype} cannot hold; store another precision.")
            weight.copy_(rounded)


def write_folder(
    recognizer: EmotionPipeline, folder: str | Path, dtype: torch.dtype, max_shard_size: int | str = "5GB"
) -> None:
    """
    Writes what an exported folder needs to load: all but the card and what it tells of.

    Args:
        recognizer ([`EmoIclPipeline`] or [`EmoIclClassificationPipeline`]): Model and processor.
        folder (`str` or `Path`): Where to.
        dtype (`torch.dtype`): Precision of the stored weights.
        max_shard_size (`int` or `str`, *optional*, defaults to `"5GB"`): Size from which on they are split.
    """
    forget_local_paths(recognizer.model.config)
    weights = recognizer.model.state_dict()
    # By address, so that tied weights stay tied and are stored once.
    stored = {
        weight.data_ptr(): weight.to(dtype) if weight.is_floating_point() else weight for weight in weights.values()
    }
    recognizer.save_pretrained(
        folder,
        state_dict={name: stored[weight.data_ptr()] for name, weight in weights.items()},
        max_shard_size=max_shard_size,
    )


def forget_local_paths(config: PreTrainedConfig) -> None:
    """Takes the folders of one's own machine out of a configuration; names of the Hub tell where parts come from."""
    for name in config.sub_configs:
        forget_local_paths(getattr(config, name))
    config._name_or_path = "".join(hub_names([config._name_or_path]))


def noise_requests(recognizer: EmotionPipeline, seed: int = 0) -> list[dict[str, Any]]:
    """
    Requests to compare two models on: utterances of noise, without and with enrollment, and with other candidate
    labels where the model takes them.

    Args:
        recognizer ([`EmoIclPipeline`] or [`EmoIclClassificationPipeline`]): What the requests are for.
        seed (`int`, *optional*, defaults to 0): Of the noise.

    Returns:
        `list[dict]`: Requests as [`~emoicl.training.publishing.export_check.measure`] takes them.
    """
    rng = np.random.default_rng(seed)
    speech_lm = isinstance(recognizer, EmoIclPipeline)
    extractor = recognizer.processor.feature_extractor if speech_lm else recognizer.feature_extractor
    config = recognizer.model.config
    labels = recognizer.processor.candidate_labels if speech_lm else config.enrollment_labels or []

    def utterance(seconds: float) -> np.ndarray:
        seconds = min(extractor.min_duration + seconds, extractor.max_duration)
        return rng.normal(0, 0.1, int(seconds * extractor.sampling_rate)).astype(np.float32)

    def enrollment(labels: list[str], shots: int) -> list[dict[str, Any]]:
        return [{"audio": utterance(0.3 + 0.1 * i), "label": labels[i % len(labels)]} for i in range(shots)]

    requests: list[dict[str, Any]] = [{"audio": utterance(0.5)}, {"audio": utterance(0.8)}]
    if labels:
        shots = min(SHOTS, recognizer.processor.max_shots) if speech_lm else SHOTS
        requests.append({"audio": utterance(0.6), "enrollment": enrollment(labels, shots)})
    if speech_lm:
        few = labels[:2][::-1]
        requests.append({"audio": utterance(0.7), "enrollment": enrollment(few, 1), "candidate_labels": few})
    return requests


def verify(folder: str | Path, recognizer: EmotionPipeline, requests: export_check.Requests) -> None:
    """
    Checks that a folder loads where this package is absent and the network is off, through the auto classes and
    `pipeline` with the Hub's task and without one, and that it answers as the original does.

    Args:
        folder (`str` or `Path`): The exported folder.
        recognizer ([`EmoIclPipeline`] or [`EmoIclClassificationPipeline`]): The original.
        requests (`Sequence[Mapping]`): What to ask both, see [`noise_requests`].

    Raises:
        `ValueError`: If it does not load, or logits or answers differ.
    """
    processor = recognizer.processor or recognizer.feature_extractor
    expected = export_check.measure(recognizer.model, processor, recognizer, requests)
    with TemporaryDirectory() as temporary:
        paths = [Path(temporary) / name for name in ("requests.json", "measured.json")]
        paths[0].write_text(export_check.to_json(requests))
        process = subprocess.run(
            # -P: the folder of the script is one of this package.
            [sys.executable, "-P", export_check.__file__, str(Path(folder).resolve()), *map(str, paths)],
            env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(Path(temporary) / "modules")},
            cwd=temporary,
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            raise ValueError(
                f"{folder}: does not load where this package is absent: {process.stderr.strip().splitlines()[-1]}"
            )
        measured = json.loads(paths[1].read_text())
    # The same code runs on the same weights; only rounding may differ, with how the tensors lie in memory.
    tolerance = torch.finfo(recognizer.model.dtype).eps ** 0.5
    if unlike := [text for found in measured for text in differences(expected, found, tolerance)]:
        raise ValueError(f"{folder}: answers differently than the checkpoint it was made from: {'; '.join(unlike)}.")


def differences(expected: dict[str, Any], found: dict[str, Any], tolerance: float) -> list[str]:
    """What differs between two results of [`~emoicl.training.publishing.export_check.measure`], in words."""
    unlike = [] if expected["weights"] == found["weights"] else ["the weights are not the same"]
    for i, (ours, theirs) in enumerate(zip(expected["logits"], found["logits"], strict=True)):
        theirs = np.asarray(theirs)
        if ours.shape != theirs.shape:
            unlike.append(f"logits of request {i} have the shape {theirs.shape}, not {ours.shape}")
        elif not np.allclose(ours, theirs, rtol=tolerance, atol=tolerance):
            unlike.append(f"logits of request {i} differ by up to {np.abs(ours - theirs).max():.2g}")
    for i, (ours, theirs) in enumerate(zip(expected["answers"], found["answers"], strict=True)):
        if ours.keys() != theirs.keys():
            unlike.append(f"answer {i} has the labels {', '.join(theirs)}, not {', '.join(ours)}")
        elif not np.allclose(list(ours.values()), [theirs[label] for label in ours], rtol=0, atol=tolerance):
            gap = max(abs(ours[label] - theirs[label]) for label in ours)
            unlike.append(f"probabilities of answer {i} differ by up to {gap:.2g}")
    return unlike


def publish(folder: str | Path, repo_id: str, private: bool = False) -> None:
    """
    Makes a Hub repository hold an exported folder, with the token that `hf auth login` has stored.

    Args:
        folder (`str` or `Path`): The exported folder.
        repo_id (`str`): Name of the repository, such as `"org/name"`. It is created if it does not exist.
        private (`bool`, *optional*, defaults to `False`): Whether a new repository is private.

    Raises:
        `ValueError`: If the repository is there already and public, but a private one was asked for.
    """
    api = HfApi()
    api.create_repo(repo_id, private=private or None, exist_ok=True)
    if private and not api.model_info(repo_id).private:
        raise ValueError(f"{repo_id}: the repository is there already, and public. Make it private first.")
    api.upload_folder(
        repo_id=repo_id, folder_path=folder, commit_message="Export of emoicl", delete_patterns=OWNED_FILES
    )
