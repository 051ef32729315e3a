"""What a model answers: measured alike where it is exported from, and where only the exported folder is.

A script too, which takes the exported folder, a JSON file of requests and the file to write, and runs without this
package: it imports nothing of it.
"""

import hashlib
import importlib
import json
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers


# The Hub's page tells to ask for the task that it has the model under; many leave it out.
PIPELINE_TASKS: tuple[Any, ...] = ("audio-classification", None)

Requests = Sequence[Mapping[str, Any]]


def measure(model: Any, processor: Any, recognizer: Any, requests: Requests) -> dict[str, Any]:
    """
    Logits and answers to some requests.

    Args:
        model ([`~transformers.PreTrainedModel`]): The model.
        processor ([`EmoIclProcessor`] or [`EmoIclFeatureExtractor`]): What prepares its inputs.
        recognizer ([`~transformers.Pipeline`]): The pipeline around such a model.
        requests (`Sequence[Mapping]`):
            Arguments of the pipeline: `audio`, a waveform `(n,)` at the sampling rate of the feature extractor, and
            where they are asked for `enrollment` and `candidate_labels`.

    Returns:
        `dict` with `weights`, a digest of all of them, `logits`, an array for each request, and `answers`, which are
        `{label: score}`: to each request, to several in a batch, and of a speech language model what it writes.
    """
    answers = [recognizer(**request) for request in requests]
    together = [dict(request) for request in requests if "candidate_labels" not in request]
    answers += recognizer(together, batch_size=len(together))
    if model.can_generate():
        answers += [recognizer(**request, decoding="beam") for request in requests]
    return {
        "weights": digest(model),
        "logits": [logits(model, processor, request) for request in requests],
        "answers": [{answer["label"]: answer["score"] for answer in ranking} for ranking in answers],
    }


def digest(model: Any) -> str:
    """Tells whether all weights of two models are the same, also those that no request reaches."""
    # Not `digest_weights`, for this runs without the package.
    content = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        content.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        content.update(weight.reshape(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


@torch.no_grad()
def logits(model: Any, processor: Any, request: Mapping[str, Any]) -> np.ndarray:
    """Logits of a request: of a speech language model those of the first label's tokens, else without enrollment."""
    if model.can_generate():
        first_label = request.get("candidate_labels", processor.candidate_labels)[0]
        inputs = processor(**request, labels=first_label)
    else:
        inputs = processor(request["audio"])
    return model.eval()(**inputs).logits.float().numpy()


def with_waveforms(request: Mapping[str, Any], convert: Any) -> dict[str, Any]:
    """A request whose waveforms are converted: to lists, for JSON, or back."""
    converted = {**request, "audio": convert(request["audio"])}
    if "enrollment" in request:
        converted["enrollment"] = [{**shot, "audio": convert(shot["audio"])} for shot in request["enrollment"]]
    return converted


def to_json(requests: Requests) -> str:
    return json.dumps([with_waveforms(request, np.ndarray.tolist) for request in requests])


def from_json(text: str) -> list[dict[str, Any]]:
    return [with_waveforms(request, np.float32) for request in json.loads(text)]


def hide_package() -> None:
    """Makes this process one where `import emoicl` fails, however the package is installed."""
    sys.modules["emoicl"] = None  # pyright: ignore[reportArgumentType]
    try:
        importlib.import_module("emoicl.modeling")
    except ModuleNotFoundError:
        return
    raise RuntimeError("The package emoicl can still be imported.")


def block_network() -> None:
    """Makes every connection an error."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError("The network was asked for.")

    socket.socket.connect = socket.getaddrinfo = refuse


def main(folder: str, requests: str, output: str) -> None:
    hide_package()
    block_network()
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
    (auto_model,) = (name for name in config.auto_map if name.startswith("AutoModel"))
    model = getattr(transformers, auto_model).from_pretrained(folder, trust_remote_code=True)
    processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    measured = []
    for task in PIPELINE_TASKS:
        recognizer = transformers.pipeline(task, model=folder, trust_remote_code=True, device="cpu")
        found = measure(model, processor, recognizer, from_json(Path(requests).read_text()))
        measured.append({**found, "logits": [array.tolist() for array in found["logits"]]})
    Path(output).write_text(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
