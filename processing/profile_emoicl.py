"""A speaker's enrollment as a model has encoded it: kept in a file, and given to the pipeline again and again."""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from transformers import PreTrainedModel

from .feature_extraction_emoicl import EmoIclFeatureExtractor
from .fingerprint_emoicl import is_same_fingerprint


FORMAT = "emoicl-speaker-profile"
# The second is that of files with utterances without a label; all others can still be read where only the first is.
SCHEMA_VERSIONS = (1, 2)
# Far more than any prompt takes. A shot of the paper's sizes (150 query tokens of 1024 values) has 0.6 MB.
MAX_SHOTS = 256
MAX_BYTES = 256 * 2**20
# The header of a safetensors file, whose length is in its first 8 bytes, lists the tensors and holds our JSON.
MAX_HEADER_BYTES = 2**20

HEX_DIGITS = set("0123456789abcdef")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# What a configuration says of how it came here, rather than of the model.
BOOKKEEPING = {
    "_name_or_path",
    "architectures",
    "auto_map",
    "custom_pipelines",
    "dtype",
    "processor_class",
    "transformers_version",
}


class SpeakerProfile:
    r"""
    The enrollment of a speaker, as [`EmoIclPipeline.enroll`] encodes it: for each utterance the output of the
    model's `get_audio_features`, its label if it has one, and a digest and a fingerprint of its waveform, by which it
    is known again. It holds no audio, but it is made of a person's voice: keep it as their recordings are kept, and
    delete it when they ask ([`~SpeakerProfile.delete`]).

    Only the model that made a profile can read it.

    Args:
        model ([`ModelIdentity`] or `str`):
            The model that encoded them, or its fingerprint.
        labels (`list[str or None]`):
            Label of each utterance, in the order of the prompt; None for one without.
        digests (`list[str]`):
            Digest of each waveform, see [`Utterance`].
        embeddings (`dict[str, torch.Tensor]`):
            Fields of the model's output, each of shape `(num_shots, ...)`, float32, float16 or bfloat16.
        fingerprints (`list[str]`, *optional*):
            [`fingerprint`] of each waveform. Those of a file that has none, of an earlier version, are empty.

    Raises:
        `ValueError`: If the parts do not fit together, a value is not finite, or there are too many utterances.
    """

    def __init__(
        self,
        model: "ModelIdentity | str",
        labels: Sequence[str | None],
        digests: Sequence[str],
        embeddings: Mapping[str, torch.Tensor],
        fingerprints: Sequence[str] | None = None,
    ):
        _check_texts(labels, digests)
        if fingerprints is None:
            fingerprints = [""] * len(labels)
        _check_fingerprints(fingerprints, len(labels))
        _check_embeddings(embeddings, len(labels))
        self.model = model
        self.digests = list(digests)
        self.fingerprints = list(fingerprints)
        self.embeddings = {name: embeddings[name] for name in sorted(embeddings)}
        self._labels = list(labels)
        self.forget_prefix()

    def forget_prefix(self) -> None:
        """Forgets what the pipeline keeps in `prefix`: what the language model has read of the enrollment, and for
        which model and candidate labels. In a file it would be larger than all else, and it is soon read."""
        self.prefix: tuple[tuple, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"prefix": None}

    @property
    def labels(self) -> list[str | None]:
        """Label of each utterance, in the order of the prompt; None for one without."""
        return list(self._labels)

    @property
    def model_fingerprint(self) -> str:
        """Identity of the model that made the profile, see [`fingerprint_model`]."""
        return self.model if isinstance(self.model, str) else self.model.fingerprint

    def __len__(self) -> int:
        return len(self._labels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(labels={self._labels})"

    def add(self, other: "SpeakerProfile") -> None:
        """
        Adds the utterances of another profile behind those of this one.

        Args:
            other ([`SpeakerProfile`]): More utterances of the same speaker, enrolled with the same model.

        Raises:
            `ValueError`: If the other is of another model or holds a recording that is here already, or there would be
                too many utterances.
        """
        self.check_model(other.model)
        for i in range(len(other)):
            for place in range(len(self)):
                if other.digests[i] == self.digests[place] or is_same_fingerprint(
                    other.fingerprints[i], self.fingerprints[place]
                ):
                    raise ValueError(f"enrollment[{i}]: is the recording that the profile has at {place} already")
        _check_layout(other.embeddings, self.embeddings)
        both = type(self)(
            self.model,
            [*self._labels, *other.labels],
            [*self.digests, *other.digests],
            {name: torch.cat([tensor, other.embeddings[name].to(tensor)]) for name, tensor in self.embeddings.items()},
            [*self.fingerprints, *other.fingerprints],
        )
        self._labels, self.digests, self.embeddings = both.labels, both.digests, both.embeddings
        self.fingerprints = both.fingerprints
        self.forget_prefix()

    def remove(self, index: int) -> None:
        """
        Takes one utterance out. What is left of it in a file goes when the profile is saved there again.

        Args:
            index (`int`): Its place in the profile, from 0.

        Raises:
            `IndexError`: If there is no such utterance.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"The profile has {len(self)} utterances; there is none with index {index}.")
        rest = [i for i in range(len(self)) if i != index]
        self._labels = [self._labels[i] for i in rest]
        self.digests = [self.digests[i] for i in rest]
        self.fingerprints = [self.fingerprints[i] for i in rest]
        self.embeddings = {name: tensor[rest] for name, tensor in self.embeddings.items()}
        self.forget_prefix()

    def check_model(self, model: "ModelIdentity | str") -> None:
        """
        Refuses the profile of another model.

        Args:
            model ([`ModelIdentity`] or `str`): The model it is to be used with, or its fingerprint.

        Raises:
            `ValueError`: If it is not the model that made the profile.
        """
        if model is self.model:
            return
        made_with, found = self.model_fingerprint, model if isinstance(model, str) else model.fingerprint
        if made_with != found:
            raise ValueError(
                f"The profile was made with another model ({made_with[:12]}, not {found[:12]}), and means nothing to "
                "this one. Load that model, or enroll the speaker's recordings with this one."
            )

    def save(self, path: str | os.PathLike) -> None:
        """
        Writes the profile to one file, in place of an older profile. It is a safetensors file: its header holds the
        labels and all else as JSON. Only its owner can read it. An interruption leaves no half file.

        Args:
            path (`str` or `os.PathLike`): The file. Its folder is created if it does not exist.

        Raises:
            `ValueError`: If the path holds something else than a profile, or the file would be too large.
        """
        path = Path(path)
        if path.exists() or path.is_symlink():
            _read_header(path)
        header = {
            "schema_version": SCHEMA_VERSIONS[None in self._labels],
            "model_fingerprint": self.model_fingerprint,
            "labels": self._labels,
            "digests": self.digests,
            "fingerprints": self.fingerprints,
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.embeddings.items()}
        content = save(tensors, {"format": FORMAT, "profile": json.dumps(header)})
        if _is_too_large(len(content), content):
            raise ValueError(f"{path}: the profile is too large for a file; enroll fewer utterances.")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed. A temporary file is readable by its owner alone.
        handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".unfinished")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(unfinished, path)
        except BaseException:
            os.unlink(unfinished)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """
        Reads a profile. Nothing in the file is trusted: sizes are checked before it is read, and all of its parts
        after. No code and no name of another file is in it.

        Args:
            path (`str` or `os.PathLike`): The file that [`~SpeakerProfile.save`] wrote.

        Raises:
            `ValueError`: If it is no profile, too large, damaged, or written by a later version of the package.
        """
        path = Path(path)
        header = _read_header(path)
        if header.get("schema_version") not in SCHEMA_VERSIONS:
            raise ValueError(
                f"{path}: a profile with schema version {header.get('schema_version')!r}; this version of emoicl "
                f"reads versions {' and '.join(map(str, SCHEMA_VERSIONS))}. Update emoicl, or enroll the speaker's "
                "recordings again."
            )
        try:
            if not _is_digest(fingerprint := header["model_fingerprint"]):
                raise ValueError(f"the fingerprint of the model must be 64 hexadecimal digits; got {fingerprint!r}")
            tensors = load(path.read_bytes())
            return cls(fingerprint, header["labels"], header["digests"], tensors, header.get("fingerprints"))
        except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"{path}: is not a speaker profile, or damaged: {_reason(error)}") from error

    @staticmethod
    def delete(path: str | os.PathLike) -> None:
        """
        Deletes a profile, of any version, and nothing else.

        Args:
            path (`str` or `os.PathLike`): The file that [`~SpeakerProfile.save`] wrote.

        Raises:
            `ValueError`: If there is no such file, or it is no profile: it is left alone.
        """
        _read_header(Path(path))
        os.unlink(path)


class ModelIdentity:
    """
    A model with the weights that it has when this is made. To read all of them takes a while, so their fingerprint is
    taken when it is first asked for.

    Args:
        model ([`~transformers.PreTrainedModel`]): The model.
        feature_extractor ([`EmoIclFeatureExtractor`]): What makes its inputs.
    """

    def __init__(self, model: PreTrainedModel, feature_extractor: EmoIclFeatureExtractor):
        self._model = model
        self._feature_extractor = feature_extractor
        self._versions = self._count_changes()

    def is_of(self, model: PreTrainedModel) -> bool:
        """Whether it is this model, and its weights are the same objects, unchanged."""
        return model is self._model and self._versions == self._count_changes()

    @cached_property
    def fingerprint(self) -> str:
        """See [`fingerprint_model`]."""
        if not self.is_of(self._model):
            raise ValueError(
                "The profile was made with another model: its weights or adapters were changed since. Enroll the "
                "speaker's recordings with this one."
            )
        return fingerprint_model(self._model, self._feature_extractor)

    def _count_changes(self) -> list[tuple]:
        # Each answer asks for it, and `modules` and `parameters` would take longer than all this.
        modules: list[Any] = [self._model]
        for module in modules:
            modules += filter(None, module._modules.values())
        weights = [weight for module in modules for weight in module._parameters.values() if weight is not None]
        # Torch counts the changes of a tensor.
        changes = [(id(weight), weight._version, weight.dtype) for weight in weights]
        return changes + switches_of_adapters(modules)

    def __deepcopy__(self, memo: dict) -> "ModelIdentity":
        # A copy of a profile is of the same model.
        return self

    def __reduce__(self) -> tuple:
        # Pickled, a profile holds the fingerprint in place of the model.
        return str, (self.fingerprint,)


def fingerprint_model(model: PreTrainedModel, feature_extractor: EmoIclFeatureExtractor) -> str:
    """
    Identity of a model: its weights, their names and shapes, the fields of its configuration, and the settings of its
    feature extractor. It is the same wherever the model is loaded from, and in any precision that holds its weights
    exactly.

    Args:
        model ([`~transformers.PreTrainedModel`]): The model.
        feature_extractor ([`EmoIclFeatureExtractor`]): What makes its inputs.

    Returns:
        `str`: SHA-256, 64 hexadecimal digits.
    """
    settings = {
        # The parts have their own configurations, with defaults that change from one version of transformers to the
        # next; their weights tell them apart.
        "model": {name: value for name, value in model.config.to_diff_dict().items() if not isinstance(value, dict)},
        "features": feature_extractor.to_dict(),
    }
    settings = {part: {k: v for k, v in of.items() if k not in BOOKKEEPING} for part, of in settings.items()}
    if switches := switches_of_adapters(model.modules()):
        settings["adapters"] = {"switches": switches}
    return digest_weights(model, settings)


def switches_of_adapters(modules: Iterable[torch.nn.Module]) -> list[tuple]:
    """Of each layer with low-rank adapters of peft, whether they are off and which of them count: with the same
    weights, what a model answers hangs on it."""
    layers: Iterable[Any] = modules
    return [
        (layer.disable_adapters, *layer.active_adapters)
        for layer in layers
        if isinstance(getattr(layer, "disable_adapters", None), bool)
    ]


def digest_weights(module: torch.nn.Module, settings: Mapping[str, Any]) -> str:
    """SHA-256 of the weights of a module, in any precision that holds them exactly, and of settings beside them."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, weight in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().float().flatten().contiguous().numpy())
    return digest.hexdigest()


def join_profiles(
    embeddings: Mapping[str, torch.Tensor],
    utterance_index: Sequence[Sequence[int]],
    profiles: Sequence[SpeakerProfile | None],
) -> tuple[dict[str, torch.Tensor], list[list[int]]]:
    """
    Puts the utterances of profiles behind those of a batch, each profile once.

    Args:
        embeddings (`dict[str, torch.Tensor]`):
            Fields of the model's output for the utterances of the batch, each of shape `(num_utterances, ...)`.
        utterance_index (`list[list[int]]`):
            For each prompt, the rows of its utterances, the target last.
        profiles (`list[SpeakerProfile or None]`):
            For each prompt, the profile whose utterances come first in it.

    Returns:
        `tuple`: `embeddings` with the rows of the profiles, and `utterance_index` with theirs in front.

    Raises:
        `ValueError`: If a profile has other fields or shapes than the batch.
    """
    parts: list[Mapping[str, torch.Tensor]] = [embeddings]
    num_rows = len(next(iter(embeddings.values())))
    rows: dict[int, list[int]] = {}
    for profile in profiles:
        if profile is not None and id(profile) not in rows:
            _check_layout(profile.embeddings, embeddings)
            rows[id(profile)] = list(range(num_rows, num_rows + len(profile)))
            num_rows += len(profile)
            parts.append(profile.embeddings)
    joined = {name: torch.cat([part[name].to(tensor) for part in parts]) for name, tensor in embeddings.items()}
    index = [[*rows.get(id(profile), []), *own] for profile, own in zip(profiles, utterance_index, strict=True)]
    return joined, index


def _check_texts(labels: Any, digests: Any) -> None:
    if not isinstance(labels, (list, tuple)) or not isinstance(digests, (list, tuple)):
        raise ValueError("labels and digests must be lists")
    if len(labels) > MAX_SHOTS:
        raise ValueError(f"{len(labels)} utterances; a profile takes at most {MAX_SHOTS}")
    if len(labels) != len(digests):
        raise ValueError(f"{len(labels)} labels and {len(digests)} digests; every utterance has one of each")
    labeled = [label for label in labels if label is not None]
    if wrong := [label for label in labeled if not isinstance(label, str) or not label.strip()]:
        raise ValueError(f"labels must be non-empty strings, or None; got {wrong[0]!r}")
    if wrong := [digest for digest in digests if not _is_digest(digest)]:
        raise ValueError(f"a digest must be 64 hexadecimal digits; got {wrong[0]!r}")


def _check_fingerprints(fingerprints: Any, num_shots: int) -> None:
    if not isinstance(fingerprints, (list, tuple)) or len(fingerprints) != num_shots:
        raise ValueError(f"there must be a list of {num_shots} fingerprints, one of each utterance")
    wrong = [text for text in fingerprints if not isinstance(text, str) or len(text) % 4 or set(text) - HEX_DIGITS]
    if wrong:
        raise ValueError(f"a fingerprint must be hexadecimal, 4 digits for each frame; got {wrong[0]!r:.40}")


def _is_digest(text: Any) -> bool:
    return isinstance(text, str) and len(text) == 64 and set(text) <= HEX_DIGITS


def _check_embeddings(embeddings: Mapping[str, torch.Tensor], num_shots: int) -> None:
    if not embeddings:
        raise ValueError("there are no embeddings")
    for name, tensor in embeddings.items():
        if tensor.dtype not in DTYPES:
            raise ValueError(f"{name} is {tensor.dtype}; expected float32, float16 or bfloat16")
        if tensor.dim() < 2 or len(tensor) != num_shots:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected ({num_shots}, ...)")
        if not tensor.isfinite().all():
            raise ValueError(f"{name} has values that are not finite")


def _check_layout(embeddings: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    found, wanted = (
        {name: tuple(tensor.shape[1:]) for name, tensor in sorted(tensors.items())}
        for tensors in (embeddings, expected)
    )
    if found != wanted:
        raise ValueError(
            f"The profile holds {found} of each utterance, but {wanted} is expected: it was made by another version "
            "of emoicl, or is damaged. Enroll the speaker's recordings again."
        )


def _reason(error: Exception) -> str:
    return f"the field {error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())


def _is_too_large(num_bytes: int, start: bytes) -> bool:
    return num_bytes > MAX_BYTES or int.from_bytes(start[:8], "little") > MAX_HEADER_BYTES


def _read_header(path: Path) -> dict:
    """The JSON of a profile; its tensors are not read, and whatever is no profile is refused."""
    try:
        # Of a link, not what it points to: only the link would be replaced or deleted.
        status = path.lstat()
    except OSError as error:
        raise ValueError(f"{path}: no speaker profile can be read there: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path}: not a speaker profile, which is a plain file and no folder or link")
    try:
        with path.open("rb") as file:
            if _is_too_large(status.st_size, start := file.read(8)):
                # Of other files the first bytes are no size of a description.
                raise ValueError("it is larger than any" if status.st_size > MAX_BYTES else f"it begins with {start}")
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError("it lacks the mark of one")
        header = json.loads(metadata["profile"])
        if not isinstance(header, dict):
            raise ValueError("its description is no JSON object")
    except (KeyError, ValueError, RecursionError, SafetensorError) as error:
        raise ValueError(f"{path}: is not a speaker profile, or damaged: {_reason(error)}") from error
    return header


__all__ = ["ModelIdentity", "SpeakerProfile", "fingerprint_model", "join_profiles"]
